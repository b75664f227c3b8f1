package session_test

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// content is a view without what is defined by receipt. Left out are:
//   - Position, Seq, ReceivedAt, At, FirstAt, Since, and the time in Hangup: places and times of receipt;
//   - the attempt of the delivery that stands: which delivery came first is receipt;
//   - Settles and AskedSince, which count entries before or after others;
//   - Final of a leg that hung up and is not confirmed: whether asking has
//     ended depends on when its answers came in;
//   - the order of Legs, which is declared to mean nothing.
type content struct {
	ID     call.SessionID
	Events []eventContent
	Legs   []legContent
	Over   bool
	// Orphans are the deliveries that found no leg: which ids still lead nowhere.
	Sessions, LegCount, OpenLegs int
}

type legContent struct {
	ID                           call.LegID
	Control                      call.ControlID
	Connection                   call.ConnectionID
	Events                       []eventContent
	Answers                      []status.Answer
	Ending                       session.Ending
	HungUp, Initiated, Confirmed bool
	ConfirmedBy                  status.Answer
	Asked                        int
	Final                        bool
	Missing                      session.Missing
}

type eventContent struct {
	ID, Type   string
	OccurredAt time.Time
	Backfill   bool
	Facts      session.Facts
	Detail     call.Detail
}

func eventContents(events []*session.Event) []eventContent {
	var all []eventContent
	for _, e := range events {
		all = append(all, eventContent{e.ID, e.Type, e.OccurredAt, e.Backfill, *e.Facts, e.Detail})
	}
	return all
}

func contentOf(t *session.Table, id call.SessionID) (content, bool) {
	v, ok := t.View(id)
	if !ok {
		return content{}, false
	}
	st := t.Stats()
	c := content{
		ID: v.ID, Events: eventContents(v.Events), Over: v.Over,
		Sessions: st.Sessions, LegCount: st.Legs, OpenLegs: st.OpenLegs,
	}
	for _, l := range v.Legs {
		lc := legContent{
			ID: l.ID, Control: l.Control, Connection: l.Connection, Events: eventContents(l.Events),
			Ending: l.Ending, HungUp: !l.Hangup.IsZero(), Initiated: l.Initiated, Asked: l.Asked, Missing: l.Missing,
			Final: l.Final && (l.Ending != session.ByHangup || l.Confirmed != nil),
		}
		for _, a := range l.Answers {
			lc.Answers = append(lc.Answers, a.Answer.Answer)
		}
		if l.Confirmed != nil {
			lc.Confirmed, lc.ConfirmedBy = true, l.Confirmed.Answer.Answer
		}
		c.Legs = append(c.Legs, lc)
	}
	slices.SortFunc(c.Legs, func(a, b legContent) int { return cmp.Compare(a.ID, b.ID) })
	return c, true
}

// scenario is everything that is ever said about one session.
type scenario struct {
	events  []call.Event
	answers []session.Answer
	// expired are legs of which nothing is heard at the end.
	expired []call.LegID
	legs    []call.LegID
}

var eventTypes = []string{
	call.TypeInitiated, call.TypeAnswered, call.TypeBridged, call.TypeHangup, call.TypeHold, call.TypeCost,
	call.TypeRecordingSaved, call.TypeDTMF, "call.something.new",
}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func drawScenario(t *rapid.T) *scenario {
	sc := &scenario{}
	legs := rapid.IntRange(1, 3).Draw(t, "legs")
	for i := range legs {
		sc.legs = append(sc.legs, ref(i).Leg)
		sc.event(t, ref(i), true) // somebody names session and leg together
		if rapid.IntRange(0, 3).Draw(t, "expired") == 0 {
			sc.expired = append(sc.expired, ref(i).Leg)
		}
	}
	for range rapid.IntRange(0, 12).Draw(t, "events") {
		sc.event(t, ref(rapid.IntRange(0, legs-1).Draw(t, "leg")), false)
	}
	for range rapid.IntRange(0, 5).Draw(t, "answers") {
		sc.answer(t, ref(rapid.IntRange(0, legs-1).Draw(t, "leg")))
	}
	return sc
}

