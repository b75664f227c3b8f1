package compose_test

import (
	order "cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/summary"
)

func sorted[T any](list []T, order func(a, b T) int) []T {
	list = slices.Clone(list)
	slices.SortFunc(list, order)
	return list
}

func timeline(ids ...int) []summary.Event {
	var list []summary.Event
	for _, id := range ids {
		list = append(list, summary.Event{
			ID: fmt.Sprintf("%05d", id), Type: "call.dtmf.received", OccurredAt: at(time.Duration(id) * time.Second), ReceivedAt: *at(0),
		})
	}
	return list
}

// story is events of types and seconds.
func story(told ...any) []summary.Event {
	var list []summary.Event
	for i := 0; i < len(told); i += 2 {
		e := timeline(told[i+1].(int))
		e[0].Type = told[i].(string)
		list = append(list, e...)
	}
	return list
}

func span(from, to int) []int {
	var ids []int
	for i := from; i < to; i++ {
		ids = append(ids, i)
	}
	return ids
}

// long is a leg of n events, cut.
func long(n int) summary.Leg {
	l := summary.Leg{FirstReceivedAt: *at(0)}
	l.Events, l.EventsOmitted = compose.CutTimeline(timeline(span(0, n)...))
	return l
}

func TestAViewCoversWhatItKnowsAllEventsOf(t *testing.T) {
	later := summary.Leg{Events: timeline(1), FirstReceivedAt: *at(time.Hour)}
	for name, c := range map[string]struct {
		view, stored summary.Leg
		want         bool
	}{
		"the same":                       {summary.Leg{Events: timeline(1, 2)}, summary.Leg{Events: timeline(1, 2)}, true},
		"more":                           {summary.Leg{Events: timeline(1, 2, 3)}, summary.Leg{Events: timeline(1, 3)}, true},
		"less":                           {summary.Leg{Events: timeline(1)}, summary.Leg{Events: timeline(1, 2)}, false},
		"other events":                   {summary.Leg{Events: timeline(3, 4)}, summary.Leg{Events: timeline(1, 2)}, false},
		"nothing stored":                 {summary.Leg{Events: timeline(1)}, summary.Leg{}, true},
		"a redelivery after it was gone": {later, summary.Leg{Events: timeline(1)}, false},
		"a longer cut one":               {long(700), long(600), true},
		"a cut one and the whole":        {long(600), long(500), true},
		"a shorter cut one":              {long(600), long(700), false},
		"a few late ones and a cut one":  {summary.Leg{Events: timeline(300), FirstReceivedAt: *at(0)}, long(700), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := compose.Covers(c.view, c.stored); got != c.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestMergeErasesNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stored, news := legs.Draw(t, "stored"), legs.Draw(t, "news")
		var before, after map[string]any
		decode(t, stored, &before)
		decode(t, compose.MergeLeg(stored, news), &after)
		for name := range before {
			switch name {
			case "duration_seconds", "ring_seconds", "talk_seconds", "bridged_seconds":
				continue // derived anew
			case "notes":
				continue // late news settles doubts
			}
			if _, ok := after[name]; !ok {
				t.Fatalf("%s was erased", name)
			}
		}
		m := compose.MergeLeg(stored, news)
		for _, e := range slices.Concat(stored.Events, news.Events) {
			if n := count(m.Events, func(k summary.Event) bool { return k.ID == e.ID && k.Type == e.Type }); n != 1 {
				t.Fatalf("event %s/%s stands there %d times", e.ID, e.Type, n)
			}
		}
		for _, r := range stored.Recordings {
			if n := count(m.Recordings, func(k summary.Recording) bool { return k.ID == r.ID }); n != 1 {
				t.Fatalf("recording %s stands there %d times", r.ID, n)
			}
		}
		if m.Omitted["recordings"] == 0 {
			for _, r := range news.Recordings {
				if count(m.Recordings, func(k summary.Recording) bool { return k.ID == r.ID }) != 1 {
					t.Fatalf("recording %s of the news does not stand there", r.ID)
				}
			}
		}
		onceEach(t, stored, news, m)
		if !slices.IsSortedFunc(m.Events, compose.CompareEvents) || !slices.IsSortedFunc(m.Recordings, compose.CompareRecordings) {
			t.Fatal("the lists are not in order")
		}
	})
}

