package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"time"
)

// acceptSocket is an upstream's WebSocket that says nothing.
func acceptSocket(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n")
	_, _ = io.Copy(io.Discard, conn)
}

// openSocket opens one through the product.
func openSocket(t *target, host string) (net.Conn, error) {
	conn, err := dialLoopback(context.Background(), "tcp", host)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(conn, "GET /.bench-ws HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: %s\r\nX-Forwarded-For: %s\r\n\r\n", host, t.cookie, t.from)
	in := textproto.NewReader(bufio.NewReaderSize(conn, 512)) // nothing follows the header until the end
	status, err := in.ReadLine()
	if err == nil && !strings.Contains(status, " 101 ") {
		err = fmt.Errorf("%s", status)
	}
	if err == nil {
		_, err = in.ReadMIMEHeader()
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// sockets opens n idle WebSockets of one session through the product, says what they
// take, then signs out and says when they are closed.
func sockets(s *stage, t *target, n int) error {
	host := strings.TrimPrefix(s.tool, "http://")
	before := rss(t.pid)
	conns := make([]net.Conn, n)
	errs := make([]error, n)
	gate := make(chan struct{}, 32)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			gate <- struct{}{}
			defer func() { <-gate }()
			conns[i], errs[i] = openSocket(t, host)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("opening %d WebSockets: %w", n, err)
		}
	}
	open, err := number("http://"+s.ops+"/metrics", `sallyport_open_streams{kind="websocket"}`)()
	if err != nil {
		return err
	}
	fmt.Printf("%.0f idle WebSockets: %d MB resident, %d MB before them\n", open, rss(t.pid)>>20, before>>20)

	ended := make([]time.Time, n)
	for i, c := range conns {
		wg.Go(func() {
			head := make([]byte, 4)
			_, errs[i] = io.ReadFull(c, head)
			ended[i] = time.Now()
			if errs[i] == nil && (head[0] != 0x88 || head[2] != 1008>>8 || head[3] != 1008&255) {
				errs[i] = fmt.Errorf("not a close frame with 1008: % x", head)
			}
			c.Close()
		})
	}
	req, err := http.NewRequest("POST", s.base+"/.sallyport/sign-out", strings.NewReader(""))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", s.base)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Cookie", s.signedIn)
	req.Header.Set("X-Forwarded-For", t.from)
	start := time.Now()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	answered := time.Since(start)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("after sign-out (%s): %w", res.Status, err)
		}
	}
	closed := make([]time.Duration, n)
	for i, at := range ended {
		closed[i] = at.Sub(start)
	}
	slices.Sort(closed)
	fmt.Printf("sign-out answered after %v; clients held their close frames (1008) after %v (half), %v (99 %%), %v (all)\n",
		answered.Round(time.Millisecond), closed[n/2].Round(time.Millisecond), closed[n*99/100].Round(time.Millisecond), closed[n-1].Round(time.Millisecond))
	for _, le := range []string{"0.1", "0.5", "1"} {
		within, err := number("http://"+s.ops+"/metrics", `sallyport_revoke_to_close_seconds_bucket{le="`+le+`"}`)()
		if err != nil {
			return err
		}
		fmt.Printf("closed by the proxy within %s s of the order: %.0f of %d\n", le, within, n)
	}
	return nil
}
