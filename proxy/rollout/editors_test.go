package rollout

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sallyport/policy/whole"
)

// A policy before and after an edit. Any part of the new one that is a policy lacks
// something of the old one.
const (
	oldPolicy = `version: 1
lists: {offices: [203.0.113.0/24]}
rules:
  # Exit nodes.
  - name: anonymised
    when: '"vpn" in user.groups || "tor" in user.groups'
    then: step_up
    max_age: 5m
  - name: embargoed
    when: '"embargoed" in user.groups'
    then: block
    unless: ip.within(lists.offices)
invariants:
  - name: embargo-holds
    always: block
    when: '"embargoed" in user.groups && !ip.within(lists.offices)'
tests:
  - name: a VPN asks
    given: {user: {groups: [vpn]}, session: {verified_here: true, verified_age: 1h}}
    expect: {action: step_up, rules: [anonymised]}
  - name: an embargoed country is blocked
    given: {user: {groups: [embargoed]}}
    expect: {action: block, rules: [embargoed]}
`
	added = "  - name: proxies\n    when: '\"proxy\" in user.groups'\n    then: block\n"
)

var newPolicy = strings.Replace(strings.Replace(oldPolicy, "max_age: 5m", "max_age: 2m", 1), "  - name: embargoed\n", added+"  - name: embargoed\n", 1)

// editor changes a policy file as programs do. After each step time passes, in which the
// manager looks at the file.
type editor struct {
	*bench
	dir     string
	was, is string // texts
	pause   time.Duration
	allowed map[string]bool // hashes that may be in force
	torn    int             // looks at which the file held neither text
}

// policyFile is the name in the folder.
const policyFile = "policy.yaml"

func (e *editor) path(name string) string { return filepath.Join(e.dir, name) }

func (e *editor) did(err error) {
	e.t.Helper()
	if err != nil {
		e.t.Fatal(err)
	}
	e.rest(e.pause)
}

// rest lets time pass.
func (e *editor) rest(d time.Duration) {
	e.t.Helper()
	const every = 250 * time.Millisecond
	for ; d > 0; d -= every {
		_ = e.ReloadFiles(e.t.Context())
		if hash := e.current.Policy.Hash(); !e.allowed[hash] {
			text, _ := os.ReadFile(e.file)
			e.t.Fatalf("a torn policy is in force: %q", text)
		}
		if text, err := os.ReadFile(e.file); err != nil || string(text) != e.was && string(text) != e.is {
			e.torn++
		}
		time.Sleep(every)
	}
}

func (e *editor) write(name, text string) {
	e.t.Helper()
	e.did(os.WriteFile(e.path(name), []byte(text), 0o600))
}

// at writes a text into an existing file, from an offset on.
func (e *editor) at(name string, offset int, text string) {
	e.t.Helper()
	f, err := os.OpenFile(e.path(name), os.O_WRONLY|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteAt([]byte(text), int64(offset))
		err = errors.Join(err, f.Close())
	}
	e.did(err)
}

func (e *editor) rename(from, to string) {
	e.t.Helper()
	e.did(os.Rename(e.path(from), e.path(to)))
}
func (e *editor) remove(name string) { e.t.Helper(); e.did(os.Remove(e.path(name))) }
func (e *editor) truncate(name string, n int) {
	e.t.Helper()
	e.did(os.Truncate(e.path(name), int64(n)))
}

func (e *editor) link(target, name string) {
	e.t.Helper()
	_ = os.Remove(e.path(name))
	e.did(os.Symlink(target, e.path(name)))
}

// parts are places to cut a text at: in a comment, a rule, between rules, in the
// invariants, in the tests, before the last line end.
func (e *editor) parts(text string) (list []string) {
	from := 0
	for _, place := range []string{"Exit", `"tor"`, "  - name: proxies", "    then: block", "invariants:", "always", "tests:", "rules: [anonymised]", "  - name: an embargoed"} {
		if at := strings.Index(text, place); at > from {
			list, from = append(list, text[from:at]), at
		}
	}
	return append(list, text[from:len(text)-1], text[len(text)-1:])
}

// slowly writes a file from its beginning, in parts.
func (e *editor) slowly(name, text string) {
	e.t.Helper()
	e.write(name, "")
	offset := 0
	for _, part := range e.parts(text) {
		e.at(name, offset, part)
		offset += len(part)
	}
}

