package ingest_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest"
)

// writePair writes a new certificate of that serial number and its key into dir.
func writePair(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "legato test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, "tls.crt"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	writeFile(t, filepath.Join(dir, "tls.key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// secure opens a server with the certificate in dir.
func secure(t *testing.T, dir string) *room {
	r := open(t, func(cfg *ingest.Config, _ *fakeStore) {
		cfg.TLSCert, cfg.TLSKey = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	})
	r.client.Transport.(*http.Transport).TLSClientConfig = anyone()
	return r
}

// anyone is a client that looks at no certificate: tests tell them apart by their number.
func anyone() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// serial returns the number of the certificate that a new connection is shown.
func (r *room) serial(t *testing.T) int64 {
	t.Helper()
	conn, err := (&tls.Dialer{Config: anyone()}).DialContext(t.Context(), "tcp", r.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

// wantSerial waits until new connections are shown that certificate.
func (r *room) wantSerial(t *testing.T, want int64) {
	t.Helper()
	r.until(t, func() bool { return r.serial(t) == want })
}

// until makes new connections until the condition holds.
func (r *room) until(t *testing.T, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !holds(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("not within %v; the log:\n%s", patience, r.logs)
		}
	}
}

func TestWebhooksOverTLS(t *testing.T) {
	dir := t.TempDir()
	writePair(t, dir, 1)
	r := secure(t, dir)
	req := r.webhook(t, eventBody)
	req.URL.Scheme = "https"
	if diff := cmp.Diff(accepted(`{"status":"stored"}`), r.send(t, req)); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	old := anyone()
	old.MaxVersion = tls.VersionTLS11
	old.MinVersion = tls.VersionTLS10
	if conn, err := (&tls.Dialer{Config: old}).DialContext(t.Context(), "tcp", r.server.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("TLS 1.1 is taken")
	}
	if conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2", "http/1.1"}}}).DialContext(t.Context(), "tcp", r.server.Addr().String()); err != nil {
		t.Error(err)
	} else if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != "http/1.1" || conn.Close() != nil {
		t.Errorf("agreed on %q, want http/1.1", got)
	}
}

func TestCertificateIsReadAgain(t *testing.T) {
	// As Kubernetes mounts a secret: the files are links into ..data, itself a link that is exchanged.
	mount := t.TempDir()
	generation := func(name string, serial int64) {
		dir := filepath.Join(mount, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		writePair(t, dir, serial)
	}
	swap := func(name string) {
		next := filepath.Join(mount, "..next")
		if err := os.Symlink(name, next); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(mount, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	generation("..1", 1)
	swap("..1")
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(mount, name)); err != nil {
			t.Fatal(err)
		}
	}
	r := secure(t, mount)
	r.wantSerial(t, 1)

	generation("..2", 2)
	swap("..2")
	r.wantSerial(t, 2)

	// A broken pair is told of, and the old one stays.
	const refusal = "the new certificate cannot be used"
	generation("..3", 3)
	writeFile(t, filepath.Join(mount, "..3", "tls.key"), "hunter2")
	swap("..3")
	r.until(t, func() bool {
		if got := r.serial(t); got != 2 {
			t.Fatalf("with a broken pair certificate %d is shown, want the old one", got)
		}
		return strings.Contains(r.logs.String(), refusal)
	})
	if err := os.Remove(filepath.Join(mount, "..data")); err != nil {
		t.Fatal(err)
	}
	r.until(t, func() bool { r.serial(t); return strings.Count(r.logs.String(), refusal) == 2 })

	generation("..4", 4)
	swap("..4")
	r.wantSerial(t, 4)
	if strings.Contains(r.logs.String(), "hunter2") {
		t.Error("the log shows what stands in a key's file")
	}
}

func TestHandshakesThatFailAreLoggedOnceAMinute(t *testing.T) {
	dir := t.TempDir()
	writePair(t, dir, 1)
	r := secure(t, dir)
	for range 20 {
		conn := r.dial(t)
		if _, err := conn.Write([]byte("this is no handshake")); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Read(make([]byte, 100))
		wantClosed(t, conn)
	}
	if got := strings.Count(r.logs.String(), "handshake error"); got != 1 {
		t.Errorf("%d log lines, want 1", got)
	}
}

func TestNewRefusesACertificateThatIsNone(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	writePair(t, dir, 1)
	writePair(t, other, 2)
	store := new(fakeStore)
	for name, files := range map[string][2]string{
		"a certificate without a key": {filepath.Join(dir, "tls.crt"), ""},
		"a key without a certificate": {"", filepath.Join(dir, "tls.key")},
		"another's key":               {filepath.Join(dir, "tls.crt"), filepath.Join(other, "tls.key")},
		"no file":                     {filepath.Join(dir, "none"), filepath.Join(dir, "tls.key")},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := ingest.Config{Listen: "127.0.0.1:0", SkipVerify: true, Journal: store, Parking: store, TLSCert: files[0], TLSKey: files[1]}
			if s, err := ingest.New(cfg); err == nil {
				_ = s.Shutdown(t.Context())
				t.Error("New accepted it")
			}
		})
	}
}
