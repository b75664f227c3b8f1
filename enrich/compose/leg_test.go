package compose_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// off is an instant of the invented call; known the same as a summary writes it.
func off(d time.Duration) time.Time       { return base.Add(d) }
func known(d time.Duration) *summary.Time { return summary.At(off(d)) }
func secs(v float64) *summary.Seconds     { return new(summary.Seconds(v)) }

// happened is an event as the fold has it.
func happened(typ string, at time.Duration, detail call.Detail, change ...func(e *session.Event)) *session.Event {
	e := &session.Event{
		ID: typ + "@" + at.String(), Type: typ, OccurredAt: off(at), ReceivedAt: off(at + 100*time.Millisecond),
		Attempt: 1, Facts: &session.Facts{}, Detail: detail,
	}
	for _, c := range change {
		c(e)
	}
	return e
}

func stating(f session.Facts) func(*session.Event) { return func(e *session.Event) { e.Facts = &f } }
func backfilled(e *session.Event)                  { e.Backfill = true }

// composed is the summary of a leg of these events that ended with a hangup.
func composed(events ...*session.Event) summary.Leg {
	return compose.Leg("s", &session.LegView{ID: "l", Control: "c", Ending: session.ByHangup, Events: events})
}

func hungUp(cause, source, sip string) *session.Event {
	return happened(call.TypeHangup, 30*time.Second, &call.Hangup{Cause: cause, Source: source, SIPCode: sip, EndTime: off(30 * time.Second)})
}

func check[T any](t *testing.T, field string, got, want T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", field, diff)
	}
}

func TestTheFirstToStateAFactIsRightTheLastToStateAMoodIs(t *testing.T) {
	say := func(at time.Duration, word string) *session.Event {
		return happened("call.speak.started", at, nil, stating(session.Facts{
			Facts:   call.Facts{From: "from " + word, To: "to " + word, StartTime: off(at), ClientState: "state " + word, Tags: []string{word}},
			Control: call.ControlID("c " + word), Connection: call.ConnectionID("n " + word),
		}))
	}
	silent := happened("call.speak.ended", 3*time.Second, nil)
	got := composed(silent, say(time.Second, "one"), say(2*time.Second, "two"), silent)
	check(t, "from", got.From, "from one")
	check(t, "to", got.To, "to one")
	check(t, "control", got.CallControlID, "c one")
	check(t, "connection", got.ConnectionID, "n one")
	check(t, "started_at", got.StartedAt, known(time.Second))
	check(t, "client_state", got.ClientState, "state two")
	check(t, "tags", got.Tags, []string{"two"})
}

func TestTheStartIsThatOfTheLegNotOfItsFirstEvent(t *testing.T) {
	initiated := happened(call.TypeInitiated, 0, &call.Initiated{Direction: "outgoing", CallerName: "Ada"})
	answered := happened(call.TypeAnswered, 4*time.Second, nil, stating(session.Facts{Facts: call.Facts{StartTime: off(300 * time.Millisecond)}}))
	check(t, "started_at, stated later", composed(initiated, answered).StartedAt, known(300*time.Millisecond))
	got := composed(initiated, hungUp("timeout", "", ""))
	check(t, "started_at, never stated", got.StartedAt, known(0))
	check(t, "source", got.Sources["started_at"], summary.SourceWebhook)
	check(t, "direction", got.Direction, "outgoing")
	check(t, "caller_name", got.CallerName, "Ada")
}

func TestSourcesTellBackfilledTimes(t *testing.T) {
	got := composed(
		happened(call.TypeInitiated, 0, &call.Initiated{Direction: "incoming"}, stating(session.Facts{Facts: call.Facts{StartTime: off(0)}})),
		happened(call.TypeAnswered, time.Second, nil, backfilled),
		happened(call.TypeAnswered, 2*time.Second, nil),
		happened(call.TypeBridged, 3*time.Second, nil),
		hungUp("normal_clearing", "caller", "200"),
	)
	check(t, "sources", got.Sources, map[string]summary.Source{
		"started_at": "webhook", "answered_at": "backfill", "bridged_at": "webhook", "ended_at": "webhook",
	})
	check(t, "answered_at", got.AnsweredAt, known(time.Second))
	check(t, "backfill", got.Events[1].Backfill, true)
}

func TestTheFirstHangupStands(t *testing.T) {
	second := happened(call.TypeHangup, 31*time.Second, &call.Hangup{Cause: "timeout", EndTime: off(31 * time.Second)})
	got := composed(happened(call.TypeInitiated, 0, &call.Initiated{Direction: "incoming"}), hungUp("normal_clearing", "caller", "200"), second)
	check(t, "hangup", got.Hangup, &summary.Hangup{Cause: "normal_clearing", Source: "caller", SIPCode: "200", Party: summary.PartyRemote})
	check(t, "ended_at", got.EndedAt, known(30*time.Second))
	unstated := composed(happened(call.TypeHangup, 29*time.Second, &call.Hangup{}))
	check(t, "ended_at, not stated", unstated.EndedAt, known(29*time.Second))
}

