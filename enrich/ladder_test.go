package enrich_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/story"
)

const (
	transferred = "5f1c0a20-0000-11f1-9c00-02420a0d0a00"
	answeredOf3 = "5f1c0a20-e006-4a00-8a00-0242ac110002"
)

// recordingOfTransferred is saved after the call and delivered half a minute later.
const recordingOfTransferred = `{"data":{"record_type":"event","event_type":"call.recording.saved","id":"5f1c0a20-e011-4a00-8a00-0242ac110002",
"occurred_at":"2026-03-02T09:01:02.000000Z","payload":{"call_control_id":"v3:5f1c0a20Nq1_notARealControlId-Legato000000000000000",
"call_leg_id":"5f1c0a20-0a01-11f1-9c00-02420a0d0a01","call_session_id":"` + transferred + `","connection_id":"1700000000000000042",
"recording_id":"rec-1","channels":"dual","format":"mp3","recording_started_at":"2026-03-02T09:00:12.100000Z",
"recording_ended_at":"2026-03-02T09:01:00.000000Z","recording_urls":{"mp3":"https://recordings.example.com/rec-1.mp3"}}},"meta":{"attempt":1}}`

// play lets a flow take place for a while and returns the log and the summaries of that time.
func play(t *testing.T, f *flow, deliveries []delivery, rest time.Duration) (entries []call.Entry, stored []summary.Stored) {
	t.Helper()
	var w *world
	f.runFor(t, 1, deliveries, func(of *world) { w = of; w.log.untrimmed = true }, rest)
	for _, m := range w.sink.all() {
		stored = append(stored, m.Stored)
	}
	return w.log.all(), stored
}

// told is the story of a call from what was played.
func told(t *testing.T, id string, entries []call.Entry, stored []summary.Stored, at time.Time) *story.Story {
	t.Helper()
	finder := story.NewFinder(id, "")
	for range 2 { // for the session, and then for its entries
		for _, e := range entries {
			if finder.Take(e) {
				break
			}
		}
	}
	var mine []call.Entry
	for _, seq := range finder.Found() {
		mine = append(mine, entries[seq-1])
	}
	w := &world{}
	log := call.Log{ID: "log-1", First: 1, Last: uint64(len(entries))}
	view, plan := story.Fold(log, mine, finder.Session(), rules, w.decode)
	session := finder.Session()
	if session == "" {
		session = transferred
	}
	s := story.Compose(story.Known{
		ID: id, Session: session, At: at, View: view, Schedule: plan, Entries: mine, Read: true, Summaries: stored,
	})
	return &s
}

func TestATransferredCallIsExplainedOnOneScreen(t *testing.T) {
	f := flows(t)["transfer_second_try"]
	var deliveries []delivery
	for _, d := range f.deliveries {
		if !bytes.Contains(d.body, []byte(answeredOf3)) {
			deliveries = append(deliveries, d)
		}
	}
	deliveries = append(deliveries, delivery{at: 95 * time.Second, body: []byte(recordingOfTransferred)})
	entries, stored := play(t, f, deliveries, 4*time.Minute)
	at := callStart.Add(95*time.Second + 4*time.Minute)

	for name, id := range map[string]string{
		"its session": transferred, "a leg": "5f1c0a20-0a02-11f1-9c00-02420a0d0a02",
		"a control id": "v3:5f1c0a20Nq3_notARealControlId-Legato000000000000000",
	} {
		t.Run("by "+name, func(t *testing.T) {
			s := told(t, id, entries, stored, at)
			s.Mask()
			compareScreen(t, "transferred_call", s.Ladder(120, time.UTC))
		})
	}
	t.Run("when its log is gone", func(t *testing.T) {
		s := told(t, transferred, nil, stored, at)
		if s.Log.Coverage != story.CoverageNone || len(s.Legs) != 3 {
			t.Errorf("the log covers %s of %d legs", s.Log.Coverage, len(s.Legs))
		}
		s.Mask()
		compareScreen(t, "transferred_call_without_log", s.Ladder(120, time.UTC))
	})
}

// The README shows this one, beside a summary of the same call.
func TestABridgedCallIsExplained(t *testing.T) {
	f := flows(t)["inbound_bridged"]
	entries, stored := play(t, f, f.deliveries, 4*time.Minute)
	s := told(t, "5f1c0a02-0000-11f1-9c00-02420a0d0a00", entries, stored, callStart.Add(6*time.Minute))
	s.Mask()
	compareScreen(t, "bridged_call", s.Ladder(120, time.UTC))
}

func TestARepairedCallIsExplained(t *testing.T) {
	f := flows(t)["repaired_answer"]
	deliveries := slices.Clone(f.deliveries)
	hangup := deliveries[len(deliveries)-1]
	if !bytes.Contains(hangup.body, []byte("call.hangup")) {
		t.Fatal("the last delivery of the flow is no hangup")
	}
	// Delivered again when the log does not know its id any more.
	hangup.at += duplicateWindow + 5*time.Second
	hangup.body = bytes.Replace(hangup.body, []byte(`"attempt": 1`), []byte(`"attempt": 2`), 1)
	entries, stored := play(t, f, append(deliveries, hangup), time.Minute)
	s := told(t, "5f1c0a40-0000-11f1-9c00-02420a0d0a00", entries, stored, callStart.Add(4*time.Minute))
	s.Mask()
	compareScreen(t, "repaired_call", s.Ladder(120, time.UTC))
}

// compareScreen holds a text against testdata, and against a screen of 120 × 40.
func compareScreen(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("..", "testdata", "ladders", name+".txt")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(want), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for line := range strings.Lines(got) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 120 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if n := strings.Count(got, "\n"); n > 40 {
		t.Errorf("%d lines", n)
	}
	if strings.Contains(got, "+12025550") {
		t.Error("a whole number is shown")
	}
}
