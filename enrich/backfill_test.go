package enrich_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

func TestOnlyWhatIsNotKnownIsTakenFromTheHistory(t *testing.T) {
	at := func(d time.Duration) time.Time { return callStart.Add(d) }
	exact := func(typ, id string, d time.Duration) enrich.Past { return enrich.Past{typ, id, at(d), true, false} }
	about := func(typ, id string, d time.Duration) enrich.Past { return enrich.Past{typ, id, at(d), false, false} }
	const dtmf = call.TypeDTMF
	for name, c := range map[string]struct {
		rows, known []enrich.Past
		sparse      bool
		want        []int
	}{
		"one that is not known":                         {[]enrich.Past{exact(dtmf, "a", 0)}, nil, false, []int{0}},
		"not one of the same id":                        {[]enrich.Past{exact(dtmf, "a", time.Hour)}, []enrich.Past{exact(dtmf, "a", 0)}, false, nil},
		"one of the same id and another type":           {[]enrich.Past{exact(dtmf, "a", 0)}, []enrich.Past{exact(call.TypeHold, "a", 0)}, false, []int{0}},
		"not one of another id and the same time":       {[]enrich.Past{exact(dtmf, "b", 0)}, []enrich.Past{exact(dtmf, "a", 0)}, false, nil},
		"not one whose time has fewer digits":           {[]enrich.Past{exact(dtmf, "b", 127*time.Millisecond)}, []enrich.Past{exact(dtmf, "a", 127783*time.Microsecond)}, false, nil},
		"one of another id a millisecond later":         {[]enrich.Past{exact(dtmf, "b", time.Millisecond)}, []enrich.Past{exact(dtmf, "a", 0)}, false, []int{0}},
		"not a second hangup, whenever":                 {[]enrich.Past{exact(call.TypeHangup, "b", time.Hour)}, []enrich.Past{exact(call.TypeHangup, "a", 0)}, false, nil},
		"not a second answer, whenever":                 {[]enrich.Past{exact(call.TypeAnswered, "b", time.Hour)}, []enrich.Past{exact(call.TypeAnswered, "a", 0)}, false, nil},
		"one of no exact time, when there is none such": {[]enrich.Past{about(dtmf, "b", time.Hour)}, []enrich.Past{exact(call.TypeHold, "a", 0)}, false, []int{0}},
		"not one of no exact time, when there is":       {[]enrich.Past{about(dtmf, "b", time.Hour)}, []enrich.Past{exact(dtmf, "a", 0)}, false, nil},
		"each once, by occurrence": {
			[]enrich.Past{exact(dtmf, "c", 3*time.Second), exact(dtmf, "a", 0), exact(dtmf, "a2", 0), exact(dtmf, "c", 3*time.Second), exact(dtmf, "b", time.Second)},
			nil, false,
			[]int{1, 4, 0},
		},
		"only what a leg has once, when not all is known by name": {
			[]enrich.Past{exact(dtmf, "a", 0), exact(call.TypeAnswered, "b", time.Second)}, nil, true, []int{1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, enrich.Missing(c.rows, c.known, c.sparse)); diff != "" {
				t.Errorf("taken (-want +got):\n%s", diff)
			}
		})
	}
}

// Whatever the order of the rows the same events are taken, none of them twice.
func TestTheOrderOfAHistoryDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := rapid.Custom(func(t *rapid.T) enrich.Past {
			return enrich.Past{
				Type: rapid.SampledFrom([]string{call.TypeInitiated, call.TypeDTMF, call.TypeHold}).Draw(t, "type"),
				ID:   rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id"),
				At:   callStart.Add(time.Duration(rapid.IntRange(0, 3).Draw(t, "at")) * time.Second), Exact: true,
			}
		})
		rows, known := rapid.SliceOfN(draw, 0, 8).Draw(t, "rows"), rapid.SliceOfN(draw, 0, 4).Draw(t, "known")
		taken := func(rows []enrich.Past) (all []string) {
			for _, i := range enrich.Missing(rows, known, false) {
				all = append(all, rows[i].Type+rows[i].At.String())
			}
			slices.Sort(all)
			return all
		}
		// Of one id there is one time: only then is it the same event.
		for i := range rows {
			for j := range rows {
				if rows[i].ID == rows[j].ID && rows[i].Type == rows[j].Type {
					rows[j].At = rows[i].At
				}
			}
		}
		want := taken(rows)
		other := rapid.Permutation(append(slices.Clone(rows), rows...)).Draw(t, "other order, and twice")
		if got := taken(other); len(slices.Compact(slices.Clone(got))) != len(got) || !cmp.Equal(len(want), len(got)) {
			t.Fatalf("in another order %v; want %v", got, want)
		}
	})
}

