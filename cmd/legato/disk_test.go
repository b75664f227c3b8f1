//go:build linux

package main_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
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

func TestADiskThatRunsFullEndsTheProcessAndLosesNothing(t *testing.T) {
	t.Parallel()
	disk := mounted(t, "64m")
	world := newTelnyx(t)
	flags := embeddedFlags(filepath.Join(disk, "data"))
	s := serve(t, world.env(), flags...)
	player := world.player(t, s.target(), 60, 61)
	played := make(chan error, 1)
	go func() { played <- player.Run(t.Context()) }()
	accepted(t, player, 60)
	free := fill(t, disk)
	begun := time.Now()
	// Others than those of the play: what was answered 503 may be stored all the same.
	refused := 0
	for n := uint64(100); refused < 3; n++ {
		switch a, err := world.tryPost(t, s.target(), time.Now(), ringing(n)); {
		case err != nil:
			t.Fatalf("the service ended before it refused anything: %v\n%s", err, s.text())
		case a.status == http.StatusServiceUnavailable && a.retryAfter != "":
			refused++
		case a.status != http.StatusOK: // Some room may be left in a file that was made before.
			t.Fatalf("a webhook was answered %+v", a)
		}
		if time.Since(begun) > patience {
			t.Fatal("no webhook is refused on a full disk")
		}
	}
	t.Logf("the first three refusals came within %v", time.Since(begun))
	select {
	case <-s.done:
	case <-time.After(patience):
		t.Fatalf("the service goes on with a full disk:\n%s", s.text())
	}
	t.Logf("it ended %v after the disk was full, with %v", time.Since(begun), s.err)
	if s.err == nil || !strings.Contains(s.text(), "is the disk full?") {
		t.Errorf("it ended with %v and said:\n%s", s.err, s.text())
	}
	free()
	s = serve(t, world.env(), again(flags, s)...)
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	if a := world.post(t, s.target(), time.Now(), ringing(99)); a.status != http.StatusOK {
		t.Errorf("once there is room a webhook was answered %+v", a)
	}
	world.wantOnce(t, s.nats, player.Ledger())
	world.wantEveryEvent(t, s.nats, player.Ledger())
	stopsCleanly(t, s)
}
