package config

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"sallyport/policy"
	"sallyport/policy/ipintel"
	"sallyport/policy/ipv4in6"
	"sallyport/policy/strictyaml"
	"sallyport/proxy/rollout"
)

// path makes a path absolute, relative to the configuration file.
func (b *builder) path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(b.dir, p)
}

// existing is path for a file that must be there and readable: a regular one, since
// reading a device or a pipe may have no end.
func (b *builder) existing(key, p, what string) (string, bool) {
	abs := b.path(p)
	b.reads[abs] = key
	info, err := os.Stat(abs)
	if err == nil && !info.Mode().IsRegular() {
		b.at(key, abs+" is not a regular file", what)
		return abs, false
	}
	var f *os.File
	if err == nil {
		if f, err = os.Open(abs); err == nil {
			return abs, f.Close() == nil
		}
	}
	if path, ok := errors.AsType[*fs.PathError](err); info == nil && ok && strings.HasSuffix(key, "_file") && !namesFile(p) {
		b.at(key, fmt.Sprintf("there is no file of that name in %s: %v", b.dir, path.Err), what) // it may be what was to be in the file
		return abs, false
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		b.at(key, "there is no file "+abs, what)
	case errors.Is(err, fs.ErrPermission) && info == nil:
		b.at(key, "this user cannot enter a folder above "+abs, fmt.Sprintf("chmod g+x for the folder that `namei -l %s` shows, with a group of this user", abs))
	case errors.Is(err, fs.ErrPermission):
		b.at(key, abs+" cannot be read by this user", fmt.Sprintf("chgrp GROUP %s && chmod g+r %[1]s, with a group of this user", abs))
	default:
		b.at(key, err.Error(), what)
	}
	return abs, false
}

// read returns the content of an existing file of at most limit bytes.
func (b *builder) read(key, p, what string, limit int64) ([]byte, bool) {
	abs, ok := b.existing(key, p, what)
	if !ok {
		return nil, false
	}
	content, err := readFile(abs, limit)
	if err != nil {
		b.at(key, err.Error(), what)
	}
	return content, err == nil
}

// readAside is read for a file that others do without: what is wrong with it is no mistake
// of the configuration, and the error says it at the same place.
func (b *builder) readAside(key, p, what string, limit int64) ([]byte, error) {
	aside := *b
	reader := *b.reader
	reader.Source = b.Another()
	aside.reader = &reader
	content, _ := aside.read(key, p, what, limit)
	return content, aside.Err()
}

func readFile(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		err = fmt.Errorf("%s is larger than %d bytes", name, limit)
	}
	return content, err
}

// keyPair checks that certificate and key belong together: found out at the next
// restart it would be an outage.
func (b *builder) keyPair(cert, key string) {
	certFile, certOK := b.existing("tls.cert_file", cert, "a PEM file with the certificate chain")
	keyFile, keyOK := b.existing("tls.key_file", key, "a PEM file with the private key")
	b.c.TLS = &TLS{CertFile: certFile, KeyFile: keyFile}
	if !certOK || !keyOK {
		return
	}
	if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
		b.at("tls", strings.TrimPrefix(err.Error(), "tls: "), "a certificate chain and the private key of its first certificate, both PEM")
	}
}

// writes refuses to write into a file that is read: the store and the audit log would
// destroy it, or take it for one of theirs that was tampered with.
func (b *builder) writes() {
	b.reads[filepath.Join(b.dir, filepath.Base(b.c.File))] = "the configuration itself"
	for key, written := range map[string]string{"store": strings.TrimPrefix(b.c.Store, "sqlite:"), "audit.file": b.c.AuditFile} {
		info, err := os.Stat(written)
		if err != nil {
			continue // there is no such file yet
		}
		for _, read := range slices.Sorted(maps.Keys(b.reads)) {
			if other, err := os.Stat(read); err == nil && os.SameFile(info, other) {
				b.at(key, fmt.Sprintf("%s is another file of the configuration: %s", written, b.reads[read]), "a file of its own")
				break
			}
		}
	}
}

func (b *builder) store() {
	switch path, sqlite := strings.CutPrefix(b.f.Store, "sqlite:"); {
	case sqlite && path != "" && !strings.HasPrefix(path, ":"): // :memory: would be a file of that name
		b.c.Store = "sqlite:" + b.path(path)
	case strings.HasPrefix(b.f.Store, "postgres://") || strings.HasPrefix(b.f.Store, "postgresql://"):
		b.at("store", "PostgreSQL is not supported by this version", "sqlite:PATH")
	default:
		b.at("store", "that is not a store", "sqlite:PATH")
	}
}