// over writes parts over what is there.
func (e *editor) over(name, text string) {
	e.t.Helper()
	offset := 0
	for _, part := range e.parts(text) {
		e.at(name, offset, part)
		offset += len(part)
	}
	e.truncate(name, len(text))
}

// configMap is what Kubernetes does: a new folder, and links that are swapped.
func (e *editor) configMap(version, text string) {
	e.t.Helper()
	if err := os.MkdirAll(e.path(version), 0o700); err != nil {
		e.t.Fatal(err)
	}
	e.slowly(filepath.Join(version, policyFile), text)
	e.link(version, "..data_tmp")
	e.rename("..data_tmp", "..data")
}

const p = policyFile

// saves are ways in which programs replace a file.
var saves = map[string]func(e *editor){
	// In place: emptied, then written, at once or in parts.
	"cat > FILE":                 func(e *editor) { e.write(p, ""); e.write(p, e.is) },
	"shell loop of echo >> FILE": func(e *editor) { e.slowly(p, e.is) },
	"cp":                         func(e *editor) { e.write(p, e.is) },
	"cp over a slow mount":       func(e *editor) { e.write(p, e.is[:40]); e.slowly(p, e.is) },
	"tee, line buffered":         func(e *editor) { e.write(p, e.is[:strings.Index(e.is, "tests:")]); e.at(p, 0, e.is) },
	"scp":                        func(e *editor) { e.slowly(p, e.is) },
	"scp, cut off and repeated":  func(e *editor) { e.write(p, e.is[:len(e.is)/2]); e.slowly(p, e.is) },
	"sftp put":                   func(e *editor) { e.slowly(p, e.is); e.did(os.Chmod(e.file, 0o640)) },
	"ssh HOST cat > FILE":        func(e *editor) { e.write(p, ""); e.slowly(p, e.is) },
	"curl -o":                    func(e *editor) { e.at(p, 0, ""); e.slowly(p, e.is) },
	"curl -C -":                  func(e *editor) { e.slowly(p, e.is[:300]); e.at(p, 300, e.is[300:]) },
	"wget -O":                    func(e *editor) { e.remove(p); e.slowly(p, e.is) },
	"dd":                         func(e *editor) { e.truncate(p, 0); e.over(p, e.is) },
	"nano":                       func(e *editor) { e.write(".policy.yaml.swp", "b0nano"); e.write(p, e.is); e.remove(".policy.yaml.swp") },
	"nano -B":                    func(e *editor) { e.write(p+"~", e.was); e.slowly(p, e.is) },
	"ed":                         func(e *editor) { e.truncate(p, 0); e.at(p, 0, e.is) },
	"VS Code":                    func(e *editor) { e.write(p, ""); e.at(p, 0, e.is) },
	"VS Code, two saves":         func(e *editor) { e.write(p, e.is[:90]); e.write(p, e.is); e.write(p, e.is) },
	"VS Code over ssh":           func(e *editor) { e.slowly(p, e.is); e.did(os.Chtimes(e.file, time.Now(), time.Now())) },
	"Sublime Text":               func(e *editor) { e.write(p, ""); e.over(p, e.is) },
	"JetBrains, no safe write":   func(e *editor) { e.slowly(p, e.is); e.write(p, e.is) },
	"emacs, backup by copying": func(e *editor) {
		e.write(p+"~", e.was)
		e.write("#policy.yaml#", e.is)
		e.slowly(p, e.is)
		e.remove("#policy.yaml#")
	},
	"vim, backupcopy=yes": func(e *editor) { e.write(p+"~", e.was); e.slowly(p, e.is); e.remove(p + "~") },
	"helix": func(e *editor) {
		e.write("policy.yaml.bak", e.was)
		e.truncate(p, 0)
		e.slowly(p, e.is)
		e.remove("policy.yaml.bak")
	},
	"micro": func(e *editor) {
		e.write("policy.yaml.micro-backup", e.is)
		e.slowly(p, e.is)
		e.remove("policy.yaml.micro-backup")
	},
	"sponge":                      func(e *editor) { e.write(".sponge", e.is); e.slowly(p, e.is) },
	"ansible, unsafe_writes":      func(e *editor) { e.write(".ansible_tmp", e.is); e.slowly(p, e.is); e.remove(".ansible_tmp") },
	"docker cp":                   func(e *editor) { e.write(p, ""); e.write(p, e.is[:256]); e.over(p, e.is) },
	"python open('w'), 512 bytes": func(e *editor) { e.write(p, e.is[:512]); e.at(p, 512, e.is[512:]) },
	"disk full, repeated": func(e *editor) {
		e.slowly(p, e.is[:strings.Index(e.is, "invariants:")])
		e.rest(time.Minute)
		e.slowly(p, e.is)
	},

	// The old file goes first.
	"vim":                func(e *editor) { e.rename(p, p+"~"); e.slowly(p, e.is); e.remove(p + "~") },
	"vim, nowritebackup": func(e *editor) { e.remove(p); e.slowly(p, e.is) },
	"vim, patchmode":     func(e *editor) { e.rename(p, p+".orig"); e.write(p, e.is) },
	"neovim, writetest 4913": func(e *editor) {
		e.write("4913", "")
		e.remove("4913")
		e.rename(p, p+"~")
		e.slowly(p, e.is)
		e.remove(p + "~")
	},
	"emacs": func(e *editor) {
		e.link("me@host.1:2", ".#policy.yaml")
		e.rename(p, p+"~")
		e.slowly(p, e.is)
		e.remove(".#policy.yaml")
	},
	"patch -b":                func(e *editor) { e.rename(p, p+".orig"); e.slowly(p, e.is) },
	"perl -i":                 func(e *editor) { e.remove(p); e.write(p, ""); e.slowly(p, e.is) },
	"perl -i.bak":             func(e *editor) { e.rename(p, p+".bak"); e.write(p, ""); e.slowly(p, e.is) },
	"git checkout":            func(e *editor) { e.write("index.lock", ""); e.remove(p); e.slowly(p, e.is); e.remove("index.lock") },
	"git stash, then pop":     func(e *editor) { e.remove(p); e.slowly(p, e.was); e.remove(p); e.slowly(p, e.is) },
	"install":                 func(e *editor) { e.remove(p); e.at(p, 0, e.is[:150]); e.at(p, 150, e.is[150:]) },
	"mv from another disk":    func(e *editor) { e.remove(p); e.slowly(p, e.is); e.did(os.Chmod(e.file, 0o644)) },
	"terraform local_file":    func(e *editor) { e.remove(p); e.rest(time.Minute); e.write(p, e.is) },
	"tar x":                   func(e *editor) { e.remove(p); e.truncateNew(p); e.slowly(p, e.is) },
	"cp --remove-destination": func(e *editor) { e.remove(p); e.write(p, e.is) },
	"ln -f":                   func(e *editor) { e.slowly("other", e.is); e.remove(p); e.did(os.Link(e.path("other"), e.file)) },

	// A new file takes its place.
	"sed -i":          func(e *editor) { e.slowly("sedAbC123", e.is); e.rename("sedAbC123", p) },
	"awk > t && mv t": func(e *editor) { e.slowly("t", e.is); e.rename("t", p) },
	"JetBrains": func(e *editor) {
		e.slowly(p+"___jb_tmp___", e.is)
		e.rename(p, p+"___jb_old___")
		e.rename(p+"___jb_tmp___", p)
		e.remove(p + "___jb_old___")
	},
	"emacs, precious": func(e *editor) {
		e.slowly("#policy.yaml#1", e.is)
		e.write(p+"~", e.was)
		e.rename("#policy.yaml#1", p)
	},
	"gedit": func(e *editor) {
		e.slowly(".goutputstream-X", e.is)
		e.rename(p, p+"~")
		e.rename(".goutputstream-X", p)
	},
	"Kate": func(e *editor) {
		e.write("policy.yaml.kate-swp", "")
		e.slowly("policy.yaml.Xy", e.is)
		e.rename("policy.yaml.Xy", p)
	},
	"ansible template": func(e *editor) {
		e.slowly(".ansible_tmp1", e.is)
		e.did(os.Chmod(e.path(".ansible_tmp1"), 0o640))
		e.rename(".ansible_tmp1", p)
	},
	"puppet": func(e *editor) {
		e.write("policy.yaml20261130", "")
		e.slowly("policy.yaml20261130", e.is)
		e.rename("policy.yaml20261130", p)
	},
	"rsync": func(e *editor) { e.slowly(".policy.yaml.q1w2e3", e.is); e.rename(".policy.yaml.q1w2e3", p) },
	"rsync, half renamed": func(e *editor) {
		e.slowly(".policy.yaml.q", e.is[:500])
		e.rename(".policy.yaml.q", p)
		e.rest(time.Minute)
		e.slowly(".policy.yaml.q", e.is)
		e.rename(".policy.yaml.q", p)
	},
	"syncthing": func(e *editor) {
		e.slowly(".syncthing.policy.yaml.tmp", e.is)
		e.rename(p, "~old")
		e.rename(".syncthing.policy.yaml.tmp", p)
	},
	"mv, without tests": func(e *editor) {
		e.write("t", e.is[:strings.Index(e.is, "tests:")])
		e.rename("t", p)
		e.rest(time.Hour)
		e.write("t", e.is)
		e.rename("t", p)
	},
	"mv -b":        func(e *editor) { e.slowly("t", e.is); e.rename(p, p+"~"); e.rename("t", p) },
	"symlink swap": func(e *editor) { e.slowly("v2.yaml", e.is); e.link("v2.yaml", "v"); e.rename("v", p) },
	"symlink to half a file": func(e *editor) {
		e.write("v2.yaml", e.is[:len(e.is)/3])
		e.link("v2.yaml", "v")
		e.rename("v", p)
		e.slowly("v2.yaml", e.is)
	},
	"ConfigMap": func(e *editor) {
		e.configMap("..1", e.was)
		e.link("..data/"+p, "l")
		e.rename("l", p)
		e.configMap("..2", e.is)
	},
	"ConfigMap, rolled back and forward": func(e *editor) {
		e.configMap("..1", e.was)
		e.link("..data/"+p, "l")
		e.rename("l", p)
		e.configMap("..2", e.is[:strings.Index(e.is, "tests:")])
		e.configMap("..3", e.was)
		e.configMap("..4", e.is)
	},
}

