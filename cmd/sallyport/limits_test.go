package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestLimitsOfTheServerInFront: what exceeds a limit, what its sender reads, and where the
// operator finds the key. The key is not for strangers.
func TestLimitsOfTheServerInFront(t *testing.T) {
	r := newDeployment(t, [3]string{"sallyport.yaml", "policy: policy.yaml", "policy: policy.yaml\nlimits: {url_bytes: 20000, header_lines: 40}"}).run()
	for _, c := range []struct {
		name, query  string
		lines        int
		status       int
		text, not    string
		limit, found string
	}{
		{"a query as Prometheus sends it", strings.Repeat("q", 18<<10), 0, 401, "", "", "url_bytes", " 0\n"},
		{"an address that is too long", strings.Repeat("q", 20<<10), 0, 414, "by POST, in the body", "Wait a moment", "url_bytes", " 1\n"},
		{"many headers", "", 60, 431, "Delete the cookies", "Wait a moment", "header_lines", " 1\n"},
	} {
		req, err := http.NewRequest(http.MethodGet, "http://"+r.data+"/wiki?"+c.query, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "wiki.localhost:8080"
		req.Header.Set("X-Forwarded-For", "203.0.113.7")
		for range c.lines {
			req.Header.Add("X-Line", "x")
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if text := string(body); res.StatusCode != c.status || !strings.Contains(text, c.text) || c.not != "" && strings.Contains(text, c.not) || strings.Contains(text, "limits.") {
			t.Errorf("%s: %d %s", c.name, res.StatusCode, text)
		}
		ops, err := http.Get(r.opsURL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		metrics, _ := io.ReadAll(ops.Body)
		ops.Body.Close()
		if want := `sallyport_limit_exceeded_total{limit="` + c.limit + `"}` + c.found; !strings.Contains(string(metrics), want) {
			t.Errorf("%s: no metric %s", c.name, want)
		}
		if named := strings.Contains(r.log.String(), `"limit":"limits.`+c.limit); named != (c.status != 401) {
			t.Errorf("%s: the key is in the log: %v", c.name, named)
		}
	}
	r.end()
}