func TestDecideRepair(t *testing.T) {
	for name, c := range map[string]struct {
		view  session.LegView
		check int
		want  int
	}{
		"what a check asks for":                 {session.LegView{Ending: session.ByHangup, Backfilled: 1}, 2, 2},
		"not what has its outcome already":      {session.LegView{Ending: session.ByHangup, Backfilled: 2}, 2, 0},
		"not a leg that came to life meanwhile": {session.LegView{}, 1, 0},
		"nothing without a check":               {session.LegView{Ending: session.Gone}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if got := enrich.DecideBackfill(&c.view, c.check); got != c.want {
				t.Errorf("attempt %d; want %d", got, c.want)
			}
		})
	}
}

// lacking lets a leg live without its answer; the history has it.
func (w *world) lacking(l leg) {
	w.past.has(call.LegID(l.id), l.initiated(), l.answered(), l.hangup())
	w.deliver(l.initiated())
	w.deliver(l.hangup())
}

// holes are the notes of a leg's newest summary about events that it lacks.
func (w *world) holes(l leg) (notes []summary.Note) {
	for _, n := range w.legOf(l).Notes {
		if strings.HasSuffix(string(n), "_missing") {
			notes = append(notes, n)
		}
	}
	return notes
}

// repairs returns what came of the attempts to complete a leg, by the log.
func (w *world) repairs(l leg) (all []string) {
	for _, e := range w.log.all() {
		var r session.Backfill
		if e.Topic == call.TopicBackfill && e.Ref.Leg == call.LegID(l.id) && json.Unmarshal(e.Data, &r) == nil {
			all = append(all, fmt.Sprintf("%d %s %d+%d %t", r.Attempt, r.Result, r.Rows, r.Added, r.Whole))
		}
	}
	return all
}

// backfilled returns the types of the events that the log has from the history of a leg.
func (w *world) backfilled(l leg) (all []string) {
	for _, e := range w.log.all() {
		if e.Backfill && e.Ref.Leg == call.LegID(l.id) {
			all = append(all, strings.TrimPrefix(e.Topic, call.TopicEvent))
		}
	}
	return all
}

func (w *world) wantRepairs(l leg, want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.repairs(l)); diff != "" {
		w.t.Errorf("attempts to complete leg %s (-want +got):\n%s", l.id, diff)
	}
}

func TestALegIsCompletedOnceByWhicheverReplica(t *testing.T) {
	for _, replicas := range []int{1, 2, 3} {
		t.Run(fmt.Sprint(replicas, " replicas"), func(t *testing.T) {
			inWorld(t, replicas, func(w *world) {
				a := newLeg("s1", 1)
				w.lacking(a)
				after(20 * time.Second)
				w.wantRevisions(a.key(), "1 completed")
				if got := w.legOf(a); !slices.Contains(got.Notes, summary.NoteAnsweredMissing) {
					t.Errorf("before the history was asked the notes are %v", got.Notes)
				}
				after(time.Minute)
				w.wantRevisions(a.key(), "1 completed", "2 amended backfill")
				w.wantRevisions(a.sessionKey(), "1 completed", "2 amended leg_revised")
				w.wantRepairs(a, "1 answered 3+1 true")
				got := w.legOf(a)
				if len(w.holes(a)) > 0 || got.Sources["answered_at"] != summary.SourceBackfill || got.Sources["ended_at"] != summary.SourceWebhook {
					t.Errorf("notes %v, sources %v", got.Notes, got.Sources)
				}
				after(20 * time.Minute)
				if n := len(w.past.of(call.LegID(a.id))); n != 1 {
					t.Errorf("the history was asked for %d times; want once", n)
				}
				w.settled()
			})
		})
	}
}

