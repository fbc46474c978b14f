package rollout

import (
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/policy/load"
)

// Policies are the texts of the policy that is enforced and of the one in shadow, with
// what they are compiled against.
type Policies struct {
	// Enforced has no Provides: that is up to the IP data.
	Enforced policy.Config
	Unread   error // why Enforced has no Source
	// ExceptionsUnread is why there is no text of the exceptions.
	ExceptionsUnread error
	// ShadowName is the file of the policy in shadow; "": there is none.
	ShadowName   string
	ShadowSource []byte
	ShadowUnread error // why there is no ShadowSource
	// PinsWhole says that what names the pinned invariants was written to its end: their
	// file, or the configuration if it has none.
	PinsWhole bool
}

// Config is what the enforced policy is compiled from beside some IP data.
func (p Policies) Config(intel *ipintel.Snapshot) policy.Config {
	return p.configAt(intel, time.Now())
}

func (p Policies) configAt(intel *ipintel.Snapshot, now time.Time) policy.Config {
	c, provides := p.Enforced, intel.Provides()
	c.Provides = &provides
	if c.Exceptions != nil { // what has expired by now is over
		x := *c.Exceptions
		x.Now = now
		c.Exceptions = &x
	}
	return c
}

// Compile compiles the enforced policy. It has to pass its tests, and its invariants have
// to be proven.
func (p Policies) Compile(intel *ipintel.Snapshot) (*policy.Policy, error) {
	return p.compileAt(intel, time.Now())
}

func (p Policies) compileAt(intel *ipintel.Snapshot, now time.Time) (*policy.Policy, error) {
	if p.Unread != nil {
		return nil, p.Unread
	}
	if p.ExceptionsUnread != nil {
		return nil, p.ExceptionsUnread
	}
	return load.Proven(p.configAt(intel, now))
}

// CompileShadow compiles the policy in shadow, which has to pass its tests; nil if there
// is none. It decides nothing, so that a mistake in it must keep no other policy out of
// force.
func (p Policies) CompileShadow(intel *ipintel.Snapshot) (*policy.Policy, error) {
	switch {
	case p.ShadowName == "":
		return nil, nil
	case p.ShadowUnread != nil:
		return nil, p.ShadowUnread
	}
	what := p.Config(intel)
	what.Name, what.Source = p.ShadowName, p.ShadowSource
	if what.Exceptions != nil {
		what.Exceptions.AnyRules = true // they name those of the enforced policy
	}
	return load.Tested(what)
}

// Keyed makes both draw by the key of this installation. shadow may be nil.
func Keyed(enforced, shadow *policy.Policy, key policy.DrawKey) (*policy.Policy, *policy.Policy) {
	if shadow != nil {
		shadow = shadow.Keyed(key)
	}
	return enforced.Keyed(key), shadow
}

// maxPolicy is how many bytes a policy may have.
const maxPolicy = 1 << 20

// ReadPolicy reads a policy file. It refuses a FIFO: opening it would block until another
// process writes to it.
func ReadPolicy(name string) ([]byte, error) {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	return ReadAll(f)
}

// ReadAll reads one byte more than a policy may have, so that the compiler refuses one
// that is too long.
func ReadAll(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, maxPolicy+1)) }
