package e2e

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// WebDriver (https://www.w3.org/TR/webdriver2/) is how Firefox and WebKit are driven. WebKit's
// driver speaks it over HTTP. Firefox has the same commands in its own protocol, Marionette, so
// that no driver is needed. The Go clients that there are need a driver for Firefox, too.

// wire carries the commands of WebDriver to a browser, one at a time. A command has the name
// that Marionette gives it. The answer is the "value" of WebDriver.
type wire interface {
	send(command string, params map[string]any) (json.RawMessage, error)
}

// driverError is a refusal of WebDriver (section 6.6).
type driverError struct {
	Code    string `json:"error"`
	Message string `json:"message"`
}

func (e *driverError) Error() string { return e.Code + ": " + e.Message }

// driverPatience is how long a command may take. Opening a page is one.
const driverPatience = 60 * time.Second

// overHTTPWire is WebDriver as the standard has it.
type overHTTPWire struct {
	base string // "http://127.0.0.1:PORT/session/ID" once there is a session
}

// driverPaths says how the standard sends a command. ":id" is a parameter that goes into the path.
var driverPaths = map[string]string{
	"WebDriver:NewSession":       "POST ",
	"WebDriver:DeleteSession":    "DELETE ",
	"WebDriver:SetTimeouts":      "POST /timeouts",
	"WebDriver:Navigate":         "POST /url",
	"WebDriver:Back":             "POST /back",
	"WebDriver:ExecuteScript":    "POST /execute/sync",
	"WebDriver:FindElement":      "POST /element",
	"WebDriver:ElementClick":     "POST /element/:id/click",
	"WebDriver:GetWindowHandle":  "GET /window",
	"WebDriver:GetWindowHandles": "GET /window/handles",
	"WebDriver:SwitchToWindow":   "POST /window",
	"WebDriver:NewWindow":        "POST /window/new",
	"WebDriver:CloseWindow":      "DELETE /window",
	"WebDriver:GetCookies":       "GET /cookie",
	"WebDriver:DeleteCookie":     "DELETE /cookie/:name",
	"WebDriver:TakeScreenshot":   "GET /screenshot",
}

func (h *overHTTPWire) send(command string, params map[string]any) (json.RawMessage, error) {
	method, path, ok := strings.Cut(driverPaths[command], " ")
	if !ok {
		return nil, fmt.Errorf("%s: no path is known for it", command)
	}
	for name, value := range params {
		path = strings.Replace(path, "/:"+name, fmt.Sprint("/", value), 1)
	}
	var body io.Reader
	if method == http.MethodPost {
		if params == nil {
			params = map[string]any{}
		}
		data, err := json.Marshal(params)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	r, err := http.NewRequest(method, h.base+path, body)
	if err != nil {
		return nil, err
	}
	res, err := (&http.Client{Timeout: driverPatience}).Do(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	var answer struct{ Value json.RawMessage }
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
		return nil, fmt.Errorf("%s: status %d: %w", command, res.StatusCode, err)
	}
	if res.StatusCode != http.StatusOK {
		refused := &driverError{Code: "unknown error"}
		_ = json.Unmarshal(answer.Value, refused)
		return nil, refused
	}
	return answer.Value, nil
}

// marionette is Firefox's own protocol: JSON with its length in front, "31:[0,1,...]".
type marionette struct {
	conn net.Conn
	in   *bufio.Reader
	id   int
}

func dialMarionette(port string) (*marionette, error) {
	conn, err := net.DialTimeout("tcp", "127.0.0.1:"+port, driverPatience)
	if err != nil {
		return nil, err
	}
	m := &marionette{conn: conn, in: bufio.NewReader(conn)}
	_ = conn.SetDeadline(time.Now().Add(driverPatience))
	_, err = m.read() // it says who it is
	return m, err
}

func (m *marionette) read() (json.RawMessage, error) {
	var n int
	if _, err := fmt.Fscanf(m.in, "%d:", &n); err != nil {
		return nil, err
	}
	body := make([]byte, n)
	_, err := io.ReadFull(m.in, body)
	return body, err
}

func (m *marionette) send(command string, params map[string]any) (json.RawMessage, error) {
	m.id++
	if params == nil {
		params = map[string]any{}
	}
	data, err := json.Marshal([]any{0, m.id, command, params}) // 0: a command
	if err != nil {
		return nil, err
	}
	_ = m.conn.SetDeadline(time.Now().Add(driverPatience))
	if _, err := fmt.Fprintf(m.conn, "%d:%s", len(data), data); err != nil {
		return nil, err
	}
	body, err := m.read()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", command, err)
	}
	var answer [4]json.RawMessage // 1, id, error, result
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	var refused *driverError
	if err := json.Unmarshal(answer[2], &refused); err != nil || refused != nil {
		if refused == nil {
			return nil, err
		}
		return nil, refused
	}
	var wrapped map[string]json.RawMessage
	if json.Unmarshal(answer[3], &wrapped) == nil && len(wrapped) == 1 && wrapped["value"] != nil {
		return wrapped["value"], nil
	}
	return answer[3], nil
}

