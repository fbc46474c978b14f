package audit

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"sallyport/policy/ipv4in6"
)

var (
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("audit log is closed")
	// ErrBehind is returned when the disk is so slow that too many records wait for it.
	ErrBehind = errors.New("audit log is too far behind")
	// ErrLocked is returned by Open when another process has the log.
	ErrLocked = errors.New("audit log is in use by another process")
	// ErrTampered is returned by Open when the files do not match the signed
	// checkpoint, or each other in a way that no crash explains.
	ErrTampered = errors.New("audit log was tampered with")
)

// Config says where the log is and how it is signed.
type Config struct {
	File string // the JSON lines file; its folder is made if it is missing
	Name string // name in the key and the checkpoints; "" means DefaultName. A log keeps its name
	Key  []byte // 32-byte Ed25519 seed, see NewSeed. A log keeps its key

	CheckpointEvery time.Duration // how often a grown log is signed; default 10 s
	RepeatEvery     time.Duration // how often counted allows are written; default 1 min, and ten times that for refusals
	MaxRepeats      int           // how many runs are counted at a time; default 16384
	// Translators put IPv4 clients under these prefixes: budgets count them by the
	// address inside.
	Translators ipv4in6.Translators

	CallsPerMinute int // different calls and changes of one session that are let through; required

	// OnCheckpoint, if set, gets every signed checkpoint, to be kept on another
	// machine. It is called by the writer and must return at once.
	OnCheckpoint func(checkpoint []byte)

	Anchor Anchor // keeps the last checkpoint elsewhere; nil: putting back all files is not noticed

	Now    func() time.Time
	Logger *slog.Logger

	disk disk
}

const (
	maxQueue    = 8192    // records that may wait for the disk
	maxBatch    = 1 << 20 // bytes written with one fsync, one line more or less
	repairEvery = time.Second
)

// Log is an open audit log. It has one writer, which owns the files; all other goroutines
// queue records for it.
type Log struct {
	cfg      Config
	verifier string
	repeats  *repeats
	budget   *budget
	keeper   *keeper

	// fault is why records cannot be written; nil if they can. Only the writer clears it,
	// after it has repaired the file and written to it.
	fault    atomic.Pointer[fault]
	unsigned atomic.Pointer[fault]  // why the last checkpoint could not be written
	last     atomic.Pointer[[]byte] // last checkpoint
	size     atomic.Int64

	mu     sync.Mutex
	queue  []*entry
	closed bool

	wake   chan struct{}
	reopen chan chan error
	stop   chan struct{} // closed to end the flusher, then the writer
	done   sync.WaitGroup
	finish sync.Once
	result error // of Close
}

type fault struct {
	err   error
	since time.Time
}

// entry is a record on its way to the disk.
type entry struct {
	body    []byte
	at      time.Time
	count   int64
	sources *DataList  // that the body refers to
	done    chan error // buffered
}

func (c Config) withDefaults() (Config, error) {
	if c.File == "" {
		return c, errors.New("audit log: no file")
	}
	if c.Name == "" {
		c.Name = DefaultName
	}
	if c.CheckpointEvery <= 0 {
		c.CheckpointEvery = 10 * time.Second
	}
	if c.RepeatEvery <= 0 {
		c.RepeatEvery = time.Minute
	}
	if c.MaxRepeats <= 0 {
		c.MaxRepeats = 16384
	}
	if c.CallsPerMinute <= 0 {
		return c, fmt.Errorf("audit log: CallsPerMinute is %d, and must be positive", c.CallsPerMinute)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.disk.open == nil {
		c.disk = osDisk()
	}
	return c, nil
}

// Open opens the log for writing, or begins one. It repairs what a crash left, and
// refuses, with ErrTampered and the first line concerned, what a crash cannot explain.
// It reads the current file from its beginning: a gigabyte takes a second or two.
func Open(cfg Config) (*Log, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	signer, verifier, err := keys(cfg.Name, cfg.Key)
	if err != nil {
		return nil, err
	}
	s, cut, err := openStore(cfg, signer, verifier)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.File, err)
	}
	l := &Log{
		cfg:      cfg,
		verifier: verifier,
		wake:     make(chan struct{}, 1),
		reopen:   make(chan chan error),
		stop:     make(chan struct{}),
	}
	l.repeats, l.budget = newRepeats(l, cfg.MaxRepeats), newBudget(cfg.CallsPerMinute, cfg.Translators)
	l.size.Store(s.tree.n)
	l.keeper = newKeeper(&l.cfg)
	w := &writer{Log: l, store: s}
	if err := w.begin(cut); err != nil {
		l.keeper.close()
		s.close()
		return nil, fmt.Errorf("%s: %w", cfg.File, err)
	}
	writerStop := make(chan struct{})
	l.done.Go(func() { w.run(writerStop) })
	l.done.Go(func() {
		l.repeats.run(l.stop)
		close(writerStop)
	})
	return l, nil
}

// enqueue hands entries to the writer, all or none. Counts that are due are exempt
// from the limit, and may come while the log is closing.
func (l *Log) enqueue(counts bool, entries ...*entry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed && !counts {
		return ErrClosed
	}
	// Checked under the lock that the writer drains the queue with: an entry that is
	// accepted is either written or gets an error.
	if s := l.fault.Load(); s != nil {
		return s.err
	}
	if !counts && len(l.queue)+len(entries) > maxQueue {
		return ErrBehind
	}
	l.queue = append(l.queue, entries...)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return nil
}

// Health is nil when records can be written and the last checkpoint was signed.
func (l *Log) Health() error {
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return ErrClosed
	}
	if s := l.fault.Load(); s != nil {
		return fmt.Errorf("since %s: %w", s.since.UTC().Format(time.RFC3339), s.err)
	}
	if s := l.unsigned.Load(); s != nil {
		return fmt.Errorf("no checkpoint since %s: %w", s.since.UTC().Format(time.RFC3339), s.err)
	}
	return nil
}

// Key is the public key that checkpoints verify with, for Verify and CheckProof.
func (l *Log) Key() string { return l.verifier }

// Size is the number of records on disk.
func (l *Log) Size() int64 { return l.size.Load() }

// Checkpoint is the last signed checkpoint.
func (l *Log) Checkpoint() []byte { return append([]byte(nil), *l.last.Load()...) }

// Reopen looks at once whether the file was renamed, signs a checkpoint and goes
// on in a new file if so; for SIGHUP. Without it that happens within a second.
func (l *Log) Reopen() error {
	answer := make(chan error, 1)
	select {
	case l.reopen <- answer:
		return <-answer
	case <-l.stop:
		return ErrClosed
	}
}

// Close writes what is queued and counted, signs the last checkpoint as closed, and
// closes the files. It can be called more than once.
func (l *Log) Close() error {
	l.finish.Do(func() {
		l.mu.Lock()
		l.closed = true
		l.mu.Unlock()
		close(l.stop)
		l.done.Wait()
		l.keeper.close()
	})
	return l.result
}