func TestABridgedLegWasAnswered(t *testing.T) {
	got := composed(happened(call.TypeBridged, time.Second, nil), hungUp("normal_clearing", "caller", "unspecified"))
	check(t, "outcome", got.Outcome, summary.OutcomeAnswered)
	check(t, "talk", got.TalkSeconds, nil)
	check(t, "bridged", got.BridgedSeconds, secs(29))
}

func TestAMeanOpinionOfNothingIsNone(t *testing.T) {
	with := func(packets *int64) *summary.Quality {
		h := hungUp("normal_clearing", "caller", "200")
		h.Detail.(*call.Hangup).Quality = &call.Quality{Inbound: &call.Stream{MOS: new(4.5), Packets: packets}}
		return composed(h).Quality
	}
	check(t, "with packets", with(new(int64(9))), &summary.Quality{Inbound: &summary.StreamQuality{MOS: new(summary.Number(4.5)), Packets: new(int64(9))}})
	check(t, "without", with(new(int64(0))), &summary.Quality{Inbound: &summary.StreamQuality{Packets: new(int64(0))}})
	check(t, "packets not stated", with(nil), &summary.Quality{Inbound: &summary.StreamQuality{MOS: new(summary.Number(4.5))}})
	check(t, "no statistics", composed(hungUp("", "", "")).Quality, nil)
}

func TestHoldsAreAddedUp(t *testing.T) {
	hold := func(at int) *session.Event { return happened(call.TypeHold, time.Duration(at)*time.Second, nil) }
	unhold := func(at int) *session.Event { return happened(call.TypeUnhold, time.Duration(at)*time.Second, nil) }
	for name, c := range map[string]struct {
		events []*session.Event
		want   *summary.Seconds
	}{
		"none":                             {nil, nil},
		"two":                              {[]*session.Event{hold(1), unhold(3), hold(10), unhold(14)}, secs(6)},
		"never ended: until the end":       {[]*session.Event{hold(1), unhold(3), hold(25)}, secs(7)},
		"held twice: from the first":       {[]*session.Event{hold(1), hold(2), unhold(5)}, secs(4)},
		"an unhold whose hold is not seen": {[]*session.Event{unhold(5)}, nil},
		"unheld twice":                     {[]*session.Event{hold(1), unhold(3), unhold(9)}, secs(2)},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, "hold_seconds", composed(append(c.events, hungUp("", "", ""))...).HoldSeconds, c.want)
		})
	}
	v := &session.LegView{ID: "l", Ending: session.Expired, Events: []*session.Event{hold(1)}}
	check(t, "of a leg without an end", compose.Leg("s", v).HoldSeconds, nil)
}

func TestQueueWaitsAreAddedUp(t *testing.T) {
	left := func(at time.Duration, wait *int64) *session.Event {
		return happened(call.TypeDequeued, at, &call.Queue{Name: "q", WaitSeconds: wait})
	}
	check(t, "two", composed(left(1, new(int64(5))), left(2, new(int64(7)))).QueueSeconds, secs(12))
	check(t, "zero", composed(left(1, new(int64(0)))).QueueSeconds, secs(0))
	check(t, "not stated", composed(left(1, nil)).QueueSeconds, nil)
}

func TestRecordingsUniteByID(t *testing.T) {
	saved := func(at time.Duration, r call.Recording) *session.Event {
		return happened(call.TypeRecordingSaved, at, &r)
	}
	got := composed(
		saved(40*time.Second, call.Recording{ID: "b", StartedAt: off(9 * time.Second), URLs: map[string]string{"mp3": "u1"}}),
		saved(41*time.Second, call.Recording{ID: "a", StartedAt: off(5 * time.Second)}),
		saved(42*time.Second, call.Recording{StartedAt: off(7 * time.Second)}),
		saved(43*time.Second, call.Recording{ID: "b", StartedAt: off(9 * time.Second), URLs: map[string]string{"mp3": "u2"}}),
	)
	check(t, "recordings", got.Recordings, []summary.Recording{
		{ID: "a", StartedAt: known(5 * time.Second)},
		{ID: "call.recording.saved@42s", StartedAt: known(7 * time.Second)},
		{ID: "b", StartedAt: known(9 * time.Second), URLs: map[string]string{"mp3": "u2"}},
	})
}

