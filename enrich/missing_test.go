package enrich_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// rowForms are the forms in which a row of the history can tell of a webhook: one with all of the event, those that
// were seen without the event's id or time, and some with an id that is another.
var rowForms = map[string]func(n int, data, payload json.RawMessage, typ, id string, at, delivered time.Time) map[string]any{
	"documented, with the event": func(_ int, data, _ json.RawMessage, typ, _ string, _, delivered time.Time) map[string]any {
		return documentedRow(typ, delivered, data)
	},
	"documented, with the delivered body": func(_ int, data, _ json.RawMessage, typ, _ string, _, delivered time.Time) map[string]any {
		return documentedRow(typ, delivered, map[string]any{"data": data, "meta": map[string]any{"attempt": 1}})
	},
	"documented, with the wrapped event": func(_ int, data, _ json.RawMessage, typ, _ string, _, delivered time.Time) map[string]any {
		return documentedRow(typ, delivered, map[string]any{"attempt": 1, "event": data, "status": "delivered"})
	},
	"documented, with the payload alone": func(_ int, _, payload json.RawMessage, typ, _ string, _, delivered time.Time) map[string]any {
		return documentedRow(typ, delivered, payload)
	},
	"the event's id and the row's time": func(_ int, _, payload json.RawMessage, typ, id string, _, delivered time.Time) map[string]any {
		return map[string]any{"record_type": "event", "event_type": typ, "webhook_id": id, "created_at": delivered, "payload": payload}
	},
	"the event's time and no id": func(_ int, _, payload json.RawMessage, typ, _ string, at, _ time.Time) map[string]any {
		return map[string]any{"record_type": "call_event", "event_type": typ, "occurred_at": at, "payload": payload}
	},
	"the event's time in milliseconds and an id of the row's own": func(n int, _, payload json.RawMessage, typ, _ string, at, _ time.Time) map[string]any {
		return map[string]any{"record_type": "event", "event_type": typ, "id": fmt.Sprint("row-", n), "occurred_at": at.Truncate(time.Millisecond), "payload": payload}
	},
	"the row's time and an id of its own": func(n int, _, payload json.RawMessage, typ, _ string, _, delivered time.Time) map[string]any {
		return map[string]any{"record_type": "event", "event_type": typ, "id": fmt.Sprint("row-", n), "created_at": delivered, "payload": payload}
	},
}

func documentedRow(typ string, at time.Time, metadata any) map[string]any {
	return map[string]any{
		"record_type": "call_event", "type": "webhook", "name": typ, "event_timestamp": at,
		"call_leg_id": "leg-1", "call_session_id": "sess-1", "metadata": metadata,
	}
}

