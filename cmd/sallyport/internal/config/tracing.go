package config

import (
	"fmt"
	"net/url"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Tracing says where traces go, and how many.
type Tracing struct {
	Endpoint string
	Headers  map[string]string
	Sample   float64
}

const maxHeadersFile = 16 << 10

func (b *builder) tracing() {
	f := b.f.Tracing
	if f == nil {
		return
	}
	t := &Tracing{Sample: 0.01}
	const expected = "the URL of an OTLP/HTTP collector, such as http://127.0.0.1:4318"
	if b.required("tracing.endpoint", f.Endpoint, expected) {
		u, err := url.Parse(f.Endpoint)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			b.at("tracing.endpoint", fmt.Sprintf("%q is not a collector's address", f.Endpoint), expected)
		} else {
			if u.Path == "" || u.Path == "/" {
				u.Path = "/v1/traces" // the default of OTLP/HTTP
			}
			t.Endpoint = u.String()
		}
	}
	if f.Sample != nil {
		t.Sample = *f.Sample
		if t.Sample < 0 || t.Sample > 1 {
			b.at("tracing.sample", fmt.Sprintf("%v is not a share", t.Sample), "a number from 0 to 1")
		}
	}
	if f.HeadersFile != "" {
		t.Headers = b.headers("tracing.headers_file", f.HeadersFile)
	}
	b.c.Tracing = t
}

// headers reads lines of the form "Name: value".
func (b *builder) headers(key, file string) map[string]string {
	const what = "a file with one header a line, such as Api-Key: VALUE"
	text, ok := b.read(key, file, what, maxHeadersFile)
	if !ok {
		return nil
	}
	m := map[string]string{}
	for i, line := range strings.Split(string(text), "\n") {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		if !ok || !httpguts.ValidHeaderFieldName(name) || value == "" || !httpguts.ValidHeaderFieldValue(value) {
			b.at(key, fmt.Sprintf("line %d of %s is not a header", i+1, b.path(file)), what) // not its content: it may be a secret
			return nil
		}
		m[name] = value
	}
	return m
}
