package main_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/internal/fake"
)

// command runs legato to its end and returns all that it printed.
func command(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binaries.legato, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Errorf("legato %s did not end:\n%s", strings.Join(args, " "), out)
	}
	return string(out), err
}

func TestServeRefusesWhatWouldLetAnybodyIn(t *testing.T) {
	t.Parallel()
	world := newTelnyx(t)
	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "hunter2\n")
	empty := filepath.Join(t.TempDir(), "empty")
	writeFile(t, empty, "\n")
	for _, row := range []struct {
		name, want string
		args       []string
	}{
		{"no check beside a public key", "exclude each other", []string{"--insecure-skip-verify"}},
		{"a certificate without its key", "belong together", []string{"--tls-cert=" + file}},
		{"a key without its certificate", "belong together", []string{"--tls-key=" + file}},
		{"a certificate that is none", "TLS certificate", []string{"--tls-cert=" + file, "--tls-key=" + file}},
		{"an open NATS on every address", "set --nats-user and --nats-password", []string{"--nats-listen=:0"}},
		{"an open NATS on an address of the network", "set --nats-user and --nats-password", []string{"--nats-listen=192.0.2.1:4222"}},
		{"a user without a password", "needs --nats-password", []string{"--nats-user=u"}},
		{"a password without a user", "needs --nats-user", []string{"--nats-password-file=" + file}},
		{"a user and a token", "exclude each other", []string{"--nats-user=u", "--nats-password=hunter2", "--nats-token=hunter2"}},
		{"a password and its file", "both set", []string{"--nats-user=u", "--nats-password=hunter2", "--nats-password-file=" + file}},
		{"an empty file", "is empty", []string{"--nats-user=u", "--nats-password-file=" + empty}},
		{"a file that is missing", "LEGATO_NATS_TOKEN_FILE", []string{"--nats-token-file=" + file + ".none"}},
		{"a CA for the embedded NATS", "set --nats-url", []string{"--nats-ca=" + file}},
		{"no connections", "--max-connections", []string{"--max-connections=0"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-listen=", "--data-dir=" + t.TempDir()}, row.args...)
			out, err := command(t, world.env(), args...)
			if err == nil || !strings.Contains(out, row.want) {
				t.Errorf("it said %q (%v), want %q in it", out, err, row.want)
			}
			if strings.Contains(out, "hunter2") {
				t.Errorf("it repeated a secret: %q", out)
			}
		})
	}
}

func TestWithoutVerificationItSaysSoAndWorks(t *testing.T) {
	t.Parallel()
	world := newTelnyx(t)
	env := append(world.env(), "TELNYX_PUBLIC_KEY=", "LEGATO_INSECURE_SKIP_VERIFY=true")
	s := serve(t, env, embeddedFlags(t.TempDir())...)
	const shout = "SIGNATURES ARE NOT CHECKED"
	if level := s.logged(shout)["level"]; level != "ERROR" {
		t.Errorf("the warning has level %v", level)
	}
	if body := s.get(t, "/readyz"); !strings.HasPrefix(body, "ready, but: ") || !strings.Contains(body, shout) {
		t.Errorf("/readyz says %q", body)
	}
	c := fake.Generator{Seed: 31}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
	world.know(c)
	for _, d := range c.Deliveries {
		response, err := http.Post(s.target(), "application/json", bytes.NewReader(d.Body(1, "")))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s without a signature is answered %d", d.Type, response.StatusCode)
		}
	}
	completed(t, s.nats, "calls.session.completed.*."+string(c.Session))
	stopsCleanly(t, s)
}

