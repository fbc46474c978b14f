package sqlstore

import (
	"database/sql"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"

	"sallyport/authn/session"
)

// older is a file of the schema before a migration.
type older struct {
	*sql.DB
	*goose.Provider
	t    *testing.T
	path string
}

func newOlder(t *testing.T, version int64) *older {
	t.Helper()
	o := &older{t: t, path: filepath.Join(t.TempDir(), "s.db")}
	var err error
	if o.DB, err = sql.Open("sqlite", o.path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { o.DB.Close() })
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		t.Fatal(err)
	}
	if o.Provider, err = goose.NewProvider(goose.DialectSQLite3, o.DB, dir, goose.WithDisableGlobalRegistry(true)); err != nil {
		t.Fatal(err)
	}
	if _, err := o.UpTo(t.Context(), version); err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *older) exec(query string, args ...any) {
	o.t.Helper()
	if _, err := o.Exec(query, args...); err != nil {
		o.t.Fatal(err)
	}
}

// counts is how many rows each table of the product has.
func (o *older) counts() map[string]int {
	o.t.Helper()
	rows, err := o.Query(`select name from sqlite_master where type = 'table' and name not like 'goose_%' and name not like 'sqlite_%'`)
	if err != nil {
		o.t.Fatal(err)
	}
	defer rows.Close()
	counts := map[string]int{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			o.t.Fatal(err)
		}
		counts[name] = 0
	}
	for name := range counts {
		var n int
		if err := o.QueryRow(`select count(*) from ` + name).Scan(&n); err != nil {
			o.t.Fatal(err)
		}
		counts[name] = n
	}
	return counts
}

// fill puts a row into every table that has none. What a column must hold beyond its type is in special.
func (o *older) fill() {
	o.t.Helper()
	special := map[string]string{
		"expires_at": "9000000000000000", "digest": "randomblob(32)", "key": "randomblob(32)", "handle": "randomblob(64)", "class": "'synced'",
		"backup_eligible": "1", "backed_up": "1", "new_account": "0", "is_ipv6": "0", "flagged": "0", "allowed": "1", "forced": "0", "rollback": "0",
		"outcome": "'applied'", "origin": "'file'", "state": "'applied'", "session_id": "'s'", "group_names": "'[]'", "country_codes": "'[]'",
		"transports": "'[]'", "verified_credential": "'{}'", "verified_browser": "'{}'", "revoked_at": "null",
	}
	for name, n := range o.counts() {
		if n > 0 {
			continue // the migration did: counters
		}
		rows, err := o.Query(`select name, type from pragma_table_info(?)`, name)
		if err != nil {
			o.t.Fatal(err)
		}
		var columns, values []string
		for rows.Next() {
			var column, kind string
			if err := rows.Scan(&column, &kind); err != nil {
				o.t.Fatal(err)
			}
			value, ok := special[column]
			switch {
			case ok:
			case kind == "bigint":
				value = "1"
			case kind == "bytea":
				value = "x'01'"
			default:
				value = "'s'"
			}
			columns, values = append(columns, column), append(values, value)
		}
		rows.Close()
		o.exec(fmt.Sprintf(`insert into %s (%s) values (%s)`, name, strings.Join(columns, ", "), strings.Join(values, ", ")))
	}
}

// TestEveryMigrationOverAFilledStore: each migration runs on a store of the version before that has a row in every
// table, loses none, and the newest program reads the result.
func TestEveryMigrationOverAFilledStore(t *testing.T) {
	newest := newOlder(t, 1).ListSources()
	for _, m := range newest[1:] {
		t.Run(fmt.Sprint(m.Version), func(t *testing.T) {
			o := newOlder(t, m.Version-1)
			o.fill()
			before := o.counts()
			if _, err := o.UpTo(t.Context(), m.Version); err != nil {
				t.Fatal(err)
			}
			after := o.counts()
			for name, n := range before {
				if after[name] != n || n == 0 {
					t.Errorf("%s has %d rows, and had %d", name, after[name], n)
				}
			}
			if err := o.DB.Close(); err != nil {
				t.Fatal(err)
			}
			d := open(t, o.path)
			if list, err := d.ListSessions(t.Context(), session.Filter{}); err != nil || len(list) != 1 {
				t.Errorf("%+v, %v", list, err)
			}
			if list, err := d.ListTickets(t.Context(), ""); err != nil || len(list) != 1 {
				t.Errorf("%+v, %v", list, err)
			}
			if list, err := d.KnownAddresses(t.Context()); err != nil || len(list) != 1 {
				t.Errorf("%+v, %v", list, err)
			}
		})
	}
}

// TestAddressesOfAFilledStore: version 10 learns from sessions and redeemed tickets under which addresses a person was
// seen, once each, with the first and the last time.
func TestAddressesOfAFilledStore(t *testing.T) {
	o := newOlder(t, 9)
	session := func(id, person, email string, created int64, refreshed any) {
		o.exec(`insert into sessions (id, subject_issuer, subject_id, email, name, group_names, country_codes, time_zone, created_at, expires_at, last_seen_at, provider_session, refreshed_at)
			values ($1, 'i', $2, $3, '', '[]', '[]', '', $4, 9000, 1, '', $5)`, id, person, email, created, refreshed)
	}
	ticket := func(id, email string, redeemed, issuer, person any) {
		o.exec(`insert into tickets (id, digest, email, note, created_by, created_at, expires_at, redeemed_at, redeemed_issuer, redeemed_id, new_account)
			values ($1, randomblob(32), $2, '', '', 1, 9000, $3, $4, $5, 0)`, id, email, redeemed, issuer, person)
	}
	session("s1", "ann", "new@x.test", 50, 70) // refreshed: the address is that of then
	session("s2", "ann", "new@x.test", 60, nil)
	session("s3", "ann", "old@x.test", 40, nil)
	session("s4", "bob", "bob@x.test", 10, nil)
	session("s5", "eve", "", 10, nil) // a provider that says no address
	ticket("t1", "old@x.test", 30, "i", "ann")
	ticket("t2", "cid@x.test", 20, "i", "cid")     // whose session is over
	ticket("t3", "never@x.test", nil, nil, nil)    // not redeemed: no one was seen under it
	ticket("t4", "new@x.test", 15, "other", "ann") // of another provider, and so another person
	if err := o.DB.Close(); err != nil {
		t.Fatal(err)
	}
	list, err := open(t, o.path).KnownAddresses(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, a := range list {
		got[fmt.Sprint(a.Subject.Issuer, " ", a.Subject.ID, " ", a.Email, " ", a.FirstSeen.UnixMicro(), " ", a.LastSeen.UnixMicro())] = true
	}
	want := []string{"i ann new@x.test 60 70", "i ann old@x.test 30 40", "i bob bob@x.test 10 10", "i cid cid@x.test 20 20", "other ann new@x.test 15 15"}
	for _, w := range want {
		if !got[w] {
			t.Errorf("no %q", w)
		}
	}
	if len(got) != len(want) || len(list) != len(want) {
		t.Errorf("got %v", got)
	}
}
