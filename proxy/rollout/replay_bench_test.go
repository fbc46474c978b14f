package rollout

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"sallyport/authn"
	"sallyport/policy"
	"sallyport/proxy/audit"
	"sallyport/proxy/proxytest"
)

const yearOfDecisions = 1_200_000

// workingDecision is the i'th of so many decisions over 30 days: 800 people, each with a home,
// an office and a phone; ages and paths that differ each time; some VPNs and other countries.
func workingDecision(i, of int) audit.Record {
	rnd := rand.New(rand.NewPCG(uint64(i), 7))
	person := rnd.IntN(800)
	own := rand.New(rand.NewPCG(uint64(person), 8))
	country := []string{"US", "US", "US", "SE", "DE", "GB", "JP"}[own.IntN(7)]
	groups := [][]string{{"staff", "treasury"}, {"staff", "treasury", "ops", "oncall"}, {"staff", "treasury", "contractors"}}[own.IntN(3)]
	started := int64(own.IntN(2000))
	place := rnd.IntN(10)
	at := time.Date(2026, 10, 31, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * (30 * 24 * time.Hour / time.Duration(of)))
	day := int64(at.YearDay() - 300)
	ip := policy.IP{Version: 4, Country: country, DataAgeHours: int64(at.Hour()) + 3}
	switch {
	case place < 5: // home
		ip.Address, ip.ASN, ip.Org = fmt.Sprintf("81.%d.%d.9", person/250, person%250), 3301, "Example Cable Communications"
		ip.Subdivisions = []string{country + "-NY"}
	case place < 8:
		ip.Address, ip.ASN, ip.Org = fmt.Sprintf("198.51.100.%d", 224+own.IntN(16)), 64496, "Example Holding"
	case place < 9:
		ip.Address, ip.ASN, ip.Org = fmt.Sprintf("100.%d.%d.%d", 130+person%7, rnd.IntN(200), rnd.IntN(250)), 7018, "Example Mobile"
	default:
		ip.Address, ip.ASN, ip.Org = fmt.Sprintf("45.9.%d.%d", rnd.IntN(4), rnd.IntN(250)), 9009, "Example Hosting Europe Ltd"
		ip.VPN = rnd.IntN(4) == 0
		ip.Lists = []string{"vpn-exits"}
	}
	age := time.Duration(rnd.Int64N(int64(9 * time.Hour)))
	f := &policy.Facts{
		IP:         ip,
		User:       policy.User{Email: fmt.Sprintf("person.%d@example.com", person), Name: fmt.Sprint("Some Body ", person), Subject: fmt.Sprint("00u1a2b3c4d5e6f7g8h", person), Issuer: "https://idp.example.com", Groups: groups, Countries: []string{country}, TimeZone: "America/New_York", StartedDays: started + day},
		Session:    policy.Session{ID: fmt.Sprintf("s%08d", person*31+int(day)), Level: authn.Verified.String(), Age: age, VerifiedAge: age / 9, VerifiedHere: place != 9, Concurrent: 1},
		Credential: policy.Credential{Class: "unattested", AAGUID: "ee882879-721c-4913-9775-3dfcce97072a", Age: 1000*time.Hour + age, Transports: []string{"internal"}, AttestationFormat: "none"},
		Seen:       policy.Seen{Known: true, Countries1h: 1, Countries24h: 1, ASNs24h: 1 + int64(place/8), Prefixes24h: 2, FirstDays: 200 + day},
		Travel:     policy.Travel{Known: place < 5, DistanceKM: 12.25 * float64(person%9), SpeedKMH: 3.5 * float64(person%9)},
		Address:    policy.Address{Known: true, People30d: 1}, Device: policy.Device{Known: true, People30d: 1},
		Activity: policy.Activity{Known: true, ActiveHours24h: int64(rnd.IntN(9)), LongestBreak48h: time.Duration(10+rnd.IntN(60)) * 5 * time.Minute},
		Browser:  policy.Browser{TimezoneKnown: true},
		Request:  policy.Request{Purpose: "access", Route: "treasury", Method: []string{"GET", "GET", "GET", "POST"}[rnd.IntN(4)], Host: "treasury.localhost", Path: fmt.Sprint("/accounts/", rnd.IntN(40_000), "/transfers"), UserAgent: "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36"},
		Time:     policy.Time{Now: at},
	}
	return audit.Record{Time: at, Event: "access", User: f.User.Email, IP: f.IP.Address, Country: f.IP.Country, ASN: f.IP.ASN, Route: "treasury", Action: "allow",
		Policy: strings.Repeat("a", 64), Session: f.Session.ID, Device: fmt.Sprintf("d%07d", person), Method: f.Request.Method, Host: "treasury.localhost:8080", Path: f.Request.Path, Facts: f,
		Sources: workingData}
}