func TestASummaryIsNotHeldBackByTheHistory(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.past.latency = 25 * time.Second
		a := newLeg("s1", 1)
		w.lacking(a)
		after(35 * time.Second) // the history is being read
		if n := len(w.past.of(call.LegID(a.id))); n != 1 {
			t.Fatalf("the history was asked for %d times", n)
		}
		w.deliver(a.cost("0.01"))
		after(3 * time.Second)
		w.wantRevisions(a.key(), "1 completed", "2 amended cost")
		after(time.Minute)
		w.wantRevisions(a.key(), "1 completed", "2 amended cost", "3 amended backfill")
		w.settled()
	})
}

func TestAHistoryThatCannotBeReadIsAskedAgainAndThenNoMore(t *testing.T) {
	for name, answer := range map[string]status.Answer{
		"refused": {Result: status.Denied, HTTPStatus: 401}, "too often": {Result: status.RateLimited, HTTPStatus: 429, RetryAfter: 60},
		"down": unreachable(), "not there": notFound(),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 2, func(w *world) {
				w.past.answer = func(call.Ref, int, status.Past) status.Past { return status.Past{Answer: answer} }
				a := newLeg("s1", 1)
				w.lacking(a)
				begun := time.Now()
				after(time.Hour)
				w.wantRevisions(a.key(), "1 completed")
				var at []time.Duration
				for _, r := range w.past.of(call.LegID(a.id)) {
					at = append(at, r.at.Sub(begun).Truncate(time.Second))
				}
				if diff := cmp.Diff([]time.Duration{30 * time.Second, 150 * time.Second, 750 * time.Second}, at); diff != "" {
					t.Errorf("asked after (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestAHistoryThatLagsIsAskedAgain(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.past.answer = func(_ call.Ref, n int, there status.Past) status.Past {
			if n == 1 {
				there.Rows = there.Rows[:1]
			}
			return there
		}
		a := newLeg("s1", 1)
		w.lacking(a)
		after(4 * time.Minute)
		w.wantRepairs(a, "1 answered 1+0 false", "2 answered 3+1 true")
		w.wantRevisions(a.key(), "1 completed", "2 amended backfill")
		w.settled()
	})
}

func TestWhatWaitsForItsTurnIsNoTaskAndKeepsItsPlace(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.past.turn = func(call.Ref) time.Duration { return 3 * time.Minute }
		a := newLeg("s1", 1)
		w.lacking(a)
		after(time.Minute)
		if open := w.queue.open(); len(open) > 0 {
			t.Errorf("tasks %v are held though there was no turn", open)
		}
		after(5 * time.Minute)
		w.wantRepairs(a, "2 answered 3+1 true") // two checks have asked for it, and one request was made
		if n := len(w.past.of(call.LegID(a.id))); n != 1 {
			t.Errorf("the history was asked %d times", n)
		}
		w.settled()
	})
}

// The log keeps its last eighth for finishing calls: events it takes none of.
func TestAFullLogPutsTheRepairOff(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.log.refusing(func(_ *replica, e call.Entry) error {
			if strings.HasPrefix(e.Topic, call.TopicEvent) {
				return errDown
			}
			return nil
		})
		a := newLeg("s1", 1)
		w.lacking(a)
		after(2 * time.Minute)
		w.wantRepairs(a)
		if open := w.queue.open(); len(open) > 0 {
			t.Errorf("tasks %v are held for an event that the log does not take", open)
		}
		w.log.refusing(nil)
		after(6 * time.Minute)
		w.wantRepairs(a, "2 answered 3+1 true")
		w.wantRevisions(a.key(), "1 completed", "2 amended backfill")
	})
}