// overwrites are ways that write over what is there, or fill what was made larger before.
// What is half old and half new cannot be told from a small edit, so that all of these wait,
// and a pause that is longer than that is one of the ways that cannot be seen through.
var overwrites = map[string]func(e *editor){
	"rsync --inplace":          func(e *editor) { e.over(p, e.is) },
	"rsync --inplace --append": func(e *editor) { e.at(p, 0, e.is[:200]); e.over(p, e.is) },
	"dd conv=notrunc":          func(e *editor) { e.at(p, 0, e.is[:100]); e.at(p, 100, e.is[100:]) },
	"mmap":                     func(e *editor) { e.truncate(p, len(e.is)); e.over(p, e.is) },
	"SMB, large first write":   func(e *editor) { e.truncate(p, 4096); e.over(p, e.is) },

	"fallocate, then filled": func(e *editor) {
		e.truncate(p, 0)
		e.truncate(p, len(e.is))
		e.over(p, e.is)
	},
	"NFS, pages out of order": func(e *editor) {
		half := strings.Index(e.is, "invariants:")
		e.truncate(p, 0)
		e.at(p, half, e.is[half:])
		e.at(p, 0, e.is[:half])
	},
}

// truncateNew makes an empty file.
func (e *editor) truncateNew(name string) { e.t.Helper(); e.at(name, 0, "") }

