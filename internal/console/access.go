package console

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Access says who gets in, and who may see what is masked.
type Access struct {
	// User and Password are asked for by HTTP basic authentication. Empty: they are not.
	User, Password string
	// TrustHeader is the header in which a proxy that signs people in names the user. Empty: there is no such proxy.
	TrustHeader string
	// Reveal are the users who may see numbers, names, bodies and the addresses of recordings.
	Reveal []string
}

// LocalUser is the name of everybody where no login is asked for.
const LocalUser = "local"

// ErrOpen is wrapped by the error of New for a console that would be open to a network.
var ErrOpen = errors.New("beyond loopback everybody in reach could read all calls")

// Check refuses what would let in whoever is not meant to: with ErrOpen what asks for nothing beyond loopback.
func (a *Access) Check(listen string) error {
	host, _, err := net.SplitHostPort(listen)
	switch {
	case err != nil:
		return err
	case (a.User == "") != (a.Password == ""):
		return errors.New("a user and a password belong together")
	case a.User != "" && a.TrustHeader != "":
		return errors.New("a login and the header of a proxy exclude each other")
	case a.open() && !loopback(host):
		return ErrOpen
	}
	return nil
}

// open reports whether nobody is asked for anything.
func (a *Access) open() bool { return a.User == "" && a.TrustHeader == "" }

func loopback(host string) bool {
	if ip := net.ParseIP(strings.Trim(host, "[]")); ip != nil {
		return ip.IsLoopback()
	}
	return strings.EqualFold(host, "localhost")
}

// user returns who asks; false: it is not known, or not let in.
func (a *Access) user(r *http.Request) (string, bool) {
	switch {
	case a.TrustHeader != "":
		values := r.Header.Values(a.TrustHeader)
		// Two of them may be one of the proxy's and one of the sender's.
		return r.Header.Get(a.TrustHeader), len(values) == 1 && values[0] != ""
	case a.User != "":
		user, password, ok := r.BasicAuth()
		same := subtle.ConstantTimeCompare(digest(user), digest(a.User)) & subtle.ConstantTimeCompare(digest(password), digest(a.Password))
		return user, ok && same == 1
	}
	return LocalUser, true
}

// digest makes texts of any length comparable in a time that tells nothing of them.
func digest(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

type userKey struct{}

// userOf is who sent a request that guard has let in.
func userOf(r *http.Request) string {
	name, _ := r.Context().Value(userKey{}).(string)
	return name
}

// mayReveal reports whether a user may see what is masked.
func (a *Access) mayReveal(user string) bool { return slices.Contains(a.Reveal, user) }

// policy allows a page nothing but what this listener serves: no inline script, no style in an element, no frame.
const policy = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"

// guard lets in who may, and says on every answer what a browser may do with it.
func (c *Console) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		// Without a login only the address keeps others out: another host name that resolves to this address is not ours.
		if c.cfg.open() && !loopback(hostOf(r)) {
			http.Error(w, "This console answers to localhost alone.", http.StatusMisdirectedRequest)
			return
		}
		user, ok := c.cfg.user(r)
		if !ok {
			if c.cfg.User != "" {
				h.Set("WWW-Authenticate", `Basic realm="Legato", charset="UTF-8"`)
			}
			http.Error(w, "Who are you?", http.StatusUnauthorized)
			return
		}
		if err := readBody(w, r); err != nil {
			http.Error(w, "The form cannot be read.", http.StatusBadRequest)
			return
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, user)))
	})
}

// readBody reads a form, bounded in size and time; what a page takes after that is its own affair.
func readBody(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if r.Method != http.MethodPost {
		return nil
	}
	connection := http.NewResponseController(w)
	if err := connection.SetReadDeadline(time.Now().Add(formWithin)); err != nil {
		return err
	}
	if err := r.ParseForm(); err != nil {
		return err
	}
	return connection.SetReadDeadline(time.Time{})
}

func hostOf(r *http.Request) string {
	if host, _, err := net.SplitHostPort(r.Host); err == nil {
		return host
	}
	return r.Host
}

// revealed reports whether a request asks to see what is masked and may, and logs it. It is a POST: neither a link nor
// a page that is loaded again reveals anything.
func (c *Console) revealed(r *http.Request, what string, attrs ...slog.Attr) (bool, error) {
	if r.Method != http.MethodPost || r.FormValue("reveal") == "" {
		return false, nil
	}
	user := userOf(r)
	if !c.cfg.mayReveal(user) {
		return false, problem{http.StatusForbidden, "You may not see what is masked: --console-reveal names who may."}
	}
	attrs = append([]slog.Attr{slog.String("user", user), slog.String("what", what)}, attrs...)
	c.log.LogAttrs(r.Context(), slog.LevelInfo, "somebody sees what is masked", attrs...)
	return true, nil
}
