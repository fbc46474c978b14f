package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"sallyport/authn"
)

// refuse wants an error that is not "not found" and says all of the words.
func refuse(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil || errors.Is(err, authn.ErrNotFound) {
		t.Fatalf("got %v, want a refusal", err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}

func openErr(dsn string) error {
	d, err := Open(context.Background(), dsn, Options{})
	if err == nil {
		return d.Close()
	}
	return err
}

func TestParseDSN(t *testing.T) {
	for dsn, want := range map[string]string{
		"sqlite:/var/lib/s.db":      "/var/lib/s.db",
		"sqlite:///var/lib/s.db":    "/var/lib/s.db",
		"sqlite:/var/a b%20#c/s.db": "/var/a b%20#c/s.db",
	} {
		if got, err := parseDSN(dsn); err != nil || got != want {
			t.Errorf("%s: %q, %v", dsn, got, err)
		}
	}
	if got, err := parseDSN("sqlite:state/s.db"); err != nil || !filepath.IsAbs(got) || !strings.HasSuffix(got, "/state/s.db") {
		t.Errorf("relative: %q, %v", got, err)
	}
	for _, dsn := range []string{
		"", "sqlite", "sqlite:", "sqlite:state/", "sqlite::memory:", "sqlite:s.db?_synchronous=OFF", "/var/lib/s.db", "mysql://h/db",
		"postgres://u:hunter2@h/db", "postgresql://u:hunter2@h/db",
	} {
		_, err := parseDSN(dsn)
		refuse(t, err)
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error holds the password: %v", err)
		}
	}
	refuse(t, openErr("postgres://u@h/db"), "PostgreSQL", "not supported in this release", "sqlite:PATH")
}

func TestFilesArePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	var log strings.Builder
	d, err := Open(t.Context(), "sqlite:"+filepath.Join(dir, "s.db"), Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	create(t, d, "s1")
	if strings.Contains(log.String(), "readable by others") {
		t.Errorf("a new file was readable by others for a moment: %s", &log)
	}
	perm := func(path string, want os.FileMode) {
		t.Helper()
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s: mode %v, want %v", path, got, want)
		}
	}
	perm(dir, 0o700)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		perm(filepath.Join(dir, e.Name()), 0o600)
	}
	if len(entries) < 3 { // the file, its WAL, its shared memory
		t.Errorf("only %d files", len(entries))
	}
}

func TestAFileOthersCanReadIsClosedToThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestAFolderThatAnybodyWritesToIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	refuse(t, openErr("sqlite:"+filepath.Join(dir, "s.db")), "s.db", "writable by all", "chmod o-w "+dir)
}

func TestNamesWithCharactersOfAURI(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b%41#c&d", "s.db")
	create(t, open(t, path), "s1")
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		t.Errorf("the database is not where it was asked for: %v", err)
	}
}

func TestUnusableFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	garbage := file("garbage.db", bytes.Repeat([]byte("no database "), 1000))
	refuse(t, openErr("sqlite:"+garbage), garbage, "not a SQLite database")
	if got, err := os.ReadFile(garbage); err != nil || !bytes.HasPrefix(got, []byte("no database ")) {
		t.Error("a file that is not ours was changed")
	}
	refuse(t, openErr("sqlite:"+filepath.Join(garbage, "s.db")), "garbage.db", "not a directory")
	refuse(t, openErr("sqlite:"+filepath.Join(dir, "no", "such", "s.db")), "s.db", "no such file")
	refuse(t, openErr("sqlite:"+dir), dir)

	// The pages behind the header overwritten.
	damaged := filepath.Join(dir, "damaged.db")
	if err := openErr("sqlite:" + damaged); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(damaged)
	if err != nil {
		t.Fatal(err)
	}
	for i := 100; i < len(data); i++ {
		data[i] = 0xaa
	}
	file("damaged.db", data)
	refuse(t, openErr("sqlite:"+damaged), damaged, "damaged")

	other := filepath.Join(dir, "other.db")
	raw(t, other, `create table photos (id integer)`)
	refuse(t, openErr("sqlite:"+other), other, "another program")
}

func TestANewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	if err := openErr("sqlite:" + path); err != nil {
		t.Fatal(err)
	}
	raw(t, path, `insert into goose_db_version (version_id, is_applied) values (9999, 1)`)
	refuse(t, openErr("sqlite:"+path), path, "9999", "newer release")
}

func raw(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

// Three replicas of a sidecar, or a server and two commands, on an empty file.
func TestConcurrentStarts(t *testing.T) {
	for range 5 {
		path := filepath.Join(t.TempDir(), "state", "s.db")
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range 3 {
			wg.Go(func() {
				<-start
				d, err := Open(context.Background(), "sqlite:"+path, Options{})
				if err != nil {
					t.Errorf("start %d: %v", i, err)
					return
				}
				if _, _, err := d.SessionChanges(context.Background(), 0); err != nil {
					t.Errorf("start %d: %v", i, err)
				}
				if err := d.Close(); err != nil {
					t.Errorf("start %d: %v", i, err)
				}
			})
		}
		close(start)
		wg.Wait()
	}
}

func TestPingNoticesAFileThatWasReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.db")
	d := open(t, path)
	if err := d.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	refuse(t, d.Ping(t.Context()), path, "no such file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refuse(t, d.Ping(t.Context()), path, "replaced")
	if err := os.Rename(path+".old", path); err != nil {
		t.Fatal(err)
	}
}
