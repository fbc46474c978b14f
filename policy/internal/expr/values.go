package expr

import (
	"math"
	"slices"
)

// Values is a set of values of one subject: all texts of a finite set, or all but those; or whole
// numbers between bounds. Numbers of every kind are mapped to int64 in their order: a bool
// is 0 or 1, a duration its nanoseconds, a double its place among the doubles.
type Values struct {
	texts  []string // sorted; with spans nil and isText
	except bool
	isText bool
	spans  []span // sorted, apart from one another
}

type span struct{ low, high int64 } // both inside

// Texts are exactly these texts.
func Texts(of ...string) Values {
	of = slices.Clone(of)
	slices.Sort(of)
	return Values{isText: true, texts: slices.Compact(of)}
}

// Between are the numbers from low to high, both included.
func Between(low, high int64) Values {
	if low > high {
		return Values{}
	}
	return Values{spans: []span{{low, high}}}
}

// Not are all other values of the same kind.
func (v Values) Not() Values {
	if v.isText {
		v.except = !v.except
		return v
	}
	out, next := Values{}, int64(math.MinInt64)
	for _, s := range v.spans {
		if s.low > next {
			out.spans = append(out.spans, span{next, s.low - 1})
		}
		if s.high == math.MaxInt64 {
			return out
		}
		next = s.high + 1
	}
	out.spans = append(out.spans, span{next, math.MaxInt64})
	return out
}

// And are the values in both; they have to be of one kind.
func (v Values) And(w Values) Values {
	if v.isText {
		switch {
		case v.except && w.except:
			out := Texts(append(slices.Clone(v.texts), w.texts...)...)
			out.except = true
			return out
		case v.except:
			v, w = w, v
		}
		out := Values{isText: true}
		for _, t := range v.texts {
			if w.hasText(t) {
				out.texts = append(out.texts, t)
			}
		}
		return out
	}
	var out Values
	for _, a := range v.spans {
		for _, b := range w.spans {
			if low, high := max(a.low, b.low), min(a.high, b.high); low <= high {
				out.spans = append(out.spans, span{low, high})
			}
		}
	}
	return out
}

// Or are the values in either.
func (v Values) Or(w Values) Values { return v.Not().And(w.Not()).Not() }

// Empty reports whether no value is left.
func (v Values) Empty() bool { return !v.except && len(v.texts) == 0 && len(v.spans) == 0 }

// In reports whether every value is also in w.
func (v Values) In(w Values) bool { return v.And(w.Not()).Empty() }

// Zero reports whether 0, or the empty text, is among them.
func (v Values) Zero() bool {
	if v.isText {
		return v.hasText("")
	}
	return !v.And(Between(0, 0)).Empty()
}

// Has reports whether a text is among them.
func (v Values) Has(text string) bool { return v.isText && v.hasText(text) }

func (v Values) hasText(t string) bool {
	_, in := slices.BinarySearch(v.texts, t)
	return in != v.except
}

// ordered maps doubles to integers in their order; what is not a number comes last, and is
// in no set that a comparison describes but in all their complements.
func ordered(f float64) int64 {
	switch {
	case math.IsNaN(f):
		return math.MaxInt64
	case f == 0: // and -0
		return 0
	}
	i := int64(math.Float64bits(f))
	if i < 0 {
		i ^= math.MaxInt64
	}
	return i
}

// Len is how many texts or spans the set is written down with.
func (v Values) Len() int { return len(v.texts) + len(v.spans) }
