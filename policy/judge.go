package policy

// Policy is a compiled policy. It is immutable and safe for concurrent use.
type Policy struct {
	hash string
}

// Partial is the part of a judgement that stays the same for one session
// token, address, route and purpose: it may be kept and given to [Policy.Conclude]
// for every request of that kind. The zero value is "not judged yet".
type Partial struct {
	policy *Policy
	clock  bool
}

// ClockBound reports that a rule in it reads something that changes by itself
// with time: keep it for at most one second.
func (s Partial) ClockBound() bool { return s.clock }

// Hash returns the SHA-256 of the source, in hex.
func (p *Policy) Hash() string { return p.hash }

// Decide judges one request, whole.
func (p *Policy) Decide(f *Facts) Decision { return p.Conclude(f, p.Stable(f)) }

// Stable evaluates the rules that read nothing of the request but its route and purpose.
func (p *Policy) Stable(f *Facts) Partial { return Partial{policy: p} }

// Conclude evaluates the other rules and freshness, and gives the verdict.
func (p *Policy) Conclude(f *Facts, s Partial) Decision { return Decision{} }

// TestResult is the outcome of one entry of the policy's `tests:`.
type TestResult struct {
	Name    string   `json:"name"`
	Line    int      `json:"line"`
	Passed  bool     `json:"passed"`
	Message string   `json:"message,omitempty"` // what was expected and what came, when it did not pass
	Got     Decision `json:"got"`
}

// RunTests runs the policy's own tests.
func (p *Policy) RunTests() []TestResult { return nil }

// Explanation is a decision with everything it rests on.
type Explanation struct {
	Decision Decision `json:"decision"`
}

// Text returns the explanation for a terminal.
func (e Explanation) Text() string { return "" }

// Explain judges one request like Decide and says how each rule came out and why.
func (p *Policy) Explain(f *Facts) Explanation { return Explanation{Decision: p.Decide(f)} }

// Compile compiles a policy file. Its error is [Diagnostics].
func Compile(c Config) (*Policy, error) {
	return nil, Diagnostics{{File: c.Name, Line: 1, Column: 1, Message: "the compiler is not here yet"}}
}
