package natsd

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"

	"github.com/nats-io/nats.go"
	"github.com/synadia-io/orbit.go/natscontext"
)

// errContext is wrapped by errors of a context that no other attempt would help.
var errContext = errors.New("it cannot be used")

// wayOfContext fails when the context is not the only thing that says where to connect.
func (cfg ConnectConfig) wayOfContext(log *slog.Logger) (way, error) {
	w := way{where: "context " + cfg.Context}
	if len(cfg.URLs) > 0 || cfg.Auth != (Auth{}) || cfg.Creds+cfg.Nkey+cfg.CA+cfg.Cert+cfg.Key != "" {
		return w, errors.New("a context says where NATS is and how to log in: leave out what else does")
	}
	w.dial = func() (*nats.Conn, error) {
		nc, settings, err := natscontext.Connect(cfg.Context, connOptions(cfg.Name, log)...)
		switch {
		case err == nil && settings.JSDomain+settings.JSAPIPrefix != "":
			nc.Close()
			return nil, fmt.Errorf("it names a domain of JetStream, which Legato does not know: %w", errContext)
		case err == nil:
			return nc, nil
		}
		// An error of a URL counts as one of the network, and repeats what stands in the URL.
		if _, ok := errors.AsType[*url.Error](err); ok {
			err = errors.New("its URL is none")
		}
		if !passing(err) {
			err = fmt.Errorf("%w: %w", err, errContext)
		}
		return nil, err
	}
	return w, nil
}

// passing reports whether an error is of the network, and not of the context or the login.
func passing(err error) bool {
	var network net.Error
	return errors.Is(err, nats.ErrNoServers) || errors.Is(err, nats.ErrTimeout) || errors.As(err, &network)
}
