// Sallyport is an access proxy that knows where people connect from: employees sign in
// through OpenID Connect, prove themselves with a user-verified passkey, and every
// request is judged by its network, its person, its device and its history.
//
//	sallyport demo                   see it work, on this machine, in a minute
//	sallyport init                   write a configuration to start from
//	sallyport check                  say whether the configuration is right
//	sallyport serve                  run
//
// Exit status: 0 done; 1 the answer is no (a failing policy test, a broken audit
// log); 2 the call or the configuration is wrong; 130 it was interrupted.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"reflect"
	"syscall"

	"github.com/alecthomas/kong"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal does not wait for requests to finish
	os.Exit(run(ctx, os.Args[1:], stdio{os.Stdin, os.Stdout, os.Stderr}))
}

// stdio is where a command reads and writes.
type stdio struct {
	in       io.Reader
	out, err io.Writer
}

// errNo is the answer no: exit status 1, nothing further to say.
var errNo = errors.New("no")

// errTold is an error that standard error has already: exit status 2, nothing further to
// say.
var errTold = errors.New("told")

// globals are the flags that every command takes.
type globals struct {
	Config string `short:"c" default:"sallyport.yaml" placeholder:"FILE" help:"Configuration file (default: sallyport.yaml)."`
}

type cli struct {
	globals

	Serve   serveCmd   `cmd:"" help:"Run the proxy."`
	Demo    demoCmd    `cmd:"" help:"Try everything out on this machine, without any set-up."`
	Init    initCmd    `cmd:"" help:"Write a commented configuration, policy and roster to start from."`
	Check   checkCmd   `cmd:"" help:"Check the configuration, policy and IP data, without side effects."`
	Policy  policyCmd  `cmd:"" help:"Test and explain the policy."`
	Ticket  ticketCmd  `cmd:"" help:"Make, list and revoke enrolment tickets."`
	Session sessionCmd `cmd:"" help:"List and revoke sessions."`
	People  peopleCmd  `cmd:"" help:"List people, and show one person's passkeys and sessions."`
	Audit   auditCmd   `cmd:"" help:"Read, verify and prove the audit log."`
	Routes  routesCmd  `cmd:"" help:"Show the routes of the running proxy, and how their upstreams are."`
	Data    dataCmd    `cmd:"" help:"Show what is known about addresses, and how old that is."`
	Keys    keysCmd    `cmd:"" help:"Rotate the keys that seal session cookies."`
	Version versionCmd `cmd:"" help:"Print the version."`
}

// run is main without the process: it parses, runs one command and returns the exit
// status.
func run(ctx context.Context, args []string, std stdio) int {
	var c cli
	status := -1
	parser, err := kong.New(&c,
		kong.Name("sallyport"),
		kong.Description("An access proxy that knows where people connect from."),
		kong.Writers(std.out, std.err),
		kong.Exit(func(code int) { status = code }), // --help exits with 0
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		fmt.Fprintln(std.err, "sallyport:", err)
		return 2
	}
	parsed, err := parser.Parse(args)
	if status >= 0 {
		return status
	}
	if err == nil {
		err = notEmpty(parsed)
	}
	if err != nil {
		fmt.Fprintln(std.err, "sallyport:", plainLines(err.Error()))
		fmt.Fprintln(std.err, "Run \"sallyport --help\" for the commands.")
		return 2
	}
	switch err := parsed.Run(&c.globals); {
	case err == nil:
		return 0
	case errors.Is(err, errNo):
		return 1
	case errors.Is(err, errTold):
		return 2
	case errors.Is(err, errInterrupted):
		fmt.Fprintln(std.err, err)
		return 130
	default:
		fmt.Fprintln(std.err, plainLines(err.Error()))
		return 2
	}
}

// notEmpty refuses a text that is given and empty. It comes from a script whose variable
// has no value, and one command would take it for everything, another for nothing.
func notEmpty(parsed *kong.Context) error {
	for _, p := range parsed.Path {
		var name string
		switch {
		case p.Flag != nil:
			name = "--" + p.Flag.Name
		case p.Positional != nil:
			name = cmp.Or(p.Positional.Tag.PlaceHolder, p.Positional.Name)
		default:
			continue
		}
		switch v := parsed.Value(p); {
		case v.Kind() == reflect.String && v.Len() == 0, v.Kind() == reflect.Slice && v.Len() == 0:
			return fmt.Errorf("%s: the value is empty; leave it out, or say what is meant", name)
		}
	}
	return nil
}
