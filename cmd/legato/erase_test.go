package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/parked"
)

// erasing is a NATS server that has two calls, with the number of a party of each in everything.
type erasing struct {
	t   *testing.T
	url string
	dir string
	js  jetstream.JetStream
}

func newErasing(t *testing.T) *erasing {
	t.Helper()
	e := &erasing{t: t, dir: t.TempDir()}
	e.url = legatotest.ExternalNATS(t, "--store_dir="+e.dir)
	e.js = legatotest.Dial(t, e.url)
	names := layout(t)
	if _, err := natsd.Manage(t.Context(), e.js, names, natsd.Limits{Forward: true}); err != nil {
		t.Fatal(err)
	}
	log, err := stream.Open(t.Context(), stream.Config{Queue: "legato", Config: journal.Config{
		JetStream: e.js, Stream: names.Events, Prefix: names.Prefix, Logger: slog.New(slog.DiscardHandler),
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := log.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	calls, err := publish.New(t.Context(), e.js, names)
	if err != nil {
		t.Fatal(err)
	}
	store := parked.New(e.js, names)
	// Of these nobody knows the session: the first is not even a token of a subject, the second is all that an entry of the log names.
	for _, control := range []call.ControlID{"AgDI+/==", "v3:control-alone"} {
		body := []byte(numberOf("alone") + " " + string(control))
		if err := store.Park(t.Context(), call.Parked{Reason: "poison", Ref: call.Ref{Control: control}, Data: body}); err != nil {
			t.Fatal(err)
		}
	}
	var attempts []map[string]any
	for _, id := range []string{"one", "two"} {
		ref := call.Ref{Session: call.SessionID("session-" + id), Leg: call.LegID("leg-" + id), Control: call.ControlID("v3:control-" + id)}
		body := []byte(`{"number":"` + numberOf(id) + `"}`)
		receipt, err := log.Append(t.Context(), call.Entry{Topic: call.TopicEvent + call.TypeHangup, ID: id, Ref: ref, Data: body})
		if err != nil {
			t.Fatal(err)
		}
		attempts = append(attempts, map[string]any{"seq": receipt.Seq, "at": time.Now(), "result": "refused", "answer": numberOf(id)})
		for _, p := range []call.Parked{
			{Reason: "poison", Seq: receipt.Seq, Ref: ref, Data: body},
			{Reason: "not_json", Data: []byte("something about session-" + id + " and " + numberOf(id))},
		} {
			if err := store.Park(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		for _, k := range []summary.Key{{Kind: summary.KindLeg, Session: string(ref.Session), Leg: string(ref.Leg)}, {Kind: summary.KindSession, Session: string(ref.Session)}} {
			var before summary.Stored
			for revision := 1; revision <= 2; revision++ {
				said := map[string]any{
					"kind": k.Kind, "schema": 1, "revision": revision, "call_session_id": k.Session, "from": numberOf(id),
					"outcome": "answered", "published_at": "2026-03-14T15:09:26.535897Z",
				}
				if k.Leg != "" {
					said["call_leg_id"], said["call_control_id"] = k.Leg, string(ref.Control)
				}
				data, err := json.Marshal(said)
				if err != nil {
					t.Fatal(err)
				}
				before, err = calls.Publish(t.Context(), summary.Draft{
					Key: k, Revision: revision, PublishedAt: time.Now(), Body: data, Position: summary.Position{Log: "x", Seq: receipt.Seq},
				}, before)
				if err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if _, err := log.Append(t.Context(), call.Entry{Topic: call.TopicEvent + call.TypeHangup, ID: "alone", Ref: call.Ref{Control: "v3:control-alone"}, Data: []byte(`{}`)}); err != nil {
		t.Fatal(err)
	}
	record, err := json.Marshal(map[string]any{"attempts": attempts})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.js.Publish(t.Context(), "calls.internal.forward.app", record); err != nil {
		t.Fatal(err)
	}
	return e
}

func numberOf(id string) string { return "+1202555-of-" + id }

// erase runs the command.
func (e *erasing) erase(args ...string) (string, error) {
	e.t.Helper()
	out, err := exec.CommandContext(e.t.Context(), legatotest.Program(), append([]string{"erase", "--nats-url=" + e.url}, args...)...).CombinedOutput()
	return string(out), err
}

// left counts the messages of a stream that name a call's number.
func (e *erasing) left(stream, id string) (n int) {
	e.t.Helper()
	for _, m := range legatotest.Stored(e.t, e.js, stream) {
		if bytes.Contains(m.Data(), []byte(numberOf(id))) {
			n++
		}
	}
	return n
}

// onDisk tells the files of a stream that have a call's number in them.
func (e *erasing) onDisk(stream, id string) (files []string) {
	e.t.Helper()
	err := filepath.WalkDir(e.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.Contains(path, string(filepath.Separator)+stream+string(filepath.Separator)) {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(numberOf(id))) {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		e.t.Fatal(err)
	}
	return files
}

// One call leaves summaries, parked messages and what is recorded of applications, by whichever of its ids, and no other
// call does; while the log has it, that is said, and the command fails.
func TestOneCallIsErased(t *testing.T) {
	t.Parallel()
	for name, id := range map[string]string{"by its session": "session-one", "by a leg": "leg-one", "by a control id": "v3:control-one"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newErasing(t)
			streams := map[string]int{"CALLS": 4, "CALL_PARKED": 2, "CALL_FORWARD": 1}
			out, err := e.erase(id, "--dry-run")
			if err == nil || !strings.Contains(out, "CALLS: 4 summaries would be erased") {
				t.Errorf("a dry run says %v:\n%s", err, out)
			}
			for stream, n := range streams {
				if got := e.left(stream, "one"); got != n {
					t.Errorf("after a dry run %s has %d messages of the call, want %d", stream, got, n)
				}
			}
			out, err = e.erase(id)
			for _, want := range []string{
				"CALLS: 4 summaries erased", "CALL_PARKED: 2 messages erased", "CALL_FORWARD: 1 records of attempts erased",
				"CALL_EVENTS: 1 entries stay until", "the call is in the log yet",
			} {
				if err == nil || !strings.Contains(out, want) {
					t.Errorf("it does not say %q (%v):\n%s", want, err, out)
				}
			}
			for stream, n := range streams {
				if got := e.left(stream, "one"); got != 0 {
					t.Errorf("%s has %d messages of the call", stream, got)
				}
				if files := e.onDisk(stream, "one"); len(files) > 0 {
					t.Errorf("the call is in %v", files)
				}
				if got := e.left(stream, "two"); got != n {
					t.Errorf("%s has %d messages of the other call, want %d", stream, got, n)
				}
			}
			// It leaves the log as the service trims it.
			stream, err := e.js.Stream(t.Context(), "CALL_EVENTS")
			if err != nil {
				t.Fatal(err)
			}
			if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(2)); err != nil {
				t.Fatal(err)
			}
			if out, err := e.erase("session-one", "--wait"); err != nil || !strings.Contains(out, "CALL_EVENTS: no entries") {
				t.Errorf("when the log has let it go: %v\n%s", err, out)
			}
		})
	}
}

func TestWhatIsParkedOfACallWithoutAKnownSessionIsErased(t *testing.T) {
	t.Parallel()
	e := newErasing(t)
	for i, tt := range []struct {
		control, log string
		fails        bool
	}{
		{"AgDI+/==", "CALL_EVENTS: no entries", false},
		{"v3:control-alone", "CALL_EVENTS: 1 entries stay until", true},
	} {
		out, err := e.erase(tt.control)
		if (err != nil) != tt.fails {
			t.Errorf("%s: %v", tt.control, err)
		}
		for _, want := range []string{"CALLS: 0 summaries erased", "CALL_PARKED: 1 messages erased", tt.log} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: it does not say %q:\n%s", tt.control, want, out)
			}
		}
		if got := e.left("CALL_PARKED", "alone"); got != 1-i {
			t.Errorf("after %s %d messages are left", tt.control, got)
		}
	}
}

// Half an id is an id of no call, and a part of those of many.
func TestAPartOfAnIDErasesNothing(t *testing.T) {
	t.Parallel()
	e := newErasing(t)
	for _, part := range []string{"session", "session-on", "one", "control-one", "v3", "e"} {
		out, err := e.erase(part)
		if err != nil || !strings.Contains(out, "CALL_PARKED: 0 messages erased") {
			t.Errorf("%s: %v\n%s", part, err, out)
		}
	}
	for _, id := range []string{"one", "two"} {
		if got := e.left("CALL_PARKED", id); got != 2 {
			t.Errorf("%d parked messages of call %s are left", got, id)
		}
	}
}

// Single entries of the log cannot be removed, by nobody: a hole would look like a lost event to every replica.
func TestTheLogLetsNoSingleEntryBeRemoved(t *testing.T) {
	t.Parallel()
	e := newErasing(t)
	stream, err := e.js.Stream(t.Context(), "CALL_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.SecureDeleteMsg(t.Context(), 1); err == nil {
		t.Error("an entry was removed")
	}
	config := stream.CachedInfo().Config
	config.DenyDelete = false
	if _, err := e.js.UpdateStream(t.Context(), config); err == nil {
		t.Error("the log can be made to let entries be removed")
	} else if !strings.Contains(fmt.Sprint(err), "deny") {
		t.Errorf("the server says %v", err)
	}
}
