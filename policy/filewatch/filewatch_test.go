package filewatch

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// start watches until the test ends, and gives each call of Changed. The first, at the
// start, is taken.
func start(t *testing.T, c Config) <-chan struct{} {
	t.Helper()
	changed := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	again := c.Changed
	c.Changed = func() (after time.Duration) {
		if again != nil {
			after = again()
		}
		select {
		case changed <- struct{}{}:
		case <-ctx.Done():
		}
		return after
	}
	done := make(chan struct{})
	go func() { Run(ctx, c); close(done) }()
	t.Cleanup(func() { stop(); <-done })
	await(t, changed)
	return changed
}

func await(t *testing.T, changed <-chan struct{}) {
	t.Helper()
	select {
	case <-changed:
	case <-time.After(20 * time.Second): // a busy machine
		t.Fatal("nothing was told")
	}
}

func put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, target, name string) {
	t.Helper()
	if err := errors.Join(os.Symlink(target, name+".new"), os.Rename(name+".new", name)); err != nil {
		t.Fatal(err)
	}
}

func TestEveryWayOfReplacingAFileIsTold(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, dir, file string){
		"written in place": func(t *testing.T, _, file string) { put(t, file, "new") },
		"renamed over": func(t *testing.T, _, file string) {
			put(t, file+".new", "new")
			if err := os.Rename(file+".new", file); err != nil {
				t.Fatal(err)
			}
		},
		"removed": func(t *testing.T, _, file string) {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		},
		"a link beside it is swapped, as Kubernetes does": func(t *testing.T, dir, _ string) { link(t, "v2", filepath.Join(dir, "..data")) },
		"the target of the link is written":               func(t *testing.T, dir, _ string) { put(t, filepath.Join(dir, "v1", "f"), "new") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, v := range []string{"v1", "v2"} {
				if err := os.Mkdir(filepath.Join(dir, v), 0o700); err != nil {
					t.Fatal(err)
				}
				put(t, filepath.Join(dir, v, "f"), v)
			}
			link(t, "v1", filepath.Join(dir, "..data"))
			file := filepath.Join(dir, "f")
			if strings.Contains(name, "link") {
				link(t, "..data/f", file)
			} else {
				put(t, file, "old")
			}
			changed := start(t, Config{Files: func() []string { return []string{file} }, Poll: time.Hour})
			replace(t, dir, file)
			await(t, changed)
		})
	}
}

// A link above the folder of the file leads to another folder, as git-sync has it, and what
// is in that one is watched from then on.
func TestLinkAboveTheFolder(t *testing.T) {
	dir := t.TempDir()
	for _, v := range []string{"v1", "v2"} {
		if err := os.MkdirAll(filepath.Join(dir, "trees", v, "etc"), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(dir, "trees", v, "etc", "f"), v)
	}
	link(t, filepath.Join("trees", "v1"), filepath.Join(dir, "repo"))
	if err := os.Mkdir(filepath.Join(dir, "site"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "site", "f")
	link(t, filepath.Join("..", "repo", "etc", "f"), file)
	changed := start(t, Config{Files: func() []string { return []string{file} }, Poll: time.Hour})
	link(t, filepath.Join("trees", "v2"), filepath.Join(dir, "repo"))
	await(t, changed)
	put(t, filepath.Join(dir, "trees", "v2", "etc", "f"), "new")
	await(t, changed)
}

// Links that lead to one another are no reason to look for ever.
func TestLinksInACircle(t *testing.T) {
	dir := t.TempDir()
	link(t, "b", filepath.Join(dir, "a"))
	link(t, "a", filepath.Join(dir, "b"))
	if got := folders(filepath.Join(dir, "a", "f")); len(got) > 4 {
		t.Error(got)
	}
}

// Where the file system says nothing, a change is found by polling.
func TestFilesArePolledToo(t *testing.T) {
	changed := start(t, Config{Files: func() []string { return nil }, Poll: time.Millisecond})
	await(t, changed)
	await(t, changed)
}

// A folder that comes later is watched from the next poll on.
func TestFolderThatComesLater(t *testing.T) {
	var logged strings.Builder
	file := filepath.Join(t.TempDir(), "later", "f")
	notify, err := fsnotify.NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer notify.Close()
	c := Config{What: "policy", Files: func() []string { return []string{file} }, Logger: slog.New(slog.NewTextHandler(&logged, nil))}
	told := map[string]bool{}
	c.follow(notify, told)
	c.follow(notify, told)
	if strings.Count(logged.String(), "this folder is only polled") != 1 || len(notify.WatchList()) != 0 {
		t.Errorf("%s %v", logged.String(), notify.WatchList())
	}
	if err := os.Mkdir(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	c.follow(notify, told)
	if got := notify.WatchList(); len(got) != 1 || got[0] != filepath.Dir(file) || len(told) != 0 {
		t.Errorf("watched: %v, told: %v", got, told)
	}
}

// Where no watcher can be had, files are polled, and the log names which.
func TestFilesArePolledWithoutInotify(t *testing.T) {
	var logged strings.Builder
	t.Run("", func(t *testing.T) {
		changed := start(t, Config{
			What: "policy", Files: func() []string { return []string{"f"} }, Poll: time.Millisecond, Logger: slog.New(slog.NewTextHandler(&logged, nil)),
			NewWatcher: func() (*fsnotify.Watcher, error) { return nil, syscall.EMFILE },
		})
		await(t, changed)
		await(t, changed)
	})
	if got := logged.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `msg="files are only polled" files=policy every=1ms`) {
		t.Error(got)
	}
}

// What never rests is told all the same.
func TestWritersThatNeverRest(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	put(t, file, "old")
	changed := start(t, Config{Files: func() []string { return []string{file} }, Poll: time.Hour})
	for writer := time.NewTicker(settle / 10); ; {
		select {
		case <-changed:
			return
		case <-writer.C: // the writer's rhythm
			put(t, file, "new")
		}
	}
}

// What wants to look again is called again, though nothing changes, and no more often.
func TestLookAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	put(t, file, "old")
	looks := 0
	changed := start(t, Config{What: "test", Files: func() []string { return []string{file} }, Poll: time.Hour, Changed: func() time.Duration {
		if looks++; looks <= 3 {
			return time.Millisecond
		}
		return 0
	}})
	for range 3 {
		await(t, changed)
	}
	put(t, file, "new")
	await(t, changed)
	if looks != 5 {
		t.Errorf("%d looks", looks)
	}
}