var workingData, _ = audit.NewDataList([]audit.DataSource{{Name: "country.mmdb", SHA256: strings.Repeat("b", 64)}, {Name: "vpn-exits", SHA256: strings.Repeat("e", 64)}})

var workingLog = sync.OnceValues(func() (file, key string) {
	dir := os.Getenv("REPLAY_LOG")
	file = filepath.Join(dir, "audit.jsonl")
	if known, err := os.ReadFile(filepath.Join(dir, "key")); dir != "" && err == nil {
		return file, string(known)
	}
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "replay-bench-"); err != nil {
			panic(err)
		}
	}
	n := yearOfDecisions
	if v, err := strconv.Atoi(os.Getenv("REPLAY_DECISIONS")); err == nil {
		n = v
	}
	seed, err := audit.NewSeed()
	if err != nil {
		panic(err)
	}
	file = filepath.Join(dir, "audit.jsonl")
	l, err := audit.Open(audit.Config{CallsPerMinute: proxytest.ChangesPerMinute, File: file, Key: seed})
	if err != nil {
		panic(err)
	}
	var writers sync.WaitGroup
	next := make(chan int, 256)
	for range 256 {
		writers.Go(func() {
			for i := range next {
				if err := l.Append(context.Background(), workingDecision(i, n)); err != nil {
					panic(err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	writers.Wait()
	key = l.Key()
	if err := errors.Join(l.Close(), os.WriteFile(filepath.Join(dir, "key"), []byte(key), 0o600)); err != nil {
		panic(err)
	}
	return file, key
})

// BenchmarkReplayEndToEnd verifies a signed log of 1.2 million decisions and judges each of
// them with examples/strict-treasury. It counts the processor time of the whole process,
// since the clock on the wall measures the neighbours of a shared machine as well.
//
//	mkdir /tmp/replay-log    # holds the log, 1.7 GB, for the next time
//	REPLAY_LOG=/tmp/replay-log GOMAXPROCS=1 go test ./proxy/rollout -run '^$' -bench ReplayEndToEnd -benchtime 1x -count 3
func BenchmarkReplayEndToEnd(b *testing.B) {
	source, err := os.ReadFile("../../examples/strict-treasury/policy.yaml")
	if err != nil {
		b.Fatal(err)
	}
	p, err := policy.Compile(policy.Config{Name: "policy.yaml", Source: source})
	if err != nil {
		b.Fatal(err)
	}
	file, key := workingLog()
	b.ResetTimer()
	begin := processorTime(b)
	var judged int64
	for range b.N {
		var report audit.Report
		lines := audit.Verifying([]string{file}, key, audit.VerifyOptions{}, &report)
		result, err := Replay{Lines: lines, Candidate: p, Routes: []string{"treasury"}}.Run(b.Context())
		if err != nil || !report.OK() || result.Judged == 0 {
			b.Fatal(err, report.Text())
		}
		judged += result.Judged
	}
	took := processorTime(b) - begin
	b.ReportMetric(float64(judged)/took.Seconds(), "decisions/s/core")
	b.ReportMetric(float64(took.Nanoseconds())/float64(judged), "ns/decision")
	b.ReportMetric(float64(peakMemory(b))/1e6, "peak-MB")
}

// processorTime is what the process has used, in user and system mode.
func processorTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// peakMemory is the largest resident size of the process so far, in bytes.
func peakMemory(b *testing.B) int64 {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r.Maxrss << 10
}
