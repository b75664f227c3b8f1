// Package postgrestest runs a PostgreSQL of a test's own: a new cluster in a temporary
// directory, reached by a socket in it, run by an unprivileged user.
package postgrestest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/procfs"
)

// patience bounds every wait; a loaded machine is slow, not wrong.
const patience = time.Minute

// Server is a PostgreSQL that can be stopped and come back where it was.
type Server struct {
	tb      testing.TB
	bin     string
	dir     string
	options []string
	cmd     *exec.Cmd
	log     bytes.Buffer
	ended   chan struct{}
}

// Run makes a cluster and starts it; it is stopped when the test ends. Without the programs of PostgreSQL the test is
// skipped and says so. Options are settings, as "fsync=off".
func Run(tb testing.TB, options ...string) *Server {
	tb.Helper()
	bin, err := programs()
	if err != nil {
		tb.Skipf("PostgreSQL is not at hand (Debian: apt-get install postgresql): %v", err)
	}
	// The path of a socket may have a hundred characters: the test's own directory may have more.
	dir, err := os.MkdirTemp("", "legato-pg-") //nolint:usetesting // see above
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{tb: tb, bin: bin, dir: dir, options: options}
	tb.Cleanup(func() {
		s.Crash()
		if tb.Failed() {
			tb.Logf("log of PostgreSQL:\n%s", s.log.String())
		}
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	if err := giveAway(dir); err != nil {
		tb.Skipf("PostgreSQL does not run as root, and nobody else is at hand: %v", err)
	}
	initdb := exec.CommandContext(tb.Context(), filepath.Join(bin, "initdb"), "--pgdata="+s.data(), "--username=legato", "--auth=trust",
		"--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions")
	initdb.Dir = dir
	asNobody(initdb)
	if out, err := initdb.CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
	s.Start()
	return s
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// programs returns the directory of initdb and postgres: PG_BIN, the newest of Debian's, or that on the path.
func programs() (string, error) {
	if dir := os.Getenv("PG_BIN"); dir != "" {
		return dir, nil
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		slices.SortFunc(found, func(a, b string) int {
			if len(a) != len(b) { // 9 comes before 15
				return len(a) - len(b)
			}
			return strings.Compare(a, b)
		})
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", err
	}
	return filepath.Dir(path), nil
}

// URL is the connection string of a user and a database.
func (s *Server) URL(user, database string) string {
	u := url.URL{Scheme: "postgres", Path: "/" + database, RawQuery: url.Values{"host": {s.dir}, "user": {user}, "sslmode": {"disable"}}.Encode()}
	return u.String()
}

// Admin is the connection string of the superuser and the database that every cluster has.
func (s *Server) Admin() string { return s.URL("legato", "postgres") }

// Connect connects until the end of the test.
func (s *Server) Connect(url string) *pgx.Conn {
	s.tb.Helper()
	conn, err := pgx.Connect(s.tb.Context(), url)
	if err != nil {
		s.tb.Fatal(err)
	}
	s.tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = conn.Close(ctx) // the server may be gone
	})
	return conn
}

// Start starts the server on the cluster and waits until it takes connections.
func (s *Server) Start() {
	s.tb.Helper()
	args := []string{"-D", s.data(), "-k", s.dir, "-c", "listen_addresses="}
	for _, o := range s.options {
		args = append(args, "-c", o)
	}
	// It outlives the test's context: the cleanup stops it.
	s.cmd = exec.CommandContext(context.WithoutCancel(s.tb.Context()), filepath.Join(s.bin, "postgres"), args...)
	s.cmd.Dir = s.dir
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	asNobody(s.cmd)
	if err := s.cmd.Start(); err != nil {
		s.tb.Fatal(err)
	}
	ended := make(chan struct{})
	s.ended = ended
	go func(cmd *exec.Cmd) {
		defer close(ended)
		_ = cmd.Wait()
	}(s.cmd)
	ctx, cancel := context.WithTimeout(s.tb.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.Admin())
		if err == nil {
			err = conn.Close(ctx)
		}
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ended:
			s.tb.Fatalf("PostgreSQL ended:\n%s", s.log.String())
		case <-ctx.Done():
			s.tb.Fatalf("PostgreSQL does not take connections: %v", err)
		}
	}
}

// CPU is the processor time that the server and its processes have used.
func (s *Server) CPU() time.Duration {
	s.tb.Helper()
	all, err := procfs.AllProcs()
	if err != nil {
		s.tb.Fatal(err)
	}
	var used time.Duration
	for _, p := range all {
		stat, err := p.Stat()
		if err != nil {
			continue // it has ended
		}
		if stat.PID != s.cmd.Process.Pid && stat.PPID != s.cmd.Process.Pid {
			continue
		}
		const tick = 10 * time.Millisecond
		used += time.Duration(stat.UTime+stat.STime) * tick
		if stat.PID == s.cmd.Process.Pid {
			used += time.Duration(stat.CUTime+stat.CSTime) * tick
		}
	}
	return used
}

// Crash ends the server at once, as an immediate shutdown does: the next start recovers.
func (s *Server) Crash() {
	if s.cmd == nil {
		return
	}
	if err := s.stop(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		s.tb.Error(fmt.Errorf("stop PostgreSQL: %w", err))
	}
	<-s.ended
	s.cmd = nil
}
