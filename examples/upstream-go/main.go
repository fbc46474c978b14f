// Command upstream-go is a small tool that knows its users from Sallyport's headers. Copy
// identity.go into yours.
//
//	go run ./examples/upstream-go                      listens on 127.0.0.1:3000
//
// It has no sign-in of its own: the headers are believed because only Sallyport can reach
// the port. That is why it refuses to listen on anything but loopback. A tool on a
// machine of its own needs a firewall, a network policy or mutual TLS that says the same,
// and in containers the pod's shared loopback (a sidecar) is the simplest of them.
package main

import (
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"time"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:3000", "loopback address to listen on")
	flag.Parse()
	l, err := listenLoopback(*listen)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("listening on http://%s", l.Addr())
	server := &http.Server{Handler: handler(), ReadHeaderTimeout: 10 * time.Second}
	log.Fatal(server.Serve(l))
}

// listenLoopback refuses addresses that other hosts can reach.
func listenLoopback(addr string) (net.Listener, error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("-listen %q: want ADDRESS:PORT, such as 127.0.0.1:3000", addr)
	}
	if !ap.Addr().IsLoopback() {
		return nil, fmt.Errorf("-listen %s: anyone who reaches this port could pass for any person; use a loopback address behind Sallyport", addr)
	}
	return net.Listen("tcp", addr)
}

func handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", known(func(w http.ResponseWriter, _ *http.Request, id Identity) {
		fmt.Fprintf(w, "Hello %s.\nYour groups: %q\n", id.User, id.Groups)
	}))
	// Sallyport's `allow` says who may open the tool; what they may do in it is the tool's.
	mux.Handle("POST /payments", known(func(w http.ResponseWriter, _ *http.Request, id Identity) {
		if !id.In("treasury-approvers") {
			http.Error(w, "approving payments is for treasury-approvers", http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, "Payment approved by %s.\n", id.User)
	}))
	return mux
}

// known lets only requests with an identity through.
func known(next func(http.ResponseWriter, *http.Request, Identity)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := identify(r)
		if err != nil {
			log.Printf("refused: %v", err)
			http.Error(w, "open this tool through Sallyport", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next(w, r, id)
	})
}
