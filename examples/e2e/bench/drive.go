package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// drive sends n requests over c connections, as fast as they come back, and measures.
// It writes the bytes itself: a client library would take more of the CPU that all
// processes share than the proxies do.
func drive(t *target, n, c int) (result, error) {
	u, err := url.Parse(t.url)
	if err != nil {
		return result{}, err
	}
	request := "GET " + u.RequestURI() + " HTTP/1.1\r\nHost: " + u.Host + "\r\nAccept: */*\r\nUser-Agent: bench\r\nAccept-Encoding: gzip\r\n"
	if t.cookie != "" {
		request += "Cookie: " + t.cookie + "\r\n"
	}
	request += "X-Forwarded-For: " + t.from + "\r\n\r\n"

	cpu, err := cpuTime(t.pid)
	if err != nil {
		return result{}, err
	}
	mallocs, err := t.mallocs()
	if err != nil {
		return result{}, err
	}
	latencies := make([][]time.Duration, c)
	errs := make([]error, c)
	start := time.Now()
	var wg sync.WaitGroup
	for i := range c {
		wg.Go(func() { latencies[i], errs[i] = one(u.Host, []byte(request), n/c) })
	}
	wg.Wait()
	took := time.Since(start)
	for _, err := range errs {
		if err != nil {
			return result{}, err
		}
	}
	cpuAfter, err := cpuTime(t.pid)
	if err != nil {
		return result{}, err
	}
	mallocsAfter, err := t.mallocs()
	if err != nil {
		return result{}, err
	}
	all := slices.Concat(latencies...)
	slices.Sort(all)
	done := float64(len(all))
	return result{
		perSecond: done / took.Seconds(), cpuMicros: float64((cpuAfter - cpu).Microseconds()) / done, allocs: (mallocsAfter - mallocs) / done,
		p50: all[len(all)/2], p99: all[len(all)*99/100], rss: rss(t.pid),
	}, nil
}

// one is one connection's share.
func one(host string, request []byte, n int) ([]time.Duration, error) {
	conn, err := dialLoopback(context.Background(), "tcp", host)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	latencies := make([]time.Duration, 0, n)
	for range n {
		at := time.Now()
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		res, err := http.ReadResponse(in, nil)
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return nil, err
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s answered %s", host, res.Status)
		}
		latencies = append(latencies, time.Since(at))
	}
	return latencies, nil
}

// cpuTime is the user and system time of a process (proc(5), fields 14 and 15 of
// stat), in the kernel's ticks of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

func rss(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