// onceEach checks that entries named after events stand in the merged summary
// once when either side has their event and them.
func onceEach(t *rapid.T, stored, news, m summary.Leg) {
	known := make(map[string]bool)
	for _, e := range stored.Events {
		known[e.ID] = true
	}
	want := make(map[string]bool)
	for _, p := range stored.Playbacks {
		want[p.ID] = true
	}
	for _, p := range news.Playbacks {
		if !known[p.ID] {
			want[p.ID] = true
		}
	}
	got := make(map[string]bool)
	for _, p := range m.Playbacks {
		if got[p.ID] {
			t.Fatalf("playback %s stands there twice", p.ID)
		}
		got[p.ID] = true
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("playbacks (-want +got):\n%s", diff)
	}
	digits := func(l summary.Leg, taken func(id string) bool) []string {
		var list []string
		if l.DTMF != nil {
			for _, d := range l.DTMF.Digits {
				if taken(d.ID) {
					list = append(list, d.ID)
				}
			}
		}
		return list
	}
	all := func(string) bool { return true }
	wantDigits := slices.Concat(digits(stored, all), digits(news, func(id string) bool { return !known[id] }))
	slices.Sort(wantDigits)
	if diff := cmp.Diff(wantDigits, sorted(digits(m, all), strings.Compare)); diff != "" {
		t.Fatalf("digits (-want +got):\n%s", diff)
	}
	keys := 0
	if m.DTMF != nil {
		keys = m.DTMF.Count
		if !slices.IsSortedFunc(m.DTMF.Digits, byTime) {
			t.Fatal("the digits are not in order")
		}
	}
	fresh := 0
	for _, e := range news.Events {
		if e.Type == "call.dtmf.received" && !known[e.ID] {
			fresh++
		}
	}
	if stored.DTMF != nil {
		fresh += stored.DTMF.Count
	}
	if keys != fresh {
		t.Fatalf("%d keys are counted of %d", keys, fresh)
	}
}

func byTime(a, b summary.Digit) int {
	return order.Or(a.At.Known().Compare(b.At.Known()), strings.Compare(a.ID, b.ID))
}

func count[T any](list []T, is func(T) bool) (n int) {
	for _, v := range list {
		if is(v) {
			n++
		}
	}
	return n
}

func decode(t *rapid.T, l summary.Leg, into *map[string]any) {
	if err := json.Unmarshal([]byte(contentOf(t, l)), into); err != nil {
		t.Fatal(err)
	}
}

func TestMergeIsIdempotent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stored, news := legs.Draw(t, "stored"), legs.Draw(t, "news")
		once := compose.MergeLeg(stored, news)
		if diff := cmp.Diff(contentOf(t, once), contentOf(t, compose.MergeLeg(once, news))); diff != "" {
			t.Fatalf("the second time:\n%s", diff)
		}
		if diff := cmp.Diff(contentOf(t, stored), contentOf(t, compose.MergeLeg(stored, stored))); diff != "" {
			t.Fatalf("with itself:\n%s", diff)
		}
	})
}

func TestMergeOfListsDependsOnNoOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stored, a, b := legs.Draw(t, "stored"), legs.Draw(t, "a"), legs.Draw(t, "b")
		ab, ba := compose.MergeLeg(compose.MergeLeg(stored, a), b), compose.MergeLeg(compose.MergeLeg(stored, b), a)
		id := func(e summary.Event) string { return e.ID + e.Type }
		if diff := cmp.Diff(ids(ab.Events, id), ids(ba.Events, id)); diff != "" {
			t.Fatal(diff)
		}
		if !ab.FirstReceivedAt.Equal(ba.FirstReceivedAt.Time) || ab.EndedBy != ba.EndedBy {
			t.Fatal("first_received_at or ended_by depends on the order")
		}
	})
}

func ids[T any](list []T, id func(T) string) map[string]int {
	m := make(map[string]int)
	for _, v := range list {
		m[id(v)]++
	}
	return m
}

func TestMergeChangesNeitherSide(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		stored, news := legs.Draw(t, "stored"), legs.Draw(t, "news")
		a, b := contentOf(t, stored), contentOf(t, news)
		compose.MergeLeg(stored, news)
		if contentOf(t, stored) != a || contentOf(t, news) != b {
			t.Fatal("a side was changed")
		}
	})
}

