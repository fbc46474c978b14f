package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sallyport/authn/authntest"
)

// stage is everything that is measured, running.
type stage struct {
	dir      string
	binary   string
	upstream string
	bare     string
	base     string // where people sign in
	tool     string // where the tool is, on a host of its own
	signedIn string // the session cookie of base
	ops      string
	idp      *authntest.IdP
	pids     map[string]int
	stop     []func()
}

const home = "8.8.8.8" // an address that the IP data knows

func newStage(ipdata, repo string, verbose bool) (*stage, error) {
	dir, err := os.MkdirTemp("", "sallyport-bench-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir, binary: filepath.Join(dir, "sallyport"), pids: map[string]int{}}
	s.stop = append(s.stop, func() { os.RemoveAll(dir) })
	build := exec.Command("go", "build", "-o", s.binary, "./cmd/sallyport")
	build.Dir, build.Stderr = repo, os.Stderr
	if err := build.Run(); err != nil {
		return nil, fmt.Errorf("building the product: %w", err)
	}
	s.upstream, s.bare = freeAddr(), freeAddr()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if err := s.start("upstream", exec.Command(self, "child", "upstream", s.upstream)); err != nil {
		return nil, err
	}
	if err := s.start("bare", exec.Command(self, "child", "bare", s.bare, "http://"+s.upstream)); err != nil {
		return nil, err
	}
	if err := s.product(ipdata, verbose); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *stage) start(name string, cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	s.pids[name] = cmd.Process.Pid
	s.stop = append(s.stop, func() { _ = cmd.Process.Signal(os.Interrupt); _ = cmd.Wait() })
	return nil
}

func (s *stage) close() {
	for i := len(s.stop) - 1; i >= 0; i-- {
		s.stop[i]()
	}
}

// product starts Sallyport with everything on.
func (s *stage) product(ipdata string, verbose bool) error {
	listen := freeAddr()
	_, port, _ := net.SplitHostPort(listen)
	s.base, s.tool, s.ops = "http://localhost:"+port, "http://tool.localhost:"+port, freeAddr()
	idpAddr := freeAddr()
	var err error
	s.idp, err = authntest.NewIdP(authntest.IdPConfig{
		Issuer:  "http://" + idpAddr,
		Clients: []authntest.IdPClient{{ID: "sallyport", Secret: "bench-secret", RedirectURIs: []string{s.base + "/.sallyport/callback"}}},
		People:  []authntest.IdPPerson{{Sub: "1", Email: "alice@example.com", Name: "Alice", Groups: []string{"treasury", "staff"}, Verified: true}},
	})
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", idpAddr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: s.idp, ReadHeaderTimeout: time.Second}
	go func() { _ = server.Serve(l) }()
	s.stop = append(s.stop, func() { server.Close() })

	config := fmt.Sprintf(`listen: %s
ops_listen: %s
external_url: %s
trusted_proxies: [127.0.0.0/8]
oidc: {issuer: "http://%s", client_id: sallyport, client_secret_file: secret}
store: sqlite:state/sallyport.db
audit: {file: state/audit.jsonl}
policy: policy.yaml
limits: {streams_per_session: 20000}
routes:
  - {name: tool, from: "%s", to: "http://%s", allow: {groups: [treasury]}}
%s`, listen, s.ops, s.base, idpAddr, s.tool, s.upstream, ipSources(ipdata))
	for name, text := range map[string]string{"sallyport.yaml": config, "secret": "bench-secret", "policy.yaml": policy(ipdata)} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	cmd := exec.Command(s.binary, "serve")
	cmd.Dir = s.dir
	if verbose {
		cmd.Stderr = os.Stderr
	}
	if err := s.start("sallyport", cmd); err != nil {
		return err
	}
	return waitFor("http://" + s.ops + "/readyz")
}

func present(ipdata string) bool {
	_, err := os.Stat(filepath.Join(ipdata, "databases"))
	return err == nil
}

// ipSources configures all of the IP data.
func ipSources(ipdata string) string {
	if !present(ipdata) {
		return ""
	}
	abs, _ := filepath.Abs(ipdata)
	var b strings.Builder
	b.WriteString("ip_data:\n  databases:\n")
	databases, _ := filepath.Glob(filepath.Join(abs, "databases", "*.mmdb"))
	for _, d := range databases {
		fmt.Fprintf(&b, "    - %s\n", d)
	}
	b.WriteString("  lists:\n")
	for _, l := range [][3]string{
		{"vpn-ipv4.txt", "vpn", ""}, {"vpn-ipv6.txt", "vpn", ""}, {"datacenter-ipv4.txt", "hosting", ""}, {"datacenter-ipv6.txt", "hosting", ""}, {"tor-exits.txt", "tor", ""},
		{"apple-private-relay-egress-ipv4.txt", "relay", ""}, {"aws-ip-ranges.json", "hosting", "aws"}, {"azure-ServiceTags_Public.json", "hosting", "azure"}, {"gcp-cloud.json", "hosting", "gcp"},
	} {
		name := strings.ToLower(strings.NewReplacer(".", "-", "_", "-").Replace(l[0]))
		fmt.Fprintf(&b, "    - {name: %s, signal: %s, file: %s", name, l[1], filepath.Join(abs, "lists", l[0]))
		if l[2] != "" {
			fmt.Fprintf(&b, ", format: %s", l[2])
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// policy is 100 rules, one in ten of which looks at the request itself; none matches.
func policy(ipdata string) string {
	var b strings.Builder
	b.WriteString("version: 1\nlists: {embargoed: [KP, IR, CU]}\nrules:\n")
	for i := range 100 {
		when := fmt.Sprintf(`"group-%d" in user.groups && session.age > duration("1h")`, i)
		switch {
		case i%10 == 0:
			when = fmt.Sprintf(`request.path.startsWith("/admin/%d/") && request.method == "DELETE"`, i)
		case present(ipdata) && i%3 == 0:
			when = fmt.Sprintf(`ip.country in lists.embargoed || ip.asn == %d`, 64512+i)
		case present(ipdata) && i%3 == 1:
			when = fmt.Sprintf(`ip.vpn && ip.tor && user.email.startsWith("nobody-%d@")`, i)
		}
		fmt.Fprintf(&b, "  - {name: rule-%d, when: '%s', then: block}\n", i, when)
	}
	return b.String()
}

// targets are what is driven: the bare proxy first, it is the measure of the others.
func (s *stage) targets() ([]*target, error) {
	cookie, err := s.signIn()
	if err != nil {
		return nil, fmt.Errorf("signing in: %w", err)
	}
	list := []*target{
		{name: "bare ReverseProxy", url: "http://" + s.bare + "/api/v1/balances?year=2026", pid: s.pids["bare"], from: home, mallocs: number("http://"+s.bare+"/.bench/mallocs", "")},
		{name: "sallyport", url: s.tool + "/api/v1/balances?year=2026", pid: s.pids["sallyport"], from: home, cookie: cookie, mallocs: number("http://"+s.ops+"/metrics", "go_memstats_mallocs_total")},
	}
	if nginx, err := exec.LookPath("nginx"); err == nil {
		t, err := s.nginx(nginx)
		if err != nil {
			return nil, err
		}
		list = append(list, t)
	}
	return list, nil
}

// nginx as a plain reverse proxy, one worker, no access log.
func (s *stage) nginx(binary string) (*target, error) {
	addr := freeAddr()
	conf := filepath.Join(s.dir, "nginx.conf")
	text := fmt.Sprintf(`daemon off; master_process off; pid %[1]s/nginx.pid; error_log %[1]s/nginx.log;
events { worker_connections 1024; }
http { access_log off; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
upstream tool { server %[2]s; keepalive 256; }
server { listen %[3]s; location / { proxy_pass http://tool; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host; } } }
`, s.dir, s.upstream, addr)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		return nil, err
	}
	if err := s.start("nginx", exec.Command(binary, "-c", conf)); err != nil {
		return nil, err
	}
	if err := waitFor("http://" + addr + "/"); err != nil {
		return nil, err
	}
	none := func() (float64, error) { return 0, nil }
	return &target{name: "nginx", url: "http://" + addr + "/api/v1/balances?year=2026", pid: s.pids["nginx"], from: home, mallocs: none}, nil
}

// signIn enrols Alice, proves it is her, opens the tool, and returns her session cookie
// there.
func (s *stage) signIn() (string, error) {
	create := exec.Command(s.binary, "ticket", "create", "--user", "alice@example.com")
	create.Dir = s.dir
	out, err := create.Output()
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	ticketURL, err := url.Parse(lines[len(lines)-1])
	if err != nil {
		return "", err
	}
	jar, _ := cookiejar.New(nil)
	client := &http.Client{Jar: jar, Transport: from{&http.Transport{DialContext: dialLoopback}}, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(s.base + "/.sallyport/sign-in?go=1&return_to=" + url.QueryEscape("/"))
	if err != nil {
		return "", err
	}
	res.Body.Close()
	back, err := s.idp.SignIn(res.Header.Get("Location"), "1")
	if err != nil {
		return "", err
	}
	if res, err = client.Get(back.String()); err != nil {
		return "", err
	}
	res.Body.Close()
	device := authntest.NewAuthenticator(s.base)
	if err := ceremony(client, s.base+"/.sallyport/enroll", map[string]any{"ticket": ticketURL.Query().Get("ticket")}, device.Create); err != nil {
		return "", err
	}
	if err := ceremony(client, s.base+"/.sallyport/step-up", map[string]any{}, device.Get); err != nil {
		return "", err
	}
	if err := s.openTool(client, s.tool+"/"); err != nil {
		return "", err
	}
	if s.signedIn, err = sessionCookie(jar, s.base); err != nil {
		return "", err
	}
	return sessionCookie(jar, s.tool)
}

// openTool goes where a browser is sent until the tool answers.
func (s *stage) openTool(client *http.Client, to string) error {
	for range 10 {
		req, err := http.NewRequest(http.MethodGet, to, nil)
		if err != nil {
			return err
		}
		for name, value := range map[string]string{"Accept": "text/html", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"} {
			req.Header.Set(name, value)
		}
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		page, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			return err
		}
		next, err := res.Location()
		switch {
		case err == nil:
			to = next.String()
		case res.StatusCode != http.StatusOK:
			return fmt.Errorf("%s: %s", to, res.Status)
		case !bytes.Contains(page, []byte(" data-auto")):
			return nil
		default:
			if to, err = s.handOff(client, string(page)); err != nil {
				return fmt.Errorf("hand-off: %w", err)
			}
		}
	}
	return fmt.Errorf("redirected without end, last to %s", to)
}

var handoffData = regexp.MustCompile(`data-(to|return-to|bind)="([^"]*)"`)

// handOff does what the script of a hand-off page does, and returns where it leads.
func (s *stage) handOff(client *http.Client, page string) (string, error) {
	data := map[string]string{}
	for _, m := range handoffData.FindAllStringSubmatch(page, -1) {
		data[m[1]] = html.UnescapeString(m[2])
	}
	var made struct{ Code, Next string }
	if err := post(client, s.base+"/.sallyport/handoff", map[string]any{"return_to": data["return-to"], "bind": data["bind"]}, &made); err != nil || made.Code == "" {
		return made.Next, err
	}
	req, err := http.NewRequest(http.MethodPost, data["to"], strings.NewReader(url.Values{"code": {made.Code}}.Encode()))
	if err != nil {
		return "", err
	}
	for name, value := range map[string]string{
		"Content-Type": "application/x-www-form-urlencoded", "Origin": s.base, "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-site",
	} {
		req.Header.Set(name, value)
	}
	res, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", data["to"], res.Status)
	}
	var done struct{ Next string }
	err = json.NewDecoder(res.Body).Decode(&done)
	return done.Next, err
}

func sessionCookie(jar http.CookieJar, origin string) (string, error) {
	u, err := url.Parse(origin)
	if err != nil {
		return "", err
	}
	for _, c := range jar.Cookies(u) {
		if c.Name == "sallyport" {
			return c.Name + "=" + c.Value, nil
		}
	}
	return "", fmt.Errorf("no session cookie for %s", origin)
}

// dialLoopback reaches every *.localhost, without the system's resolver.
func dialLoopback(ctx context.Context, network, addr string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	return new(net.Dialer).DialContext(ctx, network, net.JoinHostPort("127.0.0.1", port))
}

func ceremony(client *http.Client, at string, context map[string]any, answer func([]byte) ([]byte, error)) error {
	var begun struct {
		Ceremony string          `json:"ceremony"`
		Options  json.RawMessage `json:"options"`
	}
	if err := post(client, at+"/begin", context, &begun); err != nil {
		return err
	}
	credential, err := answer(begun.Options)
	if err != nil {
		return err
	}
	context["ceremony"], context["credential"] = begun.Ceremony, json.RawMessage(credential)
	return post(client, at+"/finish", context, nil)
}

func post(client *http.Client, at string, body any, into any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	res, err := client.Post(at, "application/json", bytes.NewReader(data))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", at, res.Status, text)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(text, into)
}

// from is a load balancer in front that says where requests come from.
type from struct{ next http.RoundTripper }

func (f from) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", home)
	return f.next.RoundTrip(r)
}

// number reads a number from a page: all of it, or the sample of a metric.
func number(at, metric string) func() (float64, error) {
	return func() (float64, error) {
		res, err := http.Get(at)
		if err != nil {
			return 0, err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			return 0, err
		}
		for line := range strings.SplitSeq(string(text), "\n") {
			if rest, ok := strings.CutPrefix(line, metric); ok && !strings.HasPrefix(line, "#") && strings.TrimSpace(rest) != "" {
				return strconv.ParseFloat(strings.TrimSpace(rest), 64)
			}
		}
		return 0, fmt.Errorf("%s has no %s", at, metric)
	}
}

func waitFor(at string) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		res, err := http.Get(at)
		if err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("%s", res.Status)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: %w", at, err)
		}
		time.Sleep(20 * time.Millisecond) // polling another process
	}
}

func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	return l.Addr().String()
}
