package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func init() { helpers["refusing"] = refusing }

// refused are the system calls that the command `refusing` can make fail, with their number.
var refused = map[string]uint32{
	"flock":         unix.SYS_FLOCK,
	"socket":        unix.SYS_SOCKET,
	"fcntl":         unix.SYS_FCNTL,
	"inotify_init1": unix.SYS_INOTIFY_INIT1,
}

// refusing CALL[:ARGUMENT=VALUE] ERRNO COMMAND... runs a command to which the kernel answers ERRNO for that call (with VALUE as
// argument number ARGUMENT): a file system without locks, a system without IPv6, as any user can have them.
func refusing() {
	if err := refuse(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "refusing:", err)
		os.Exit(125)
	}
	path, err := exec.LookPath(os.Args[3])
	if err == nil {
		err = syscall.Exec(path, os.Args[3:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, "refusing:", err)
	os.Exit(125)
}

func refuse(what, errno string) error {
	call, argument, some := strings.Cut(what, ":")
	number, known := refused[call]
	code, err := strconv.ParseUint(errno, 10, 12)
	if !known || err != nil {
		return fmt.Errorf("%s %s: unknown", call, errno)
	}
	const load, equal = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	program := []unix.SockFilter{{Code: load, K: 0}, {Code: equal, K: number, Jf: 1}}
	if some {
		var index, value uint32
		if _, err := fmt.Sscanf(argument, "%d=%d", &index, &value); err != nil {
			return err
		}
		program[1].Jf = 3
		program = append(program, unix.SockFilter{Code: load, K: 16 + 8*index}, unix.SockFilter{Code: equal, K: value, Jf: 1})
	}
	program = append(program, unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ERRNO | uint32(code)},
		unix.SockFilter{Code: unix.BPF_RET, K: unix.SECCOMP_RET_ALLOW})
	runtime.LockOSThread() // the filter is the thread's, and what it then executes has it
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&fprog)), 0, 0)
}

func init() { scriptCommands["largest-file"] = cmdLargestFile }

// cmdLargestFile BYTES sets what the background commands may write to a file from now on.
func cmdLargestFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: largest-file BYTES")
	}
	most, err := strconv.ParseUint(args[0], 10, 64)
	ts.Check(err)
	for _, c := range ts.BackgroundCmds() {
		ts.Check(unix.Prlimit(c.Process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: most, Max: unix.RLIM_INFINITY}, nil))
	}
}
