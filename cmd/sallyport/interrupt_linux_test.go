package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func init() {
	scriptCommands["endless"] = cmdEndless
	scriptCommands["interrupt"] = cmdInterrupt
	scriptCommands["interrupted"] = cmdInterrupted
}

// interruption is a command in the background that reads a pipe which has no end.
type interruption struct {
	reads chan struct{} // closed when much of the pipe was read
	cmd   *exec.Cmd
	used  time.Duration // processor time until it was interrupted
}

// interruptions are those of scripts that run, by their folder.
var interruptions sync.Map

const (
	readUntil = 4 << 20   // of a pipe: its reader is well in the middle
	pipeEnds  = 512 << 20 // so that a command which cannot be interrupted fails the test
)

// endless PIPE FILE makes a pipe in which the lines of a file follow one another without
// end.
func cmdEndless(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: endless PIPE FILE")
	}
	lines := strings.Repeat(ts.ReadFile(args[1]), 1+(1<<16)/len(ts.ReadFile(args[1])))
	ts.Check(syscall.Mkfifo(ts.MkAbs(args[0]), 0o600))
	pipe, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	in := &interruption{reads: make(chan struct{})}
	interruptions.Store(ts.Getenv("WORK"), in)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer pipe.Close()
		for written := 0; written < pipeEnds; {
			n, err := pipe.WriteString(lines)
			if err != nil {
				return
			}
			if written < readUntil && written+n >= readUntil {
				close(in.reads)
			}
			written += n
		}
	}()
	ts.Defer(func() {
		pipe.Close()
		<-done
	})
}

func interruptionOf(ts *testscript.TestScript) *interruption {
	in, _ := interruptions.Load(ts.Getenv("WORK"))
	known, _ := in.(*interruption)
	return known
}

// interrupt sends Ctrl-C to the command in the background, in the middle of the pipe.
func cmdInterrupt(ts *testscript.TestScript, neg bool, args []string) {
	in := interruptionOf(ts)
	if neg || len(args) > 0 || in == nil || len(ts.BackgroundCmds()) != 1 {
		ts.Fatalf("usage: interrupt, with a command that reads an endless pipe")
	}
	select {
	case <-in.reads:
	case <-time.After(time.Minute):
		ts.Fatalf("the pipe is not read")
	}
	in.cmd = ts.BackgroundCmds()[0]
	var err error
	in.used, err = processorTimeOf(in.cmd.Process.Pid)
	ts.Check(err)
	ts.Check(in.cmd.Process.Signal(os.Interrupt))
}

// interrupted STATUS LIMIT wants that the command which was waited for ended with a status,
// and worked no longer than a limit after Ctrl-C. Time that other processes took does not
// count.
func cmdInterrupted(ts *testscript.TestScript, neg bool, args []string) {
	in := interruptionOf(ts)
	if neg || len(args) != 2 || in == nil || in.cmd == nil {
		ts.Fatalf("usage: interrupted STATUS LIMIT, after wait")
	}
	limit, err := time.ParseDuration(args[1])
	ts.Check(err)
	state := in.cmd.ProcessState
	if got := strconv.Itoa(state.ExitCode()); got != args[0] {
		ts.Fatalf("exit status %s, not %s", got, args[0])
	}
	if took := state.UserTime() + state.SystemTime() - in.used; took > limit {
		ts.Fatalf("it went on for %s", took)
	}
}

// processorTimeOf is what a process has used so far, in steps of 10 ms.
func processorTimeOf(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(stat), ") ") // proc(5): utime and stime are the fields 14 and 15
	fields := strings.Fields(after)
	user, err := strconv.ParseInt(fields[11], 10, 64)
	if err != nil {
		return 0, err
	}
	system, err := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, err
}