func (sc *scenario) event(t *rapid.T, full call.Ref, names bool) {
	// Now and then a leg goes by a second control id or is said to be of another connection.
	if rapid.IntRange(0, 4).Draw(t, "alias") == 0 {
		full.Control += "-alias"
	}
	if rapid.IntRange(0, 4).Draw(t, "other connection") == 0 {
		full.Connection = "2"
	}
	stated := full
	if rapid.IntRange(0, 3).Draw(t, "states control") == 0 {
		stated.Control = ""
	}
	if rapid.Bool().Draw(t, "states connection") {
		stated.Connection = ""
	}
	if !names {
		switch rapid.SampledFrom([]string{"full", "session", "leg", "control", "session and control"}).Draw(t, "names") {
		case "session":
			stated.Leg, stated.Control = "", ""
		case "leg":
			stated.Session = ""
		case "control":
			stated.Session, stated.Leg, stated.Control = "", "", full.Control
		case "session and control":
			stated.Leg, stated.Control = "", full.Control
		}
	}
	typ := rapid.SampledFrom(eventTypes).Draw(t, "type")
	ev := call.Event{
		ID: fmt.Sprintf("event-%02d", rapid.IntRange(0, 99).Draw(t, "id")*100+len(sc.events)), Type: typ, Ref: stated,
		Facts: call.Facts{
			From: "+13122010055", To: rapid.SampledFrom([]string{"", "+13129457420", "sip:a@b"}).Draw(t, "to"),
			ClientState: rapid.SampledFrom([]string{"", "YQ==", "Yg=="}).Draw(t, "client state"),
		},
	}
	if s := rapid.IntRange(-1, 8).Draw(t, "occurred"); s >= 0 { // few, so that many occur at once
		ev.OccurredAt = epoch.Add(time.Duration(s) * time.Second)
	}
	ev.Backfill = rapid.IntRange(0, 4).Draw(t, "backfill") == 0
	switch typ {
	case call.TypeHangup:
		ev.Detail = &call.Hangup{Cause: "normal_clearing", SIPCode: rapid.SampledFrom([]string{"", "200", "487"}).Draw(t, "sip")}
	case call.TypeDTMF:
		ev.Detail = &call.DTMF{Digit: rapid.SampledFrom([]string{"", "1", "2", "#"}).Draw(t, "digit")}
	}
	sc.events = append(sc.events, ev)
}

func (sc *scenario) answer(t *rapid.T, r call.Ref) {
	a := session.Answer{
		Answer: status.Answer{
			Session: r.Session, Leg: r.Leg, Control: r.Control,
			Attempt:   rapid.IntRange(1, 3).Draw(t, "attempt"),
			FetchedAt: epoch.Add(time.Duration(rapid.IntRange(-100, 100).Draw(t, "fetched")) * time.Second),
			Result:    rapid.SampledFrom([]status.Result{status.Answered, status.NotFound, status.Unreachable}).Draw(t, "result"),
		},
		Proven: rapid.Bool().Draw(t, "proven"),
	}
	if a.Result == status.Answered {
		a.IsAlive = new(rapid.Bool().Draw(t, "alive"))
		if !*a.IsAlive && rapid.Bool().Draw(t, "states end") {
			a.EndTime = epoch
		}
	}
	// One fetch has one answer: those at the same time to the same attempt are repeats.
	for _, b := range sc.answers {
		if b.Leg == a.Leg && b.Attempt == a.Attempt && b.FetchedAt.Equal(a.FetchedAt) {
			return
		}
	}
	sc.answers = append(sc.answers, a)
}

// tell folds the scenario in some order, with repeats, and returns what the table makes of it. Between is called with the
// table after each entry; nil: nothing is.
func (sc *scenario) tell(t *rapid.T, order []int, between func(*session.Table)) (content, int) {
	var log []call.Entry
	table := session.New(session.Config{Rules: rules, Decode: func(e call.Entry) (call.Event, error) {
		i, err := strconv.Atoi(string(e.Data))
		ev := sc.events[i]
		ev.Attempt = e.Attempt
		return ev, err
	}, Read: func(seqs []uint64) (read []*call.Entry, err error) {
		for _, seq := range seqs {
			e := log[seq-1]
			read = append(read, &e)
		}
		return read, nil
	}})
	table.Restart(call.Log{ID: "log", First: 1})
	var seq uint64
	fold := func(e call.Entry) {
		seq++
		e.Seq, e.ReceivedAt = seq, epoch.Add(time.Duration(seq)*time.Millisecond)
		log = append(log, e)
		table.Fold(e)
		if between != nil {
			between(table)
		}
	}
	marshal := func(body any) []byte {
		data, err := encodeJSON(body)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	known := make(map[call.LegID]bool)
	var early []session.Answer
	said := make([]int, len(sc.events))
	for _, i := range order {
		if i >= len(sc.events) {
			early = append(early, sc.answers[i-len(sc.events)])
		} else {
			said[i]++
			fold(call.Entry{Topic: call.TopicEvent + sc.events[i].Type, Attempt: said[i], Data: []byte(strconv.Itoa(i))})
			if r := sc.events[i].Ref; r.Session != "" && r.Leg != "" {
				known[r.Leg] = true
			}
		}
		// An answer is asked for about a leg that is known: it never stands before it in a log.
		early = slices.DeleteFunc(early, func(a session.Answer) bool {
			if known[a.Leg] {
				fold(call.Entry{Topic: call.TopicStatus, Data: marshal(a)})
			}
			return known[a.Leg]
		})
	}
	// These speak of positions, so they stand at the end of every order.
	for _, l := range sc.expired {
		fold(call.Entry{Topic: call.TopicCheck, Data: marshal(session.Check{
			Kind: session.CheckExpire, Session: "s", Leg: l, Upto: seq,
		})})
	}
	fold(call.Entry{Topic: call.TopicCheck, Data: marshal(session.Check{Kind: session.CheckSettle, Session: "s", Upto: seq})})
	c, ok := contentOf(table, "s")
	if !ok {
		t.Fatal("the session is not known")
	}
	return c, table.Stats().Orphans
}

func TestAnyOrderAndRepetitionOfTheSameEntriesGivesTheSameView(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sc := drawScenario(t)
		n := len(sc.events) + len(sc.answers)
		straight := make([]int, n)
		for i := range straight {
			straight[i] = i
		}
		want, orphans := sc.tell(t, straight, nil)
		for range 4 {
			other := slices.Clone(straight)
			for range rapid.IntRange(0, n).Draw(t, "repeats") {
				other = append(other, rapid.IntRange(0, n-1).Draw(t, "repeated"))
			}
			got, left := sc.tell(t, rapid.Permutation(other).Draw(t, "order"), nil)
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Fatalf("another order gives another view (-straight +other):\n%s", diff)
			}
			// A repeated orphan may be counted twice when much lies between, never not at all.
			if (left == 0) != (orphans == 0) {
				t.Fatalf("%d orphans are left, in straight order %d", left, orphans)
			}
		}
	})
}