func (b *builder) audit() {
	if b.required("audit.file", b.f.Audit.File, "the file that audit records are appended to") {
		b.c.AuditFile = b.path(b.f.Audit.File)
		if info, err := os.Stat(b.c.AuditFile); err == nil && !info.Mode().IsRegular() {
			b.at("audit.file", b.c.AuditFile+" is not a regular file", "a file")
		}
		if b.c.Store == "sqlite:"+b.c.AuditFile {
			b.at("audit.file", "the store is the same file", "a file of its own")
		}
	}
}

const (
	maxPolicy = 1 << 20 // what the policy itself is limited to
	maxRoster = 16 << 20
)

func (b *builder) policyFiles() {
	if b.required("policy", b.f.Policy, "a policy file") {
		b.c.PolicyFile = b.path(b.f.Policy)
		const what = "a policy file; `sallyport init` writes one to start from"
		if b.starting {
			b.c.PolicySource, b.c.PolicyUnread = b.readAside("policy", b.f.Policy, what, maxPolicy)
		} else {
			b.c.PolicySource, _ = b.read("policy", b.f.Policy, what, maxPolicy)
		}
	}
	if b.f.PolicyShadow != "" {
		b.c.ShadowFile = b.path(b.f.PolicyShadow)
		b.c.ShadowSource, b.c.ShadowUnread = b.readAside("policy_shadow", b.f.PolicyShadow, "a policy file", maxPolicy)
	}
	if s := b.f.PolicySettle; s < 0 || s > 10*time.Minute {
		b.at("policy_settle", fmt.Sprintf("%s is out of range", s), "0s to 10m")
	}
	b.c.PolicySettle = b.f.PolicySettle
	b.policyInvariants()
	b.policyExceptions()
	b.policyGuard()
	if b.f.Roster == "" {
		return
	}
	const what = "a CSV file with the columns email,countries,timezone,started"
	if source, ok := b.read("roster", b.f.Roster, what, maxRoster); ok {
		b.c.RosterFile, b.c.RosterText = b.path(b.f.Roster), source
		roster, err := ParseRoster(b.c.RosterFile, source)
		b.c.Roster = roster
		if found, bad := errors.AsType[policy.Diagnostics](err); bad {
			b.elsewhere = append(b.elsewhere, found...)
		}
	}
}

func (b *builder) policyInvariants() {
	const key, what = "policy_invariants", "a file with version: 1 and invariants"
	if b.f.PolicyInvariants == "" {
		return
	}
	if source, ok := b.read(key, b.f.PolicyInvariants, what, maxPolicy); ok {
		b.c.PolicyInvariants = &policy.Pinned{Name: b.path(b.f.PolicyInvariants), Source: source}
		if b.c.PolicyInvariants.Name == b.c.PolicyFile {
			b.at(key, "that is the policy itself: an insider who changes it changes both", what+", which belongs to another user than the policy")
		}
	}
}

// maxNewlyAllowed is the default of policy_guard.max_newly_allowed.
const maxNewlyAllowed = "50%"

func (b *builder) policyExceptions() {
	const key, what = "policy_exceptions", "a file with exceptions: []"
	if d := b.f.ExceptionDays; d < 1 || d > 366 {
		b.at(key+"_max_days", fmt.Sprintf("%d days is out of range", d), "1 to 366")
	}
	if b.f.PolicyExceptions == "" {
		return
	}
	name := b.path(b.f.PolicyExceptions)
	var source []byte
	ok := true
	if b.starting {
		source, b.c.ExceptionsUnread = b.readAside(key, b.f.PolicyExceptions, what, maxPolicy)
	} else {
		source, ok = b.read(key, b.f.PolicyExceptions, what, maxPolicy)
	}
	if ok {
		b.c.PolicyExceptions = &policy.Exceptions{Name: name, Source: source, Most: time.Duration(b.f.ExceptionDays) * 24 * time.Hour}
		if name == b.c.PolicyFile || b.c.PolicyInvariants != nil && name == b.c.PolicyInvariants.Name {
			b.at(key, "another key names the same file", what+" of its own")
		}
	}
}

