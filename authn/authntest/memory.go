package authntest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"sallyport/authn"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
)

// ErrFault is what an injected fault returns, wrapped with the method's name.
var ErrFault = errors.New("injected fault")

// Fault says how a store fails. The two come as a pair because callers must survive both:
// after an error the caller cannot know which one it was.
type Fault int

const (
	NotStored Fault = iota + 1 // the call fails and changes nothing
	Stored                     // the call does its work, then fails: only the answer is lost
)

// Stores is every store interface in one.
type Stores interface {
	session.Store
	authn.KeyStore
	session.Once
	passkey.Once
	passkey.Store
	enroll.Store
	// PurgeOnce deletes one-time records that expired before the given time.
	PurgeOnce(ctx context.Context, expiredBefore time.Time) (int, error)
}

var (
	_ Stores       = (*Memory)(nil)
	_ passkey.Once = (*Memory)(nil)
)

// methods are the names that faults and hooks accept: a misspelt one would
// make a test that tests nothing.
var methods = []string{
	"CreateSession", "LoadSession", "ReplaceToken", "PutToken", "TouchSessions", "RefreshSession",
	"RevokeSessions", "TrimSessions", "ListSessions", "PurgeSessions", "SessionChanges",
	"Keys", "AddFirstKey", "AddKey", "Put", "Take", "PurgeOnce",
	"UserHandle", "Credentials", "AddCredential", "RecordUse", "BlockCredential", "RenameCredential", "RemoveCredential",
	"CreateTicket", "TicketByDigest", "RedeemTicket", "OtherAccount", "ListTickets", "RevokeTicket",
}

// Memory implements every store interface in memory, to the letter of their
// contracts ([TestStores]). Two managers that share one Memory behave like two
// processes that share one database.
//
// A call that breaks an invariant (a session without an id, a token whose
// digest is zero, an address that is not canonical) is refused with an error
// and remembered in [Memory.Violations].
type Memory struct {
	mu         sync.Mutex
	sessions   map[string]session.Record
	tokens     map[session.Digest]session.Token
	changes    []change
	changeSeq  int64
	trimmedSeq int64
	keys       map[string][]authn.Key // by use, newest first
	once       map[onceKey]onceValue
	onceSeq    int
	handles    map[authn.Subject][]byte
	creds      map[string]passkey.Record
	removed    map[string]bool // ids of credentials that were removed
	tickets    map[enroll.Digest]enroll.Ticket

	ctl        sync.Mutex // guards what follows: hooks run without mu
	next       map[string]Fault
	always     map[string]Fault
	hooks      map[string]func()
	calls      map[string]int
	violations []string
}

// NewMemory returns an empty Memory.
func NewMemory() *Memory {
	return &Memory{
		sessions: map[string]session.Record{},
		tokens:   map[session.Digest]session.Token{},
		// Sequence numbers start at 1 so that 0 stays "a reader that has just
		// started and holds nothing that could be out of date".
		changeSeq:  1,
		trimmedSeq: 1,
		keys:       map[string][]authn.Key{},
		once:       map[onceKey]onceValue{},
		handles:    map[authn.Subject][]byte{},
		creds:      map[string]passkey.Record{},
		removed:    map[string]bool{},
		tickets:    map[enroll.Digest]enroll.Ticket{},
		next:       map[string]Fault{},
		always:     map[string]Fault{},
		hooks:      map[string]func(){},
		calls:      map[string]int{},
	}
}

// FailNext makes the next call of the named method, and only that, fail.
func (m *Memory) FailNext(method string, f Fault) {
	m.set(method, func() { m.next[method] = f })
}

// Fail makes every call of the named methods fail, of all methods if none is
// named, until [Memory.Heal].
func (m *Memory) Fail(f Fault, names ...string) {
	if len(names) == 0 {
		names = methods
	}
	for _, method := range names {
		m.set(method, func() { m.always[method] = f })
	}
}

// Heal removes all faults and hooks.
func (m *Memory) Heal() {
	m.ctl.Lock()
	defer m.ctl.Unlock()
	clear(m.next)
	clear(m.always)
	clear(m.hooks)
}

// OnCall runs f before each call of the named method, with no lock held: a test uses it
// to revoke a session or spend a ticket between two steps of another caller.
func (m *Memory) OnCall(method string, f func()) {
	m.set(method, func() { m.hooks[method] = f })
}

// Calls returns how often the named method was called, failed calls included.
func (m *Memory) Calls(method string) int {
	var n int
	m.set(method, func() { n = m.calls[method] })
	return n
}

// Violations returns what callers did that no caller may do, oldest first.
func (m *Memory) Violations() []string {
	m.ctl.Lock()
	defer m.ctl.Unlock()
	return slices.Clone(m.violations)
}

func (m *Memory) set(method string, f func()) {
	if !slices.Contains(methods, method) {
		panic(fmt.Sprintf("authntest: Memory has no method %q", method))
	}
	m.ctl.Lock()
	defer m.ctl.Unlock()
	f()
}

// do runs one call: hook, fault, then f under the lock. f checks everything
// before it changes anything, so that an error leaves no half of a transaction.
func (m *Memory) do(ctx context.Context, method string, f func() error) error {
	m.ctl.Lock()
	m.calls[method]++
	hook := m.hooks[method]
	fault, ok := m.next[method]
	if ok {
		delete(m.next, method)
	} else {
		fault = m.always[method]
	}
	m.ctl.Unlock()
	if hook != nil {
		hook()
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	if fault == NotStored {
		return fmt.Errorf("%s: %w", method, ErrFault)
	}
	m.mu.Lock()
	err := f()
	m.mu.Unlock()
	if err == nil && fault == Stored {
		err = ErrFault
	}
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// must returns an error, and remembers it, unless ok.
func (m *Memory) must(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	err := fmt.Errorf("invariant broken: "+format, args...)
	m.ctl.Lock()
	m.violations = append(m.violations, err.Error())
	m.ctl.Unlock()
	return err
}

// micro is a time as every store returns it: UTC, to the microsecond, without
// a monotonic reading. The zero time stays zero.
func micro(t time.Time) time.Time { return time.UnixMicro(t.UnixMicro()).UTC() }

func canonical(e authn.Email) bool {
	c, err := authn.ParseEmail(string(e))
	return err == nil && c == e
}

func whole(s authn.Subject) bool { return s.Issuer != "" && s.ID != "" }

// list copies s, and gives nil for an empty one, as stores do.
func list[T any](s []T) []T {
	if len(s) == 0 {
		return nil
	}
	return slices.Clone(s)
}