// edit runs one way of saving, in a bubble with a clock of its own.
func edit(t *testing.T, was, is string, pause time.Duration, save func(e *editor)) *editor {
	t.Helper()
	b := newBench(t)
	e := &editor{bench: b, dir: filepath.Dir(b.file), was: was, is: is, pause: pause}
	b.now.Settle = 3 * time.Second
	if _, err := b.Apply(t.Context(), WithPolicy([]byte(was)), Origin{Kind: "command"}); err != nil {
		t.Fatal(err)
	}
	b.write(was)
	e.allowed = map[string]bool{textHash([]byte(was)): true, textHash([]byte(is)): true}
	if strings.HasSuffix(is, mark) { // behind the mark, a line end says nothing more
		e.allowed[textHash([]byte(strings.TrimSuffix(was, "\n")))], e.allowed[textHash([]byte(strings.TrimSuffix(is, "\n")))] = true, true
	}
	e.rest(5 * time.Second)
	save(e)
	return e
}

// However a program saves a policy, wherever it pauses and for how long, what is in force
// is the old policy or the new one; and the new one is, soon, without a command.
func TestEditorsNeverBringATornPolicyIntoForce(t *testing.T) {
	if len(saves)+len(overwrites) < 60 {
		t.Errorf("%d ways", len(saves)+len(overwrites))
	}
	torn := 0
	try := func(t *testing.T, save func(*editor), ending string, pause, within time.Duration) {
		synctest.Test(t, func(t *testing.T) {
			e := edit(t, oldPolicy+ending, newPolicy+ending, pause, save)
			e.rest(within)
			if e.current.Policy.Hash() != textHash([]byte(e.is)) {
				t.Errorf("the new policy is not in force after %s", within)
			}
			if e.Problem() != nil {
				t.Errorf("it is in force, and refused: %v", e.Problem())
			}
			torn += e.torn
		})
	}
	for ending, within := range map[string]time.Duration{"": 4 * time.Second, mark: 500 * time.Millisecond} {
		named := map[string]string{"": ", no mark", mark: ", mark"}[ending]
		for name, save := range saves {
			for _, pause := range []time.Duration{300 * time.Millisecond, 10 * time.Second} {
				t.Run(name+named+", "+pause.String(), func(t *testing.T) { try(t, save, ending, pause, within) })
			}
		}
		for name, save := range overwrites {
			for _, pause := range []time.Duration{300 * time.Millisecond, 2 * time.Second} {
				t.Run(name+named+", "+pause.String(), func(t *testing.T) { try(t, save, ending, pause, 4*time.Second) })
			}
		}
	}
	if torn < 1000 {
		t.Errorf("the file was torn at %d looks: this shows little", torn)
	}
}