func TestASessionThatWasPackedAtAnyPointOfAnyOrderIsOpenedAsItWas(t *testing.T) {
	packed := 0
	rapid.Check(t, func(t *rapid.T) {
		sc := drawScenario(t)
		n := len(sc.events) + len(sc.answers)
		order := make([]int, n, 2*n)
		for i := range order {
			order[i] = i
		}
		for range rapid.IntRange(0, n).Draw(t, "repeats") {
			order = append(order, rapid.IntRange(0, n-1).Draw(t, "repeated"))
		}
		order = rapid.Permutation(order).Draw(t, "order")
		var want, got []session.View
		views := func(of *[]session.View) func(*session.Table) {
			return func(table *session.Table) {
				v, _ := table.View("s")
				*of = append(*of, unversioned(v))
			}
		}
		sc.tell(t, order, views(&want))
		sc.tell(t, order, func(table *session.Table) {
			if rapid.Bool().Draw(t, "packed") {
				packed += table.PackAll()
			}
			if rapid.Bool().Draw(t, "looked at") {
				views(&got)(table)
			} else {
				got = append(got, session.View{})
			}
			if rapid.Bool().Draw(t, "packed again") {
				packed += table.PackAll()
			}
		})
		for i := range want {
			if got[i].Log == "" {
				continue // not looked at
			}
			if diff := gocmp.Diff(want[i], got[i]); diff != "" {
				t.Fatalf("after entry %d (-kept as it was +packed):\n%s", i+1, diff)
			}
		}
	})
	if packed == 0 {
		t.Error("nothing was ever packed")
	}
}

// unversioned is a view without what tells only that something was folded.
func unversioned(v session.View) session.View {
	v.Version, v.Legs = 0, slices.Clone(v.Legs)
	for i := range v.Legs {
		v.Legs[i].Version = 0
	}
	return v
}

func TestAViewIsNotChangedByWhatComesLater(t *testing.T) {
	tp := newTape(t)
	full := ref(0)
	tp.event(call.Event{Type: call.TypeAnswered, Ref: call.Ref{Session: "s", Control: full.Control}, Facts: call.Facts{From: "a"}})
	before := tp.view("s")
	facts := before.Events[0].Facts
	tp.event(call.Event{Type: call.TypeBridged, Ref: full, Facts: call.Facts{From: "a"}})
	tp.event(call.Event{Type: call.TypeHangup, Ref: full, Facts: call.Facts{From: "b"}})
	if before.Events[0].Facts != facts {
		t.Error("an event that a view shows was changed when it was moved to its leg")
	}
	if after := tp.view("s"); len(after.Events) != 0 || len(before.Events) != 1 {
		t.Errorf("events of the session: %d before, %d after; want 1 and 0", len(before.Events), len(after.Events))
	}
}

