package strictyaml

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// spans are durations as people write them: a number and a unit, or several of them.
var (
	spans    = regexp.MustCompile(`(?i)^(?:(\d{1,5})\s*(?:w|weeks?)[\s,]*)?(?:(\d{1,5})\s*(?:d|days?)[\s,]*)?(?:(\d{1,9})\s*(?:h|hrs?|hours?)[\s,]*)?(?:(\d{1,9})\s*(?:m|mins?|minutes?)[\s,]*)?(?:(\d{1,9})\s*(?:s|secs?|seconds?))?$`)
	iso8601  = regexp.MustCompile(`^P(?:(\d{1,5})W)?(?:(\d{1,5})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?$`)
	aDecimal = regexp.MustCompile(`(?i)^(\d{1,5}\.\d{1,3})\s*(d|days?|w|weeks?)$`)
)

// DurationMeant reads "2d", "1 week", "10 minutes", "1h 30 min" and "PT8H", and returns
// what Go calls it, such as 48h or 1h30m. "" if several things may be meant.
func DurationMeant(text string) string {
	text = strings.TrimSpace(text)
	if m := aDecimal.FindStringSubmatch(text); m != nil {
		n, _ := strconv.ParseFloat(m[1], 64) // digits
		unit := 24 * time.Hour
		if strings.EqualFold(m[2][:1], "w") {
			unit *= 7
		}
		return shortDuration(time.Duration(n * float64(unit)))
	}
	m := spans.FindStringSubmatch(text)
	if m == nil {
		m = iso8601.FindStringSubmatch(strings.ToUpper(text))
	}
	if m == nil {
		return ""
	}
	var total time.Duration
	given := 0
	for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second} {
		n, err := strconv.Atoi(m[i+1])
		if err != nil {
			continue
		}
		if n > 0 && unit > 1<<62/time.Duration(n) {
			return ""
		}
		total, given = total+time.Duration(n)*unit, given+1
	}
	if given == 0 || total < 0 {
		return ""
	}
	return shortDuration(total)
}

// shortDuration is 48h rather than 48h0m0s.
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// autonomousSystem is a number, or an autonomous system as people write it: "9009",
// "AS9009", "AS 9009".
var autonomousSystem = regexp.MustCompile(`^\s*(?i:ASN?\s*)?([0-9]{1,18})\s*$`)

// NumberMeant reads a whole number that is written as text, or the number of an autonomous
// system.
func NumberMeant(text string) (n int64, ok bool) {
	m := autonomousSystem.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	return n, err == nil
}

// plainNumber has one meaning: YAML reads 010 as 8, 0x10 as 16 and 1_000 as 1000.
var plainNumber = regexp.MustCompile(`^-?(?:0|[1-9][0-9]*)$`)

// PlainNumber reports whether text is a whole number in digits without a leading 0.
func PlainNumber(text string) bool { return plainNumber.MatchString(text) }

// SingleQuoted is text as a YAML scalar in single quotes, in which nothing but a quote
// needs care: conditions have double quotes and backslashes of their own.
func SingleQuoted(text string) string {
	return fmt.Sprintf("'%s'", strings.ReplaceAll(text, "'", "''"))
}