func TestMergeFieldByField(t *testing.T) {
	confirmed := summary.Status{State: summary.StatusConfirmed, Final: true, Attempts: 1}
	for name, c := range map[string]struct {
		stored, news, want summary.Leg
	}{
		"what is stated stands": {
			summary.Leg{From: "a", StartedAt: at(0), Hangup: &summary.Hangup{Cause: "x", Party: summary.PartyUnknown}},
			summary.Leg{From: "b", StartedAt: at(5), Hangup: &summary.Hangup{Cause: "y", Party: summary.PartyUnknown}},
			summary.Leg{From: "a", StartedAt: at(0), Hangup: &summary.Hangup{Cause: "x", Party: summary.PartyUnknown}},
		},
		"what was not known is filled in": {
			summary.Leg{}, summary.Leg{To: "b", Direction: "incoming", EndedAt: at(5)}, summary.Leg{To: "b", Direction: "incoming", EndedAt: at(5)},
		},
		"a confirmation replaces what waited for one": {
			summary.Leg{Status: summary.Status{State: summary.StatusPending}}, summary.Leg{Status: confirmed}, summary.Leg{Status: confirmed},
		},
		"a confirmation is not replaced": {
			summary.Leg{Status: confirmed}, summary.Leg{Status: summary.Status{State: summary.StatusNotFound}}, summary.Leg{Status: confirmed},
		},
		"an answer is not denied": {
			summary.Leg{Outcome: summary.OutcomeAnswered}, summary.Leg{Outcome: summary.OutcomeBusy}, summary.Leg{Outcome: summary.OutcomeAnswered},
		},
		"an answer that is seen late counts": {
			summary.Leg{Outcome: summary.OutcomeNoAnswer, EndedAt: at(9 * time.Second)},
			summary.Leg{Outcome: summary.OutcomeAnswered, AnsweredAt: at(4 * time.Second)},
			summary.Leg{Outcome: summary.OutcomeAnswered, AnsweredAt: at(4 * time.Second), EndedAt: at(9 * time.Second), TalkSeconds: new(summary.Seconds(5))},
		},
		"a hangup is the strongest end": {
			summary.Leg{EndedBy: summary.EndedByStatus}, summary.Leg{EndedBy: summary.EndedByHangup}, summary.Leg{EndedBy: summary.EndedByHangup},
		},
		"but nothing weaker replaces another": {
			summary.Leg{EndedBy: summary.EndedByStatus}, summary.Leg{EndedBy: summary.EndedByExpired}, summary.Leg{EndedBy: summary.EndedByStatus},
		},
		"cost is replaced": {
			summary.Leg{Cost: &summary.Cost{Status: "error"}}, summary.Leg{Cost: &summary.Cost{Status: "success"}}, summary.Leg{Cost: &summary.Cost{Status: "success"}},
		},
		"but a success not by an error": {
			summary.Leg{Cost: &summary.Cost{Status: "success"}}, summary.Leg{Cost: &summary.Cost{Status: "error"}}, summary.Leg{Cost: &summary.Cost{Status: "success"}},
		},
		"a late greeting does not erase the detection": {
			summary.Leg{AnsweredBy: "human", MachineDetection: &summary.MachineDetection{Result: "human", DetectedAt: at(1), Premium: true}},
			summary.Leg{MachineDetection: &summary.MachineDetection{Greeting: "ended"}},
			summary.Leg{AnsweredBy: "human", MachineDetection: &summary.MachineDetection{Result: "human", DetectedAt: at(1), Premium: true, Greeting: "ended"}},
		},
		"the earliest receipt stands": {
			summary.Leg{FirstReceivedAt: *at(5)}, summary.Leg{FirstReceivedAt: *at(2)}, summary.Leg{FirstReceivedAt: *at(2)},
		},
		"sources unite, the stored one first": {
			summary.Leg{Sources: map[string]summary.Source{"ended_at": "status"}},
			summary.Leg{Sources: map[string]summary.Source{"ended_at": "webhook", "answered_at": "backfill"}},
			summary.Leg{Sources: map[string]summary.Source{"ended_at": "status", "answered_at": "backfill"}},
		},
		"the receipt of a late hangup is noted": {
			summary.Leg{Times: &summary.Times{EnrichedAt: at(1)}},
			summary.Leg{Times: &summary.Times{HangupReceivedAt: at(2)}},
			summary.Leg{Times: &summary.Times{EnrichedAt: at(1), HangupReceivedAt: at(2)}},
		},
		"a late end closes the stay in a queue": {
			summary.Leg{Events: timeline(1), Queues: []summary.QueueVisit{{ID: "00001", Name: "a", EnteredAt: at(1 * time.Second)}}},
			summary.Leg{Events: timeline(9), FirstReceivedAt: *at(0), Queues: []summary.QueueVisit{
				{ID: "00009", Name: "a", LeftAt: at(9 * time.Second), Reason: "timeout", WaitSeconds: new(summary.Seconds(8))},
			}},
			summary.Leg{Events: timeline(1, 9), DTMF: &summary.DTMF{Count: 1}, Queues: []summary.QueueVisit{
				{ID: "00001", Name: "a", EnteredAt: at(1 * time.Second), LeftAt: at(9 * time.Second), Reason: "timeout", WaitSeconds: new(summary.Seconds(8))},
			}},
		},
		"a late end is added to what was waited": {
			summary.Leg{Events: timeline(1), QueueSeconds: new(summary.Seconds(7))},
			summary.Leg{Events: story("call.dequeued", 9), QueueSeconds: new(summary.Seconds(5)), Queues: []summary.QueueVisit{
				{ID: "00009", LeftAt: at(9 * time.Second), WaitSeconds: new(summary.Seconds(5))},
			}},
			summary.Leg{Events: slices.Concat(timeline(1), story("call.dequeued", 9)), QueueSeconds: new(summary.Seconds(12)), Queues: []summary.QueueVisit{
				{ID: "00009", LeftAt: at(9 * time.Second), WaitSeconds: new(summary.Seconds(5))},
			}},
		},
		"a late end of a visit whose beginning is told once more closes it": {
			summary.Leg{Events: story("call.enqueued", 1), Queues: []summary.QueueVisit{{ID: "00001", EnteredAt: at(time.Second)}}},
			summary.Leg{Events: slices.Concat(story("call.enqueued", 1), story("call.dequeued", 9)), QueueSeconds: new(summary.Seconds(8)), Queues: []summary.QueueVisit{
				{ID: "00001", EnteredAt: at(time.Second), LeftAt: at(9 * time.Second), WaitSeconds: new(summary.Seconds(8))},
			}},
			summary.Leg{Events: slices.Concat(story("call.enqueued", 1), story("call.dequeued", 9)), QueueSeconds: new(summary.Seconds(8)), Queues: []summary.QueueVisit{
				{ID: "00001", EnteredAt: at(time.Second), LeftAt: at(9 * time.Second), WaitSeconds: new(summary.Seconds(8))},
			}},
		},
		"an end that is told once more is not added": {
			summary.Leg{Events: story("call.dequeued", 9), QueueSeconds: new(summary.Seconds(12))},
			summary.Leg{Events: story("call.dequeued", 9), QueueSeconds: new(summary.Seconds(5)), Queues: []summary.QueueVisit{
				{ID: "00009", LeftAt: at(9 * time.Second), WaitSeconds: new(summary.Seconds(5))},
			}},
			summary.Leg{Events: story("call.dequeued", 9), QueueSeconds: new(summary.Seconds(12))},
		},
		"a late end of a hold makes it as long as it was": {
			summary.Leg{EndedAt: at(20 * time.Second), Events: story("call.hold", 2), HoldSeconds: new(summary.Seconds(18))},
			summary.Leg{Events: story("call.unhold", 5)},
			summary.Leg{EndedAt: at(20 * time.Second), Events: story("call.hold", 2, "call.unhold", 5), HoldSeconds: new(summary.Seconds(3))},
		},
		"a redelivery adds no entry": {
			summary.Leg{Events: timeline(1), DTMF: &summary.DTMF{Count: 1}, Omitted: map[string]int{"speaks": 1}},
			summary.Leg{Events: timeline(1), FirstReceivedAt: *at(0), DTMF: &summary.DTMF{Count: 1}, Speaks: []summary.Speak{{ID: "00001"}}},
			summary.Leg{Events: timeline(1), DTMF: &summary.DTMF{Count: 1}, Omitted: map[string]int{"speaks": 1}},
		},
		"the webhook of what was filled in is no news": {
			summary.Leg{Events: []summary.Event{{ID: "recalled", Type: "call.playback.ended", OccurredAt: at(1), Backfill: true}}, Playbacks: []summary.Playback{{ID: "recalled", At: at(1)}}},
			summary.Leg{Events: []summary.Event{{ID: "webhook", Type: "call.playback.ended", OccurredAt: at(2)}}, FirstReceivedAt: *at(0), Playbacks: []summary.Playback{{ID: "webhook", At: at(2)}}},
			summary.Leg{Events: []summary.Event{{ID: "recalled", Type: "call.playback.ended", OccurredAt: at(1), Backfill: true}}, Playbacks: []summary.Playback{{ID: "recalled", At: at(1)}}},
		},
		"a late key stands where it was pressed": {
			summary.Leg{Events: timeline(1, 9), DTMF: &summary.DTMF{Count: 2, Digits: []summary.Digit{
				{ID: "00001", At: at(1 * time.Second), Digit: "1"}, {ID: "00009", At: at(9 * time.Second), Digit: "9"},
			}}},
			summary.Leg{Events: timeline(5, 9), FirstReceivedAt: *at(0), DTMF: &summary.DTMF{Count: 2, Digits: []summary.Digit{
				{ID: "00005", At: at(5 * time.Second), Digit: "5"}, {ID: "00009", At: at(9 * time.Second), Digit: "9"},
			}}},
			summary.Leg{Events: timeline(1, 5, 9), DTMF: &summary.DTMF{Count: 3, Digits: []summary.Digit{
				{ID: "00001", At: at(1 * time.Second), Digit: "1"}, {ID: "00005", At: at(5 * time.Second), Digit: "5"}, {ID: "00009", At: at(9 * time.Second), Digit: "9"},
			}}},
		},
		"what is told of one conference unites": {
			summary.Leg{Conferences: []summary.Conference{{ID: "c", JoinedAt: at(2), LeftAt: at(5), Recordings: []summary.Recording{{ID: "a"}}}}},
			summary.Leg{Conferences: []summary.Conference{{ID: "c", JoinedAt: at(9), LeftAt: at(9 * time.Second), Recordings: []summary.Recording{{ID: "a"}, {ID: "b"}}}}},
			summary.Leg{Conferences: []summary.Conference{{
				ID: "c", JoinedAt: at(2), LeftAt: at(9 * time.Second), Recordings: []summary.Recording{{ID: "a"}, {ID: "b"}},
			}}},
		},
		"a later deepfake result replaces an earlier one": {
			summary.Leg{Deepfake: &summary.Deepfake{Result: "real", At: at(1 * time.Second), Error: "x", ErrorAt: at(2 * time.Second)}},
			summary.Leg{Deepfake: &summary.Deepfake{Result: "fake", At: at(2 * time.Second), Error: "y", ErrorAt: at(1 * time.Second)}},
			summary.Leg{Deepfake: &summary.Deepfake{Result: "fake", At: at(2 * time.Second), Error: "x", ErrorAt: at(2 * time.Second)}},
		},
		"what was missing is in": {
			summary.Leg{Status: confirmed, Hangup: &summary.Hangup{Party: summary.PartyUnknown}, Notes: []summary.Note{"initiated_missing", "clock_skew"}, Completeness: &summary.Completeness{
				Received: []summary.Part{"hangup", "status"}, Expected: []summary.Part{"initiated"},
			}},
			summary.Leg{Direction: "incoming", Notes: []summary.Note{"hangup_missing", "details_cut"}, Completeness: &summary.Completeness{}},
			summary.Leg{
				Status: confirmed, Hangup: &summary.Hangup{Party: summary.PartyUnknown}, Direction: "incoming", Notes: []summary.Note{"clock_skew", "details_cut"},
				Completeness: &summary.Completeness{Received: []summary.Part{"initiated", "hangup", "status"}},
			},
		},
		"tags and client state are those said last": {
			summary.Leg{Tags: []string{"a"}, ClientState: "x"}, summary.Leg{Tags: []string{"b"}, ClientState: "y"}, summary.Leg{Tags: []string{"b"}, ClientState: "y"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, compose.MergeLeg(c.stored, c.news)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestALateHoldIsAddedThoughTheTimelineIsCut(t *testing.T) {
	stored := long(700)
	stored.HoldSeconds = new(summary.Seconds(4))
	news := summary.Leg{Events: story("call.hold", 1000, "call.unhold", 1003), HoldSeconds: new(summary.Seconds(3)), FirstReceivedAt: *at(time.Hour)}
	once := compose.MergeLeg(stored, news)
	for range 2 {
		if got := once.HoldSeconds; got == nil || *got != 7 {
			t.Fatalf("hold_seconds is %v", got)
		}
		once = compose.MergeLeg(once, news)
	}
}

func TestACutTimelineStaysConsistentWhenMerged(t *testing.T) {
	stored := long(700) // 450 to 699 and 0 to 249
	news := summary.Leg{Events: timeline(300, 1000), FirstReceivedAt: *at(time.Hour)}
	once := compose.MergeLeg(stored, news)
	if len(once.Events) != 500 || once.EventsOmitted != 201 || once.Events[499].ID != "01000" {
		t.Errorf("%d events, %d omitted, the last %s", len(once.Events), once.EventsOmitted, once.Events[499].ID)
	}
	if diff := cmp.Diff(once, compose.MergeLeg(once, news)); diff != "" {
		t.Errorf("the second time:\n%s", diff)
	}
}