// Whatever a leg lost and however the history tells of it, its timeline comes back whole, and nothing twice.
func TestATimelineComesBackWholeAndNothingTwice(t *testing.T) {
	ref := call.Ref{Session: "sess-1", Leg: "leg-1"}
	for form, write := range rowForms {
		t.Run(form, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				types := rapid.SliceOfN(rapid.SampledFrom([]string{call.TypeDTMF, call.TypeDTMF, call.TypeHold, call.TypeUnhold, call.TypePlaybackEnded}), 0, 12).Draw(t, "types")
				types = append([]string{call.TypeInitiated, call.TypeAnswered}, append(types, call.TypeHangup)...)
				var rows, known []enrich.Past
				lost := make(map[string]int)
				at := callStart
				for n, typ := range types {
					at = at.Add(time.Duration(rapid.IntRange(2_000, 5_000_000).Draw(t, "after")) * time.Microsecond)
					delivered := at.Add(time.Duration(rapid.IntRange(0, 999).Draw(t, "delivery")) * time.Microsecond)
					id := fmt.Sprintf("5f1c0a0e-e0%02d-4a00-8a00-0242ac110002", n)
					payload := json.RawMessage(`{"call_leg_id":"leg-1","call_session_id":"sess-1"}`)
					data, err := json.Marshal(map[string]any{"event_type": typ, "id": id, "occurred_at": at, "payload": payload, "record_type": "event"})
					if err != nil {
						t.Fatal(err)
					}
					row, err := json.Marshal(write(n, data, payload, typ, id, at, delivered))
					if err != nil {
						t.Fatal(err)
					}
					rows = append(rows, pastOf(t, row, ref))
					// A history with the same row again is one with two deliveries of an event.
					if rapid.Bool().Draw(t, "twice") {
						rows = append(rows, pastOf(t, row, ref))
					}
					if n == 0 || rapid.Bool().Draw(t, "received") { // of a leg that was never heard of nobody asks
						known = append(known, enrich.Past{Type: typ, ID: id, At: at, Exact: true, Named: true})
					} else {
						lost[typ]++
					}
				}
				rows = rapid.Permutation(rows).Draw(t, "order")
				found := make(map[string]int)
				var taken []enrich.Past
				for _, i := range enrich.Missing(rows, known, false) {
					found[rows[i].Type]++
					p := rows[i]
					p.Named = false // it is a webhook's no more
					taken = append(taken, p)
				}
				if diff := cmp.Diff(lost, found); diff != "" {
					t.Fatalf("taken (-lost +taken):\n%s", diff)
				}
				if again := enrich.Missing(rows, append(slices.Clone(known), taken...), false); len(again) > 0 {
					t.Fatalf("asked again, %d more were taken", len(again))
				}
				// What is known was not taken: the times of what was are those of what was lost.
				for _, p := range taken {
					if slices.ContainsFunc(known, func(k enrich.Past) bool { return k.Type == p.Type && k.At.Sub(p.At).Abs() < time.Millisecond }) {
						t.Fatalf("%s at %v was known", p.Type, p.At)
					}
				}
			})
		})
	}
}

// pastOf is a row as the service reads it.
func pastOf(t *rapid.T, row []byte, ref call.Ref) enrich.Past {
	found, ok := recall(row, ref)
	if !ok {
		t.Fatalf("the row %s is about nothing", row)
	}
	e, err := telnyx.Decode(found.Entry.Data)
	if err != nil {
		t.Fatal(err)
	}
	return enrich.Past{Type: e.Type, ID: e.ID, At: e.OccurredAt, Exact: found.Exact, Named: found.Named}
}

func TestIDsDecideWhereOneOfThemIsAWebhooks(t *testing.T) {
	at := func(d time.Duration) time.Time { return callStart.Add(d) }
	row := func(typ, id string, d time.Duration) enrich.Past { return enrich.Past{typ, id, at(d), false, true} }
	known := func(typ, id string, d time.Duration) enrich.Past { return enrich.Past{typ, id, at(d), true, true} }
	filled := func(typ, id string, d time.Duration) enrich.Past { return enrich.Past{typ, id, at(d), true, false} }
	const dtmf, hold = call.TypeDTMF, call.TypeHold
	for name, c := range map[string]struct {
		rows, known []enrich.Past
		want        []int
	}{
		"keys a second apart, with ids": {
			[]enrich.Past{row(call.TypeInitiated, "i", 0), row(dtmf, "a", time.Second), row(dtmf, "b", 2*time.Second)},
			[]enrich.Past{known(call.TypeInitiated, "i", 0)},
			[]int{1, 2},
		},
		"one of them is known": {
			[]enrich.Past{row(dtmf, "a", time.Second), row(dtmf, "b", 2*time.Second)}, []enrich.Past{known(dtmf, "b", time.Second)}, []int{0},
		},
		"of ids that prove nothing, as many as there are too many": {
			[]enrich.Past{row(dtmf, "a", time.Second), row(dtmf, "b", 9*time.Second)}, []enrich.Past{known(dtmf, "x", 8*time.Second)}, []int{0},
		},
		"what was filled in proves nothing": {
			[]enrich.Past{row(hold, "h", 0), row(dtmf, "a", time.Second)}, []enrich.Past{filled(hold, "h", 0), known(dtmf, "x", time.Second)}, nil,
		},
		"a webhook that had no id is known by its time": {
			[]enrich.Past{row(hold, "h", 0), {dtmf, "a", at(time.Second), true, true}}, []enrich.Past{known(hold, "h", 0), filled(dtmf, "sha256:x", time.Second)}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, enrich.Missing(c.rows, c.known, false)); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
		})
	}
}