func TestMachineDetection(t *testing.T) {
	heard := func(typ string, at time.Duration, result string) *session.Event {
		return happened(typ, at*time.Second, &call.Machine{Result: result})
	}
	for name, c := range map[string]struct {
		events []*session.Event
		by     summary.AnsweredBy
		want   *summary.MachineDetection
	}{
		"none": {nil, "", nil},
		"plain": {
			[]*session.Event{heard(call.TypeMachineDetection, 3, "human")}, "human", &summary.MachineDetection{Result: "human", DetectedAt: known(3 * time.Second)},
		},
		"premium with greeting": {
			[]*session.Event{heard(call.TypeMachinePremium, 3, "machine"), heard(call.TypeMachinePremiumGreet, 5, "beep_detected")},
			"machine", &summary.MachineDetection{Result: "machine", Greeting: "beep_detected", Premium: true, DetectedAt: known(3 * time.Second), GreetingAt: known(5 * time.Second)},
		},
		"a beep alone is a machine": {
			[]*session.Event{heard(call.TypeMachinePremiumGreet, 5, "beep_detected")}, "machine", &summary.MachineDetection{Greeting: "beep_detected", GreetingAt: known(5 * time.Second), Premium: true},
		},
		"no beep alone is nobody": {
			[]*session.Event{heard(call.TypeMachinePremiumGreet, 5, "no_beep_detected")}, "", &summary.MachineDetection{Greeting: "no_beep_detected", GreetingAt: known(5 * time.Second), Premium: true},
		},
		"the last detection": {
			[]*session.Event{heard(call.TypeMachineDetection, 3, "human"), heard(call.TypeMachineDetection, 4, "fax_detected")},
			"fax", &summary.MachineDetection{Result: "fax_detected", DetectedAt: known(4 * time.Second)},
		},
		"a beep after nothing was sure": {
			[]*session.Event{heard(call.TypeMachineDetection, 3, "not_sure"), heard(call.TypeMachineGreeting, 5, "beep_detected")},
			"machine", &summary.MachineDetection{Result: "not_sure", DetectedAt: known(3 * time.Second), Greeting: "beep_detected", GreetingAt: known(5 * time.Second)},
		},
		"a beep after silence": {
			[]*session.Event{heard(call.TypeMachinePremium, 3, "silence"), heard(call.TypeMachinePremiumGreet, 5, "beep_detected")},
			"machine", &summary.MachineDetection{Result: "silence", DetectedAt: known(3 * time.Second), Greeting: "beep_detected", GreetingAt: known(5 * time.Second), Premium: true},
		},
		"a beep after a human": {
			[]*session.Event{heard(call.TypeMachineDetection, 3, "human"), heard(call.TypeMachineGreeting, 5, "beep_detected")},
			"human", &summary.MachineDetection{Result: "human", DetectedAt: known(3 * time.Second), Greeting: "beep_detected", GreetingAt: known(5 * time.Second)},
		},
		"premium detection that has begun": {
			[]*session.Event{happened(call.TypeMachinePremiumStart, 1, nil)}, "", &summary.MachineDetection{Premium: true},
		},
		"a call screening makes what was detected void": {
			[]*session.Event{
				heard(call.TypeMachinePremium, 3, "machine"), heard(call.TypeMachinePremiumGreet, 5, "prompt_ended"), heard(call.TypeMachineScreening, 6, "screening"),
			},
			"unknown", &summary.MachineDetection{Greeting: "prompt_ended", GreetingAt: known(5 * time.Second), ScreenedAt: known(6 * time.Second), Premium: true},
		},
		"what is detected after it stands": {
			[]*session.Event{heard(call.TypeMachinePremium, 3, "machine"), heard(call.TypeMachineScreening, 6, "screening"), heard(call.TypeMachinePremium, 9, "human_residence")},
			"human", &summary.MachineDetection{Result: "human_residence", DetectedAt: known(9 * time.Second), ScreenedAt: known(6 * time.Second), Premium: true},
		},
		"a beep before it is void, too": {
			[]*session.Event{heard(call.TypeMachinePremiumGreet, 5, "beep_detected"), heard(call.TypeMachineScreening, 6, "screening")},
			"unknown", &summary.MachineDetection{Greeting: "beep_detected", GreetingAt: known(5 * time.Second), ScreenedAt: known(6 * time.Second), Premium: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := composed(c.events...)
			check(t, "answered_by", got.AnsweredBy, c.by)
			check(t, "machine_detection", got.MachineDetection, c.want)
			// What comes in after the call was trimmed from the log says the same, whichever part it is.
			for i := range c.events {
				late := compose.MergeLeg(composed(slices.Delete(slices.Clone(c.events), i, i+1)...), composed(c.events[i]))
				check(t, "answered_by, an event late", late.AnsweredBy, c.by)
				check(t, "machine_detection, an event late", late.MachineDetection, c.want)
			}
		})
	}
}

func TestCostOfALeg(t *testing.T) {
	charged := func(at time.Duration, c call.Cost) *session.Event { return happened(call.TypeCost, at, &c) }
	part := func(amount, currency string) call.CostPart {
		return call.CostPart{Part: "p", Amount: amount, Currency: currency}
	}
	success := func(amount string) call.Cost {
		return call.Cost{Status: "success", Total: amount, Parts: []call.CostPart{part(amount, "USD")}}
	}
	failed := call.Cost{Status: "error"}
	total := func(events ...*session.Event) []summary.Amount { return composed(events...).Cost.Totals }
	check(t, "one", total(charged(1, success("0.0050"))), []summary.Amount{{Currency: "USD", Amount: "0.0050"}})
	check(t, "success after error", total(charged(1, failed), charged(2, success("0.01"))), []summary.Amount{{Currency: "USD", Amount: "0.01"}})
	check(t, "error after success", total(charged(1, success("0.01")), charged(2, failed)), []summary.Amount{{Currency: "USD", Amount: "0.01"}})
	check(t, "the last success", total(charged(1, success("0.01")), charged(2, success("0.02"))), []summary.Amount{{Currency: "USD", Amount: "0.02"}})
	check(t, "an error alone", composed(charged(1, failed)).Cost, &summary.Cost{Status: "error"})
	check(t, "a total without parts has no currency", total(charged(1, call.Cost{Status: "success", Total: "0.10"})), []summary.Amount{{Amount: "0.10"}})
	check(t, "sums are exact, keep the finest scale, and mix no currencies",
		total(charged(1, call.Cost{Status: "success", Parts: []call.CostPart{
			part("0.1", "USD"), part("0.2", "USD"), part("0.0050", "USD"), part("0.0050", "USD"), part("1", "EUR"), part("not a number", "USD"), part("", "GBP"),
		}})),
		[]summary.Amount{{Currency: "EUR", Amount: "1"}, {Currency: "USD", Amount: "0.3100"}})
}

