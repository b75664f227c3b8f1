//go:build linux

package e2e_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
)

// mounted is a file system of its own of so many bytes, in memory. Where that is not allowed the test is skipped.
func mounted(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("a file system of its own cannot be mounted here (root may): %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all room that is left in dir, and returns what gives it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, syscall.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestADiskThatRunsFullLosesNothing(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	disk := mounted(t, "256m")
	world := legatotest.NewTelnyx(t)
	flags := legatotest.EmbeddedFlags(filepath.Join(disk, "data"))
	s := legatotest.Serve(t, world.Env(), flags...)
	player := world.Player(t, s.Target(), 60, 61)
	played := make(chan error, 1)
	go func() { played <- player.Run(t.Context()) }()
	accepted(t, player, 60)
	free := fill(t, disk)
	begun := time.Now()
	// Others than those of the play: what was answered 503 may be stored all the same.
	refused := 0
	for n := uint64(100); refused < 3; n++ {
		switch a, err := world.TryPost(t, s.Target(), time.Now(), legatotest.Ringing(n)); {
		case err != nil:
			t.Fatalf("the service ended before it refused anything: %v\n%s", err, s.Text())
		case a.Status == http.StatusServiceUnavailable && a.RetryAfter != "":
			refused++
		case a.Status != http.StatusOK: // Some room may be left in a file that was made before.
			t.Fatalf("a webhook was answered %+v", a)
		}
		if time.Since(begun) > legatotest.Patience {
			t.Fatal("no webhook is refused on a full disk")
		}
	}
	t.Logf("the first three refusals came within %v", time.Since(begun))
	// Senders try for a while only, so there is room again soon.
	select {
	case <-s.Done:
	case <-time.After(12 * time.Second):
	}
	free()
	// Where something that it had to store found no room, its NATS stores nothing any more, and it ends, at the latest
	// some 25 s after that. Else it goes on.
	select {
	case <-s.Done:
		t.Logf("it ended %v after the disk was full, with %v", time.Since(begun), s.Err)
		if s.Err == nil || !strings.Contains(s.Text(), "is the disk full?") {
			t.Errorf("it ended with %v and said:\n%s", s.Err, s.Text())
		}
		s = legatotest.Serve(t, world.Env(), legatotest.Again(flags, s)...)
	case <-time.After(40 * time.Second):
		t.Log("it goes on")
	}
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	if a := world.Post(t, s.Target(), time.Now(), legatotest.Ringing(99)); a.Status != http.StatusOK {
		t.Errorf("once there is room a webhook was answered %+v", a)
	}
	world.WantOnce(t, s.NATS, player.Ledger())
	wantEveryEvent(t, world, s.NATS, player.Ledger())
	legatotest.StopsCleanly(t, s)
}