// A file that is cut off at any byte, for as long as it may be, is not in force: with the
// mark no part of it, without it no part that lacks anything.
func TestNoPartOfAPolicyComesIntoForce(t *testing.T) {
	for _, ending := range []string{"", mark} {
		synctest.Test(t, func(t *testing.T) {
			edit(t, oldPolicy+ending, newPolicy+ending, time.Millisecond, func(e *editor) {
				for n := range e.is {
					if ending != "" && n == len(e.is)-1 {
						break // the line end behind the mark says nothing more
					}
					e.allowed = map[string]bool{textHash([]byte(e.was)): true}
					if err := os.WriteFile(e.file, []byte(e.is[:n]), 0o600); err != nil {
						t.Fatal(err)
					}
					for range 3 {
						e.rest(1)
						time.Sleep(2 * time.Second)
					}
					if e.Problem() == nil {
						t.Fatalf("no one is told of %q", e.is[:n])
					}
				}
				e.rest(1)
			})
		})
	}
}

// What is meant to be shorter is taken by a command, or with the mark at its end.
func TestShorterPolicy(t *testing.T) {
	shorter := strings.Replace(newPolicy, added, "", 1)
	shorter = shorter[:strings.LastIndex(shorter, "  - name: an embargoed")]
	for name, c := range map[string]struct {
		take func(e *editor) error
		want bool
	}{
		"by itself": {func(e *editor) error { e.write(p, shorter); e.rest(time.Hour); return nil }, false},
		"by signal": {func(e *editor) error { e.write(p, shorter); return ways["signal"](e.bench, shorter) }, false},
		"by command": {func(e *editor) error {
			e.write(p, shorter)
			e.rest(time.Hour)
			return ways["command"](e.bench, shorter)
		}, true},
		"with the mark": {func(e *editor) error { e.write(p, shorter+mark); e.rest(time.Second); return nil }, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := edit(t, newPolicy, oldPolicy, time.Second, func(e *editor) {
					e.allowed = map[string]bool{textHash([]byte(newPolicy)): true, textHash([]byte(shorter)): c.want, textHash([]byte(shorter + mark)): c.want}
					if err := c.take(e); err != nil && c.want {
						t.Error(err)
					}
				})
				if took := e.current.Policy.Hash() != textHash([]byte(newPolicy)); took != c.want {
					t.Errorf("in force: %v", took)
				}
				if v := e.versions[0]; !c.want && (v.Outcome != "refused" || !v.stands(nil) || !strings.Contains(v.Detail, "the rule proxies") || !strings.Contains(v.Detail, "policy apply")) {
					t.Errorf("%+v", v)
				}
				if (e.Problem() == nil) != c.want {
					t.Errorf("%+v", e.Problem())
				}
			})
		})
	}
}

