//go:build linux

package e2e_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
)

// disk is an ext4 of its own in a file. What the file holds at a moment is what a
// disk would hold whose power is cut then: what was not synced is still in the kernel's memory alone.
type disk struct {
	t     *testing.T
	image string
	dir   string
}

// newDisk makes and mounts a disk. Where that is not possible the test is skipped.
func newDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "image")}
	f, err := os.Create(d.image)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(256<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	// Made whole at once: what the kernel adds later, in its own time, would keep the disk from its rest.
	if out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image).CombinedOutput(); err != nil {
		t.Skipf("no ext4 can be made here: %v %s", err, out)
	}
	d.mount()
	return d
}

func (d *disk) mount() {
	d.t.Helper()
	d.dir = d.t.TempDir()
	if out, err := exec.CommandContext(d.t.Context(), "mount", "-o", "loop", d.image, d.dir).CombinedOutput(); err != nil {
		d.t.Skipf("a file cannot be mounted here (root with loop devices may): %v %s", err, out)
	}
	d.t.Cleanup(func() {
		if out, err := exec.Command("umount", "--lazy", d.dir).CombinedOutput(); err != nil {
			d.t.Errorf("unmount: %v %s", err, out)
		}
	})
}

func (d *disk) data() string { return filepath.Join(d.dir, "data") }

// cut freezes a process and returns the disk as it is after a power cut at that
// moment. The process goes on afterwards.
func (d *disk) cut(p *legatotest.Process) *disk {
	d.t.Helper()
	if err := p.Cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		d.t.Fatal(err)
	}
	defer func() { _ = p.Cmd.Process.Signal(syscall.SIGCONT) }()
	after := &disk{t: d.t, image: filepath.Join(d.t.TempDir(), "image")}
	legatotest.Eventually(d.t, "the disk is at rest", func() error {
		// Read twice: what the kernel wrote meanwhile would make it the disk of no moment.
		content, err := os.ReadFile(d.image)
		if err != nil {
			return err
		}
		again, err := os.ReadFile(d.image)
		if err != nil {
			return err
		}
		if !bytes.Equal(content, again) {
			return errors.New("it was written to")
		}
		return os.WriteFile(after.image, content, 0o600)
	})
	after.mount()
	return after
}

// readEvents reads the ids and the bodies of the messages of CALL_EVENTS at a server.
func readEvents(t *testing.T, url string) (ids map[string]bool) {
	t.Helper()
	js := legatotest.Dial(t, url)
	ids = make(map[string]bool)
	stream, err := js.Stream(t.Context(), "CALL_EVENTS")
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return ids
	}
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	for seq := state.FirstSeq; state.Msgs > 0 && seq <= state.LastSeq; seq++ {
		m, err := stream.GetMsg(t.Context(), seq)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		ids[m.Header.Get("Nats-Msg-Id")] = true
		ids[string(m.Data)] = true
	}
	return ids
}

// wantIn starts the service on what a cut has left, and checks that each body that was answered 200 comes to CALL_EVENTS.
func wantIn(t *testing.T, world *legatotest.Telnyx, d *disk, what string, bodies [][]byte) {
	t.Helper()
	s := legatotest.Serve(t, world.Env(), legatotest.EmbeddedFlags(d.data())...)
	defer s.Kill()
	legatotest.Eventually(t, "the log to be copied", func() error {
		if m := legatotest.Scrape(t, s.Admin); m["legato_log_uncopied"] > 0 {
			return fmt.Errorf("%v entries are not", m["legato_log_uncopied"])
		}
		return nil
	})
	ids := readEvents(t, s.NATS)
	lost := 0
	for _, body := range bodies {
		if !ids[string(body)] {
			lost++
		}
	}
	t.Logf("%s: %d of %d answered webhooks are on the disk after the cut", what, len(bodies)-lost, len(bodies))
	if lost > 0 {
		t.Errorf("%s: %d of %d answered webhooks are lost with the power", what, lost, len(bodies))
	}
}