// What a leg cost in all, and what is noted, by its call.cost events.
func TestTheCostOfALegIsWhatIsStated(t *testing.T) {
	const added, corrected, differs = summary.NoteCostAdded, summary.NoteCostCorrected, summary.NoteCostTotalDiffers
	// Parts are "name amount currency", and an event with an amount alone has a total and no part.
	charged := func(total string, parts ...string) call.Cost {
		c := call.Cost{Status: "success", Total: total, BilledSeconds: new(int64(60))}
		for _, p := range parts {
			words := append(strings.Split(p, " "), "USD")
			c.Parts = append(c.Parts, call.CostPart{Part: words[0], Amount: words[1], Currency: words[2]})
		}
		return c
	}
	usd := func(amount string) []summary.Amount { return []summary.Amount{{Currency: "USD", Amount: amount}} }
	for name, c := range map[string]struct {
		events []call.Cost
		want   []summary.Amount
		stated string
		notes  []summary.Note
	}{
		"the sum of its parts":               {[]call.Cost{charged("0.015", "a 0.0110", "b 0.0040")}, usd("0.0150"), "0.015", nil},
		"a total that is not the sum counts": {[]call.Cost{charged("0.02", "a 0.0110", "b 0.0040")}, usd("0.02"), "0.02", []summary.Note{differs}},
		"parts without cost":                 {[]call.Cost{charged("0.02", "a ", "b ")}, usd("0.02"), "0.02", []summary.Note{differs}},
		"one part without cost":              {[]call.Cost{charged("0.02", "a 0.015", "b ")}, usd("0.02"), "0.02", []summary.Note{differs}},
		"no total":                           {[]call.Cost{charged("", "a 0.015")}, usd("0.015"), "", nil},
		"nothing at all":                     {[]call.Cost{charged("0.0000", "a 0.0000")}, usd("0.0000"), "0.0000", nil},
		"parts in two currencies": {
			[]call.Cost{charged("3", "a 1 USD", "b 2 EUR")},
			[]summary.Amount{{Currency: "EUR", Amount: "2"}, {Currency: "USD", Amount: "1"}},
			"3", nil,
		},
		"the same again":                   {[]call.Cost{charged("0.01", "a 0.01"), charged("0.010", "a 0.010")}, usd("0.01"), "0.01", nil},
		"a part of it again":               {[]call.Cost{charged("0.03", "a 0.01", "b 0.02"), charged("0.01", "a 0.01")}, usd("0.03"), "0.03", nil},
		"another part":                     {[]call.Cost{charged("0.01", "a 0.01"), charged("0.02", "b 0.02")}, usd("0.03"), "0.03", []summary.Note{added}},
		"a correction":                     {[]call.Cost{charged("0.01", "a 0.01"), charged("0.02", "a 0.02")}, usd("0.02"), "0.02", []summary.Note{corrected}},
		"a correction of one part":         {[]call.Cost{charged("0.03", "a 0.01", "b 0.02"), charged("0.05", "a 0.05")}, usd("0.07"), "", []summary.Note{added, corrected}},
		"one that states more":             {[]call.Cost{charged("0.01", "a 0.01"), charged("0.03", "a 0.01", "b 0.02")}, usd("0.03"), "0.03", nil},
		"a total that takes another place": {[]call.Cost{charged("1"), charged("2")}, []summary.Amount{{Amount: "2"}}, "2", []summary.Note{corrected}},
	} {
		t.Run(name, func(t *testing.T) {
			var events []*session.Event
			for i, d := range c.events {
				events = append(events, happened(call.TypeCost, time.Duration(40+i)*time.Second, &d))
			}
			notesOf := func(l summary.Leg) (notes []summary.Note) {
				for _, n := range l.Notes {
					if strings.HasPrefix(string(n), "cost_") {
						notes = append(notes, n)
					}
				}
				return notes
			}
			got := composed(events...)
			check(t, "totals", got.Cost.Totals, c.want)
			check(t, "total_cost", got.Cost.TotalCost, c.stated)
			check(t, "notes", notesOf(got), c.notes)
			for i := range events {
				rest := composed(slices.Delete(slices.Clone(events), i, i+1)...)
				late := compose.MergeLeg(rest, composed(events[i]))
				check(t, "one late", late.Cost, got.Cost)
				check(t, "one late, twice", compose.MergeLeg(late, composed(events[i])).Cost, got.Cost)
			}
		})
	}
}

