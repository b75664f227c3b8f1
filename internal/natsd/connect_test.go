package natsd_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

// lockedBuffer takes log lines of several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// signal is a log handler that reports each line's message on a channel.
type signal struct{ lines chan string }

func (signal) Enabled(context.Context, slog.Level) bool { return true }
func (h signal) Handle(_ context.Context, r slog.Record) error {
	h.lines <- r.Message
	return nil
}
func (h signal) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h signal) WithGroup(string) slog.Handler      { return h }

// freeAddr returns a loopback address on which nothing listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestConnectWaitsForAServerThatIsNotThereYet(t *testing.T) {
	addr := freeAddr(t)
	lines := make(chan string, 100)
	go func() {
		<-lines // The first attempt failed.
		s, err := natsd.Start(natsd.Config{DataDir: t.TempDir(), Listen: addr})
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { stop(t, s) })
	}()
	nc, _, err := natsd.Connect(t.Context(), natsd.ConnectConfig{URLs: []string{addr}, Logger: slog.New(signal{lines})})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestConnectGivesUpWhenItsContextEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, _, err := natsd.Connect(ctx, natsd.ConnectConfig{URLs: []string{"nats://user:hunter2@" + freeAddr(t)}})
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, nats.ErrNoServers) {
		t.Errorf("got error %v, want the context's and the last attempt's", err)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error shows the password: %v", err)
	}
}

// guarded starts a server that wants user "legato", password "s3cr%t word".
func guarded(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true,
		Username: "legato", Password: "s3cr%t word",
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(5 * time.Second) {
		t.Fatal("server is not ready")
	}
	return s.Addr().String()
}

func TestConnectTakesCredentialsFromTheURL(t *testing.T) {
	addr := guarded(t)
	nc, _, err := natsd.Connect(t.Context(), natsd.ConnectConfig{URLs: []string{"nats://legato:s3cr%25t%20word@" + addr}})
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
}

func TestConnectFailsAtOnceAndKeepsSecrets(t *testing.T) {
	addr := guarded(t)
	dir := t.TempDir()
	creds := filepath.Join(dir, "bad.creds")
	if err := os.WriteFile(creds, []byte("hunter2, not a credentials file"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		cfg  natsd.ConnectConfig
		want string
	}{
		{name: "without a URL", want: "no URL"},
		{name: "on a wrong password", cfg: natsd.ConnectConfig{URLs: []string{"nats://legato:hunter2@" + addr}}, want: "nats://" + addr},
		{name: "on a wrong token", cfg: natsd.ConnectConfig{URLs: []string{"nats://hunter2@" + addr}}, want: "nats://" + addr},
		{name: "on a password with a control character", cfg: natsd.ConnectConfig{URLs: []string{"nats://ok:4222", "nats://legato:hunter2\x7f@" + addr}}, want: "URL 2 of 2"},
		{name: "on a bad escape", cfg: natsd.ConnectConfig{URLs: []string{"nats://legato:hunter2%zz@" + addr}}, want: "URL 1 of 1"},
		{name: "on another scheme", cfg: natsd.ConnectConfig{URLs: []string{"http://legato:hunter2@" + addr}}, want: `scheme "http"`},
		{name: "on a missing credentials file", cfg: natsd.ConnectConfig{URLs: []string{addr}, Creds: filepath.Join(dir, "none")}, want: filepath.Join(dir, "none")},
		{name: "on a file that holds no credentials", cfg: natsd.ConnectConfig{URLs: []string{addr}, Creds: creds}, want: creds},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var log lockedBuffer
			tt.cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			nc, _, err := natsd.Connect(ctx, tt.cfg)
			if err == nil {
				nc.Close()
				t.Fatal("got no error")
			}
			if errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("kept trying: %v", err)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %q, want it to tell %q", err, tt.want)
			}
			if text := err.Error() + log.String(); strings.Contains(text, "hunter2") {
				t.Errorf("shows the secret: %s", text)
			}
		})
	}
}

// contextFile writes a context of the nats command-line client where it looks for them, and returns its path.
func contextFile(t *testing.T, name, content string) string {
	t.Helper()
	dir := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "nats", "context")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name+".json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAContextOfTheNATSClientSaysWhereAndHow(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	s := natsdtest.Run(t, natsdtest.WithListen("127.0.0.1:0"))
	path := contextFile(t, "prod", `{"description":"","url":"`+s.URL()+`"}`)
	for _, name := range []string{"prod", path} {
		nc, _, err := natsd.Connect(t.Context(), natsd.ConnectConfig{Context: name, Name: "a test"})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		nc.Close()
	}
}

