package file

import "fmt"

func (s *Source) readTests(d *Document, n *Node) {
	seen := map[string]bool{}
	for i, t := range s.Items(n, "tests") {
		if i == maxTests {
			s.At(t, Diagnostic{Message: fmt.Sprintf("the policy has more than %d tests", maxTests)})
			return
		}
		f := s.Fields(t, "a test", TestKeys.Names()...)
		if f == nil {
			continue
		}
		test := &Test{Node: t, Given: f["given"], Expect: f["expect"]}
		if f["name"] == nil {
			s.At(t, Diagnostic{Message: "the test has no name", Expected: "name: what it shows"})
		} else {
			test.Name, _ = s.Text(f["name"], "the name of a test")
			test.Node = f["name"]
			if seen[test.Name] {
				s.At(test.Node, Diagnostic{Message: fmt.Sprintf("there is another test %q", test.Name), Expected: "a name of its own"})
			}
			seen[test.Name] = true
		}
		if test.Expect == nil {
			s.At(t, Diagnostic{Message: "the test expects nothing", Expected: "expect: {action: block}"})
			continue
		}
		d.Tests = append(d.Tests, test)
	}
}
