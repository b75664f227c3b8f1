package natsd

import (
	"crypto/subtle"
	"errors"
	"log/slog"
	"net/netip"
	"regexp"
	"strings"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"
)

// ErrOpen tells that the embedded server would serve everybody in reach: it
// listens beyond loopback and asks for nothing.
var ErrOpen = errors.New("beyond loopback without a user and password, or a token, everybody in reach could read and write all calls")

// Auth is what a client shows a server: a user with a password, or a token. The
// zero value is nothing. No formatting shows its secrets.
type Auth struct {
	User     string
	Password string `json:"-"`
	Token    string `json:"-"`
}

// String names the kind.
func (a Auth) String() string {
	switch {
	case a.Token != "":
		return "token"
	case a.User != "" || a.Password != "":
		return "user and password"
	}
	return "none"
}

// GoString keeps %#v from showing the secrets.
func (a Auth) GoString() string { return "natsd.Auth{" + a.String() + "}" }

// check fails on half of a pair, and on two kinds at once.
func (a Auth) check() error {
	switch {
	case a.Token != "" && (a.User != "" || a.Password != ""):
		return errors.New("both a token and a user are given for NATS; one of them is enough")
	case a.User != "" && a.Password == "":
		return errors.New("a user for NATS is given without a password")
	case a.User == "" && a.Password != "":
		return errors.New("a password for NATS is given without a user")
	}
	return nil
}

func (a Auth) options() []nats.Option {
	switch {
	case a.Token != "":
		return []nats.Option{nats.Token(a.Token)}
	case a.User != "":
		return []nats.Option{nats.UserInfo(a.User, a.Password)}
	}
	return nil
}

// gate admits the clients of an embedded server, and keeps those of other processes from publishing on own subjects. The
// server's own check would take a password that looks like a bcrypt hash for one, and warn of every other.
type gate struct {
	auth Auth
	own  []string
}

var _ server.Authentication = gate{}

// Check implements server.Authentication.
func (g gate) Check(c server.ClientAuthentication) bool {
	if !g.admits(c.GetOpts()) {
		return false
	}
	if from := c.RemoteAddress(); len(g.own) > 0 && (from == nil || from.Network() != inProcess) {
		c.RegisterUser(&server.User{Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: g.own}}})
	}
	return true
}

// inProcess is the network of a connection that does not leave the process: it is a net.Pipe.
const inProcess = "pipe"

func (g gate) admits(shown *server.ClientOpts) bool {
	switch {
	case g.auth == Auth{}:
		return true
	case g.auth.Token != "":
		return same(shown.Token, g.auth.Token)
	}
	return same(shown.Username, g.auth.User) && same(shown.Password, g.auth.Password)
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// loopback reports whether a listener on host can be reached from this machine
// only. A name other than localhost is not trusted to stay there.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// asyncErrors logs what NATS reports outside of any exchange; a missing permission at most once a minute per operation,
// since every message is refused.
type asyncErrors struct {
	log     *slog.Logger
	refused func(error) // nil: nobody asks

	mu   sync.Mutex
	said map[string]*rate.Sometimes
}

func (a *asyncErrors) handle(sub *nats.Subscription, err error) {
	say := func() {
		attrs := []any{slog.Any("error", err)}
		if sub != nil {
			attrs = append(attrs, slog.String("subject", sub.Subject))
		}
		a.log.Error("NATS reported an error", attrs...)
	}
	if !errors.Is(err, nats.ErrPermissionViolation) {
		say()
		return
	}
	if a.refused != nil {
		a.refused(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	of := operation(err)
	if a.said[of] == nil {
		a.said[of] = &rate.Sometimes{Interval: warnEvery}
	}
	a.said[of].Do(say)
}

// quoted is the subject in a server's refusal.
var quoted = regexp.MustCompile(`(?i)(publish|subscription)[^"]*"([^"]*)"`)

// operation is what a refusal is about, without the tokens of the subject that differ from message to message.
func operation(err error) string {
	found := quoted.FindStringSubmatch(err.Error())
	if found == nil {
		return "permission"
	}
	tokens := strings.SplitN(found[2], ".", 4)
	return strings.ToLower(found[1]) + " " + strings.Join(tokens[:min(len(tokens), 3)], ".")
}

// RefusedAck reports whether an error is the refusal of an acknowledgement, for want of the permission to publish it.
func RefusedAck(err error) bool {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return false
	}
	found := quoted.FindStringSubmatch(err.Error())
	return found != nil && strings.HasPrefix(found[2], "$JS.ACK.")
}
