// Package sqlstore is the only package that knows SQL. It keeps sessions, passkeys,
// enrolment tickets, keys, one-time records and what people were seen to do in one SQLite
// file, behind the store interfaces of the packages that own those things; what the
// methods promise is written there and tested by authntest.TestStores and
// behaviortest.TestStore.
//
// The file is in WAL mode with synchronous=FULL: a method that returned nil has its write
// on disk, even if the process or the machine fails next. One connection writes, a pool
// reads, and other processes (the commands of an operator) may use the same file at the
// same time. The file and the folder made for it are private to their owner: the file
// holds the keys that seal cookies. Beside it lie its -wal and -shm, without which a copy
// of the running file is not a backup, and an empty -migrate, which is a lock.
//
// The SQL runs on PostgreSQL too: $n placeholders, which the chosen drivers bind by
// number (others bind by order of appearance, and an update then hits no row without an
// error), plain types, no dialect. As a guard against that and its like, each statement
// that must hit a row says so and fails if it did not.
//
// How it fails: with an error that names the file, never with "not found", which is kept
// for rows that are not there. A missing row is a fact, an unreadable disk is an outage,
// and callers close on both in different ways. A file that a newer version has migrated,
// that belongs to another program, or that is damaged is refused at [Open]. Migrations go
// forward only, one process at a time.
//
// It does not encrypt: tokens arrive as digests, refresh tokens sealed, but a reader of
// the file has the keys. It does not replicate.
package sqlstore
