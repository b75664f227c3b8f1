package console_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/console"
)

func TestNobodyGetsInUnasked(t *testing.T) {
	login := console.Access{User: "ada", Password: "secret"}
	for _, tt := range []struct {
		name     string
		listen   string
		access   console.Access
		ok, open bool
	}{
		{"loopback asks for nothing", "127.0.0.1:0", console.Access{}, true, false},
		{"so does loopback of IPv6", "[::1]:0", console.Access{}, true, false},
		{"and localhost", "localhost:8082", console.Access{}, true, false},
		{"all interfaces do not", ":8082", console.Access{}, false, true},
		{"nor does an address of the network", "192.0.2.1:8082", console.Access{}, false, true},
		{"nor a name that may lead anywhere", "console.internal:8082", console.Access{}, false, true},
		{"with a login all do", ":8082", login, true, false},
		{"with a proxy that signs in as well", ":8082", console.Access{TrustHeader: "X-User"}, true, false},
		{"both leave open which counts", ":8082", console.Access{User: "ada", Password: "secret", TrustHeader: "X-User"}, false, false},
		{"a user needs a password", ":8082", console.Access{User: "ada"}, false, false},
		{"an address needs a port", "127.0.0.1", console.Access{}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.access.Check(tt.listen)
			if (err == nil) != tt.ok || errors.Is(err, console.ErrOpen) != tt.open {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestALoginIsRefusedAndAccepted(t *testing.T) {
	w := open(t, console.Access{User: "ada", Password: "correct horse"})
	for _, tt := range []struct {
		name, user, password string
		want                 int
	}{
		{"nobody", "", "", http.StatusUnauthorized},
		{"another password", "ada", "wrong", http.StatusUnauthorized},
		{"no password", "ada", "", http.StatusUnauthorized},
		{"another user", "bob", "correct horse", http.StatusUnauthorized},
		{"the user", "ada", "correct horse", http.StatusOK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{"/", "/assets/console.css", "/find", "/stream/calls?outcome=none"} {
				r := w.request(http.MethodGet, path, nil)
				if tt.user != "" {
					r.SetBasicAuth(tt.user, tt.password)
				}
				want := tt.want
				if want == http.StatusOK && strings.HasPrefix(path, "/stream") {
					want = http.StatusBadRequest // it was let in, and asks for what there is not
				}
				got := w.do(r)
				if got.status != want {
					t.Errorf("%s: got %d, want %d", path, got.status, want)
				}
				if got.status == http.StatusUnauthorized && !strings.HasPrefix(got.header.Get("WWW-Authenticate"), "Basic ") {
					t.Errorf("%s: the answer asks for no login: %v", path, got.header)
				}
			}
		})
	}
}

func TestAProxyNamesTheUserOnce(t *testing.T) {
	w := open(t, console.Access{TrustHeader: "X-Forwarded-User"})
	for _, tt := range []struct {
		name  string
		users []string
		want  int
	}{
		{"nobody is named", nil, http.StatusUnauthorized},
		{"an empty name", []string{""}, http.StatusUnauthorized},
		{"one", []string{"ada"}, http.StatusOK},
		{"two, of which one may be the sender's own", []string{"root", "ada"}, http.StatusUnauthorized},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := w.request(http.MethodGet, "/find", nil)
			r.Header["X-Forwarded-User"] = tt.users
			got := w.do(r)
			if got.status != tt.want {
				t.Errorf("got %d, want %d", got.status, tt.want)
			}
			if tt.want == http.StatusOK && !strings.Contains(got.body, "Signed in as ada") {
				t.Errorf("the page does not name the user: %s", got.body)
			}
		})
	}
}

func TestWithoutALoginOnlyLocalhostIsAnswered(t *testing.T) {
	w := open(t, console.Access{})
	for host, want := range map[string]int{"": 200, "localhost:1234": 200, "[::1]:80": 200, "evil.example": 421, "evil.example:80": 421, "127.0.0.1.evil.example": 421} {
		r := w.request(http.MethodGet, "/find", nil)
		if host != "" {
			r.Host = host
		}
		if got := w.do(r).status; got != want {
			t.Errorf("host %q: got %d, want %d", host, got, want)
		}
	}
}

func TestEveryAnswerSaysWhatABrowserMayDoWithIt(t *testing.T) {
	w := open(t, console.Access{})
	for _, path := range []string{"/", "/find", "/calls/none", "/nothing", "/calls/none/entries/x"} {
		h := w.get(path).header
		policy := h.Get("Content-Security-Policy")
		for _, rule := range []string{"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"} {
			if !strings.Contains(policy, rule) {
				t.Errorf("%s: the policy lacks %s: %s", path, rule, policy)
			}
		}
		if strings.Contains(policy, "unsafe") {
			t.Errorf("%s: %s", path, policy)
		}
		if h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Set-Cookie") != "" {
			t.Errorf("%s: %v", path, h)
		}
	}
	page := w.get("/").body
	for _, inline := range []string{"<style", " style=", " onclick=", "<script>"} {
		if strings.Contains(page, inline) {
			t.Errorf("the page has %s, which the policy forbids", inline)
		}
	}
}

func TestAnotherOriginPostsInVain(t *testing.T) {
	w := open(t, console.Access{})
	for name, header := range map[string][2]string{
		"a browser says cross-site": {"Sec-Fetch-Site", "cross-site"}, "or same-site": {"Sec-Fetch-Site", "same-site"}, "an older one names the origin": {"Origin", "https://evil.example"},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.request(http.MethodPost, "/find", url.Values{"q": {"outcome:busy"}})
			r.Header.Set(header[0], header[1])
			if got := w.do(r); got.status != http.StatusForbidden {
				t.Errorf("got %d: %s", got.status, got.body)
			}
		})
	}
	r := w.request(http.MethodPost, "/find", url.Values{"q": {"outcome:busy"}})
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	if got := w.do(r); got.status != http.StatusSeeOther {
		t.Errorf("its own page: got %d: %s", got.status, got.body)
	}
}

func TestReadersThatTakeNothingKeepNobodyFromAPage(t *testing.T) {
	t.Parallel()
	w := open(t, console.Access{})
	values := make([]int, 40_000) // the page has some MB
	publish := func(revision int) uint64 {
		return w.publish(summary.Key{Kind: summary.KindSession, Session: "long"}, revision, map[string]any{
			"kind": summary.KindSession, "call_session_id": "long", "revision": revision, "numbers": values,
		})
	}
	publish(1)
	for i := range values {
		values[i] = i + 1
	}
	path := fmt.Sprintf("/calls/long/revisions/%d", publish(2))
	for range 8 {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(w.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
			t.Fatal(err)
		}
		if err := w.request(http.MethodGet, path, nil).Write(conn); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil { // it is being sent
			t.Fatal(err)
		}
	}
	if got := w.get("/find"); got.status != http.StatusOK {
		t.Errorf("somebody else got %d: %s", got.status, got.body)
	}
}
