package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// ErrNoKeys means that the key set could not be had.
var ErrNoKeys = errors.New("no key set")

const (
	defaultAge = 5 * time.Minute
	// Any client can send a token with an unknown key id. It must not cause a fetch each
	// time.
	fetchEvery = 10 * time.Second
	// keepAnyway is how long keys are used if the set cannot be fetched again.
	keepAnyway = time.Hour
)

// KeySet is Sallyport's public keys, fetched when needed and cached as long as the server
// says. A new key is in the set before anything is signed with it, so a cached
// set is good; an unknown key id is a reason to look again all the same, for
// keys that had to be replaced at once.
type KeySet struct {
	URL    string
	Client *http.Client // nil is one with a time limit

	mu      sync.Mutex
	keys    map[string]jose.JSONWebKey
	fetched time.Time // the last success
	tried   time.Time
	age     time.Duration
	err     error // of the last attempt
}

// Key returns the key with this id.
func (s *KeySet) Key(ctx context.Context, id string, now time.Time) (*jose.JSONWebKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock() // who needs the set waits for the one that fetches it
	key, known := s.keys[id]
	old := now.Sub(s.fetched) >= s.age
	if (old || !known) && (s.tried.IsZero() || now.Sub(s.tried) >= fetchEvery) {
		s.tried = now
		if s.err = s.fetch(ctx); s.err == nil {
			s.fetched = now
		}
		key, known = s.keys[id]
	}
	switch {
	case s.keys == nil || now.Sub(s.fetched) >= s.age+keepAnyway:
		return nil, errors.Join(ErrNoKeys, s.err)
	case !known:
		return nil, fmt.Errorf("key %q is not in the set", id)
	}
	return &key, nil
}

func (s *KeySet) fetch(ctx context.Context) error {
	// Not cancelled with the request that happens to need it: others wait for it too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL, nil)
	if err != nil {
		return err
	}
	client := s.Client
	if client == nil {
		client = http.DefaultClient
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", s.URL, res.Status)
	}
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&set); err != nil {
		return fmt.Errorf("%s: %w", s.URL, err)
	}
	keys := map[string]jose.JSONWebKey{}
	for _, k := range set.Keys {
		if k.KeyID != "" && k.Valid() && k.IsPublic() && k.Algorithm == string(jose.ES256) {
			keys[k.KeyID] = k
		}
	}
	if len(keys) == 0 {
		return fmt.Errorf("%s: holds no key that can be used", s.URL)
	}
	s.keys, s.age = keys, maxAge(res.Header.Get("Cache-Control"))
	return nil
}

func maxAge(cacheControl string) time.Duration {
	for directive := range strings.SplitSeq(cacheControl, ",") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(directive), "max-age="); ok {
			if n, err := strconv.Atoi(v); err == nil && n >= 0 {
				return min(time.Duration(n)*time.Second, time.Hour)
			}
		}
	}
	return defaultAge
}
