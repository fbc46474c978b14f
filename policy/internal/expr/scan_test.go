package expr

import (
	"fmt"
	"testing"
)

func TestComments(t *testing.T) {
	for text, want := range map[string]string{
		`a // b`: "[{2 6}]", "a // b\n|| c": "[{2 6}]", `"//" == a`: "[]", `'//' == a // b`: "[{10 14}]", `"\"//" == a`: "[]", `a / b`: "[]", `"never closed // b`: "[]", "// a\n// b": "[{0 4} {5 9}]", `é // b`: "[{2 6}]",
	} {
		if got := fmt.Sprint(Comments(text)); got != want {
			t.Errorf("%q: got %s, want %s", text, got, want)
		}
	}
}

// Any text is scanned to its end.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{`a || b && c`, `"a`, `'\`, `((`, `))`, `a ? b : c`, `//`, `[a, b || c && d]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		Comments(text)
		p := &Program{text: text}
		p.Unbracketed()
		OneLine(text)
	})
}