func TestURLsExpireWhenTheySayIt(t *testing.T) {
	const signed = "https://recordings.example.com/r.mp3?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260302T090147Z&X-Amz-Expires="
	at := func(clock string) *summary.Time {
		parsed, err := time.Parse(time.RFC3339, "2026-03-02T"+clock+"Z")
		if err != nil {
			t.Fatal(err)
		}
		return summary.At(parsed)
	}
	for name, c := range map[string]struct {
		urls map[string]string
		want *summary.Time
	}{
		"Telnyx's own":          {map[string]string{"mp3": signed + "600"}, at("09:11:47")},
		"the first of two":      {map[string]string{"mp3": signed + "900", "wav": signed + "600"}, at("09:11:47")},
		"S3":                    {map[string]string{"mp3": "s3://bucket/r.mp3"}, nil},
		"Google":                {map[string]string{"wav": "gs://bucket/r.wav"}, nil},
		"Azure":                 {map[string]string{"mp3": "https://account.blob.core.windows.net/c/r.mp3"}, nil},
		"no date":               {map[string]string{"mp3": "https://recordings.example.com/r.mp3?X-Amz-Expires=600"}, nil},
		"a date that is none":   {map[string]string{"mp3": "https://x.test/r?X-Amz-Date=today&X-Amz-Expires=600"}, nil},
		"a life that is none":   {map[string]string{"mp3": signed + "-1"}, nil},
		"longer than any lives": {map[string]string{"mp3": signed + "2000000000"}, nil},
		"no URL":                {nil, nil},
		"one that is none":      {map[string]string{"mp3": "%zz"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := composed(happened(call.TypeRecordingSaved, 0, &call.Recording{ID: "r", URLs: c.urls}))
			check(t, "urls_expire_at", got.Recordings[0].URLsExpireAt, c.want)
		})
	}
}

// answer is one in the log.
func answer(attempt int, result status.Result, change func(a *status.Answer)) *session.Received {
	r := &session.Received{Seq: uint64(attempt), At: off(time.Duration(31+attempt) * time.Second)}
	r.Attempt, r.Result, r.FetchedAt, r.HTTPStatus = attempt, result, off(time.Duration(31+attempt)*time.Second), 200+attempt
	if change != nil {
		change(&r.Answer.Answer)
	}
	return r
}

func TestTheStateOfTheStatus(t *testing.T) {
	stillAlive := answer(1, status.Answered, func(a *status.Answer) { a.IsAlive = new(true) })
	gone := answer(2, status.NotFound, nil)
	down := answer(3, status.Unreachable, nil)
	limited := answer(4, status.RateLimited, nil)
	denied := answer(5, status.Denied, nil)
	over := answer(6, status.Answered, func(a *status.Answer) { a.IsAlive, a.CallDuration = new(false), new(28.0004) })
	for name, c := range map[string]struct {
		view    session.LegView
		want    summary.StatusState
		alive   *bool
		fetched *summary.Time
	}{
		"not asked yet":               {session.LegView{Control: "c"}, summary.StatusPending, nil, nil},
		"in the end never asked":      {session.LegView{Control: "c", Final: true}, summary.StatusNotAsked, nil, nil},
		"no control id":               {session.LegView{Final: true}, summary.StatusNotAsked, nil, nil},
		"what failed may succeed yet": {session.LegView{Control: "c", Answers: []*session.Received{gone, down}}, summary.StatusPending, nil, nil},
		"confirmed":                   {session.LegView{Control: "c", Final: true, Answers: []*session.Received{stillAlive, over, down}, Confirmed: over}, summary.StatusConfirmed, new(false), summary.At(over.FetchedAt)},
		"in the end alive":            {session.LegView{Control: "c", Final: true, Answers: []*session.Received{stillAlive, down}}, summary.StatusPending, new(true), summary.At(stillAlive.FetchedAt)},
		"in the end not found":        {session.LegView{Control: "c", Final: true, Answers: []*session.Received{stillAlive, gone, down}}, summary.StatusNotFound, nil, summary.At(gone.FetchedAt)},
		"in the end unreachable":      {session.LegView{Control: "c", Final: true, Answers: []*session.Received{limited, down}}, summary.StatusUnreachable, nil, summary.At(down.FetchedAt)},
		"in the end rate limited":     {session.LegView{Control: "c", Final: true, Answers: []*session.Received{down, limited}}, summary.StatusRateLimited, nil, summary.At(limited.FetchedAt)},
		"in the end denied":           {session.LegView{Control: "c", Final: true, Answers: []*session.Received{denied}}, summary.StatusDenied, nil, summary.At(denied.FetchedAt)},
	} {
		t.Run(name, func(t *testing.T) {
			c.view.Asked, c.view.Last = 6, denied
			got := compose.Leg("s", &c.view).Status
			check(t, "state", got.State, c.want)
			check(t, "final", got.Final, c.view.Final)
			check(t, "is_alive", got.IsAlive, c.alive)
			check(t, "fetched_at", got.FetchedAt, c.fetched)
			check(t, "attempts", got.Attempts, 6)
			if c.view.Control != "" {
				check(t, "http_status", got.HTTPStatus, denied.HTTPStatus)
			}
		})
	}
	v := session.LegView{Control: "c", Final: true, Answers: []*session.Received{over}, Confirmed: over}
	check(t, "call_duration", compose.Leg("s", &v).Status.CallDuration, secs(28))
}

