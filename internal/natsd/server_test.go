package natsd_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, cfg natsd.Config) *natsd.Server {
	t.Helper()
	s, err := natsd.Start(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(t, s) })
	return s
}

func stop(t *testing.T, s *natsd.Server) {
	t.Helper()
	// Also called by cleanups, when the test's context has ended.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

func TestServerListensWhereItIsTold(t *testing.T) {
	tests := []struct {
		name, listen string
		auth         natsd.Auth
		wantHost     string // Of ClientURL; empty: no listener.
	}{
		{name: "nowhere", listen: ""},
		{name: "on a free port of loopback", listen: "127.0.0.1:0", wantHost: "127.0.0.1"},
		{name: "on a free port of every address", listen: ":0", auth: natsd.Auth{Token: "t"}, wantHost: "127.0.0.1"},
		{name: "on a free port by name", listen: "localhost:0", wantHost: "127.0.0.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, natsd.Config{DataDir: t.TempDir(), Listen: tt.listen, Auth: tt.auth})
			inside, err := s.Connect("inside")
			if err != nil {
				t.Fatal(err)
			}
			defer inside.Close()
			if tt.wantHost == "" {
				if got := s.ClientURL(); got != "" {
					t.Errorf("client URL: got %q, want none", got)
				}
				return
			}
			u, err := url.Parse(s.ClientURL())
			if err != nil || u.Hostname() != tt.wantHost || u.Port() == "0" {
				t.Fatalf("client URL: got %q (%v), want a port of %s", s.ClientURL(), err, tt.wantHost)
			}
			outside, err := nats.Connect(s.ClientURL(), nats.Token(tt.auth.Token))
			if err != nil {
				t.Fatal(err)
			}
			outside.Close()
		})
	}
}

func TestStartSaysWhatIsWrongAndWhere(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	held := t.TempDir()
	start(t, natsd.Config{DataDir: held})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		cfg  natsd.Config
		want string // Part of the error's text.
		is   error
	}{
		{name: "the port is taken", cfg: natsd.Config{DataDir: t.TempDir(), Listen: taken.Addr().String()}, want: taken.Addr().String(), is: syscall.EADDRINUSE},
		{name: "the address has no port", cfg: natsd.Config{DataDir: t.TempDir(), Listen: "localhost"}, want: `"localhost" is not host:port`},
		{name: "the port is no number", cfg: natsd.Config{DataDir: t.TempDir(), Listen: "localhost:nats"}, want: `"nats" is not a port number`},
		{name: "no directory is given", want: "no data directory"},
		{name: "the directory is a file", cfg: natsd.Config{DataDir: file}, want: file, is: syscall.ENOTDIR},
		{name: "the directory is held", cfg: natsd.Config{DataDir: held}, want: held, is: natsd.ErrDirInUse},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := natsd.Start(tt.cfg)
			if err == nil {
				stop(t, s)
				t.Fatal("got no error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %q, want it to tell %q", err, tt.want)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("got error %q, want it to be %q", err, tt.is)
			}
		})
	}
}

func TestStartSaysThatTheDirectoryIsNotWritable(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if f, err := os.CreateTemp(dir, ""); err == nil {
		_ = f.Close()
		t.Log("this user may write everywhere, so there is nothing to refuse")
		return
	}
	if _, err := natsd.Start(natsd.Config{DataDir: dir}); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), dir) {
		t.Errorf("got error %v, want one of permission that names %s", err, dir)
	}
}

// TestDirectoryIsHeldAgainstAnotherProcess runs this test binary again as the
// other process: a lock that only works inside one process would protect nothing.
func TestDirectoryIsHeldAgainstAnotherProcess(t *testing.T) {
	const variable = "NATSD_TEST_START_IN"
	if dir := os.Getenv(variable); dir != "" {
		if _, err := natsd.Start(natsd.Config{DataDir: dir}); !errors.Is(err, natsd.ErrDirInUse) {
			t.Fatalf("in the other process: got error %v, want ErrDirInUse", err)
		}
		return
	}
	dir := t.TempDir()
	s := start(t, natsd.Config{DataDir: dir})
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), variable+"="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	stop(t, s)
	stop(t, start(t, natsd.Config{DataDir: dir})) // Free again.
}

func TestShutdownIsBounded(t *testing.T) {
	s := start(t, natsd.Config{DataDir: t.TempDir()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	// Either is right, depending on which comes first; that it returns is the point.
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want none or the context's", err)
	}
}

// A power cut keeps what the server has noted of a stream, which takes the place of its former self, and loses the end of the
// messages beside it: the server would take those for deleted, and go on behind them.
func TestWhatIsNotedOfAStreamDoesNotOutliveItsMessages(t *testing.T) {
	const index = "jetstream/$G/streams/S/msgs/index.db"
	dir, cut := t.TempDir(), t.TempDir()
	publish := func(s *natsd.Server, n int) jetstream.StreamState {
		nc, err := s.Connect("test")
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js := natsdtest.JetStream(t, nc)
		stream, err := js.CreateOrUpdateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if _, err := js.Publish(t.Context(), "s", []byte("message")); err != nil {
				t.Fatal(err)
			}
		}
		info, err := stream.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return info.State
	}
	s := start(t, natsd.Config{DataDir: dir})
	publish(s, 1)
	stop(t, s)
	s = start(t, natsd.Config{DataDir: dir})
	if _, err := os.Stat(filepath.Join(dir, index)); err != nil {
		t.Errorf("after a stop in order the server reads all messages: %v", err)
	}
	publish(s, 49)
	if err := os.CopyFS(cut, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	publish(s, 50)
	stop(t, s)
	noted, err := os.ReadFile(filepath.Join(dir, index))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cut, index), noted, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := publish(start(t, natsd.Config{DataDir: cut}), 1); got.LastSeq != 51 || got.Msgs != 51 {
		t.Errorf("after 50 messages that were on the disk the next one is %d of %d", got.LastSeq, got.Msgs)
	}
}

