package signin

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"

	"github.com/go-jose/go-jose/v4"
)

// readableKeys leaves keys out of a key set that cannot be read, as RFC 7517 section 5
// asks for: a provider that publishes one with a curve of its own (secp256k1) signs
// ID tokens with another. go-oidc refuses the whole set for such a key without alg.
type readableKeys struct {
	base http.RoundTripper
	log  *slog.Logger

	mu      sync.Mutex
	skipped map[string]string // why, by key id
}

func (k *readableKeys) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := k.base.RoundTrip(r)
	if err != nil || resp.StatusCode != http.StatusOK {
		return resp, err
	}
	body, err := io.ReadAll(resp.Body) // bounded by the transport below
	resp.Body.Close()
	if err != nil {
		return nil, err
	}
	body = k.filter(body)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	resp.Header.Del("Content-Length")
	return resp, nil
}

// filter returns the set without unreadable keys. A body that is no key set is returned
// unchanged, and the caller refuses it.
func (k *readableKeys) filter(body []byte) []byte {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(body, &set) != nil {
		return body
	}
	skipped := map[string]string{}
	set.Keys = slices.DeleteFunc(set.Keys, func(raw json.RawMessage) bool {
		var key jose.JSONWebKey
		err := json.Unmarshal(raw, &key)
		if err == nil {
			return false
		}
		var name struct {
			ID string `json:"kid"`
		}
		_ = json.Unmarshal(raw, &name) // without an id it is skipped all the same
		skipped[clip(name.ID)] = clip(err.Error())
		return true
	})
	k.logSkipped(skipped)
	out, err := json.Marshal(set)
	if err != nil {
		return body
	}
	return out
}

func (k *readableKeys) logSkipped(skipped map[string]string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for id, why := range skipped {
		if k.skipped[id] != why {
			k.log.Warn("a key of the provider cannot be read and is skipped", "key_id", id, "error", why)
		}
	}
	k.skipped = maps.Clone(skipped)
}

// unreadable says why the key of that id was skipped; "" if it was not.
func (k *readableKeys) unreadable(id string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.skipped[clip(id)]
}