func TestAnEventIsFoldedOnceAndItsFirstDeliveryStands(t *testing.T) {
	at := time.Now().UTC().Truncate(time.Second)
	type delivery struct {
		at      time.Duration
		attempt int
	}
	for name, tc := range map[string]struct {
		deliveries []delivery
		want       uint64 // which one stands
	}{
		"of deliveries in order the first":                   {[]delivery{{0, 1}, {1, 2}, {2, 3}}, 1},
		"the earlier received when the stream's clock steps": {[]delivery{{2, 1}, {1, 2}, {3, 3}}, 2},
		"of those received at once the lesser attempt":       {[]delivery{{0, 2}, {0, 1}, {0, 3}}, 2},
		"of equals the first in the log":                     {[]delivery{{0, 1}, {0, 1}}, 1},
	} {
		for place, r := range map[string]call.Ref{
			"of a leg": ref(0), "of the session": {Session: "s"}, "not known yet": {Control: ref(0).Control},
		} {
			t.Run(name+", "+place, func(t *testing.T) {
				tp := newTape(t)
				ev := call.Event{ID: "id", Type: call.TypeAnswered, Ref: r}
				for i, d := range tc.deliveries {
					ev.Attempt = d.attempt
					tp.events = append(tp.events, ev)
					tp.table.Fold(call.Entry{
						Seq: uint64(i) + 1, ReceivedAt: at.Add(d.at * time.Second),
						Topic: call.TopicEvent + ev.Type, Data: []byte(strconv.Itoa(i)),
					})
				}
				tp.events = append(tp.events, call.Event{ID: "other", Type: call.TypeInitiated, Ref: ref(0)})
				tp.table.Fold(call.Entry{
					Seq: 9, ReceivedAt: at.Add(time.Minute), Topic: "event.", Data: []byte(strconv.Itoa(len(tp.events) - 1)),
				})
				v := tp.view("s")
				all := slices.Concat(v.Events, v.Legs[0].Events)
				all = slices.DeleteFunc(all, func(e *session.Event) bool { return e.ID != "id" })
				if len(all) != 1 || all[0].Seq != tc.want {
					t.Fatalf("%d events, the first of delivery %d; want one, of delivery %d", len(all), all[0].Seq, tc.want)
				}
				if got := tc.deliveries[tc.want-1].attempt; all[0].Attempt != got {
					t.Errorf("attempt %d; want %d", all[0].Attempt, got)
				}
			})
		}
	}
}

func TestEventsOfEqualIDAndDifferentTypeAreTwo(t *testing.T) {
	tp := newTape(t)
	for i := range 60 { // more than a list is searched for
		for _, typ := range []string{call.TypeHold, call.TypeUnhold} {
			for range 2 {
				tp.event(call.Event{ID: strconv.Itoa(i), Type: typ, Ref: ref(0), OccurredAt: epoch})
			}
		}
	}
	if got := len(tp.leg(ref(0)).Events); got != 120 {
		t.Errorf("%d events; want 120", got)
	}
}

// The history can name an event otherwise than its webhook does, and a webhook can
// come after its leg was backfilled.
func TestWhatWasFilledInGivesWayToItsWebhook(t *testing.T) {
	at := epoch.Add(3 * time.Second)
	for name, c := range map[string]struct {
		filled, webhook call.Event
		want            []string
	}{
		"the same type at the same time": {
			call.Event{Type: call.TypeHold, OccurredAt: at.Truncate(time.Millisecond)},
			call.Event{Type: call.TypeHold, OccurredAt: at.Truncate(time.Millisecond).Add(999 * time.Microsecond)},
			[]string{"webhook"},
		},
		"another time": {
			call.Event{Type: call.TypeHold, OccurredAt: at},
			call.Event{Type: call.TypeHold, OccurredAt: at.Add(time.Millisecond)},
			[]string{"filled", "webhook"},
		},
		"another type": {
			call.Event{Type: call.TypeHold, OccurredAt: at},
			call.Event{Type: call.TypeUnhold, OccurredAt: at},
			[]string{"filled", "webhook"},
		},
		"what a leg has once, whatever the time": {
			call.Event{Type: call.TypeAnswered, OccurredAt: at},
			call.Event{Type: call.TypeAnswered, OccurredAt: at.Add(time.Second)},
			[]string{"webhook"},
		},
	} {
		for _, webhookFirst := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				tp := newTape(t)
				c.filled.ID, c.filled.Ref, c.filled.Backfill = "filled", ref(0), true
				c.webhook.ID, c.webhook.Ref = "webhook", ref(0)
				events := []call.Event{c.filled, c.webhook}
				if webhookFirst {
					slices.Reverse(events)
				}
				for _, e := range events {
					tp.event(e)
				}
				var got []string
				for _, e := range tp.leg(ref(0)).Events {
					got = append(got, e.ID)
				}
				slices.Sort(got)
				if diff := gocmp.Diff(c.want, got); diff != "" {
					t.Errorf("webhook first %t (-want +got):\n%s", webhookFirst, diff)
				}
			})
		}
	}
}