// A domain is the server's own name for its JetStream: there is none of another name.
func TestAContextNamesTheDomainOfJetStream(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	addr := outside(t, &server.Options{JetStream: true, StoreDir: t.TempDir(), JetStreamDomain: "hub"})
	contextFile(t, "hub", `{"url":"nats://`+addr+`","jetstream_domain":"hub"}`)
	contextFile(t, "prefix", `{"url":"nats://`+addr+`","jetstream_api_prefix":"$JS.hub.API"}`)
	contextFile(t, "other", `{"url":"nats://`+addr+`","jetstream_domain":"other"}`)
	for name, found := range map[string]bool{"hub": true, "prefix": true, "other": false} {
		nc, js, err := natsd.Connect(t.Context(), natsd.ConnectConfig{Context: name})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		defer nc.Close()
		if _, err := js.AccountInfo(t.Context()); (err == nil) != found {
			t.Errorf("the JetStream of context %s: %v", name, err)
		}
	}
}

func TestAContextThatCannotBeUsedIsRefusedAtOnce(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	s := natsdtest.Run(t, natsdtest.WithListen("127.0.0.1:0"))
	contextFile(t, "prod", `{"url":"`+s.URL()+`"}`)
	contextFile(t, "half", `{"url":`)
	contextFile(t, "broken", `{"url":"nats://user:a-secret@%zz"}`)
	for _, tt := range []struct {
		name string
		cfg  natsd.ConnectConfig
		want string
	}{
		{"one that does not exist", natsd.ConnectConfig{Context: "other"}, `unknown context "other"`},
		{"one that is no JSON", natsd.ConnectConfig{Context: "half"}, "it cannot be used"},
		{"one with a URL that is none", natsd.ConnectConfig{Context: "broken"}, "its URL is none"},
		{"one beside a domain", natsd.ConnectConfig{Context: "prod", Domain: "hub"}, "leave out what else does"},
		{"one beside a URL", natsd.ConnectConfig{Context: "prod", URLs: []string{s.URL()}}, "leave out what else does"},
		{"one beside a login", natsd.ConnectConfig{Context: "prod", Auth: natsd.Auth{Token: "a-secret"}}, "leave out what else does"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := natsd.Connect(t.Context(), tt.cfg)
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "a-secret") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAContextWhoseServerIsAwayIsWaitedFor(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	contextFile(t, "away", `{"url":"nats://127.0.0.1:1"}`)
	ctx, cancel := context.WithCancel(t.Context())
	_, _, err := natsd.Connect(ctx, natsd.ConnectConfig{Context: "away", Waiting: func(error) { cancel() }})
	if err == nil || !strings.Contains(err.Error(), "connect to NATS at context away: context canceled") {
		t.Errorf("got %v", err)
	}
}

// What a user may not do is refused with every message: it is said once a minute, not each time.
func TestARefusedOperationIsToldEachTimeAndLoggedOnce(t *testing.T) {
	addr := outside(t, &server.Options{Users: []*server.User{{
		Username: "u", Password: "p", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.ACK.>", "other.>"}}},
	}}})
	told := make(chan error, 100)
	var log lockedBuffer
	nc, _, err := natsd.Connect(t.Context(), natsd.ConnectConfig{
		URLs: []string{"nats://u:p@" + addr}, Refused: func(err error) { told <- err }, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	acks := 0
	for n := range 20 {
		subject := fmt.Sprintf("$JS.ACK.CALL_EVENTS.legato.1.%d.%d.0.0", n, n)
		if n%10 == 0 {
			subject = "other.thing"
		}
		if err := nc.Publish(subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		select {
		case err := <-told:
			if natsd.RefusedAck(err) {
				acks++
			}
		case <-time.After(time.Minute):
			t.Fatal("a refusal is not told")
		}
	}
	if acks != 18 {
		t.Errorf("%d of 18 refusals of acknowledgements are told as such", acks)
	}
	nc.Close() // its callbacks run one after the other, so that the lines are written
	if got := strings.Count(log.String(), "NATS reported an error"); got != 2 {
		t.Errorf("%d lines were written for two things that are not permitted:\n%s", got, log.String())
	}
}

// authority signs the certificates of a test.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes one whose own certificate is in its directory as ca.pem.
func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.issue(t, "ca", &x509.Certificate{
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name+".pem") }

// issue writes a certificate and its key, and keeps the first as its own.
func (a *authority) issue(t *testing.T, name string, template *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.Subject = pkix.Name{CommonName: name}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert == nil {
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			t.Fatal(err)
		}
		a.key = key
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, a.path(name), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, a.path(name+"-key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// outside runs a nats-server that is not ours and returns its address.
func outside(t *testing.T, opts *server.Options) string {
	t.Helper()
	opts.Host, opts.Port, opts.NoSigs, opts.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(60 * time.Second) {
		t.Fatal("server is not ready")
	}
	return s.Addr().String()
}

// tlsServer runs a nats-server with a certificate of the authority, which asks
// clients for one of it where mutual.
func tlsServer(t *testing.T, a *authority, mutual bool) string {
	t.Helper()
	return outside(t, tlsOptions(t, a, mutual))
}

// tlsOptions are those of tlsServer.
func tlsOptions(t *testing.T, a *authority, mutual bool) *server.Options {
	t.Helper()
	a.issue(t, "server", &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	pair, err := tls.LoadX509KeyPair(a.path("server"), a.path("server-key"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if mutual {
		config.ClientCAs = x509.NewCertPool()
		config.ClientCAs.AddCert(a.cert)
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return &server.Options{TLSConfig: config, TLSVerify: mutual, TLSTimeout: 10}
}

// wantConnected connects within patience.
func wantConnected(t *testing.T, cfg natsd.ConnectConfig) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	nc, _, err := natsd.Connect(ctx, cfg)
	if err != nil {
		t.Error(err)
		return
	}
	nc.Close()
}

// wantRefused wants an error at once that tells what is wrong.
func wantRefused(t *testing.T, cfg natsd.ConnectConfig, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	nc, _, err := natsd.Connect(ctx, cfg)
	if err == nil {
		nc.Close()
		t.Error("it connected")
		return
	}
	if errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q in it and no further tries", err, want)
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("the error shows a secret: %v", err)
	}
}

// wantUnreachable wants to be told of a first failure: a server that does not
// like the client's certificate hangs up, as one that is stopping does, so it is tried again.
func wantUnreachable(t *testing.T, cfg natsd.ConnectConfig) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	lines := make(chan string, 100)
	cfg.Logger = slog.New(signal{lines})
	go func() {
		if strings.Contains(<-lines, "trying again") {
			cancel()
		}
	}()
	nc, _, err := natsd.Connect(ctx, cfg)
	if err == nil {
		nc.Close()
	}
	if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "tls") {
		t.Errorf("got %v, want an error of TLS after the first try", err)
	}
}

func TestConnectOverTLS(t *testing.T) {
	a, other := newAuthority(t), newAuthority(t)
	client := func(a *authority) {
		a.issue(t, "client", &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	}
	client(a)
	client(other)
	plain, one, mutual := outside(t, new(server.Options)), tlsServer(t, a, false), tlsServer(t, a, true)
	at := func(addr string) natsd.ConnectConfig {
		return natsd.ConnectConfig{URLs: []string{"nats://" + addr}, CA: a.path("ca")}
	}
	t.Run("with the CA of the server", func(t *testing.T) { wantConnected(t, at(one)) })
	t.Run("with a client certificate", func(t *testing.T) {
		cfg := at(mutual)
		cfg.Cert, cfg.Key = a.path("client"), a.path("client-key")
		wantConnected(t, cfg)
	})
	t.Run("with another CA", func(t *testing.T) {
		cfg := at(one)
		cfg.CA = other.path("ca")
		wantRefused(t, cfg, "certificate")
	})
	t.Run("to a server without TLS", func(t *testing.T) { wantRefused(t, at(plain), "secure connection not available") })
	t.Run("without the client certificate that is asked for", func(t *testing.T) { wantUnreachable(t, at(mutual)) })
	t.Run("with a client certificate of another authority", func(t *testing.T) {
		cfg := at(mutual)
		cfg.Cert, cfg.Key = other.path("client"), other.path("client-key")
		wantUnreachable(t, cfg)
	})
	for name, spoil := range map[string]func(*natsd.ConnectConfig){
		"needs both":                  func(c *natsd.ConnectConfig) { c.Cert = a.path("client") },
		"CA file":                     func(c *natsd.ConnectConfig) { c.CA = filepath.Join(a.dir, "none") },
		"holds no certificate":        func(c *natsd.ConnectConfig) { c.CA = a.path("client-key") },
		"NATS client certificate":     func(c *natsd.ConnectConfig) { c.Cert, c.Key = a.path("client"), other.path("client-key") },
		"more than one way to log in": func(c *natsd.ConnectConfig) { c.Auth, c.Nkey = natsd.Auth{Token: "hunter2"}, a.path("ca") },
	} {
		t.Run("refuses: "+name, func(t *testing.T) {
			cfg := at(one)
			spoil(&cfg)
			wantRefused(t, cfg, name)
		})
	}
}

// A server with handshake_first says nothing before TLS: a client that waits for its greeting waits for ever.
func TestConnectBeginsWithTLSWhereTheServerDoes(t *testing.T) {
	a := newAuthority(t)
	opts := tlsOptions(t, a, false)
	opts.TLSHandshakeFirst = true
	cfg := natsd.ConnectConfig{URLs: []string{"nats://" + outside(t, opts)}, CA: a.path("ca")}
	ctx, cancel := context.WithCancel(t.Context())
	cfg.Waiting = func(error) { cancel() }
	if nc, _, err := natsd.Connect(ctx, cfg); err == nil {
		nc.Close()
		t.Error("it connected without beginning with TLS")
	}
	cfg.Waiting, cfg.TLSFirst = nil, true
	wantConnected(t, cfg)
}

func TestConnectLogsIn(t *testing.T) {
	dir := t.TempDir()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	public, err := user.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	strange, err := stranger.Seed()
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		write(t, path, content)
		return path
	}
	good, wrong := file("good.nk", string(seed)+"\n"), file("wrong.nk", string(strange))
	password := outside(t, &server.Options{Username: "legato", Password: "hunter2"})
	token := outside(t, &server.Options{Authorization: "hunter2"})
	nkey := outside(t, &server.Options{Nkeys: []*server.NkeyUser{{Nkey: public}}})

	t.Run("with user and password", func(t *testing.T) {
		wantConnected(t, natsd.ConnectConfig{URLs: []string{password}, Auth: natsd.Auth{User: "legato", Password: "hunter2"}})
	})
	t.Run("with a token", func(t *testing.T) {
		wantConnected(t, natsd.ConnectConfig{URLs: []string{token}, Auth: natsd.Auth{Token: "hunter2"}})
	})
	t.Run("with an nkey", func(t *testing.T) {
		wantConnected(t, natsd.ConnectConfig{URLs: []string{nkey}, Nkey: good})
	})
	for _, tt := range []struct {
		name string
		cfg  natsd.ConnectConfig
		want string
	}{
		{"a wrong password", natsd.ConnectConfig{URLs: []string{password}, Auth: natsd.Auth{User: "legato", Password: "not hunter2"}}, "nats://" + password},
		{"a wrong token", natsd.ConnectConfig{URLs: []string{token}, Auth: natsd.Auth{Token: "not hunter2"}}, "nats://" + token},
		{"another's nkey", natsd.ConnectConfig{URLs: []string{nkey}, Nkey: wrong}, "nats://" + nkey},
		{"an nkey file that is missing", natsd.ConnectConfig{URLs: []string{nkey}, Nkey: filepath.Join(dir, "none")}, "NATS nkey file"},
		{"an nkey file that holds none", natsd.ConnectConfig{URLs: []string{nkey}, Nkey: file("bad.nk", "hunter2")}, "holds no seed"},
		{"an nkey file with a seed that is damaged", natsd.ConnectConfig{URLs: []string{nkey}, Nkey: file("half.nk", "SUhunter2")}, "holds no seed"},
		{"a user in URL and setting", natsd.ConnectConfig{URLs: []string{"nats://legato:hunter2@" + password}, Auth: natsd.Auth{User: "a", Password: "b"}}, "more than one way"},
	} {
		t.Run("refused with "+tt.name, func(t *testing.T) { wantRefused(t, tt.cfg, tt.want) })
	}
}