func TestServerLogsThroughSlog(t *testing.T) {
	var lines lockedBuffer
	log := slog.New(slog.NewTextHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := start(t, natsd.Config{DataDir: t.TempDir(), Logger: log})
	stop(t, s)
	for _, want := range []string{`level=DEBUG msg=nats-server detail="Server is ready"`, `detail="Server Exiting.."`} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("log has no %s:\n%s", want, lines.String())
		}
	}
}

func TestPublishWhileDisconnectedFailsAtOnce(t *testing.T) {
	s := natsdtest.Run(t, natsdtest.WithListen("127.0.0.1:0"))
	nc, _, err := natsd.Connect(t.Context(), natsd.ConnectConfig{URLs: []string{s.URL()}, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js := natsdtest.JetStream(t, nc)
	lost := nc.StatusChanged(nats.RECONNECTING)
	s.Stop()
	<-lost
	began := time.Now()
	if _, err := js.Publish(t.Context(), "calls.event.x", nil); !errors.Is(err, nats.ErrReconnectBufExceeded) {
		t.Errorf("got error %v, want ErrReconnectBufExceeded", err)
	}
	if took := time.Since(began); took > 4*time.Second { // the answer of a server is waited for for five
		t.Errorf("took %v", took)
	}
}

func TestConnectionComesBackByItself(t *testing.T) {
	dir := t.TempDir()
	s := natsdtest.Run(t, natsdtest.WithDataDir(dir), natsdtest.WithListen("127.0.0.1:0"))
	u := s.URL()
	nc, _, err := natsd.Connect(t.Context(), natsd.ConnectConfig{URLs: []string{u}})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	lost, back := nc.StatusChanged(nats.RECONNECTING), nc.StatusChanged(nats.CONNECTED)
	s.Stop()
	<-lost
	again := start(t, natsd.Config{DataDir: dir, Listen: strings.TrimPrefix(u, "nats://")})
	for status := range back {
		if status == nats.CONNECTED {
			break
		}
	}
	if _, err := natsdtest.JetStream(t, nc).Publish(t.Context(), "calls.event.x", nil, jetstream.WithMsgID("1")); err != nil {
		t.Error(err)
	}
	nc.Close()
	stop(t, again)
}

func TestOnlyWhatPassesByItselfIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		err  error
		want bool
	}{
		"no answer":                           {context.DeadlineExceeded, true},
		"no connection":                       {nats.ErrReconnectBufExceeded, true},
		"a cluster without a leader":          {&jetstream.APIError{Code: 503, ErrorCode: 10008}, true},
		"too few servers for the replicas":    {&jetstream.APIError{Code: 400, ErrorCode: 10005}, true},
		"a server without JetStream":          {jetstream.ErrJetStreamNotEnabled, false},
		"an account without JetStream":        {jetstream.ErrJetStreamNotEnabledForAccount, false},
		"an account with streams enough":      {&jetstream.APIError{Code: 400, ErrorCode: 10027}, false},
		"streams that are not as wanted":      {&natsd.MismatchError{}, false},
		"a start that was broken off":         {context.Canceled, false},
		"a connection that was closed":        {nats.ErrConnectionClosed, false},
		"anything else":                       {errors.New("anything else"), false},
		"nothing":                             {nil, false},
		"a server without JetStream, as sent": {&jetstream.APIError{Code: 503, ErrorCode: jetstream.JSErrCodeJetStreamNotEnabled}, false},
	} {
		if got := natsd.Transient(row.err); got != row.want {
			t.Errorf("%s: got %v, want %v", name, got, row.want)
		}
		if row.err == nil {
			continue
		}
		if got := natsd.Transient(fmt.Errorf("wrapped: %w", row.err)); got != row.want {
			t.Errorf("%s, wrapped: got %v, want %v", name, got, row.want)
		}
	}
}

func TestWhereShowsNoSecrets(t *testing.T) {
	t.Parallel()
	if got, want := natsd.Where([]string{"nats://user:secret@one:4222", "token@two"}), "nats://one:4222,nats://two"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := natsd.Where([]string{"://secret"}); got != "" {
		t.Errorf("of what is no URL: got %q", got)
	}
}

func TestInspectDirTellsWhoHasItAndLeavesItAsItIs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	look := func() natsd.DirState {
		t.Helper()
		state, err := natsd.InspectDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if state.Free <= 0 {
			t.Errorf("%d bytes free", state.Free)
		}
		return state
	}
	if state := look(); state.Exists || state.InUse || state.Used != 0 {
		t.Errorf("a directory that is not there: %+v", state)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it made the directory: %v", err)
	}
	s, err := natsd.Start(natsd.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if state := look(); !state.Exists || !state.InUse {
		t.Errorf("a directory that a server holds: %+v", state)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if state := look(); !state.Exists || state.InUse {
		t.Errorf("a directory that nobody holds: %+v", state)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".probe") {
			t.Errorf("it left %s", f.Name())
		}
	}
}

func TestInspectDirRefusesWhatIsNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if state, err := natsd.InspectDir(dir); err == nil {
			t.Errorf("%s: %+v", dir, state)
		}
	}
}
