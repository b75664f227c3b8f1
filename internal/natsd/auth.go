package natsd

import (
	"crypto/subtle"
	"errors"
	"net/netip"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
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