func TestAPowerCutLosesNoAnsweredWebhookAndNoSummary(t *testing.T) {
	t.Parallel()
	legatotest.Busy(t)
	d := newDisk(t)
	unsyncedIsLost(t)

	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), append(legatotest.EmbeddedFlags(d.data()), "--session-settle=500ms")...)
	var bodies [][]byte
	for n := range uint64(3) {
		body := legatotest.Ringing(n)
		world.Deliver(t, s.Target(), body)
		bodies = append(bodies, body)
	}
	wantIn(t, world, d.cut(s.Process), "lone webhooks", bodies)

	// Many at once share a sync.
	many := make([][]byte, 400)
	for n := range many {
		many[n] = legatotest.Ringing(uint64(1000 + n))
	}
	postAll(t, world, s.Target(), many)
	if m := legatotest.Scrape(t, s.Admin); m["legato_log_batch_size_count"] == m["legato_log_batch_size_sum"] {
		t.Errorf("no batch was written: %v entries in %v writes", m["legato_log_batch_size_sum"], m["legato_log_batch_size_count"])
	}
	wantIn(t, world, d.cut(s.Process), "a batch of webhooks", append(bodies, many...))

	// A summary: cut when a subscriber has seen it, and not a moment later.
	c := overCall(t, world, s, 7)
	legatotest.Completed(t, s.NATS, "calls.leg.completed.*."+string(c.Session)+"."+string(c.Legs[0].Ref.Leg))
	after := d.cut(s.Process)
	s.Kill()

	// The service starts on what is left and finishes the work: what NATS has lost is stored again, the same.
	s = legatotest.Serve(t, world.Env(), append(legatotest.EmbeddedFlags(after.data()), "--session-settle=500ms")...)
	legatotest.Completed(t, s.NATS, "calls.session.completed.*."+string(c.Session))
	if got := legatotest.Summaries(t, s.NATS)[string(c.Session)+"/"+string(c.Legs[0].Ref.Leg)]; len(got) == 0 || got[0].Revision != 1 {
		t.Errorf("after the cut the leg has %+v", got)
	}
	legatotest.StopsCleanly(t, s)
}

// unsyncedIsLost shows that a cut does lose what was not synced: a server that
// acknowledges before it syncs, as nats-server does when nobody tells it otherwise.
func unsyncedIsLost(t *testing.T) {
	t.Helper()
	d := newDisk(t)
	n := legatotest.StartNATS(t, legatotest.FreeAddr(t), "--jetstream", "--store_dir="+d.data())
	js := legatotest.Dial(t, n.URL)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "CALL_EVENTS", Subjects: []string{"calls.event.>"}}); err != nil {
		t.Fatal(err)
	}
	if err := exec.CommandContext(t.Context(), "sync", "-f", d.dir).Run(); err != nil {
		t.Fatal(err)
	}
	legatotest.Eventually(t, "a cut loses a message that was acknowledged and not synced", func() error {
		body := fmt.Appendf(nil, "unsynced at %d", time.Now().UnixNano())
		if _, err := js.Publish(t.Context(), "calls.event.x", body); err != nil {
			return err
		}
		after := legatotest.StartNATS(t, legatotest.FreeAddr(t), "--jetstream", "--store_dir="+d.cut(n.Process).data())
		defer after.Kill()
		if readEvents(t, after.URL)[string(body)] {
			return errors.New("it was on the disk all the same")
		}
		return nil
	})
	n.Kill()
}

// postAll posts webhooks all at once, until each was answered 200.
func postAll(t *testing.T, w *legatotest.Telnyx, target string, bodies [][]byte) {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: len(bodies)}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var group sync.WaitGroup
	for _, body := range bodies {
		group.Go(func() {
			timestamp, signature := w.Sign(time.Now(), body)
			for t.Context().Err() == nil {
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				request.Header.Set("Content-Type", "application/json")
				request.Header.Set("Telnyx-Timestamp", timestamp)
				request.Header.Set("Telnyx-Signature-Ed25519", signature)
				response, err := client.Do(request)
				if err != nil {
					continue
				}
				_ = response.Body.Close()
				if response.StatusCode == http.StatusOK {
					return
				}
			}
		})
	}
	group.Wait()
}

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
	world.Deliver(t, s.Target(), legatotest.Ringing(99))
	world.WantOnce(t, s.NATS, player.Ledger())
	wantEveryEvent(t, world, s.NATS, player.Ledger())
	legatotest.StopsCleanly(t, s)
}
