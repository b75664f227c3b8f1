package service

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"

	"github.com/legato-calls/legato/internal/natsd"
)

// NATSSettings say which NATS to use and how to log in to it; every command that reads NATS shares them, by
// ReaderSettings.
type NATSSettings struct {
	NATSURL          string `env:"LEGATO_NATS_URL" help:"External NATS, several servers separated by commas; empty: embedded." name:"nats-url" placeholder:"URL"`
	NATSUser         string `env:"LEGATO_NATS_USER" help:"User of NATS; the embedded one then asks for it." name:"nats-user" placeholder:"USER"`
	NATSPassword     string `env:"LEGATO_NATS_PASSWORD" help:"Password of the user." name:"nats-password" placeholder:"PASSWORD"`
	NATSPasswordFile string `env:"LEGATO_NATS_PASSWORD_FILE" help:"File to read the password from." name:"nats-password-file" placeholder:"FILE" type:"path"`
	NATSToken        string `env:"LEGATO_NATS_TOKEN" help:"Token of NATS, instead of a user; the embedded one then asks for it." name:"nats-token" placeholder:"TOKEN"`
	NATSTokenFile    string `env:"LEGATO_NATS_TOKEN_FILE" help:"File to read the token from." name:"nats-token-file" placeholder:"FILE" type:"path"`
	NATSCreds        string `env:"LEGATO_NATS_CREDS" help:"Credentials file for the external NATS." name:"nats-creds" placeholder:"FILE" type:"path"`
	NATSNkey         string `env:"LEGATO_NATS_NKEY" help:"File with the seed of an nkey for the external NATS." name:"nats-nkey" placeholder:"FILE" type:"path"`
	NATSCA           string `env:"LEGATO_NATS_CA" help:"Certificates that may have signed the external NATS's; TLS is then a must." name:"nats-ca" placeholder:"FILE" type:"path"`
	NATSCert         string `env:"LEGATO_NATS_CERT" help:"Client certificate for the external NATS." name:"nats-cert" placeholder:"FILE" type:"path"`
	NATSKey          string `env:"LEGATO_NATS_KEY" help:"Key of the client certificate." name:"nats-key" placeholder:"FILE" type:"path"`
	NATSTLSFirst     bool   `env:"LEGATO_NATS_TLS_FIRST" help:"Begin with TLS, for an external NATS that says nothing before (handshake_first); TLS is then a must." name:"nats-tls-first"`
	NATSJSDomain     string `env:"LEGATO_NATS_JS_DOMAIN" help:"Domain of JetStream that the streams are in, where it is not that of the server connected to, as behind a leaf node." name:"nats-js-domain" placeholder:"DOMAIN"`
	SubjectPrefix    string `default:"calls" env:"LEGATO_SUBJECT_PREFIX" help:"First token of every subject; stream names follow it."`
}

// URLs are the servers of an external NATS; none: the embedded one.
func (s NATSSettings) URLs() []string {
	var urls []string
	for u := range strings.SplitSeq(s.NATSURL, ",") {
		if u = strings.TrimSpace(u); u != "" {
			urls = append(urls, u)
		}
	}
	return urls
}

// auth reads user and password, or the token. Its errors name settings and
// never what is in them.
func (s NATSSettings) auth() (natsd.Auth, error) {
	password, err := optionalSecret(s.NATSPassword, s.NATSPasswordFile, "LEGATO_NATS_PASSWORD")
	if err != nil {
		return natsd.Auth{}, err
	}
	token, err := optionalSecret(s.NATSToken, s.NATSTokenFile, "LEGATO_NATS_TOKEN")
	if err != nil {
		return natsd.Auth{}, err
	}
	switch {
	case token != "" && (s.NATSUser != "" || password != ""):
		return natsd.Auth{}, errors.New("--nats-token and --nats-user exclude each other; set one of them")
	case s.NATSUser != "" && password == "":
		return natsd.Auth{}, errors.New("--nats-user needs --nats-password (LEGATO_NATS_PASSWORD, or LEGATO_NATS_PASSWORD_FILE)")
	case s.NATSUser == "" && password != "":
		return natsd.Auth{}, errors.New("--nats-password needs --nats-user")
	}
	return natsd.Auth{User: s.NATSUser, Password: password, Token: token}, nil
}

// optionalSecret reads a secret that may be missing. A file that is empty is a mistake.
func optionalSecret(value, file, env string) (string, error) {
	switch {
	case value != "" && file != "":
		return "", fmt.Errorf("%s and %s_FILE are both set; unset one", env, env)
	case file == "":
		return strings.TrimSpace(value), nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s_FILE: %w", env, err)
	}
	if value = strings.TrimSpace(string(data)); value == "" {
		return "", fmt.Errorf("%s_FILE: %s is empty", env, file)
	}
	return value, nil
}

// External says how to reach the NATS at these URLs.
func (s NATSSettings) External(urls []string, name string, log *slog.Logger) (natsd.ConnectConfig, error) {
	auth, err := s.auth()
	return natsd.ConnectConfig{
		URLs: urls, Auth: auth, Creds: s.NATSCreds, Nkey: s.NATSNkey, CA: s.NATSCA, Cert: s.NATSCert, Key: s.NATSKey,
		TLSFirst: s.NATSTLSFirst, Domain: s.NATSJSDomain, Name: name, Logger: log,
	}, errors.Join(err, s.checkDomain())
}

// checkDomain refuses what cannot be one token of a subject.
func (s NATSSettings) checkDomain() error {
	if strings.ContainsAny(s.NATSJSDomain, ".*> \t") {
		return errors.New("--nats-js-domain is one word without dots, stars and spaces, as the server has it in jetstream { domain }")
	}
	return nil
}

// checkEmbedded refuses what only an external NATS knows: to pass over it in
// silence would leave somebody believe that it guards something.
func (s NATSSettings) checkEmbedded() error {
	for _, given := range []struct{ flag, value string }{
		{"--nats-creds", s.NATSCreds},
		{"--nats-nkey", s.NATSNkey},
		{"--nats-ca", s.NATSCA},
		{"--nats-cert", s.NATSCert},
		{"--nats-key", s.NATSKey},
		{"--nats-js-domain", s.NATSJSDomain},
	} {
		if given.value != "" {
			return fmt.Errorf("%s is for an external NATS: set --nats-url", given.flag)
		}
	}
	if s.NATSTLSFirst {
		return errors.New("--nats-tls-first is for an external NATS: set --nats-url")
	}
	return nil
}