func TestAFinalFailureToGetTheStatusIsNamedAsItsResult(t *testing.T) {
	for result, want := range map[status.Result]summary.StatusState{
		status.NotFound: summary.StatusNotFound, status.Denied: summary.StatusDenied,
		status.RateLimited: summary.StatusRateLimited, status.Unreachable: summary.StatusUnreachable,
	} {
		v := session.LegView{Control: "c", Final: true, Answers: []*session.Received{answer(1, result, nil)}}
		check(t, string(result), compose.Leg("s", &v).Status.State, want)
	}
}

func TestWebhookAndStatusAgreeWithinASecond(t *testing.T) {
	events := []*session.Event{
		happened(call.TypeInitiated, 0, &call.Initiated{}, stating(session.Facts{Facts: call.Facts{StartTime: off(123456 * time.Microsecond)}})),
		hungUp("normal_clearing", "caller", "200"),
	}
	with := func(events []*session.Event, start, end time.Duration) summary.Leg {
		a := answer(1, status.Answered, func(a *status.Answer) { a.StartTime, a.EndTime = off(start), off(end) })
		return compose.Leg("s", &session.LegView{Control: "c", Ending: session.ByHangup, Events: events, Answers: []*session.Received{a}, Confirmed: a})
	}
	agreed := with(events, 123*time.Millisecond, 31*time.Second)
	check(t, "the finer start stands", agreed.StartedAt, known(123456*time.Microsecond))
	check(t, "the webhook's end stands", agreed.EndedAt, known(30*time.Second))
	check(t, "discrepancies", agreed.Discrepancies, nil)
	differing := with(events, 5*time.Second, 28*time.Second)
	check(t, "started_at", differing.StartedAt, known(5*time.Second))
	check(t, "duration", differing.DurationSeconds, secs(23))
	check(t, "sources", differing.Sources, map[string]summary.Source{"started_at": "status", "ended_at": "status"})
	check(t, "discrepancies", differing.Discrepancies, []summary.Discrepancy{
		{Field: "started_at", Webhook: *known(123456 * time.Microsecond), Status: *known(5 * time.Second), DifferenceSeconds: 4.877},
		{Field: "ended_at", Webhook: *known(30 * time.Second), Status: *known(28 * time.Second), DifferenceSeconds: -2},
	})
	alone := with(events[:1], 20*time.Second, time.Minute)
	check(t, "an end that only the status knows", alone.EndedAt, known(time.Minute))
	check(t, "is no discrepancy", len(alone.Discrepancies), 1)
}

func TestEndedBy(t *testing.T) {
	for ending, want := range map[session.Ending]summary.EndedBy{
		session.ByHangup: "hangup", session.ByStatus: "status", session.Gone: "gone", session.Expired: "expired",
	} {
		check(t, string(want), compose.Leg("s", &session.LegView{Ending: ending}).EndedBy, want)
	}
}

func TestFirstReceiptIsTheEarliestWhateverOccurredFirst(t *testing.T) {
	late := happened(call.TypeInitiated, 0, &call.Initiated{}, func(e *session.Event) { e.ReceivedAt = off(time.Hour) })
	got := composed(late, hungUp("", "", ""))
	check(t, "first_received_at", got.FirstReceivedAt, *known(30*time.Second + 100*time.Millisecond))
}

// A session of three legs: a caller, an agent who does not answer, one who does.
func sessionLegs() []summary.Leg {
	leg := func(id string, start, answer, end time.Duration, o summary.Outcome, change func(l *summary.Leg)) summary.Leg {
		l := summary.Leg{
			CallLegID: id, To: "to " + id, From: "from " + id, ConnectionID: "n " + id, Direction: "outgoing", Outcome: o, Revision: 1,
			FirstReceivedAt: *known(start), StartedAt: known(start), EndedAt: known(end), Status: summary.Status{State: summary.StatusConfirmed},
			Hangup: &summary.Hangup{Cause: "cause " + id},
		}
		if answer > 0 {
			l.AnsweredAt = known(answer)
		}
		if change != nil {
			change(&l)
		}
		return l
	}
	return []summary.Leg{
		leg("agent2", 20*time.Second, 25*time.Second, 61*time.Second, summary.OutcomeAnswered, func(l *summary.Leg) {
			l.Cost = &summary.Cost{Totals: []summary.Amount{{Currency: "USD", Amount: "0.0100"}, {Currency: "EUR", Amount: "1"}}}
		}),
		leg("caller", 0, 2*time.Second, 60*time.Second, summary.OutcomeAnswered, func(l *summary.Leg) {
			l.Direction = "incoming"
			l.Cost = &summary.Cost{Totals: []summary.Amount{{Currency: "USD", Amount: "0.005"}}}
		}),
		leg("agent1", 5*time.Second, 0, 15*time.Second, summary.OutcomeNoAnswer, func(l *summary.Leg) {
			l.Status.State, l.Cost = summary.StatusPending, &summary.Cost{Status: "error"}
		}),
	}
}

