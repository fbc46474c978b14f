package upstream

import (
	"net/http"
	"testing"
)

// Cookies that are made anew for each sign-in have names that are not known in advance.
func TestAttackOwnCookiesByPrefix(t *testing.T) {
	o := newOwnCookies([]string{"__Host-sallyport", "__Host-sallyport-flow-*"})
	request := http.Header{"Cookie": {"theme=dark; __Host-sallyport-flow-AbC=1; sallyport-flow-x=2; SALLYPORT-FLOW-=3; sallyport-flowers=rose; __Secure-sallyport=4"}}
	o.stripRequest(request)
	if got := request.Get("Cookie"); got != "theme=dark; sallyport-flowers=rose" {
		t.Errorf("upstream sees %q", got)
	}
	response := http.Header{"Set-Cookie": {"sallyport-flow-x=planted; Path=/", "sallyport-flowers=rose"}}
	o.stripResponse(response, "")
	if got := response.Values("Set-Cookie"); len(got) != 1 || got[0] != "sallyport-flowers=rose" {
		t.Errorf("upstream sets %q", got)
	}
}
