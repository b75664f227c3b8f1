package natsd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/legato-calls/legato/internal/natsd"
)

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
