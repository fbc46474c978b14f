// Package ipintel says what is known about an address: country, subdivision, network
// operator, whether it is a VPN exit, a hosting address, a Tor exit, a proxy or a
// relay, which configured lists hold it, and how old that knowledge is.
//
// The knowledge comes from files that the operator supplies: MaxMind DB databases
// (MaxMind, DB-IP, IPinfo, ip-location-db) and lists (addresses and CIDRs, the range
// files of AWS, Google Cloud and Azure, CSV). Nothing is fetched and no service is asked.
//
// [Load] makes a [Snapshot], which never changes; [Watcher] keeps a current one and
// replaces it when files change. All sources of an address count together: a
// signal holds when any source gives it, and no source can take back what another says.
//
// # What it is not
//
// It gives no verdict. An address that no source knows is country "ZZ" without signals: a
// value that rules can ask about, and not a clean bill of health. Addresses say where a
// connection comes from, never who or where the person is: a remote desktop at the right
// home address looks like that home address.
//
// # How it fails
//
// [Snapshot.Lookup] has no error and does not panic. A file is gated before it is used:
// read whole into memory, of a known type, built at a sane time, verified throughout,
// asked at sample addresses, and not shrunk to less than half. If a gate refuses, the
// data of before stays in use, the failure is logged and counted in [Source], and the
// data ages ([Network.DataFrom]), which rules can see. A source that never loaded is
// named in [Network.Missing], and so is one that cannot be read at the address in
// question.
//
// The README beside this file is the operator's page: formats, gates, false alarms and
// measurements.
package ipintel
