package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"sallyport/authn"
	"sallyport/authn/passkey"
	"sallyport/cmd/sallyport/internal/app"
	"sallyport/cmd/sallyport/internal/config"
	"sallyport/cmd/sallyport/internal/sqlstore"
	"sallyport/policy"
	"sallyport/proxy/audit"
)

func init() {
	scriptCommands["record"] = cmdRecord
	scriptCommands["enrolled"] = cmdEnrolled
	scriptCommands["hash"] = cmdHash
	scriptCommands["incident"] = cmdIncident
}

// record FOLDER EMAIL COUNTRY puts into the audit log of a store, of which no proxy
// runs, that a person was let through to the wiki an hour ago; its incident is EMAIL.
func cmdRecord(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: record FOLDER EMAIL COUNTRY")
	}
	// A process that another script starts meanwhile holds the log's lock too, from its fork until it
	// runs something else, and the next to open the log finds it taken.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	ctx, dir := context.Background(), ts.MkAbs(args[0])
	db, err := sqlstore.Open(ctx, "sqlite:"+filepath.Join(dir, "sallyport.db"), sqlstore.Options{})
	ts.Check(err)
	l, err := app.OpenAudit(ctx, &config.Config{AuditFile: filepath.Join(dir, "audit.jsonl"), Limits: config.DefaultLimits()}, db, nil)
	ts.Check(err)
	at := time.Now().Add(-time.Hour)
	f := &policy.Facts{
		IP:      policy.IP{Address: "198.51.100.200", Version: 4, Country: args[2]},
		User:    policy.User{Email: args[1], Subject: args[1], Issuer: "https://idp", StartedDays: -1},
		Session: policy.Session{ID: "session-of-" + args[1], Level: "verified", Age: time.Minute, VerifiedAge: time.Minute, VerifiedHere: true},
		Request: policy.Request{Purpose: "access", Route: "wiki", Method: "GET", Host: "localhost", Path: "/wiki"},
		Time:    policy.Time{Now: at},
	}
	err = l.Append(ctx, audit.Record{Time: at, Event: "access", User: args[1], IP: f.IP.Address, Country: f.IP.Country, Route: "wiki", Action: "allow",
		Session: f.Session.ID, Incident: args[1], Policy: "0123456789abcdef", Facts: f})
	ts.Check(errors.Join(err, l.Close(), db.Close()))
}

// enrolled FOLDER SUBJECT CLASS gives a person a passkey of that class, in the store.
func cmdEnrolled(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: enrolled FOLDER SUBJECT CLASS")
	}
	class, err := authn.ParseClass(args[2])
	ts.Check(err)
	ctx := context.Background()
	db, err := sqlstore.Open(ctx, "sqlite:"+filepath.Join(ts.MkAbs(args[0]), "sallyport.db"), sqlstore.Options{})
	ts.Check(err)
	err = db.AddCredential(ctx, passkey.Record{Subject: authn.Subject{Issuer: "https://idp", ID: args[1]}, PublicKey: []byte{1},
		Credential: authn.Credential{ID: []byte(args[1] + args[2]), Name: args[2], Class: class, CreatedAt: time.Now()}}, nil)
	ts.Check(errors.Join(err, db.Close()))
}

// hash FILE sets $HASH to how the hash of a policy begins.
func cmdHash(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: hash FILE")
	}
	text, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	ts.Setenv("HASH", policy.Hash(text)[:12])
}

// incident FILE sets $INCIDENT to what a refusal names.
func cmdIncident(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: incident FILE")
	}
	found := regexp.MustCompile(`(?:"incident":\s*"|\(reference )([^")]+)`).FindStringSubmatch(ts.ReadFile(args[0]))
	if found == nil {
		ts.Fatalf("no incident in %s", args[0])
	}
	ts.Setenv("INCIDENT", found[1])
	ts.Setenv("HEARD", strings.ToLower(strings.ReplaceAll(found[1], "-", " "))) // as a person writes it down who was told it
}
