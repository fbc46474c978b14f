package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/authn"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy/behavior"
)

const behaviorKeyUse = "behavior"

// openBehavior makes the tracker, which knows nothing before its Run has read history.
// The key under which addresses are kept is made on first start, and never rotated: with
// another one, nobody was ever anywhere before.
func openBehavior(ctx context.Context, c *config.Config, store *sqlstore.DB, logger *slog.Logger) (*behavior.Tracker, error) {
	secret := make([]byte, 32)
	_, _ = rand.Read(secret) // never fails (crypto/rand, Go 1.24)
	key, err := store.AddFirstKey(ctx, authn.Key{ID: "behavior-1", Use: behaviorKeyUse, Secret: secret, CreatedAt: time.Now()})
	if err != nil {
		return nil, fmt.Errorf("behavior key: %w", err)
	}
	return behavior.New(behavior.Config{
		Store: store, Now: time.Now, Logger: logger, Key: key.Secret,
		Offices: c.Behavior.Offices, MobileASNs: c.Behavior.MobileASNs, SatelliteASNs: c.Behavior.SatelliteASNs, Household: c.Behavior.Household, Translators: c.IPData.NAT64,
		Retention: c.Behavior.Retention, RawAddresses: c.Behavior.RawAddresses,
	})
}

// historyUnknown is why rules see seen.known == false, if they do.
func (a *app) historyUnknown() error {
	if a.behavior.Known() {
		return nil
	}
	return errors.New("what was seen before cannot be read, or not be written; rules see seen.known == false")
}

var (
	descHistoryKept    = prometheus.NewDesc("sallyport_history_entries", "People, addresses and devices whose history is in memory.", []string{"kind"}, nil)
	descHistoryWaiting = prometheus.NewDesc("sallyport_history_waiting", "Sightings that wait to be written.", nil, nil)
	descHistoryDropped = prometheus.NewDesc("sallyport_history_dropped_total", "Sightings for which the queue had no room: merged with a like one, or lost.", []string{"outcome"}, nil)
	descHistoryErrors  = prometheus.NewDesc("sallyport_history_errors_total", "Times that history could not be read or written.", []string{"operation"}, nil)
)

// collectHistory reports what is remembered of people's visits.
func collectHistory(t *behavior.Tracker, gauge, counter func(d *prometheus.Desc, v float64, labels ...string)) {
	s := t.Stats()
	gauge(descHistoryKept, float64(s.People), "people")
	gauge(descHistoryKept, float64(s.Addresses), "addresses")
	gauge(descHistoryKept, float64(s.Devices), "devices")
	gauge(descHistoryWaiting, float64(s.Waiting))
	counter(descHistoryDropped, float64(s.Merged), "merged")
	counter(descHistoryDropped, float64(s.Lost), "lost")
	counter(descHistoryErrors, float64(s.ReadErrors), "read")
	counter(descHistoryErrors, float64(s.WriteErrors), "write")
}
