package e2e_test

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
	"syscall"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/fake"
)

// command runs legato to its end and returns all that it printed.
func command(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), legatotest.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, legatotest.Program(), args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		t.Errorf("legato %s did not end:\n%s", strings.Join(args, " "), out)
	}
	return string(out), err
}

func TestServeRefusesWhatWouldLetAnybodyIn(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
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
			out, err := command(t, world.Env(), args...)
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
	world := legatotest.NewTelnyx(t)
	env := append(world.Env(), "TELNYX_PUBLIC_KEY=", "LEGATO_INSECURE_SKIP_VERIFY=true")
	s := legatotest.Serve(t, env, legatotest.EmbeddedFlags(t.TempDir())...)
	const shout = "SIGNATURES ARE NOT CHECKED"
	if level := s.Logged(shout)["level"]; level != "ERROR" {
		t.Errorf("the warning has level %v", level)
	}
	if body := s.Get(t, "/readyz"); !strings.HasPrefix(body, "ready, but: ") || !strings.Contains(body, shout) {
		t.Errorf("/readyz says %q", body)
	}
	c := fake.Generator{Seed: 31}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
	world.Know(c)
	for _, d := range c.Deliveries {
		response, err := http.Post(s.Target(), "application/json", bytes.NewReader(d.Body(1, "")))
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%s without a signature is answered %d", d.Type, response.StatusCode)
		}
	}
	legatotest.Completed(t, s.NATS, "calls.session.completed.*."+string(c.Session))
	legatotest.StopsCleanly(t, s)
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// play posts the webhooks of a call.
func playCall(t *testing.T, w *legatotest.Telnyx, target string, transport http.RoundTripper, c fake.Call) {
	t.Helper()
	sender, err := fake.NewSender(fake.SenderConfig{Target: target, Sign: w.Sign, Transport: transport, Timeout: legatotest.Patience})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	w.Know(c)
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
			world := legatotest.NewTelnyx(t)
			env := append(world.Env(), row.env...)
			s := legatotest.Serve(t, env, append(legatotest.EmbeddedFlags(t.TempDir()), "--nats-listen=:0")...)
			c := fake.Generator{Seed: 32}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
			playCall(t, world, s.Target(), nil, c)
			legatotest.Completed(t, strings.Replace(s.NATS, "//", "//"+row.userinfo, 1), "calls.session.completed.*."+string(c.Session))

			tail := exec.CommandContext(t.Context(), legatotest.Program(), "tail", "--nats-url="+s.NATS, "--all")
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

			if out, err := command(t, nil, "tail", "--nats-url="+s.NATS, "--all"); err == nil || !strings.Contains(out, "Authorization") {
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
	world := legatotest.NewTelnyx(t)
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	cert := writePair(t, certFile, keyFile)
	s := legatotest.Serve(t, append(world.Env(), "LEGATO_TLS_CERT="+certFile, "LEGATO_TLS_KEY="+keyFile), legatotest.EmbeddedFlags(t.TempDir())...)
	target := strings.Replace(s.Target(), "http:", "https:", 1)
	c := fake.Generator{Seed: 33}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
	client := trusting(cert)
	defer client.CloseIdleConnections()
	playCall(t, world, target, client, c)
	legatotest.Completed(t, s.NATS, "calls.session.completed.*."+string(c.Session))

	renewed := trusting(writePair(t, certFile, keyFile))
	defer renewed.CloseIdleConnections()
	legatotest.Eventually(t, "the new certificate is shown", func() error {
		response, err := (&http.Client{Transport: renewed}).Get(target)
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
	if response, err := http.Get(s.Target()); err == nil {
		_ = response.Body.Close()
		if response.StatusCode != http.StatusBadRequest {
			t.Errorf("plain HTTP to a TLS listener is answered %d", response.StatusCode)
		}
	}
	legatotest.StopsCleanly(t, s)
}

// TestServiceRunsAsAnotherUserAndWritesToItsDirectoryOnly runs it as a container
// does: a user without a name or home, in a directory that it may not write to.
func TestServiceRunsAsAnotherUserAndWritesToItsDirectoryOnly(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("only root may start a process as another user")
	}
	world := legatotest.NewTelnyx(t)
	root := t.TempDir()
	for dir := root; dir != os.TempDir() && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, cwd, program := filepath.Join(root, "data"), filepath.Join(root, "cwd"), filepath.Join(root, "legato")
	binary, err := os.ReadFile(legatotest.Program())
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
	s := legatotest.ServeWith(t, func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = program, cwd
		cmd.SysProcAttr = asUser(65532)
		cmd.Env = append(world.Env(), "TMPDIR="+filepath.Join(root, "no-such-directory"))
	}, legatotest.EmbeddedFlags(data)...)
	c := fake.Generator{Seed: 34}.Of(fake.Busy, 1, time.Now().UTC().Add(-time.Minute))
	playCall(t, world, s.Target(), nil, c)
	legatotest.Completed(t, s.NATS, "calls.session.completed.*."+string(c.Session))
	wantOwner(t, s.Cmd.Process.Pid, 65532)
	legatotest.StopsCleanly(t, s)
}

// asUser runs a process as another user, without groups.
func asUser(id uint32) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: id, Gid: id}}
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

