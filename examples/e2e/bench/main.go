// Command bench measures what Sallyport costs, beside a bare httputil.ReverseProxy, in
// one run.
//
//	go run ./bench [-n 200000] [-c 32] [-ipdata DIR]
//	go run ./bench -sockets 9900
//
// It starts an upstream, a bare reverse proxy and the product, each a process of its own,
// the product with everything on: a verified session, a policy of 100 rules, the IP data
// of -ipdata if it is there, and the audit log. It drives them in turn, several times,
// over the same number of keep-alive connections, and prints for each requests per
// second, CPU time per request as the operating system accounts it to the proxy's
// process, latencies, allocations and resident memory. nginx is measured too if it is
// installed.
//
// With -sockets it opens so many idle WebSockets instead, says what the product takes for
// them, and how long after a sign-out they are closed.
//
// The machine's speed cancels out in the ratio; only the ratio is worth remembering.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) > 2 && os.Args[1] == "child" {
		child(os.Args[2:])
		return
	}
	n := flag.Int("n", 60_000, "requests a round and target")
	rounds := flag.Int("rounds", 5, "rounds; the targets take turns")
	connections := flag.Int("c", 16, "keep-alive connections")
	ipdata := flag.String("ipdata", filepath.Join("..", "..", "..", "shared", "ipdata"), "folder with IP data")
	repo := flag.String("repo", filepath.Join("..", ".."), "the product's source")
	idle := flag.Int("sockets", 0, "measure this many idle WebSockets and their end instead; the product needs two files for each (ulimit -n)")
	keep := flag.Bool("v", false, "show the product's log")
	flag.Parse()
	if err := run(*n, *rounds, *connections, *idle, *ipdata, *repo, *keep); err != nil {
		log.Fatal(err)
	}
}

// child is the upstream or the bare proxy, in a process of its own.
func child(args []string) {
	var h http.Handler
	switch args[0] {
	case "upstream":
		body := make([]byte, 1024)
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/octet-stream")
			_, _ = w.Write(body)
		})
	case "bare":
		to, err := url.Parse(args[2])
		if err != nil {
			log.Fatal(err)
		}
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = 256 // the default of 2 would measure dialling
		h = &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.SetXForwarded() }, Transport: transport}
	}
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("/.bench-ws", acceptSocket)
	mux.HandleFunc("/.bench/mallocs", func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Fprintln(w, m.Mallocs)
	})
	log.Fatal((&http.Server{Addr: args[1], Handler: mux, ReadHeaderTimeout: 10 * time.Second}).ListenAndServe())
}

// target is one proxy under measurement.
type target struct {
	name    string
	url     string
	pid     int
	cookie  string
	from    string // X-Forwarded-For, as a load balancer would say
	mallocs func() (float64, error)

	rounds []result
}

func run(n, rounds, connections, idle int, ipdata, repo string, verbose bool) error {
	s, err := newStage(ipdata, repo, verbose)
	if err != nil {
		return err
	}
	defer s.close()
	targets, err := s.targets()
	if err != nil {
		return err
	}
	if idle > 0 {
		return sockets(s, targets[1], idle)
	}
	for _, t := range targets { // warm up: connections, caches, heap
		if _, err := drive(t, n/4, connections); err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
	}
	for range rounds {
		for _, t := range targets {
			r, err := drive(t, n, connections)
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			t.rounds = append(t.rounds, r)
		}
	}
	fmt.Printf("%d rounds of %d requests over %d connections, 1 KiB answers, %s, %d CPUs, %s\n\n", rounds, n, connections, runtime.Version(), runtime.NumCPU(), time.Now().UTC().Format(time.DateOnly))
	report(targets)
	return nil
}

// result is one round of one target.
type result struct {
	perSecond, cpuMicros, allocs float64
	p50, p99                     time.Duration
	rss                          int64
}

// median of a field over the rounds: noise on a shared machine is one-sided.
func median[T cmp.Ordered](rs []result, f func(result) T) T {
	var list []T
	for _, r := range rs {
		list = append(list, f(r))
	}
	slices.Sort(list)
	return list[len(list)/2]
}

func report(targets []*target) {
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "target\treq/s\tCPU us/req\tratio\tp50\tp99\tallocs/req\tRSS MB\t")
	cpu := func(r result) float64 { return r.cpuMicros }
	bare := median(targets[0].rounds, cpu)
	for _, t := range targets {
		fmt.Fprintf(w, "%s\t%.0f\t%.1f\t%.2f\t%v\t%v\t%.0f\t%d\t\n", t.name,
			median(t.rounds, func(r result) float64 { return r.perSecond }), median(t.rounds, cpu), median(t.rounds, cpu)/bare,
			median(t.rounds, func(r result) time.Duration { return r.p50 }).Round(time.Microsecond),
			median(t.rounds, func(r result) time.Duration { return r.p99 }).Round(time.Microsecond),
			median(t.rounds, func(r result) float64 { return r.allocs }), median(t.rounds, func(r result) int64 { return r.rss })>>20)
	}
	w.Flush()
}
