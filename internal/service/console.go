package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/legato-calls/legato/internal/console"
)

// ConsoleSettings say where the console listens, and to whom.
type ConsoleSettings struct {
	ConsoleListen       string   `env:"LEGATO_CONSOLE_LISTEN" help:"Address of the console, pages to look at calls with; empty: there is none. Beyond loopback it needs a login." placeholder:"ADDR"`
	ConsoleUser         string   `env:"LEGATO_CONSOLE_USER" help:"User of the console, by HTTP basic authentication." placeholder:"USER"`
	ConsolePassword     string   `env:"LEGATO_CONSOLE_PASSWORD" help:"Password of that user." placeholder:"PASSWORD"`
	ConsolePasswordFile string   `env:"LEGATO_CONSOLE_PASSWORD_FILE" help:"File to read the password from." placeholder:"FILE" type:"path"`
	ConsoleTrustHeader  string   `env:"LEGATO_CONSOLE_TRUST_HEADER" help:"Header in which a proxy that signs people in names the user, instead of a login: nobody else may reach the console then." placeholder:"HEADER"`
	ConsoleReveal       []string `env:"LEGATO_CONSOLE_REVEAL" help:"Users who may see numbers, names, bodies and addresses of recordings, each time by a line in the log; without a login everybody is the user local." placeholder:"USER"`
}

// access is who gets into the console. Its errors name settings and never what is in them.
func (s *ConsoleSettings) access() (console.Access, error) {
	if s.ConsoleListen == "" {
		return console.Access{}, nil
	}
	password, err := optionalSecret(s.ConsolePassword, s.ConsolePasswordFile, "LEGATO_CONSOLE_PASSWORD")
	if err != nil {
		return console.Access{}, err
	}
	a := console.Access{User: s.ConsoleUser, Password: password, TrustHeader: s.ConsoleTrustHeader, Reveal: s.ConsoleReveal}
	err = a.Check(s.ConsoleListen)
	switch {
	case errors.Is(err, console.ErrOpen):
		return a, fmt.Errorf("--console-listen: %w; set --console-user and --console-password, or --console-trust-header behind a proxy that signs people in", err)
	case err != nil:
		return a, fmt.Errorf("--console-listen: %w", err)
	}
	return a, nil
}

// openConsole binds the console, where there is to be one.
func (s *Service) openConsole(ctx context.Context) error {
	access, err := s.settings.access()
	if err != nil || s.settings.ConsoleListen == "" {
		return err
	}
	s.console, err = console.New(ctx, console.Config{
		Listen: s.settings.ConsoleListen, Access: access, Sources: s.sources, JetStream: s.js, Layout: s.layout,
		Logger: s.log.With("component", "console"),
	})
	if err != nil {
		return err
	}
	s.onStop("console", s.console.Shutdown)
	return nil
}

// ConsoleURL is where the console is, as seen from here; empty when there is none.
func (s *Service) ConsoleURL() string {
	if s.console == nil {
		return ""
	}
	return "http://" + reachable(s.console.Addr()) + "/"
}