func TestSIGHUPReadsKeysAgain(t *testing.T) {
	t.Parallel()
	before, after := legatotest.NewTelnyx(t), legatotest.NewTelnyx(t)
	key := func(w *legatotest.Telnyx) string { return strings.TrimPrefix(w.Env()[0], "TELNYX_PUBLIC_KEY=") }
	file := filepath.Join(t.TempDir(), "public-key")
	writeFile(t, file, key(before))
	s := legatotest.Serve(t, append(before.Env()[1:], "TELNYX_PUBLIC_KEY_FILE="+file), legatotest.EmbeddedFlags(t.TempDir())...)
	hangUp := func() {
		if err := s.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
	}
	want := func(w *legatotest.Telnyx, n uint64, status int) {
		t.Helper()
		if a := w.Post(t, s.Target(), time.Now(), legatotest.Ringing(n)); a.Status != status {
			t.Errorf("a webhook was answered %+v, want %d", a, status)
		}
	}
	writeFile(t, file, "half a k")
	hangUp()
	s.Logged("the file of the public key holds no key; those of before stay")
	want(before, 1, http.StatusOK)
	want(after, 2, http.StatusUnauthorized)
	writeFile(t, file, key(before)+","+key(after))
	hangUp()
	if got := s.Logged("the public keys were read again from their file")["keys"]; got != 2.0 {
		t.Errorf("%v keys were read", got)
	}
	want(before, 3, http.StatusOK)
	want(after, 4, http.StatusOK)
	legatotest.StopsCleanly(t, s)
}

func TestSIGHUPReadsTheCertificateAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, private := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	writePair(t, cert, private)
	s := legatotest.Serve(t, legatotest.NewTelnyx(t).Env(), append(legatotest.EmbeddedFlags(t.TempDir()), "--tls-cert="+cert, "--tls-key="+private)...)
	writePair(t, cert, private)
	if err := s.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.Logged("certificate read again") // though nobody connects
	legatotest.StopsCleanly(t, s)
}

func TestWebhooksAtAnotherPathAreSaidAndThePathCanBeMoved(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), append(legatotest.EmbeddedFlags(t.TempDir()), "--path=/hooks/voice")...)
	if a := world.Post(t, s.Target(), time.Now(), legatotest.Ringing(1)); a.Status != http.StatusNotFound || a.Reason != "other_path" {
		t.Errorf("at another path a webhook was answered %+v", a)
	}
	s.Logged("a webhook that Telnyx signed came to another path and is lost")
	if got := legatotest.Scrape(t, s.Admin).Sum("legato_webhooks_total", `result="other_path"`); got != 1 {
		t.Errorf("%v such webhooks are counted", got)
	}
	world.Deliver(t, "http://"+s.Webhooks+"/hooks/voice", legatotest.Ringing(2))
	probe, err := http.Get("http://" + s.Webhooks + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer probe.Body.Close()
	if probe.StatusCode != http.StatusOK || probe.ContentLength != 0 {
		t.Errorf("a load balancer's probe was answered %v", probe)
	}
	if err := legatotest.Scrape(t, s.Admin).Balance(); err != nil {
		t.Error(err)
	}
	if out, err := command(t, world.Env(), "check", "--path=hooks"); err == nil || !strings.Contains(out, "--path begins with a slash") {
		t.Errorf("a path that is none: %v\n%s", err, out)
	}
	legatotest.StopsCleanly(t, s)
}

// Such a connection, of a balancer that only looks whether somebody listens, held a stop up for five seconds.
func TestAStopIsNotHeldUpByAConnectionThatNeverSentAByte(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	for _, addr := range []string{s.Webhooks, strings.TrimPrefix(s.Admin, "http://")} {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	world.Deliver(t, s.Target(), legatotest.Ringing(1))
	took, err := s.Terminate()
	if err != nil || took >= 5*time.Second {
		t.Errorf("the stop took %v and ended with %v", took, err)
	}
}
