package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
)

// problems reads the authority's answers. autocert does not return the reason of a failed
// challenge, only that no other is left to try, and does not report errors of renewals at
// all.
type problems struct {
	base   http.RoundTripper
	logger *slog.Logger
	mu     sync.Mutex
	byHost map[string]string
}

const maxACMEAnswer = 1 << 20

func (p *problems) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := p.base.RoundTrip(r)
	if err != nil {
		p.logger.Warn("the certificate authority cannot be reached", "url", r.URL.Redacted(), "error", err)
		return nil, err
	}
	if !strings.Contains(res.Header.Get("Content-Type"), "json") {
		return res, nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxACMEAnswer+1))
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	if len(body) > maxACMEAnswer {
		return nil, errors.New("edge: acme: an answer of the authority is too large")
	}
	p.read(res.StatusCode, body)
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

type acmeProblem struct {
	Type   string `json:"type"`
	Detail string `json:"detail"`
}

func (p *problems) read(status int, body []byte) {
	var answer struct {
		acmeProblem
		Identifier struct {
			Value string `json:"value"`
		} `json:"identifier"`
		Challenges []struct {
			Type  string      `json:"type"`
			Error acmeProblem `json:"error"`
		} `json:"challenges"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return
	}
	if status >= 400 && !strings.HasSuffix(answer.Type, ":badNonce") { // that one is routine
		p.logger.Warn("the certificate authority refuses", "status", status, "type", answer.Type, "detail", answer.Detail)
	}
	for _, c := range answer.Challenges {
		if c.Error.Detail == "" {
			continue
		}
		p.logger.Warn("a challenge failed", "host", answer.Identifier.Value, "challenge", c.Type, "type", c.Error.Type, "detail", c.Error.Detail)
		p.mu.Lock()
		// An unknown host adds nothing: the authority only names hosts of our own orders.
		p.byHost[answer.Identifier.Value] = c.Type + ": " + c.Error.Detail
		p.mu.Unlock()
	}
}

// of returns the authority's last problem with host, or "".
func (p *problems) of(host string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.byHost[host]
}

// loggedCache logs when a certificate could not be stored. autocert does not; the next
// start would then obtain it again, until the quota is used up.
type loggedCache struct {
	ACMECache
	logger *slog.Logger
}

func (c *loggedCache) Put(ctx context.Context, name string, data []byte) error {
	err := c.ACMECache.Put(ctx, name, data)
	if err != nil {
		c.logger.Error("a certificate or its account key could not be kept", "name", name, "error", err)
	}
	return err
}