// driven is a browser at the other end of a wire.
type driven struct {
	mu   sync.Mutex
	wire wire
	at   string // the window that commands go to
}

// drivenWindow is one window, or tab, of a driven browser. It is an engine.
type drivenWindow struct {
	*driven
	handle string
}

// do sends a command to the window, and reads the answer into out unless that is nil.
func (w *drivenWindow) do(command string, params map[string]any, out any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.at != w.handle {
		if _, err := w.wire.send("WebDriver:SwitchToWindow", map[string]any{"handle": w.handle}); err != nil {
			return err
		}
		w.at = w.handle
	}
	value, err := w.wire.send(command, params)
	if err != nil || out == nil {
		return err
	}
	return json.Unmarshal(value, out)
}

// firstWindow is the window that a session begins with.
func (d *driven) firstWindow() (*drivenWindow, error) {
	w := &drivenWindow{driven: d}
	return w, w.do("WebDriver:GetWindowHandle", nil, &w.handle)
}

func (w *drivenWindow) newWindow() (*drivenWindow, error) {
	var made struct{ Handle string }
	err := w.do("WebDriver:NewWindow", map[string]any{"type": "tab"}, &made)
	return &drivenWindow{w.driven, made.Handle}, err
}

// beside is the address of a window that begins so; "" if there is none.
func (w *drivenWindow) beside(address string) string {
	var handles []string
	_ = w.do("WebDriver:GetWindowHandles", nil, &handles)
	for _, h := range handles {
		var at string
		value, err := (&drivenWindow{w.driven, h}).evaluate("location.href")
		if err == nil && json.Unmarshal(value, &at) == nil && strings.HasPrefix(at, address) {
			return at
		}
	}
	return ""
}

func (w *drivenWindow) close() error {
	err := w.do("WebDriver:CloseWindow", nil, nil)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = "" // of none
	return err
}

func (w *drivenWindow) navigate(url string) error {
	return w.do("WebDriver:Navigate", map[string]any{"url": url}, nil)
}

func (w *drivenWindow) evaluate(js string) ([]byte, error) {
	var value json.RawMessage
	err := w.do("WebDriver:ExecuteScript", map[string]any{"script": "return (" + js + "\n)", "args": []any{}}, &value)
	return value, err
}

// click is that of a person: it scrolls there, and what covers the element is in its way.
func (w *drivenWindow) click(selector string) error {
	var found map[string]string // {"element-6066-...": id}
	if err := w.do("WebDriver:FindElement", map[string]any{"using": "css selector", "value": selector}, &found); err != nil {
		return err
	}
	for _, id := range found {
		return w.do("WebDriver:ElementClick", map[string]any{"id": id}, nil)
	}
	return fmt.Errorf("%s: the driver names no element", selector)
}

func (w *drivenWindow) picture() ([]byte, error) {
	var png string
	if err := w.do("WebDriver:TakeScreenshot", nil, &png); err != nil {
		return nil, err
	}
	return base64.StdEncoding.DecodeString(png)
}

// drivenCookie is a cookie of the page that is shown, also one that no script can read.
type drivenCookie struct {
	Name, Path, Domain, SameSite string
	Secure, HTTPOnly             bool
	Expiry                       int64
}

func (w *drivenWindow) cookies() (list []drivenCookie, err error) {
	return list, w.do("WebDriver:GetCookies", nil, &list)
}