func (b *builder) policyGuard() {
	g := b.f.PolicyGuard
	blocked, allowed := b.share("policy_guard.max_newly_blocked", g.MaxNewlyBlocked), b.share("policy_guard.max_newly_allowed", g.MaxNewlyAllowed)
	if g.Days < 0 || g.Days > 90 {
		b.at("policy_guard.days", fmt.Sprintf("%d days is out of range", g.Days), "0 (live sessions alone) to 90")
	}
	data := allowed
	if g.MaxNewlyAllowed == maxNewlyAllowed {
		data = 1 // a list that loses entries at night is no slip of an analyst, and is refused where that is asked for
	}
	b.c.PolicyGuard = rollout.Guard{MaxNewlyBlocked: blocked, MaxNewlyAllowed: allowed, DataMayAllow: data, BreakGlassGroup: g.BreakGlassGroup, Days: int(g.Days)}
}

// share reads a share of the people, from 0 to 1.
func (b *builder) share(key, text string) float64 {
	share, ok := percentage(text)
	if !ok {
		b.suggest(key, fmt.Sprintf("%q is not a share of the people", text), "0% to 100%, such as 10%; 100% never refuses", shareMeant(text))
	}
	return share
}

var validShare = regexp.MustCompile(`^(0|[1-9]\d{0,2})(\.\d{1,6})?%$`)

// percentage reads "15%" as 0.15.
func percentage(s string) (share float64, ok bool) {
	if !validShare.MatchString(s) {
		return 0, false
	}
	share, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	return share / 100, err == nil && share <= 100
}

func (b *builder) ipData() {
	seen := map[string]string{} // file -> who has it
	for i, d := range b.f.IPData.Databases {
		key := fmt.Sprintf("ip_data.databases[%d]", i)
		file, _ := b.existing(key, d, "an mmdb file")
		if seen[file] != "" {
			b.at(key, "this database is configured twice", "each database once")
		}
		seen[file] = key
		b.c.IPData.Databases = append(b.c.IPData.Databases, file)
	}
	for i, text := range b.f.IPData.NAT64 {
		p, err := netip.ParsePrefix(text)
		if err != nil || !ipv4in6.PrefixOK(p) {
			b.suggest(fmt.Sprintf("ip_data.translators[%d]", i), fmt.Sprintf("%q is not the prefix of a NAT64 translator", text), "an IPv6 network of 32, 40, 48, 56, 64 or 96 bits, such as 2001:db8:64::/96", translatorMeant(text))
			continue
		}
		b.c.IPData.NAT64 = append(b.c.IPData.NAT64, p)
	}
	names := map[string]bool{}
	for i, l := range b.f.IPData.Lists {
		key := fmt.Sprintf("ip_data.lists[%d]", i)
		b.name(key+".name", "list", l.Name, names)
		b.choice(key+".signal", "signal", l.Signal, signals, "; leave it out for a list that only rules name")
		b.choice(key+".format", "format", l.Format, formats, "; cidr is the default")
		if l.Stated && l.Format != "csv" {
			b.at(key+".stated", fmt.Sprintf("a list of format %s states nothing but its networks", cmp.Or(l.Format, "cidr")), "format: csv, with a file whose first line names its columns; or leave stated out")
		}
		if p := l.Provider; p != strings.TrimSpace(p) || len(p) > 200 || strings.ContainsFunc(p, func(r rune) bool { return !unicode.IsPrint(r) }) {
			b.at(key+".provider", "that is not the name of a provider", "what ip.provider is to be, such as Mullvad: at most 200 bytes, without line breaks and without spaces at the ends")
		}
		share, ok := percentage(l.MaxShare)
		if l.MaxShare != "" && (!ok || share == 0) {
			b.suggest(key+".max_share", fmt.Sprintf("%q is not a share of the addresses", l.MaxShare), fmt.Sprintf("more than 0%% and at most 100%%; %.0f%% is the default", 100*ipintel.DefaultMaxShare), shareMeant(l.MaxShare))
		}
		if b.required(key+".file", l.File, "the file that holds the list") {
			file, _ := b.existing(key+".file", l.File, "a list file")
			b.c.IPData.Lists = append(b.c.IPData.Lists, ipintel.List{Name: l.Name, Signal: l.Signal, Format: l.Format, Provider: l.Provider, File: file, Stated: l.Stated, MaxShare: share})
		}
	}
}

var (
	signals = []string{"vpn", "hosting", "tor", "proxy", "residential_proxy", "relay"}
	formats = []string{"cidr", "aws", "gcp", "azure", "csv"}
)

// choice checks a value that may be left out against the ones there are.
func (b *builder) choice(key, what, value string, known []string, more string) {
	if value != "" && !slices.Contains(known, value) {
		b.suggest(key, fmt.Sprintf("there is no %s %q", what, value), strings.Join(known, ", ")+more, strictyaml.Nearest(value, known))
	}
}