// get reads a page of the admin listener.
func (s *server) get(t *testing.T, path string) string {
	t.Helper()
	response, err := http.Get(s.admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// play posts the webhooks of a call.
func (w *telnyxWorld) play(t *testing.T, target string, transport http.RoundTripper, c fake.Call) {
	t.Helper()
	sender, err := fake.NewSender(fake.SenderConfig{Target: target, Sign: w.sign, Transport: transport, Timeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	w.know(c)
	for _, d := range c.Deliveries {
		if out := sender.Send(t.Context(), d); !out.Accepted {
			t.Fatalf("%s was not accepted: %+v", d.Type, out)
		}
	}
}

// TestEmbeddedNATSAsksForALogin runs everything that meets the embedded server
// with a login: the service itself, tail, and the demo, which has a server of its own.
func TestEmbeddedNATSAsksForALogin(t *testing.T) {
	t.Parallel()
	token := filepath.Join(t.TempDir(), "token")
	writeFile(t, token, "hunter2\n")
	for name, row := range map[string]struct {
		env      []string
		userinfo string
	}{
		"a user":  {[]string{"LEGATO_NATS_USER=legato", "LEGATO_NATS_PASSWORD=hunter2"}, "legato:hunter2@"},
		"a token": {[]string{"LEGATO_NATS_TOKEN_FILE=" + token}, "hunter2@"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			world := newTelnyx(t)
			env := append(world.env(), row.env...)
			s := serve(t, env, append(embeddedFlags(t.TempDir()), "--nats-listen=:0")...)
			c := fake.Generator{Seed: 32}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
			world.play(t, s.target(), nil, c)
			completed(t, strings.Replace(s.nats, "//", "//"+row.userinfo, 1), "calls.session.completed.*."+string(c.Session))

			tail := exec.CommandContext(t.Context(), binaries.legato, "tail", "--nats-url="+s.nats, "--all")
			tail.Env = append(os.Environ(), row.env...)
			stdout, err := tail.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := tail.Start(); err != nil {
				t.Fatal(err)
			}
			line := make([]byte, 64<<10)
			if n, err := io.ReadAtLeast(stdout, line, 40); err != nil || !strings.Contains(string(line[:n]), "busy") {
				t.Errorf("tail printed %q, %v", line[:n], err)
			}
			_ = tail.Process.Kill()
			_ = tail.Wait()

			if out, err := command(t, nil, "tail", "--nats-url="+s.nats, "--all"); err == nil || !strings.Contains(out, "Authorization") {
				t.Errorf("tail without a login: %v, %s", err, out)
			}
			if out, err := command(t, row.env, "demo", "--calls=1"); err != nil {
				t.Errorf("the demo: %v\n%s", err, out)
			}
		})
	}
}

// writePair writes a certificate for 127.0.0.1 and its key.
func writePair(t *testing.T, certFile, keyFile string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	writeFile(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	return cert
}

// trusting is a client that trusts one certificate.
func trusting(cert *x509.Certificate) *http.Transport {
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
}

func TestWebhooksComeOverTLSAndItsCertificateIsRenewed(t *testing.T) {
	t.Parallel()
	world := newTelnyx(t)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	cert := writePair(t, certFile, keyFile)
	s := serve(t, append(world.env(), "LEGATO_TLS_CERT="+certFile, "LEGATO_TLS_KEY="+keyFile), embeddedFlags(t.TempDir())...)
	target := strings.Replace(s.target(), "http:", "https:", 1)
	c := fake.Generator{Seed: 33}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
	client := trusting(cert)
	defer client.CloseIdleConnections()
	world.play(t, target, client, c)
	completed(t, s.nats, "calls.session.completed.*."+string(c.Session))

	renewed := trusting(writePair(t, certFile, keyFile))
	defer renewed.CloseIdleConnections()
	eventually(t, "the new certificate is shown", func() error {
		response, err := (&http.Client{Transport: renewed}).Get(target)
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
	if response, err := http.Get(s.target()); err == nil {
		_ = response.Body.Close()
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("plain HTTP to a TLS listener is answered %d", response.StatusCode)
		}
	}
	stopsCleanly(t, s)
}

// TestServiceRunsAsAnotherUserAndWritesToItsDirectoryOnly runs it as a container
// does: a user without a name or home, in a directory that it may not write to.
func TestServiceRunsAsAnotherUserAndWritesToItsDirectoryOnly(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root may start a process as another user")
	}
	world := newTelnyx(t)
	root := t.TempDir()
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, cwd, program := filepath.Join(root, "data"), filepath.Join(root, "cwd"), filepath.Join(root, "legato")
	binary, err := os.ReadFile(binaries.legato)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, binary, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{data, cwd} {
		if err := os.Mkdir(dir, 0o555); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(data, 65532, 65532); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(data, 0o700); err != nil {
		t.Fatal(err)
	}
	s := serveWith(t, func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = program, cwd
		cmd.SysProcAttr = asUser(65532)
		cmd.Env = append(world.env(), "TMPDIR="+filepath.Join(root, "no-such-directory"))
	}, embeddedFlags(data)...)
	c := fake.Generator{Seed: 34}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
	world.play(t, s.target(), nil, c)
	completed(t, s.nats, "calls.session.completed.*."+string(c.Session))
	wantOwner(t, s.cmd.Process.Pid, 65532)
	stopsCleanly(t, s)
}

// wantOwner reads from /proc as whom a process runs.
func wantOwner(t *testing.T, pid, uid int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Log("no /proc to tell the process's user:", err)
		return
	}
	if want := fmt.Sprintf("Uid:\t%d\t%d", uid, uid); !strings.Contains(string(status), want) {
		t.Errorf("the process does not run as %d:\n%s", uid, status)
	}
}
