package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// asOwner is the way out where the files are another user's: the service's, or root's,
// who ran a command that made them.
const asOwner = "run the command as the user of the service (sudo -u USER), and give that user what others have made (chown -R USER FOLDER)"

// privateFile makes sure that the file exists and that only its owner can read
// it. SQLite gives the files that it puts beside it the same mode.
func privateFile(path string, log *slog.Logger) (fs.FileInfo, error) {
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("store: make the folder of %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("store: %w: %s", err, asOwner)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return nil, fmt.Errorf("store: %w: %s", err, fewText)
	case err != nil:
		return nil, fmt.Errorf("store: %w", err) // names the file
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("store: %s is not a regular file", path)
	}
	// A backup restored under a common umask is readable by all users.
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		if err := f.Chmod(mode &^ 0o077); err != nil {
			return nil, fmt.Errorf("store: others can read %s, and this user cannot change that (chmod 600 %[1]s, as its owner): %w", path, err)
		}
		log.Warn("store was readable by others, now it is not", "file", path, "mode", mode.String())
	}
	if in, err := os.Stat(dir); err == nil && in.Mode().Perm()&0o002 != 0 && in.Mode()&fs.ModeSticky == 0 {
		return nil, fmt.Errorf("store: every user can replace %s: its folder is writable by all (%s): chmod o-w %s", path, in.Mode().Perm(), dir)
	}
	return info, nil
}

// connect returns a pool on the file, whose connections wait for a lock for as
// long as busy says. The path is escaped, so that nothing in it is taken for an
// option.
func connect(path string, busy time.Duration, options string) (*sql.DB, error) {
	name := "file:" + (&url.URL{Path: filepath.ToSlash(path)}).EscapedPath()
	// temp_store: where nothing but the folder of the store can be written (a container
	// with a read-only root and no /tmp), SQLite finds no room for what it sorts and
	// undoes, and tidying the history fails for ever. Our statements work in batches that
	// memory holds.
	db, err := sql.Open("sqlite", fmt.Sprintf("%s?_busy_timeout=%d&_synchronous=FULL&_foreign_keys=1&_pragma=temp_store(memory)&%s", name, busy.Milliseconds(), options))
	if err != nil {
		return nil, err
	}
	db.SetConnMaxLifetime(0)
	db.SetConnMaxIdleTime(0)
	return db, nil
}

const (
	// patience is how long a write waits for another process before it fails.
	patience = 5 * time.Second
	// busyStep is how long SQLite waits on its own: nothing, not even the end
	// of the caller's context, wakes it up.
	busyStep = 50 * time.Millisecond
)

// begin opens a transaction, waiting for its lock until ctx or limit ends.
func begin(ctx context.Context, db *sql.DB, limit time.Duration) (*sql.Tx, error) {
	end := time.Now().Add(limit)
	for {
		t, err := db.BeginTx(ctx, nil)
		var e *sqlite.Error
		if err == nil || !errors.As(err, &e) || e.Code()&0xff != sqlite3.SQLITE_BUSY || time.Now().After(end) {
			return t, err
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), err)
		case <-time.After(time.Millisecond): // in case SQLite did not wait at all
		}
	}
}

// causes says in the operator's words what SQLite's result codes mean.
var causes = map[int]string{
	sqlite3.SQLITE_NOTADB:   "not a SQLite database, or its beginning is damaged",
	sqlite3.SQLITE_CORRUPT:  "the file is damaged",
	sqlite3.SQLITE_FULL:     "the disk is full",
	sqlite3.SQLITE_READONLY: "the file or its folder cannot be written to: " + asOwner,
	sqlite3.SQLITE_CANTOPEN: "the file, or one beside it, cannot be opened: " + asOwner,
	sqlite3.SQLITE_BUSY:     "another process keeps the file locked, or its file system cannot lock files (NFS without a lock service)",
	sqlite3.SQLITE_IOERR:    "the disk fails",
}

// cause looks beyond the result code, since SQLite keeps the system's own error to
// itself.
func cause(code int) (string, bool) {
	switch text, known := causes[code&0xff]; {
	case code&0xff == sqlite3.SQLITE_CANTOPEN && fewDescriptors():
		return fewText, true
	case code == sqlite3.SQLITE_IOERR_LOCK || code == sqlite3.SQLITE_IOERR_RDLOCK:
		return "its file system cannot lock files: keep the store on a local disk", true
	case code == sqlite3.SQLITE_IOERR_SHMSIZE: // SQLite tells ENOSPC as this
		return "the disk is full, or fails", true
	case code == sqlite3.SQLITE_IOERR_WRITE:
		if most, limited := largestFile(); limited {
			text += fmt.Sprintf(", or a file would exceed the %d bytes that this process may write to one (LimitFSIZE= of the unit, ulimit -f)", most)
		}
		return text, known
	default:
		return text, known
	}
}

const fewText = "no file descriptor is left: raise the limit (LimitNOFILE= of the unit, ulimit -n), or lower limits.connections"

// fewDescriptors reports whether this process, or the system, cannot open as many files
// as SQLite does for one connection: those that it failed over are closed again.
func fewDescriptors() bool {
	for range 4 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
		}
		defer f.Close()
	}
	return false
}

// wrap adds the file and the operation to an error.
func (d *DB) wrap(doing string, err error) error {
	if err == nil {
		return nil
	}
	var e *sqlite.Error
	if errors.As(err, &e) {
		if text, ok := cause(e.Code()); ok {
			return fmt.Errorf("store: %s: %s: %s: %w", d.path, doing, text, err)
		}
	}
	return fmt.Errorf("store: %s: %s: %w", d.path, doing, err)
}
