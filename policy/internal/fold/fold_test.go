package fold

import "testing"

// What some tool takes for one path has one folded form.
func TestAttackPathsThatSomeToolTakesForOne(t *testing.T) {
	for _, p := range []string{"/admin/users", "/Admin/Users", "/ADMIN/USERS/", "/admin./users", "/admin/users..", "/admin/users. .", "/adm%69n/users", "/adm%2569n/users",
		"/adm\u0131n/users", "/adm\u0130n/users", "/admin/u\u017fers", "/\uff21\uff44min/users", "/admi\u0301n/users", "/ad\u00admin/users", "/admin\uff0fusers",
		"/admin;x=1/users", "/admin/users::$DATA", "/admin\uff3cusers", "/admin%2fusers", "/%41dmin/users%20", "/x/../admin/users", "/admin/users;.json"} {
		if got := Path(p); got != "/admin/users" {
			t.Errorf("%q is %q", p, got)
		}
	}
	for _, p := range []string{"/\u212aelvin", "/KELVIN"} { // the Kelvin sign
		if got := Path(p); got != "/kelvin" {
			t.Errorf("%q is %q", p, got)
		}
	}
	for in, want := range map[string]string{"/": "/", "": "/", "/stra\u00dfe": "/strasse", "/a/.well-known": "/a/.well-known", "/v1.2/x": "/v1.2/x", "/a.json": "/a.json"} {
		if got := Path(in); got != want {
			t.Errorf("%q is %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{"/a/b.json": "/a/b", "/a/b.tar.gz": "/a/b", "/v1.2/x": "/v1.2/x", "/.well-known": "/.well-known"} {
		if got := DropSuffix(in); got != want {
			t.Errorf("%q without its suffix is %q, want %q", in, got, want)
		}
	}
}

func FuzzFoldPath(f *testing.F) {
	for _, s := range []string{"/Admin", "/%41%2541", "/\u0130\u212a", "/a/../b", "/a.;b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, p string) {
		once := Path(p)
		if once == "" || once[0] != '/' {
			t.Fatalf("%q is %q", p, once)
		}
		if isFolded(p) && once != p {
			t.Fatalf("%q is folded and becomes %q", p, once)
		}
	})
}

// Nearly every path is folded already: telling so costs nothing.
func TestFoldedPathsCostNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Path("/transactions/7/approve.json") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