func TestASessionIsMadeOfItsLegs(t *testing.T) {
	v := &session.View{ID: "s", FirstAt: off(100 * time.Millisecond), Events: []*session.Event{{Facts: &session.Facts{}}, {Facts: &session.Facts{}}}}
	legs := sessionLegs()
	got := compose.Session(v, legs)
	var order []string
	for _, l := range got.Legs {
		order = append(order, l.CallLegID)
	}
	check(t, "legs by start", order, []string{"caller", "agent1", "agent2"})
	check(t, "given legs are left alone", legs[0].CallLegID, "agent2")
	check(t, "leg_count", got.LegCount, 3)
	check(t, "answered_legs", got.AnsweredLegs, 2)
	check(t, "first leg", []string{got.Direction, got.From, got.To, got.ConnectionID}, []string{"incoming", "from caller", "to caller", "n caller"})
	check(t, "final_to", got.FinalTo, "to agent2")
	check(t, "first_received_at", got.FirstReceivedAt, *known(0))
	check(t, "times", []*summary.Time{got.StartedAt, got.AnsweredAt, got.EndedAt}, []*summary.Time{known(0), known(2 * time.Second), known(61 * time.Second)})
	check(t, "duration", got.DurationSeconds, secs(61))
	check(t, "talk counts no second twice", got.TalkSeconds, secs(59))
	check(t, "hangup of the leg that was answered last", got.Hangup, &summary.SessionHangup{CallLegID: "agent2", Hangup: summary.Hangup{Cause: "cause agent2"}})
	check(t, "status_state", got.StatusState, summary.StatusPending)
	check(t, "event_count", got.EventCount, 2)
	check(t, "cost", got.Cost, &summary.SessionCost{LegsCosted: 2, LegsTotal: 3, Totals: []summary.Amount{{Currency: "EUR", Amount: "1"}, {Currency: "USD", Amount: "0.0150"}}})
}

func TestASessionWhereSomethingIsNotKnown(t *testing.T) {
	v := &session.View{ID: "s", FirstAt: off(0)}
	legs := sessionLegs()
	legs[0].EndedAt = nil // an answered leg without an end
	got := compose.Session(v, legs)
	check(t, "talk", got.TalkSeconds, nil)
	check(t, "duration, to the last end that is known", got.DurationSeconds, secs(60))

	only := sessionLegs()[2:]
	got = compose.Session(v, only)
	check(t, "talk of none answered", got.TalkSeconds, secs(0))
	check(t, "final_to", got.FinalTo, "")
	check(t, "cost", got.Cost, nil)

	unstarted := sessionLegs()
	unstarted[1].StartedAt = nil
	check(t, "a leg without a start comes last", compose.Session(v, unstarted).Legs[2].CallLegID, "caller")

	alone := sessionLegs()[1:2]
	check(t, "final_to that is to", compose.Session(v, alone).FinalTo, "")
}

func TestBridgesArePairedByTime(t *testing.T) {
	bridged := func(id string, at ...time.Duration) session.LegView {
		v := session.LegView{ID: call.LegID(id)}
		for _, d := range at {
			v.Events = append(v.Events, happened(call.TypeBridged, d, nil))
		}
		return v
	}
	bridge := func(at time.Duration, legs ...string) summary.Bridge {
		return summary.Bridge{At: *known(at), Legs: legs}
	}
	for name, c := range map[string]struct {
		legs []session.LegView
		want []summary.Bridge
	}{
		"none":                    {[]session.LegView{bridged("a")}, nil},
		"two at the same time":    {[]session.LegView{bridged("b", 5*time.Second), bridged("a", 5*time.Second)}, []summary.Bridge{bridge(5*time.Second, "a", "b")}},
		"two within a second":     {[]session.LegView{bridged("b", 5*time.Second), bridged("a", 6*time.Second)}, []summary.Bridge{bridge(5*time.Second, "b", "a")}},
		"two apart":               {[]session.LegView{bridged("b", 5*time.Second), bridged("a", 7*time.Second)}, []summary.Bridge{bridge(5*time.Second, "b"), bridge(7*time.Second, "a")}},
		"one to another session":  {[]session.LegView{bridged("a", 5*time.Second)}, []summary.Bridge{bridge(5*time.Second, "a")}},
		"one leg with two others": {[]session.LegView{bridged("a", 5*time.Second, 20*time.Second), bridged("b", 5*time.Second), bridged("c", 20*time.Second)}, []summary.Bridge{bridge(5*time.Second, "a", "b"), bridge(20*time.Second, "a", "c")}},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, "bridges", compose.Session(&session.View{ID: "s", FirstAt: off(0), Legs: c.legs}, nil).Bridges, c.want)
		})
	}
}

