// Package audit is the tamper-evident record of decisions and their reasons, as JSON
// lines: later changes are detected.
//
// # Files
//
//	audit.jsonl             one JSON object a line, see [Record]; the first key is its seq
//	audit.jsonl.tlog        the Merkle tree over the lines (RFC 6962), 32 bytes a hash
//	audit.jsonl.checkpoint  size and root of that tree, signed (C2SP checkpoint, signed note)
//
// The leaf of a record is the hash of its line without the line feed; seq counts records
// from 0 through all rotated files, so that it is the leaf's index too. The checkpoint
// also names the seq that each file started with, when it was signed, and whether the log
// was closed in order.
//
// Which IP data decisions rest on is written once: a list is a record of its own
// ([EventData]) in each file before the first record that names it by hash.
//
// # What a caller can rely on
//
// [Log.Record] returns nil when the record is on disk (fsync; concurrent callers share
// one), or counted. Records that strangers cause, and refusals, have a budget, by
// session, address, network and in total: it applies to every event that is not always a
// line. [Log.AppendRun] does the same for allowed requests, in runs of identical allows.
// Counts of allows are written once a minute, of refusals every ten, and all at Close, so
// that a crash can lose at most that much counting, never the first of a run. Any error
// means that there is no record, and that the caller must not act as if there were: the
// answer to the request is 503. After an error the log refuses everything until it has
// repaired its file (it tries once a second); [Log.Health] says so.
//
// The order of writes makes every crash recoverable: lines, fsync, hashes, answer; and
// for a checkpoint: fsync of the hashes, signature, rename. So lines may be ahead of
// hashes and hashes ahead of the checkpoint, never the reverse. [Open] cuts off what a
// crash left half written (such bytes were never acknowledged), brings the hashes up to
// date, and refuses to run when a line that is covered by the checkpoint or by a hash is
// not there or not the same.
//
// # Rotation
//
// Rename the file (logrotate without copytruncate, with delaycompress). The next write,
// or [Log.Reopen], signs a checkpoint and starts a new file that continues the same tree.
// The files beside it stay where they are and are never rotated. Rotated files whose name
// is the log's with "." or "-" and a digit after it are found by [Segments]; they may be
// compressed with gzip.
//
// # What it is not
//
// An attacker who can write the files and has the signing key can write another history.
// [Config.Anchor] detects that all three files were restored or deleted together, but the
// same attacker may be able to write the anchor: let [Config.OnCheckpoint] send
// checkpoints off the machine, and give them to [Verify]. Records written since the last
// checkpoint (some seconds) are protected by the hash file only, which is not signed. The
// log keeps no secrets: there is no field for a cookie or a token, and none may be put
// into Detail.
//
// # Numbers
//
// `go test -run xxx -bench . ./proxy/audit` on a shared virtual machine with two cores;
// the disk, at 0.4 ms a sync, decides the first three:
//
//	Append, 2 callers              4,000 records/s
//	Append, 16 callers            20,000 records/s
//	Append, 256 callers           75,000 records/s
//	AppendRun, repeated               65 ns, 0 allocations (Count 55 ns)
//	Verify                     1,000,000 lines/s (680 MB/s)
package audit
