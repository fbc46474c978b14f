package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"sallyport/authn"
	"sallyport/authn/enroll"
	"sallyport/authn/passkey"
	"sallyport/authn/session"
	"sallyport/policy/behavior"
)

var (
	_ session.Store  = (*DB)(nil)
	_ authn.KeyStore = (*DB)(nil)
	_ session.Once   = (*DB)(nil)
	_ passkey.Store  = (*DB)(nil)
	_ passkey.Once   = (*DB)(nil)
	_ enroll.Store   = (*DB)(nil)
	_ behavior.Store = (*DB)(nil)
)

// Options are what [Open] can do without.
type Options struct {
	Logger *slog.Logger // nil: nothing is logged
	// Existing refuses a file that has no store yet, and makes none: an emergency command
	// that finds no one in a new store would be believed.
	Existing bool
}

// DB is one open database.
type DB struct {
	existing bool // Options.Existing
	path     string
	file     fs.FileInfo // the file as it was opened, for Ping
	log      *slog.Logger
	write    *sql.DB // one connection: writers queue here and not on the file's lock
	read     *sql.DB // refuses to write
	load     *sql.Stmt
	change   *sql.Stmt

	changesKept int64 // entries of the change log that a purge leaves
}

// Open opens, makes or migrates the database that dsn names: "sqlite:PATH",
// PATH being absolute or relative to the working directory. The folder of PATH
// is made if it is missing, its parent is not.
func Open(ctx context.Context, dsn string, o Options) (*DB, error) {
	path, err := parseDSN(dsn)
	if err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	d := &DB{path: path, log: o.Logger, changesKept: 20_000, existing: o.Existing}
	if err := d.open(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// Exists reports whether there is a file where dsn has the database. It opens nothing.
func Exists(dsn string) bool {
	path, err := parseDSN(dsn)
	if err == nil {
		_, err = os.Stat(path)
	}
	return err == nil
}

// parseDSN never repeats its input beyond the scheme: the DSN of a database server holds
// a password.
func parseDSN(dsn string) (string, error) {
	scheme, path, ok := strings.Cut(dsn, ":")
	switch {
	case scheme == "postgres" || scheme == "postgresql":
		return "", errors.New("store: PostgreSQL is not supported in this release; use sqlite:PATH")
	case !ok || scheme != "sqlite":
		return "", errors.New("store: expected sqlite:PATH")
	case path == "" || strings.HasSuffix(path, "/"):
		return "", errors.New("store: sqlite: names no file")
	case strings.HasPrefix(path, ":") || strings.ContainsAny(path, "\x00?"):
		// ":memory:" would lose all data at a restart; "?" would be options that weaken
		// what Open sets.
		return "", fmt.Errorf("store: sqlite: %q is not the name of a file", path)
	}
	return filepath.Abs(strings.TrimPrefix(path, "//"))
}

func (d *DB) open(ctx context.Context) (err error) {
	if d.file, err = privateFile(d.path, d.log); err != nil {
		return err
	}
	if err := d.migrate(ctx); err != nil {
		return err
	}
	if d.write, err = connect(d.path, busyStep, "_txlock=immediate"); err != nil {
		return d.wrap("open", err)
	}
	d.write.SetMaxOpenConns(1)
	if d.read, err = connect(d.path, patience, "_query_only=1"); err != nil {
		return d.wrap("open", err)
	}
	readers := max(4, runtime.GOMAXPROCS(0))
	d.read.SetMaxOpenConns(readers)
	d.read.SetMaxIdleConns(readers)
	if d.load, err = d.read.PrepareContext(ctx, loadSession); err != nil {
		return d.wrap("open", err)
	}
	if d.change, err = d.read.PrepareContext(ctx, sessionChanges); err != nil {
		return d.wrap("open", err)
	}
	return nil
}

// Ping says whether the database answers and is still the file it was: a file
// deleted or replaced under a running process would go on working until the
// restart that loses everything since.
func (d *DB) Ping(ctx context.Context) error {
	now, err := os.Stat(d.path)
	if err != nil {
		return d.wrap("ping", err)
	}
	if !os.SameFile(now, d.file) {
		return d.wrap("ping", errors.New("the file was replaced while it was open"))
	}
	var last int64
	err = d.read.QueryRowContext(ctx, `select last from change_counter where id = 1`).Scan(&last)
	return d.wrap("ping", err)
}

// Close closes the database. No other method may run or follow.
func (d *DB) Close() error {
	var errs []error
	for _, s := range []*sql.Stmt{d.load, d.change} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	for _, db := range []*sql.DB{d.read, d.write} { // the writer last: it empties the WAL
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return d.wrap("close", errors.Join(errs...))
}
