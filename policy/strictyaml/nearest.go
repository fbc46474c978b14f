package strictyaml

import (
	"slices"
	"strings"
)

// Nearest returns the candidate that word is most likely a misspelling of, or "": the one
// that is at most a third of the word away, or the one that word is the beginning of.
func Nearest(word string, candidates []string) string {
	best, distance := "", 1+max(1, len(word)/3)
	sorted := slices.Sorted(slices.Values(candidates))
	for _, c := range sorted {
		if strings.EqualFold(c, word) {
			return c
		}
		if d := Edits(strings.ToLower(word), strings.ToLower(c), distance); d < distance {
			best, distance = c, d
		}
	}
	for _, c := range sorted {
		if best == "" && len(word) > 3 && strings.HasPrefix(c, word) {
			best = c
		}
	}
	return best
}

// Edits is the number of bytes to insert, delete, replace or swap to get from a to
// b, or limit if it is not less than that.
func Edits(a, b string, limit int) int {
	if len(a) > 64 || len(b) > 64 || len(a)-len(b) >= limit || len(b)-len(a) >= limit {
		return limit
	}
	before, row := []int(nil), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			next[j] = min(next[j-1]+1, row[j]+1, row[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return min(row[len(b)], limit)
}
