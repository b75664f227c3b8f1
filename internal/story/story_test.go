package story_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/story"
	"github.com/legato-calls/legato/publish/forward"
)

var began = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func at(seconds float64) time.Time {
	return began.Add(time.Duration(seconds * float64(time.Second)))
}

// tape is a log of a test.
type tape []call.Entry

func (l *tape) add(topic, id string, ref call.Ref, received float64, body string) {
	*l = append(*l, call.Entry{
		Seq: uint64(len(*l) + 1), ReceivedAt: at(received), Topic: topic, ID: id, Ref: ref, Data: []byte(body),
	})
}

// event adds one that occurred at a second and was received at another. Its body is those of the test's decoder.
func (l *tape) event(typ string, ref call.Ref, occurred, received float64) {
	l.add(call.TopicEvent+typ, "id-"+typ+string(ref.Leg)+"/"+typ, ref, received, fmt.Sprint(occurred))
}

// decode reads the bodies that event writes.
func decode(e call.Entry) (call.Event, error) {
	var occurred float64
	if _, err := fmt.Sscan(string(e.Data), &occurred); err != nil {
		return call.Event{}, err
	}
	ev := call.Event{
		ID: strings.TrimSuffix(e.ID, "/"+e.EventType()), Type: e.EventType(), OccurredAt: at(occurred), Ref: e.Ref, Attempt: e.Attempt,
		Backfill: e.Backfill,
		Facts:    call.Facts{From: "+12025550111", To: "sip:ada.example@pbx.example.com", ClientState: "c2VjcmV0", Tags: []string{"a tag"}},
	}
	switch ev.Type {
	case call.TypeInitiated:
		ev.Detail = &call.Initiated{Direction: "incoming", CallerName: "Ada Example"}
	case call.TypeHangup:
		ev.Detail = &call.Hangup{Cause: "normal_clearing\x1b[2J", SIPCode: "200"}
	case call.TypeDTMF:
		ev.Detail = &call.DTMF{Digit: "7"}
	}
	return ev, nil
}

var rules = session.Rules{
	SessionSettle: 5 * time.Second, StatusWindow: 10 * time.Minute, SweepAfter: 5 * time.Minute, AmendWindow: 15 * time.Minute,
	BackfillAfter: 30 * time.Second,
}

func ref(leg string) call.Ref {
	return call.Ref{Session: "s", Leg: call.LegID(leg), Control: call.ControlID("v3:" + leg)}
}

// tell composes the story of what a log and the summaries say.
func tell(t *testing.T, l tape, stored ...summary.Stored) story.Story {
	t.Helper()
	view, plan := story.Fold(call.Log{ID: "log", First: 1, Last: uint64(len(l))}, l, "s", rules, decode)
	return story.Compose(story.Known{
		ID: "s", Session: "s", At: at(600), View: view, Schedule: plan, Entries: l, Read: true, Summaries: stored,
	})
}

// lines are the items of a timeline in short: "<seconds> <leg> <kind> <what>".
func lines(s *story.Story) (all []string) {
	for _, i := range s.Timeline {
		line := fmt.Sprintf("%g %s %s", i.At.Sub(began).Seconds(), i.CallLegID, i.Kind)
		switch {
		case i.Event != nil:
			line += " " + i.Event.Type
			if i.Event.LateSeconds > 0 {
				line += fmt.Sprintf(" late %g", i.Event.LateSeconds)
			}
			if i.Event.AfterRevision > 0 {
				line += fmt.Sprintf(" after %d", i.Event.AfterRevision)
			}
			if i.Event.Backfill {
				line += " backfill"
			}
			if i.Event.Unattached {
				line += " unattached"
			}
		case i.Published != nil:
			line += fmt.Sprintf(" %s %d", i.Published.Level, i.Published.Revision)
		case i.Backfill != nil:
			line += fmt.Sprintf(" %d: %d", i.Backfill.Attempt, i.Backfill.Added)
		case i.Check != nil:
			line += fmt.Sprintf(" %s %d", i.Check.What, i.Check.Attempt)
		}
		all = append(all, line)
	}
	return all
}

func revision(k summary.Key, n int, position uint64, published float64, body string) summary.Stored {
	return summary.Stored{Seq: uint64(n), Draft: summary.Draft{
		Key: k, Revision: n, Position: summary.Position{Log: "log", Seq: position}, PublishedAt: at(published), Body: []byte(body),
	}}
}