// empty takes everything out of the stream of summaries, as an operator's purge does. Ids that it has had are still
// refused for a while.
func (s *fakeSink) empty() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.messages {
		s.messages[i].Key.Session = "purged-" + s.messages[i].Key.Session
	}
}

// Consumers pass over revisions that they have seen, so they go on counting where the stream was emptied under a call.
func TestRevisionsGoOnCountingWhereTheSummariesWereEmptied(t *testing.T) {
	for name, rest := range map[string]time.Duration{"at once": 30 * time.Second, "when this replica remembers it no more": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				a := newLeg("s1", 1)
				w.lives(a)
				after(rest)
				w.wantRevisions(a.key(), "1 completed")
				before, _, _ := w.sink.counts()
				w.sink.empty()
				w.deliver(a.cost("0.01"))
				after(time.Minute)
				for _, k := range []summary.Key{a.key(), a.sessionKey()} {
					if got := w.revisions(k); len(got) != 1 || !strings.HasPrefix(got[0], "2 amended") {
						t.Errorf("%s: got %v, want revision 2", k.Kind, got)
					}
				}
				if n, _, _ := w.sink.counts(); n-before > 4 {
					t.Errorf("%d publications", n-before)
				}
				w.deliver(a.recording(1))
				after(time.Minute)
				if got := w.revisions(a.key()); len(got) != 2 || !strings.HasPrefix(got[1], "3 amended") {
					t.Errorf("got %v, want revision 3 as well", got)
				}
			})
		})
	}
}

// Somebody empties the stream twice. In between another replica has published what was missing, which this one has been
// told, and whose number a session must not fall behind.
func TestASessionShowsTheRevisionsOfItsLegsThatAnotherReplicaPublished(t *testing.T) {
	inWorld(t, 0, func(w *world) {
		told := make(chan message, 8)
		w.watch = func(ctx context.Context, _ time.Time, seen func(summary.Key, int, summary.Position)) error {
			for {
				select {
				case m := <-told:
					seen(m.Key, m.Revision, m.Position)
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		w.start()
		a, b := newLeg("s1", 1), newLeg("s1", 2)
		w.lives(a)
		w.lives(b)
		after(30 * time.Second)
		w.wantRevisions(a.key(), "1 completed")
		stood := w.sink.all()
		w.sink.empty()
		w.sink.publishedElsewhere(stood)
		for _, m := range w.sink.all() {
			told <- m
		}
		after(10 * time.Second)
		w.wantRevisions(a.key(), "2 amended")
		w.sink.empty()
		w.deliver(b.cost("0.01"))
		after(time.Minute)
		last := 2
		for _, m := range w.sink.of(a.key()) {
			last = m.Revision
		}
		session := w.sessionOf(a)
		i := slices.IndexFunc(session.Legs, func(l summary.SessionLeg) bool { return l.CallLegID == a.key().Leg })
		if got := session.Legs[i].Revision; got != last {
			t.Errorf("revision %d of the session shows revision %d of the leg, which is at %d", session.Revision, got, last)
		}
	})
}

// What is refused again and again, and cannot be read, is tried with a pause that grows: each try is seen by everybody
// who subscribes without JetStream.
func TestAPublicationThatIsRefusedAgainAndAgainWaits(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		a := newLeg("s1", 1)
		w.sink.failing(func(_ *replica, d summary.Draft, _ int) fault {
			if d.Key.Kind == summary.KindLeg {
				return inProcess
			}
			return noFault
		})
		w.lives(a)
		after(2 * time.Minute)
		if n, _, _ := w.sink.counts(); n > 25 {
			t.Errorf("%d publications in two minutes", n)
		}
		w.sink.failing(nil)
		after(15 * time.Second)
		if got := w.revisions(a.key()); !slices.Contains(got, "1 completed") {
			t.Errorf("got %v", got)
		}
	})
}
