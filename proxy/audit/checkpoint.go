package audit

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// DefaultName is the name in the signing key and on the first line of each
// checkpoint when Config gives no other.
const DefaultName = "sallyport-audit"

// NewSeed makes the secret for Config.Key.
func NewSeed() ([]byte, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	return seed, nil
}

// VerifierKey is the public key that belongs to a seed, in the text form of
// golang.org/x/mod/sumdb/note. An empty name is DefaultName.
func VerifierKey(name string, seed []byte) (string, error) {
	_, verifier, err := keys(name, seed)
	return verifier, err
}

func keys(name string, seed []byte) (note.Signer, string, error) {
	if name == "" {
		name = DefaultName
	}
	if len(seed) != ed25519.SeedSize {
		return nil, "", fmt.Errorf("audit key has %d bytes, %d are needed", len(seed), ed25519.SeedSize)
	}
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	verifier, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		return nil, "", fmt.Errorf("audit key: %w", err)
	}
	// note has no constructor from a seed. The text form is
	// PRIVATE+KEY+<name>+<hash>+<base64 of algorithm 1 and the seed>, and the hash
	// is that of the public key, whose text form is <name>+<hash>+<key>.
	hash := strings.SplitN(verifier[len(name)+1:], "+", 2)[0]
	secret := base64.StdEncoding.EncodeToString(append([]byte{1}, seed...))
	signer, err := note.NewSigner("PRIVATE+KEY+" + name + "+" + hash + "+" + secret)
	if err != nil {
		return nil, "", fmt.Errorf("audit key: name %q: %w", name, err)
	}
	return signer, verifier, nil
}

// checkpoint is what is signed.
type checkpoint struct {
	size   int64
	root   tlog.Hash
	at     time.Time
	starts []int64 // the seq that each file started with; the last maxStarts of them
	closed bool    // nothing was appended after it: a line past it is forged
}

const maxStarts = 1000

func (c checkpoint) text(origin string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%d\n%s\n", origin, c.size, c.root)
	fmt.Fprintf(&b, "time %s\n", c.at.UTC().Format(time.RFC3339))
	b.WriteString("files")
	for _, s := range c.starts {
		fmt.Fprintf(&b, " %d", s)
	}
	b.WriteString("\n")
	if c.closed {
		b.WriteString("closed\n")
	}
	return b.String()
}

func (c checkpoint) sign(s note.Signer) ([]byte, error) {
	return note.Sign(&note.Note{Text: c.text(s.Name())}, s)
}

var errSignature = errors.New("the signature does not fit the key")

// openCheckpoint checks the signature of msg and reads it. Without a verifier
// the signature is not looked at.
func openCheckpoint(msg []byte, v note.Verifier) (checkpoint, error) {
	var known note.Verifiers = note.VerifierList()
	if v != nil {
		known = note.VerifierList(v)
	}
	n, err := note.Open(msg, known)
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unverified):
		if n = unverified.Note; v != nil {
			signers := make([]string, 0, len(n.UnverifiedSigs))
			for _, s := range n.UnverifiedSigs {
				signers = append(signers, fmt.Sprintf("%s+%08x", s.Name, s.Hash))
			}
			return checkpoint{}, fmt.Errorf("%w %s+%08x: it is signed by %s", errSignature, v.Name(), v.KeyHash(), strings.Join(signers, ", "))
		}
	case err != nil:
		return checkpoint{}, fmt.Errorf("%w: %w", errSignature, err)
	}
	return parseCheckpoint(n.Text)
}

func parseCheckpoint(text string) (checkpoint, error) {
	var c checkpoint
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) < 3 {
		return c, errors.New("not a checkpoint: fewer than 3 lines")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return c, fmt.Errorf("not a checkpoint: size %q", lines[1])
	}
	c.size = size
	if c.root, err = tlog.ParseHash(lines[2]); err != nil {
		return c, fmt.Errorf("not a checkpoint: root: %w", err)
	}
	// Unknown extension lines are skipped, as C2SP asks.
	for _, l := range lines[3:] {
		word, rest, _ := strings.Cut(l, " ")
		switch word {
		case "time":
			c.at, _ = time.Parse(time.RFC3339, rest)
		case "closed":
			c.closed = true
		case "files":
			for _, f := range strings.Fields(rest) {
				s, err := strconv.ParseInt(f, 10, 64)
				if err != nil || s < 0 || s > size {
					return c, fmt.Errorf("not a checkpoint: file start %q", f)
				}
				c.starts = append(c.starts, s)
			}
		}
	}
	if !slices.IsSorted(c.starts) {
		return c, errors.New("not a checkpoint: file starts are not in order")
	}
	return c, nil
}

// replaceFile puts data at path so that after a crash either the old or the new
// content is there, whole.
func replaceFile(path string, data []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes names in a folder durable: a new file whose name is lost in a
// power failure is lost whole.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