func TestACrashInARepairDoublesNothing(t *testing.T) {
	for name, dies := range map[string]func(e call.Entry, n int) bool{
		"before an event is appended":    func(e call.Entry, _ int) bool { return e.Backfill },
		"between two events":             func(e call.Entry, n int) bool { return e.Backfill && n == 2 },
		"before the outcome is appended": func(e call.Entry, _ int) bool { return e.Topic == call.TopicBackfill },
		"before the check that asks for one": func(e call.Entry, _ int) bool {
			return e.Topic == call.TopicCheck && strings.HasPrefix(e.ID, "check/repair/")
		},
	} {
		for _, form := range []string{"with ids", "without"} {
			t.Run(name+", rows "+form, func(t *testing.T) {
				inWorld(t, 2, func(w *world) {
					a := newLeg("s1", 1)
					id := call.LegID(a.id)
					bodies := [][]byte{a.initiated(), a.answered(), a.hangup(), a.cost("0.01")}
					if form == "with ids" {
						w.past.has(id, bodies...)
					} else {
						for _, body := range bodies {
							w.past.hasRow(id, named(body))
						}
					}
					var mu sync.Mutex
					killed, appended := false, 0
					w.log.refusing(func(r *replica, e call.Entry) error {
						mu.Lock()
						defer mu.Unlock()
						if e.Backfill {
							appended++
						}
						if !killed && dies(e, appended) {
							killed = true
							r.die()
							return errDown
						}
						return nil
					})
					w.deliver(a.initiated())
					w.deliver(a.hangup())
					after(10 * time.Minute)
					if !killed {
						t.Fatal("nobody died")
					}
					if got := w.legOf(a); len(got.Events) != 4 || len(w.holes(a)) > 0 {
						t.Errorf("events %+v, notes %v; want four events and nothing missing", got.Events, got.Notes)
					}
					if n := len(w.past.of(id)); n > 2 {
						t.Errorf("the history was asked for %d times", n)
					}
					w.settled()
				})
			})
		}
	}
}

// named is a row that has the names of the event and no id of it.
func named(body []byte) json.RawMessage {
	var delivered struct {
		Data struct {
			EventType  string          `json:"event_type"`
			OccurredAt string          `json:"occurred_at"`
			Payload    json.RawMessage `json:"payload"`
		}
	}
	if err := json.Unmarshal(body, &delivered); err != nil {
		panic(err)
	}
	return encode(fields{
		"record_type": "call_event", "id": "row", "type": "webhook", "event_type": delivered.Data.EventType,
		"occurred_at": delivered.Data.OccurredAt, "payload": delivered.Data.Payload,
	})
}

// What comes in while the history is read is known when the rows are looked at.
func TestAWebhookThatComesDuringTheRepairIsNotDoubled(t *testing.T) {
	inWorld(t, 2, func(w *world) {
		w.past.latency = 10 * time.Second
		a := newLeg("s1", 1)
		for _, body := range [][]byte{a.initiated(), a.answered(), a.hangup()} {
			w.past.hasRow(call.LegID(a.id), named(body))
		}
		w.deliver(a.initiated())
		w.deliver(a.hangup())
		after(35 * time.Second)
		w.deliver(a.answered())
		after(time.Minute)
		if got := w.backfilled(a); len(got) > 0 {
			t.Errorf("from the history came %v, though it is known", got)
		}
		w.wantRepairs(a, "1 answered 3+0 true")
		w.settled()
	})
}

func TestALegWhoseCallHasLeftTheLogIsNotCompletedAnew(t *testing.T) {
	for name, tc := range map[string]struct {
		late func(a leg) []byte
		want []string
	}{
		"for a late cost":               {func(a leg) []byte { return a.cost("0.01") }, []string{"1 completed", "2 amended cost"}},
		"for a hangup that comes again": {func(a leg) []byte { return a.hangup() }, []string{"1 completed"}},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 1, func(w *world) {
				a := newLeg("s1", 1)
				for _, body := range [][]byte{a.initiated(), a.answered(), a.hangup()} {
					w.past.hasRow(call.LegID(a.id), named(body)) // the ids do not tell that they are known
				}
				w.lives(a)
				w.forgotten()
				w.deliver(tc.late(a))
				after(2 * time.Minute)
				w.wantRevisions(a.key(), tc.want...)
				if got := w.backfilled(a); len(got) > 0 {
					t.Errorf("the history gave %v again", got)
				}
				after(20 * time.Minute)
				if n := len(w.past.of(call.LegID(a.id))); n > 0 {
					t.Errorf("the history was asked for %d times, for what the summary knows", n)
				}
				w.wantRevisions(a.key(), tc.want...)
			})
		})
	}
}

