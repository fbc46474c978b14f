package sqlstore

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// migrate brings the file to the newest schema that this program knows. Most
// calls find it there and take no lock.
//
// Processes that start together would all find an empty file and all create the
// tables, and would trip over one another switching to WAL: both happen under a
// lock, and what was found before the lock is looked at again behind it.
func (d *DB) migrate(ctx context.Context) error {
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return d.wrap("migrate", err)
	}
	db, err := connect(d.path, patience, "_txlock=immediate")
	if err != nil {
		return d.wrap("migrate", err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	p, err := goose.NewProvider(goose.DialectSQLite3, db, dir,
		goose.WithDisableGlobalRegistry(true), goose.WithSlog(d.log))
	if err != nil {
		return d.wrap("migrate", err)
	}
	sources := p.ListSources()
	newest := sources[len(sources)-1].Version
	ready, err := d.schemaReady(ctx, db, newest)
	if err != nil || ready {
		return err
	}

	unlock, err := d.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if ready, err = d.schemaReady(ctx, db, newest); err != nil || ready {
		return err
	}
	var mode string
	if err := db.QueryRowContext(ctx, `pragma journal_mode = wal`).Scan(&mode); err != nil {
		return d.wrap("switch to WAL", err)
	}
	if mode != "wal" {
		return d.wrap("switch to WAL", fmt.Errorf("the journal mode stays %q: is the file on a network drive?", mode))
	}
	applied, err := p.Up(ctx)
	if err != nil {
		return d.wrap("migrate", err)
	}
	for _, m := range applied {
		d.log.Info("store migrated", "file", d.path, "version", m.Source.Version)
	}
	return nil
}

// schemaReady reports whether the schema is up to date, and refuses a foreign file.
func (d *DB) schemaReady(ctx context.Context, db *sql.DB, newest int64) (bool, error) {
	var mode string
	if err := db.QueryRowContext(ctx, `pragma journal_mode`).Scan(&mode); err != nil {
		return false, d.wrap("open", err)
	}
	var tables, versioned int
	if err := db.QueryRowContext(ctx, `select count(*), coalesce(sum(case when name = 'goose_db_version' then 1 else 0 end), 0)
		from sqlite_master where type = 'table'`).Scan(&tables, &versioned); err != nil {
		return false, d.wrap("open", err)
	}
	if versioned == 0 {
		if tables > 0 {
			return false, d.wrap("open", errors.New("the file is a database of another program"))
		}
		if d.existing {
			return false, d.wrap("open", errors.New("the file is empty: no store is in it yet"))
		}
		return false, nil
	}
	var version sql.NullInt64
	if err := db.QueryRowContext(ctx, `select max(version_id) from goose_db_version`).Scan(&version); err != nil {
		return false, d.wrap("open", err)
	}
	// What a newer schema means by a row is not known here: a session could be
	// dead in a column that this program does not read.
	if version.Int64 > newest {
		return false, d.wrap("open", fmt.Errorf(
			"the file has schema version %d and this program knows %d: it was used by a newer release", version.Int64, newest))
	}
	return version.Int64 == newest && mode == "wal", nil
}

// lock waits until no other process migrates the file. The lock is SQLite's own
// on an empty file beside it: it works wherever SQLite does, and dies with its
// holder.
func (d *DB) lock(ctx context.Context) (unlock func(), err error) {
	name := d.path + "-migrate"
	if _, err := privateFile(name, d.log); err != nil {
		return nil, err
	}
	db, err := connect(name, busyStep, "_txlock=exclusive")
	if err != nil {
		return nil, d.wrap("lock", err)
	}
	tx, err := begin(ctx, db, time.Minute)
	if err != nil {
		return nil, d.wrap("lock", errors.Join(err, db.Close()))
	}
	return func() {
		// Nothing was written: neither can lose anything.
		_ = tx.Rollback()
		_ = db.Close()
	}, nil
}