var legA = summary.Key{Kind: summary.KindLeg, Session: "s", Leg: "a"}

func TestATimelineTellsWhatIsOdd(t *testing.T) {
	rows := []struct {
		name string
		log  func(l *tape)
		sum  []summary.Stored
		want []string
	}{
		{
			"a second delivery is told apart from the first",
			func(l *tape) {
				l.event(call.TypeInitiated, ref("a"), 0, 0.1)
				l.event(call.TypeInitiated, ref("a"), 0, 130)
			},
			nil,
			[]string{"0.1 a event call.initiated", "130 a redelivery call.initiated"},
		},
		{
			"an event that names its leg by control id only belongs to it",
			func(l *tape) {
				l.event(call.TypeInitiated, ref("a"), 0, 0.1)
				l.event(call.TypePlaybackEnded, call.Ref{Control: "v3:a"}, 1, 1.1)
			},
			nil,
			[]string{"0.1 a event call.initiated", "1.1 a event call.playback.ended"},
		},
		{
			"an event that cannot be read is told of",
			func(l *tape) {
				l.event(call.TypeInitiated, ref("a"), 0, 0.1)
				l.add(call.TopicEvent+"call.odd", "odd/call.odd", ref("a"), 2, "what")
			},
			nil,
			[]string{"0.1 a event call.initiated", "2 a event call.odd unattached"},
		},
		{
			"what a leg that is over lacks stands before what tells of it, and a live one lacks nothing",
			func(l *tape) {
				l.event(call.TypeBridged, ref("a"), 3, 3.1)
				l.event(call.TypeHangup, ref("a"), 9, 9.1)
				l.event(call.TypeBridged, ref("b"), 10, 10.1)
			},
			nil,
			[]string{
				"3.1 a missing call.answered", "3.1 a missing call.initiated", "3.1 a event call.bridged", "9.1 a event call.hangup",
				"10.1 b event call.bridged",
			},
		},
		{
			"what is filled in is marked, and so is what comes late or after a summary",
			func(l *tape) {
				l.event(call.TypeInitiated, ref("a"), 0, 0.1)
				l.event(call.TypeHangup, ref("a"), 9, 9.1)
				l.event(call.TypeAnswered, ref("a"), 2, 40)
				(*l)[2].Backfill = true
				l.add(call.TopicCheck, "", ref("a"), 39, `{"kind":"repair","call_session_id":"s","call_leg_id":"a","attempt":1,"life":1}`)
				l.add(call.TopicBackfill, "", ref("a"), 41, `{"call_session_id":"s","call_leg_id":"a","attempt":1,"result":"answered","rows":3,"added":1,"whole":true}`)
			},
			[]summary.Stored{revision(legA, 1, 2, 10, `{"outcome":"answered"}`)},
			[]string{
				"0.1 a event call.initiated", "9.1 a event call.hangup", "10 a published leg 1", "39 a check repair 1",
				"40 a event call.answered late 37.9 after 1 backfill", "41 a repair 1: 1",
			},
		},
		{
			"a call that is played faster than it happened is not late, but what is overtaken in it is",
			func(l *tape) {
				l.event(call.TypeInitiated, ref("a"), 0, 36)
				l.event(call.TypeAnswered, ref("a"), 10, 37)
				l.event(call.TypeBridged, ref("a"), 20, 60)
				l.event(call.TypeHangup, ref("a"), 40, 40.1)
			},
			nil,
			[]string{"36 a event call.initiated", "37 a event call.answered", "40.1 a event call.hangup", "60 a event call.bridged late 13"},
		},
		{
			"a revision never stands before what it was made from, whatever its maker's clock says",
			func(l *tape) {
				l.event(call.TypeInitiated, ref("a"), 0, 0.1)
				l.event(call.TypeHangup, ref("a"), 9, 9.1)
				l.event(call.TypeRecordingSaved, ref("a"), 11, 11.1)
			},
			[]summary.Stored{revision(legA, 1, 2, 5, `{"outcome":"answered"}`), revision(legA, 2, 3, 11, `{"outcome":"answered"}`)},
			[]string{
				"0.1 a event call.initiated", "9.1 a event call.hangup", "5 a published leg 1",
				"11.1 a event call.recording.saved after 1", "11 a published leg 2",
			},
		},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var l tape
			row.log(&l)
			s := tell(t, l, row.sum...)
			if diff := cmp.Diff(row.want, lines(&s)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestAStorySaysHowMuchOfTheLogItHas(t *testing.T) {
	var l tape
	l.event(call.TypeInitiated, ref("a"), 0, 0.1)
	body := `{"outcome":"answered","ended_by":"hangup","from":"+12025550111","status":{"state":"confirmed","final":true,"attempts":2,"fetched_at":"2026-03-02T09:00:11Z"},` +
		`"notes":["answered_missing"],"events":[{"id":"id-call.initiateda","type":"call.initiated","received_at":"2026-03-02T09:00:00.1Z"},` +
		`{"id":"x","type":"call.hangup","received_at":"2026-03-02T09:00:09Z"}]}`
	stored := revision(legA, 1, 2, 10, body)
	for want, s := range map[story.Coverage]story.Story{
		story.CoverageWhole:   tell(t, l),
		story.CoveragePartial: tell(t, l, stored),
		story.CoverageNone:    tell(t, nil, stored),
	} {
		if s.Log.Coverage != want || (len(s.Remarks) > 0) != (want != story.CoverageWhole) {
			t.Errorf("%s covers %+v, %q", want, s.Log, s.Remarks)
		}
	}
	view, _ := story.Fold(call.Log{ID: "log", First: 1, Last: 1}, l, "s", rules, decode)
	if s := story.Compose(story.Known{ID: "s", Session: "s", At: at(1), View: view}); s.Log.Coverage != story.CoverageMemory {
		t.Errorf("a view alone covers %+v", s.Log)
	}
	if s := tell(t, l, stored); s.Legs[0].State != "hangup" {
		t.Errorf("a leg of which the log has a part is %q", s.Legs[0].State)
	}
	alone := tell(t, nil, stored)
	want := []string{"0.1 a event call.initiated", "9 a missing call.answered", "9 a event call.hangup", "10 a published leg 1", "11 a status"}
	if diff := cmp.Diff(want, lines(&alone)); diff != "" {
		t.Errorf("by its summary alone (-want +got):\n%s", diff)
	}
	if got := tell(t, l, revision(legA, 1, 1, 10, `{"outcome":`)); len(got.Remarks) != 1 || len(got.Timeline) != 1 {
		t.Errorf("with a summary that cannot be read: %v, %q", lines(&got), got.Remarks)
	}
}

func TestAStoryHoldsNoSecrets(t *testing.T) {
	var l tape
	l.event(call.TypeInitiated, ref("a"), 0, 0.1)
	l.event(call.TypeDTMF, ref("a"), 1, 1.1)
	l.event(call.TypeHangup, ref("a"), 9, 9.1)
	s := tell(t, l)
	s.Mask()
	body, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"5550111", "ada.example", "Ada Example", "c2VjcmV0", "a tag", `"7"`, "digit\"", "\\u001b"} {
		if strings.Contains(string(body), secret) {
			t.Errorf("a story holds %q: %s", secret, body)
		}
	}
	if s.Legs[0].From != "+1202555····" || s.Legs[0].To != "s····@pbx.example.com" {
		t.Errorf("masked: %s → %s", s.Legs[0].From, s.Legs[0].To)
	}
}

func TestMasked(t *testing.T) {
	for party, want := range map[string]string{
		"":                        "",
		"+12025550111":            "+1202555····",
		"12025550111":             "1202555····",
		"4711":                    "····",
		"+1234567":                "····",
		"anonymous":               "a····",
		"Ada Example":             "A····",
		"élan":                    "é····",
		"+12025550111@sip.telnyx": "+1202555····@sip.telnyx",
		"@host":                   "@host",
		"+":                       "····",
	} {
		if got := story.Masked(party); got != want {
			t.Errorf("%q is masked as %q, want %q", party, got, want)
		}
	}
}

func TestAStoryFits(t *testing.T) {
	var l tape
	for n := range 300 {
		l.event(call.TypeInitiated, ref(fmt.Sprintf("leg-%d", n)), float64(n), float64(n))
	}
	whole := tell(t, l)
	for _, most := range []int{1 << 20, 100_000, 50_000, 5_000, 500} {
		s := whole
		body, err := s.Fit(most)
		if err != nil || len(body) > most {
			t.Fatalf("%d bytes, at most %d: %v", len(body), most, err)
		}
		var back story.Story
		if err := json.Unmarshal(body, &back); err != nil {
			t.Fatal(err)
		}
		if len(back.Timeline)+back.TimelineOmitted != 300 || len(back.Legs)+back.LegsOmitted != 300 {
			t.Errorf("in %d bytes: %d + %d items, %d + %d legs", most, len(back.Timeline), back.TimelineOmitted, len(back.Legs), back.LegsOmitted)
		}
		if len(back.Timeline) > 1 && (back.Timeline[0].Seq != 1 || back.Timeline[len(back.Timeline)-1].Seq != 300) {
			t.Errorf("in %d bytes the ends are left out", most)
		}
	}
	if len(whole.Timeline) != 300 || whole.Timeline[150].Seq != 151 {
		t.Error("the story itself was changed")
	}
}

func TestAFinderPicksTheEntriesOfACall(t *testing.T) {
	var l tape
	l.event(call.TypePlaybackEnded, call.Ref{Control: "v3:b"}, 0, 0)        // 1: before anybody knows whose it is
	l.event(call.TypeInitiated, ref("a"), 0, 0)                             // 2
	l.event(call.TypeInitiated, call.Ref{Session: "other", Leg: "c"}, 0, 0) // 3
	l.event(call.TypeInitiated, ref("b"), 0, 0)                             // 4
	l.event(call.TypePlaybackEnded, call.Ref{Control: "v3:c"}, 0, 0)        // 5: nobody's
	l.event(call.TypeAnswered, call.Ref{Leg: "a"}, 0, 0)                    // 6
	l.event(call.TypeAnswered, call.Ref{Leg: "z", Control: "v3:a"}, 0, 0)   // 7: its leg decides
	l.event("conference.created", call.Ref{Session: "s"}, 0, 0)             // 8
	l.add(call.TopicHeartbeat, "", call.Ref{}, 0, "")                       // 9
	for _, id := range []string{"s", "a", "b", "v3:a", "v3:b"} {
		f := story.NewFinder(id, "")
		for range 2 {
			for _, e := range l {
				if f.Take(e) {
					break
				}
			}
		}
		if diff := cmp.Diff([]uint64{1, 2, 4, 6, 8}, f.Found()); diff != "" || f.Session() != "s" {
			t.Errorf("by %s: session %q (-want +got):\n%s", id, f.Session(), diff)
		}
	}
	f := story.NewFinder("v3:nobody", "")
	for _, e := range l {
		if f.Take(e) {
			t.Fatal("it found a session")
		}
	}
	if f.Session() != "" || len(f.Found()) != 0 {
		t.Errorf("of nobody it found %v", f.Found())
	}
}

func TestTheLadderSaysHowAnEventWasHandedOnWhereNotAtOnce(t *testing.T) {
	began := time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		name      string
		forwarded []story.Forwarded
		want      string // "": no word of it
	}{
		{"at once", []story.Forwarded{{Target: "app", Attempt: 1, Result: forward.Done, HTTPStatus: 200}}, ""},
		{"at the third attempt", []story.Forwarded{
			{Target: "app", Attempt: 1, Result: forward.Unreachable},
			{Target: "app", Attempt: 2, Result: forward.Failed, HTTPStatus: 503},
			{Target: "app", Attempt: 3, Result: forward.Done, HTTPStatus: 200},
		}, "→app at attempt 3"},
		{"refused", []story.Forwarded{{Target: "app", Attempt: 1, Result: forward.Refused, HTTPStatus: 400}}, "→app refused 400"},
		{"stale", []story.Forwarded{{Target: "app", Result: forward.Stale}}, "→app stale"},
		{"by two", []story.Forwarded{
			{Target: "app", Attempt: 1, Result: forward.Done}, {Target: "crm", Result: forward.Expired},
		}, "→crm expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := story.Story{Legs: []story.Leg{{CallLegID: "l"}}, Timeline: []story.Item{{
				At: began, Kind: story.KindEvent, CallLegID: "l", Seq: 1,
				Event: &story.Event{Type: "call.initiated", Forwarded: c.forwarded},
			}}}
			ladder := s.Ladder(100, time.UTC)
			if c.want == "" && strings.Contains(ladder, "→app") || !strings.Contains(ladder, c.want) {
				t.Errorf("want %q in\n%s", c.want, ladder)
			}
		})
	}
}