// The policy in shadow is held to the same, and holds nothing up. It is in no history.
func TestTornShadow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		edit(t, oldPolicy, newPolicy, time.Second, func(e *editor) {
			b := e.bench
			b.now.Policies.ShadowName = e.path("shadow.yaml")
			e.write("shadow.yaml", oldPolicy)
			e.rest(4 * time.Second)
			shadow := func() string { return hashOf(b.current.Shadow) }
			versions := len(b.versions)
			if shadow() != textHash([]byte(oldPolicy)) {
				t.Fatal("no policy in shadow")
			}
			for _, torn := range []string{"", newPolicy[:strings.Index(newPolicy, "tests:")], newPolicy[:400]} {
				e.write("shadow.yaml", torn)
				e.rest(time.Minute)
				if shadow() != textHash([]byte(oldPolicy)) || len(b.versions) != versions || e.Problem() != nil {
					t.Errorf("%q: %s, %+v", torn, shadow(), b.versions)
				}
			}
			e.write(p, newPolicy)
			e.rest(4 * time.Second)
			if b.current.Policy.Hash() != textHash([]byte(newPolicy)) || shadow() != textHash([]byte(oldPolicy)) {
				t.Error("it holds up the policy")
			}
			// Nor does a policy that is refused hold up the shadow, or count as mended by it.
			e.write(p, "version: 2")
			e.write("shadow.yaml", newPolicy+whole.Mark)
			e.allowed[textHash([]byte(newPolicy))] = true
			e.rest(4 * time.Second)
			if shadow() != textHash([]byte(newPolicy+whole.Mark)) || e.Problem() == nil {
				t.Errorf("%s, %v", shadow(), e.Problem())
			}
			e.remove("shadow.yaml")
			e.rest(time.Minute)
			if shadow() != textHash([]byte(newPolicy+whole.Mark)) {
				t.Error("the shadow went with its file")
			}
		})
	})
}

// A file that says that it is whole is taken though it is as long as the text before, and so
// is one that was in force before, when it is unchanged for long enough.
func TestWholeFilesAreTaken(t *testing.T) {
	renamed := strings.Replace(newPolicy, "name: proxies", "name: relayed", 1)
	for name, c := range map[string]struct {
		was    string
		before string // in force earlier
		write  []string
		within time.Duration
	}{
		"as long as what is in force":  {newPolicy + mark, "", []string{renamed + mark}, 4 * time.Second},
		"a mistake, and its fix":       {newPolicy + mark, "", []string{strings.Replace(oldPolicy, "version: 1", "version: 7", 1) + mark, oldPolicy + mark}, 4 * time.Second},
		"the mark without a line end":  {newPolicy + mark, "", []string{oldPolicy + whole.Mark}, 4 * time.Second},
		"the old file, without a mark": {newPolicy, oldPolicy, []string{oldPolicy}, 4 * time.Second},
		"git revert of a mark":         {newPolicy + mark, oldPolicy, []string{oldPolicy}, 4 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.now.Settle = 3 * time.Second
				e := &editor{bench: b, dir: filepath.Dir(b.file), allowed: map[string]bool{}}
				for _, text := range append([]string{c.before, c.was}, c.write...) {
					e.allowed[textHash([]byte(text))] = true
				}
				for _, text := range []string{c.before, c.was} {
					if text == "" {
						continue
					}
					if _, err := b.Apply(t.Context(), WithPolicy([]byte(text)), Origin{Kind: "file"}); err != nil {
						t.Fatal(err)
					}
					b.write(text)
				}
				e.rest(5 * time.Second)
				for _, text := range c.write {
					b.write(text)
					e.rest(c.within)
				}
				if want := c.write[len(c.write)-1]; b.current.Policy.Hash() != textHash([]byte(want)) || b.Problem() != nil {
					t.Errorf("it is not in force: %v", b.Problem())
				}
			})
		})
	}
}

// A signal gives up on a file that is written on and on; the watcher takes it later.
func TestSlowFileAtASignal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.now.Settle = 3 * time.Second
		text := strings.TrimSuffix(first, mark)
		if _, err := b.Apply(t.Context(), WithPolicy([]byte(text)), Origin{Kind: "command"}); err != nil {
			t.Fatal(err)
		}
		begin := time.Now()
		_, err := b.Apply(t.Context(), func(now Configuration) (Configuration, error) {
			text += "# more\n"
			b.write(text)
			now.Policies.Enforced.Source = []byte(text)
			return now, nil
		}, Origin{Kind: "signal"})
		if err == nil || !strings.Contains(err.Error(), "still being written") || time.Since(begin) > time.Minute {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if err := b.ReloadFiles(t.Context()); err != nil || b.current.Policy.Hash() != textHash([]byte(text)) || b.Problem() != nil {
			t.Errorf("%v, %v", err, b.Problem())
		}
	})
}