// The service is down while a call hangs up and another goes on: both are looked
// at when it is back, not five minutes later.
func TestAfterAStartLegsThatLivedAreCheckedAtOnce(t *testing.T) {
	for _, replicas := range []int{1, 2} {
		t.Run(fmt.Sprint(replicas, " replicas"), func(t *testing.T) {
			inWorld(t, replicas, func(w *world) {
				w.stagger = 100 * time.Millisecond
				over, goesOn := newLeg("s1", 1), newLeg("s2", 1)
				w.past.has(call.LegID(over.id), over.initiated(), over.answered(), over.hangup())
				w.past.has(call.LegID(goesOn.id), goesOn.initiated(), goesOn.answered())
				w.status.answering(func(ref call.Ref, _ int) status.Answer {
					if ref.Leg == call.LegID(goesOn.id) {
						return alive()
					}
					return ended()
				})
				for _, a := range []leg{over, goesOn} {
					w.deliver(a.initiated())
					w.deliver(a.answered())
				}
				after(30 * time.Second)
				for _, r := range w.replicas {
					r.stop()
					r.dead.Store(true)
				}
				w.silence(time.Minute) // the hangup is told to nobody
				back := time.Now()
				for range replicas {
					w.start()
				}
				after(5 * time.Second)
				for _, a := range []leg{over, goesOn} {
					asked := w.status.of(call.LegID(a.id))
					if len(asked) != 1 || asked[0].at.Sub(back) > 2*time.Second {
						t.Fatalf("the status of %s was asked for %d times", a.id, len(asked))
					}
				}
				w.wantRevisions(over.key(), "1 completed")
				w.wantRevisions(goesOn.key())
				after(40 * time.Second)
				w.wantRevisions(over.key(), "1 completed", "2 amended backfill")
				if got := w.legOf(over); got.Hangup == nil || got.EndedBy != summary.EndedByHangup || len(w.holes(over)) > 0 {
					t.Errorf("hangup %v, ended by %s, notes %v", got.Hangup, got.EndedBy, got.Notes)
				}
				// The other one goes on to its end, and is held against the history then.
				w.deliver(goesOn.hangup())
				w.past.has(call.LegID(goesOn.id), goesOn.hangup())
				w.status.answering(nil)
				after(time.Minute)
				w.wantRepairs(goesOn, "1 answered 3+0 true")
				w.wantRevisions(goesOn.key(), "1 completed")
				w.settled()
			})
		})
	}
}

func TestALegOfWhichOnlyItsAnswerCameGetsTheRest(t *testing.T) {
	inWorld(t, 1, func(w *world) {
		w.status.answering(func(call.Ref, int) status.Answer { return ended() })
		a := newLeg("s1", 1)
		w.past.has(call.LegID(a.id), a.initiated(), a.answered(), a.hangup(), a.recording(1))
		w.deliver(a.answered()) // nothing else ever comes
		after(5*time.Minute + 15*time.Second)
		w.replicas[0].stop()
		w.start() // this one does not remember what it has published
		after(2 * time.Minute)
		w.wantRevisions(a.key(), "1 completed", "2 amended backfill")
		if got := w.legOf(a); got.EndedBy != summary.EndedByHangup || len(got.Recordings) != 1 || len(w.holes(a)) > 0 {
			t.Errorf("ended by %s, recordings %v, notes %v", got.EndedBy, got.Recordings, got.Notes)
		}
		if _, _, refused := w.sink.counts(); refused > 0 {
			t.Errorf("%d publications were tried in vain: a hangup from the history is no first news of a leg", refused)
		}
		w.settled()
	})
}