func TestThePastOfASessionIsKept(t *testing.T) {
	bridge := func(at time.Duration, legs ...string) summary.Bridge {
		return summary.Bridge{At: *known(at), Legs: legs}
	}
	before := summary.Session{FirstReceivedAt: *known(0), EventCount: 3, Bridges: []summary.Bridge{bridge(time.Second, "a"), bridge(9*time.Second, "a", "b")}}
	got := compose.MergeSession(summary.Session{
		FirstReceivedAt: *known(time.Hour), EventCount: 1, Bridges: []summary.Bridge{bridge(1100*time.Millisecond, "b", "a")},
	}, &before, &session.View{}, nil)
	check(t, "first_received_at", got.FirstReceivedAt, *known(0))
	check(t, "event_count", got.EventCount, 3)
	check(t, "bridges", got.Bridges, []summary.Bridge{bridge(1100*time.Millisecond, "b", "a"), bridge(9*time.Second, "a", "b")})
}

// The view pairs what it knows; a stored bridge stands where a leg of it cannot be known.
func TestAStoredBridgeStandsForWhatTheViewDoesNotKnow(t *testing.T) {
	bridge := func(at time.Duration, legs ...string) summary.Bridge {
		return summary.Bridge{At: *known(at), Legs: legs}
	}
	const a, b, c = 5000 * time.Millisecond, 5500 * time.Millisecond, 5900 * time.Millisecond
	for name, tc := range map[string]struct {
		view   map[string]time.Duration
		stored []summary.Bridge
		want   []summary.Bridge
	}{
		"of legs that have all left":         {nil, []summary.Bridge{bridge(a, "a", "c")}, []summary.Bridge{bridge(a, "a", "c")}},
		"of legs that the view knows":        {map[string]time.Duration{"a": a, "b": b, "c": c}, []summary.Bridge{bridge(a, "a", "c")}, []summary.Bridge{bridge(a, "a", "b"), bridge(c, "c")}},
		"of two legs of which one has left":  {map[string]time.Duration{"c": c}, []summary.Bridge{bridge(a, "a", "c")}, []summary.Bridge{bridge(a, "a", "c")}},
		"of a leg that had another before":   {map[string]time.Duration{"a": 20 * time.Second}, []summary.Bridge{bridge(a, "a")}, []summary.Bridge{bridge(a, "a"), bridge(20*time.Second, "a")}},
		"of one leg whose other side is new": {map[string]time.Duration{"c": c}, []summary.Bridge{bridge(a, "a")}, []summary.Bridge{bridge(a, "a"), bridge(c, "c")}},
	} {
		t.Run(name, func(t *testing.T) {
			v := &session.View{ID: "s", FirstAt: off(0)}
			for id, at := range tc.view {
				v.Legs = append(v.Legs, session.LegView{ID: call.LegID(id), Events: []*session.Event{happened(call.TypeBridged, at, nil)}})
			}
			before := summary.Session{FirstReceivedAt: *known(0), Bridges: tc.stored}
			check(t, "bridges", compose.MergeSession(compose.Session(v, nil), &before, v, nil).Bridges, tc.want)
		})
	}
}

// A leg as most are: seven events and a confirmed status.
func sevenEvents() *session.LegView {
	facts := stating(session.Facts{
		Facts:   call.Facts{From: "+12025550111", To: "+12025550122", StartTime: off(0), ClientState: "eyJ0aWNrZXQiOjQyfQ=="},
		Control: "v3:notARealControlId-Legato000000000000000000000000", Connection: "1700000000000000042",
	})
	a := answer(1, status.Answered, func(a *status.Answer) {
		a.IsAlive, a.StartTime, a.EndTime, a.RecordType = new(false), off(0), off(30*time.Second), "call"
	})
	return &session.LegView{
		ID: "5f1c0a02-0a01-11f1-9c00-02420a0d0a01", Control: "c", Ending: session.ByHangup, Since: off(30 * time.Second), Hangup: off(30 * time.Second),
		Confirmed: a, Answers: []*session.Received{a}, Last: a, Asked: 1, AskedSince: 1, Final: true,
		Events: []*session.Event{
			happened(call.TypeInitiated, 0, &call.Initiated{Direction: "incoming"}, facts),
			happened(call.TypeAnswered, time.Second, nil, facts),
			happened("call.speak.started", 2*time.Second, nil, facts),
			happened("call.speak.ended", 9*time.Second, nil, facts),
			happened(call.TypeBridged, 10*time.Second, nil, facts),
			hungUp("normal_clearing", "caller", "200"),
			happened(call.TypeRecordingSaved, 31*time.Second, &call.Recording{ID: "r", StartedAt: off(0), URLs: map[string]string{"mp3": "https://recordings.example.com/r.mp3"}}, facts),
		},
	}
}

func BenchmarkLegSummary(b *testing.B) {
	v := sevenEvents()
	b.ReportAllocs()
	for b.Loop() {
		leg := compose.Leg("5f1c0a02-0000-11f1-9c00-02420a0d0a00", v)
		if _, err := compose.LegContent(leg); err != nil {
			b.Fatal(err)
		}
		body, err := summary.Encode(leg)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(body)))
	}
}
