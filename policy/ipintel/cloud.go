package ipintel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// The range files that cloud providers publish. All services of a provider count: a
// person does not browse from a load balancer either.

// parseAWS reads https://ip-ranges.amazonaws.com/ip-ranges.json.
func parseAWS(data []byte) (entries, error) {
	var file struct {
		CreateDate string `json:"createDate"`
		Prefixes   []struct {
			Prefix string `json:"ip_prefix"`
		} `json:"prefixes"`
		IPv6 []struct {
			Prefix string `json:"ipv6_prefix"`
		} `json:"ipv6_prefixes"`
	}
	if err := decodeJSON(data, &file); err != nil {
		return entries{}, err
	}
	c := collector{data: data}
	for _, p := range file.Prefixes {
		c.add(p.Prefix)
	}
	for _, p := range file.IPv6 {
		c.add(p.Prefix)
	}
	return c.done(file.CreateDate, "2006-01-02-15-04-05")
}

// parseGCP reads https://www.gstatic.com/ipranges/cloud.json and goog.json.
func parseGCP(data []byte) (entries, error) {
	var file struct {
		CreationTime string `json:"creationTime"`
		Prefixes     []struct {
			V4 string `json:"ipv4Prefix"`
			V6 string `json:"ipv6Prefix"`
		} `json:"prefixes"`
	}
	if err := decodeJSON(data, &file); err != nil {
		return entries{}, err
	}
	c := collector{data: data}
	for _, p := range file.Prefixes {
		if p.V4 != "" && p.V6 != "" {
			c.add(p.V4)
			c.add(p.V6)
			continue
		}
		c.add(p.V4 + p.V6)
	}
	return c.done(file.CreationTime, "2006-01-02T15:04:05")
}

// parseAzure reads ServiceTags_Public_DATE.json. The file carries no date.
func parseAzure(data []byte) (entries, error) {
	var file struct {
		Values []struct {
			Properties struct {
				Prefixes []string `json:"addressPrefixes"`
			} `json:"properties"`
		} `json:"values"`
	}
	if err := decodeJSON(data, &file); err != nil {
		return entries{}, err
	}
	c := collector{data: data}
	for _, v := range file.Values {
		for _, p := range v.Properties.Prefixes {
			c.add(p)
		}
	}
	return c.done("", "")
}

func decodeJSON(data []byte, into any) error {
	err := json.Unmarshal(data, into)
	if err == nil {
		return nil
	}
	offset := int64(len(data))
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		offset = syntax.Offset
	}
	if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
		offset = kind.Offset
	}
	return atLine(lineOf(data, int(offset)), err)
}

func lineOf(data []byte, offset int) int {
	return 1 + bytes.Count(data[:min(max(offset, 0), len(data))], []byte("\n"))
}

// collector gathers prefixes and keeps the first fault.
type collector struct {
	data     []byte
	prefixes []netip.Prefix
	err      error
}

func (c *collector) add(s string) {
	if c.err != nil {
		return
	}
	if s == "" {
		c.err = fmt.Errorf("entry %d has no prefix", len(c.prefixes)+1)
		return
	}
	p, err := parsePrefix(s)
	if err != nil {
		quoted, _ := json.Marshal(s)
		c.err = atLine(lineOf(c.data, bytes.Index(c.data, quoted)), err)
		return
	}
	c.prefixes = append(c.prefixes, p)
}

func (c *collector) done(date, layout string) (entries, error) {
	if c.err != nil {
		return entries{}, c.err
	}
	if len(c.prefixes) == 0 {
		return entries{}, fmt.Errorf("%w: is it the right format?", errEmpty)
	}
	e := entries{prefixes: c.prefixes}
	if date != "" {
		t, err := time.Parse(layout, date)
		if err != nil {
			return entries{}, fmt.Errorf("its date: %w", err)
		}
		e.declared = t
	}
	return e, nil
}
