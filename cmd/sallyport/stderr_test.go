package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// served is `sallyport serve` as a process of its own, with this standard error.
func served(t *testing.T, stderr *os.File) (data, ops string, cmd *exec.Cmd) {
	t.Helper()
	dir, env := t.TempDir(), os.Environ()
	for name, content := range site {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ports := map[string]string{}
	for _, name := range []string{"PORT", "OPS", "IDP"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_, ports[name], _ = net.SplitHostPort(l.Addr().String())
		l.Close()
		env = append(env, name+"="+ports[name])
	}
	binary, err := exec.LookPath("sallyport") // testscript puts it there
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(binary, "serve")
	cmd.Dir, cmd.Env, cmd.Stderr = dir, env, stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	data, ops = "http://127.0.0.1:"+ports["PORT"], "http://127.0.0.1:"+ports["OPS"]
	for deadline := time.Now().Add(20 * time.Second); ; <-time.After(20 * time.Millisecond) { // another process
		if res, err := http.Get(ops + "/healthz"); err == nil {
			res.Body.Close()
			return data, ops, cmd
		}
		if time.Now().After(deadline) {
			t.Fatal("does not serve")
		}
	}
}

// TestServeOutlivesTheReaderOfItsLog: a standard error that stays full, that is closed at
// the other end or that takes nothing stops no request, and not the end either.
func TestServeOutlivesTheReaderOfItsLog(t *testing.T) {
	pipe := func(t *testing.T, closed bool) *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		if closed {
			r.Close()
		} else {
			t.Cleanup(func() { r.Close() })
		}
		t.Cleanup(func() { w.Close() })
		return w
	}
	for name, stderr := range map[string]func(*testing.T) *os.File{
		"a pipe that is not read":        func(t *testing.T) *os.File { return pipe(t, false) },
		"a pipe without its other end":   func(t *testing.T) *os.File { return pipe(t, true) },
		"a device that has no room left": func(t *testing.T) *os.File { return full(t) },
	} {
		t.Run(name, func(t *testing.T) {
			data, ops, cmd := served(t, stderr(t))
			client := http.Client{Timeout: 10 * time.Second}
			// 64 KiB of pipe and 1 MiB of queue are full, and again as much.
			for i := range 3000 {
				req, _ := http.NewRequest(http.MethodGet, data+"/.sallyport/whoami?"+strings.Repeat("x", 100), nil)
				req.Host = "localhost"
				req.Header.Set("X-Forwarded-For", fmt.Sprintf("203.0.%d.%d", i/200, i%200+1))
				req.URL.Path += "/" + strings.Repeat("y", 1200)
				res, err := client.Do(req)
				if err != nil {
					t.Fatalf("request %d: %v", i, err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
			for path, want := range map[string]string{"/metrics": "sallyport_log_lines_lost_total ", "/readyz": "lines of the log are lost"} {
				res, err := client.Get(ops + path)
				if err != nil {
					t.Fatal(err)
				}
				b, _ := io.ReadAll(res.Body)
				res.Body.Close()
				if text := string(b); !strings.Contains(text, want) || strings.Contains(text, "lost_total 0\n") {
					t.Errorf("%s does not say that lines are lost:\n%s", path, text)
				}
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
			if err := cmd.Wait(); err != nil {
				t.Errorf("did not end in order: %v", err)
			}
		})
	}
}

// full is a file that every write to fails.
func full(t *testing.T) *os.File {
	t.Helper()
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
