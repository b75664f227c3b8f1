package compose_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// full fills every list of a leg with n entries, and every text with text.
func full(n int, text string) summary.Leg {
	var l summary.Leg
	fill(reflect.ValueOf(&l).Elem(), n, text, new(int))
	l.Changed, l.Reasons, l.Omitted, l.EventsOmitted = nil, nil, nil, 0
	l.Outcome, l.EndedBy, l.Status.State = summary.OutcomeAnswered, summary.EndedByHangup, summary.StatusConfirmed
	// As many as there can be.
	l.Discrepancies = l.Discrepancies[:min(n, 2)]
	l.Cost.Parts, l.Cost.Totals = l.Cost.Parts[:min(n, 64)], l.Cost.Totals[:min(n, 64)]
	l.UnreadFields = l.UnreadFields[:min(n, 20)]
	l.DTMF.Count = 0
	// The timeline knows what the entries are named after.
	known := make(map[string]bool)
	l.Events = nil
	add := func(id string, at *summary.Time) {
		if !known[id] {
			known[id] = true
			l.Events = append(l.Events, summary.Event{ID: id, Type: "call.something", OccurredAt: at})
		}
	}
	for _, p := range l.Playbacks {
		add(p.ID, p.At)
	}
	for _, d := range l.DTMF.Digits {
		add(d.ID, d.At)
	}
	for _, q := range l.Queues {
		add(q.ID, q.EnteredAt)
	}
	l.Events = sorted(l.Events, compose.CompareEvents)
	l.Events, l.EventsOmitted = compose.CutTimeline(l.Events)
	compose.TruncateLeg(&l)
	compose.Derive(&l)
	// What follows from these texts.
	l.Hangup.Party = summary.PartyUnknown
	l.MachineDetection.ScreenedAt, l.AnsweredBy = nil, summary.AnsweredByUnknown
	compose.Annotate(&l, nil, nil)
	return l
}

// longest is how long a text of that field can be.
func longest(field string) int {
	switch field {
	case "ClientState", "From", "To", "FromSIPURI", "ToSIPURI", "Tags":
		return 1 << 20
	case "Text", "JSON", "Content":
		return 64 << 10
	case "URLs", "PublicURLs":
		return 4 << 10
	case "Media", "Reason", "Name", "Value", "CallerName", "OfferedCodecs":
		return 512
	case "Amount", "Rate": // decimal numbers
		return 20
	}
	return 128
}

func fill(v reflect.Value, n int, text string, count *int) {
	switch v.Interface().(type) {
	case summary.Time:
		*count++
		v.Set(reflect.ValueOf(*at(time.Duration(*count) * time.Second)))
		return
	case []summary.Note, *summary.Completeness, map[string]summary.Source:
		return
	}
	switch v.Kind() {
	default:
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n, text, count)
	case reflect.Struct:
		for i := range v.NumField() {
			of := text
			if k := v.Field(i).Kind(); k == reflect.String || k == reflect.Map || v.Field(i).Type() == reflect.TypeFor[[]string]() {
				of = text[:min(len(text), longest(v.Type().Field(i).Name))]
			}
			fill(v.Field(i), n, of, count)
			if v.Type().Field(i).Name == "ID" {
				*count++
				v.Field(i).SetString(strconv.Itoa(*count))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), n, text, count)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		if v.Type().Elem().Kind() == reflect.String {
			v.SetMapIndex(reflect.ValueOf("mp3"), reflect.ValueOf(text))
		}
	case reflect.String:
		v.SetString(text)
	}
}

func TestAnyLegFits(t *testing.T) {
	for name, l := range map[string]summary.Leg{
		"many short entries":         full(200, "some words"),
		"few long texts":             full(4, strings.Repeat("text ", 100_000)),
		"many long ones":             full(130, strings.Repeat("x", 500)),
		"what takes six bytes a one": full(130, strings.Repeat("\x01", 120)),
		"a state as long as a book":  {ClientState: strings.Repeat("A", 900_000), From: strings.Repeat("ü", 500_000)},
	} {
		// A server's max_payload can be less than its default, an eighth of it at least.
		for _, body := range []int{summary.MaxBody, 124 << 10} {
			if name == "what takes six bytes a one" && body < summary.MaxBody {
				continue // no call is like that
			}
			t.Run(fmt.Sprintf("%s, in %d KiB", name, body>>10), func(t *testing.T) { wantFit(t, l, body) })
		}
	}
}

func wantFit(t *testing.T, l summary.Leg, body int) {
	t.Helper()
	whole := contentOf(t, l)
	if len(whole) <= compose.MaxContent(body) {
		t.Fatalf("%d bytes are not too many", len(whole))
	}
	got, content, err := compose.FitLeg(l, body)
	if err != nil || len(content) > compose.MaxContent(body) {
		t.Fatalf("%d bytes of %d are left (%v)", len(content), len(whole), err)
	}
	t.Logf("%d bytes of %d are left", len(content), len(whole))
	if contentOf(t, l) != whole {
		t.Error("the leg itself was changed")
	}
	if !strings.Contains(string(content), "omitted") && got.AI == nil {
		t.Error("it does not say that something is missing")
	}
	if _, again, _ := compose.FitLeg(got, body); !bytes.Equal(again, content) {
		t.Error("it is shed of more the second time")
	}
	// Whoever has the whole again makes the same of it.
	_, merged, err := compose.FitLeg(compose.MergeLeg(got, l), body)
	if diff := cmp.Diff(decoded(t, content), decoded(t, merged)); diff != "" || err != nil {
		t.Errorf("merged with what it was made of (-want +got):\n%s", diff)
	}
}

func decoded(t *testing.T, content []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(content, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestASmallLegIsLeftAlone(t *testing.T) {
	l := full(3, "a")
	_, content, err := compose.FitLeg(l, summary.MaxBody)
	if err != nil || string(content) != contentOf(t, l) {
		t.Errorf("%s was made of %s (%v)", content, contentOf(t, l), err)
	}
}

func TestWhatIsShedFirst(t *testing.T) {
	l := full(120, "some words")
	last := len(contentOf(t, l))
	var order []string
	for {
		got, content, err := compose.FitTo(l, last-1)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) >= last {
			break
		}
		last = len(content)
		order = append(order, strings.Join(shrunk(l, got), " "))
	}
	want := []string{
		"ai.messages",
		"ai.insights ai.messages",
		"ai.insights ai.messages transcript",
		"ai.insights ai.messages headers transcript",
		"ai.insights ai.messages headers playbacks transcript",
		"ai.insights ai.messages digits gathers headers playbacks transcript",
		"ai.insights ai.messages digits events gathers headers playbacks transcript",
		"ai.insights ai.messages digits events gathers headers playbacks recordings transcript",
	}
	var got []string
	for _, o := range order {
		if len(got) == 0 || got[len(got)-1] != o {
			got = append(got, o)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\nthe steps are:\n%s", diff, strings.Join(compose.Truncations(), "\n"))
	}
}

// shrunk names what is less in b than in a.
func shrunk(a, b summary.Leg) []string {
	messages := func(l summary.Leg) (n int) {
		if l.AI != nil {
			for _, g := range l.AI.Gathers {
				n += len(g.Messages)
			}
		}
		return n
	}
	insights := func(l summary.Leg) int {
		if l.AI == nil {
			return 0
		}
		return len(l.AI.Insights)
	}
	headers := func(l summary.Leg) int {
		if l.Headers == nil {
			return 0
		}
		return len(l.Headers.Custom)
	}
	var names []string
	for _, c := range []struct {
		name          string
		before, after int
	}{
		{"ai.insights", insights(a), insights(b)},
		{"ai.messages", messages(a), messages(b)},
		{"digits", len(a.DTMF.Digits), len(b.DTMF.Digits)},
		{"events", len(a.Events), len(b.Events)},
		{"gathers", len(a.Gathers), len(b.Gathers)},
		{"headers", headers(a), headers(b)},
		{"playbacks", len(a.Playbacks), len(b.Playbacks)},
		{"recordings", len(a.Recordings), len(b.Recordings)},
		{"transcript", len(a.Transcript.Pieces), len(b.Transcript.Pieces)},
	} {
		if c.after < c.before {
			names = append(names, c.name)
		}
	}
	return names
}

// busyCall is a call of n events of all sorts, with texts as long as size lets them be.
func busyCall(n int, size int) []call.Event {
	text := func(most int) string { return strings.Repeat("ü\"", min(size, most)/3) }
	bounded := func(i int) call.Truncation { return call.Truncation{Truncated: i%7 == 0} }
	details := []struct {
		typ  string
		make func(i int) call.Detail
	}{
		{call.TypeDTMF, func(int) call.Detail { return &call.DTMF{Digit: "1"} }},
		{call.TypeGatherEnded, func(int) call.Detail { return &call.Gather{Digits: "12", DigitCount: 2, Status: "valid"} }},
		{call.TypePlaybackEnded, func(int) call.Detail { return &call.Playback{Media: text(call.MaxText), Status: "completed"} }},
		{call.TypeSpeakEnded, func(int) call.Detail { return &call.Speech{Status: "completed"} }},
		{call.TypeTranscription, func(i int) call.Detail {
			return &call.Utterance{Track: "inbound", Text: text(call.MaxUtterance), TextOmitted: i % 2, Truncation: bounded(i)}
		}},
		{call.TypeRecordingSaved, func(i int) call.Detail {
			return &call.Recording{ID: fmt.Sprint("r", i), URLs: map[string]string{"mp3": text(call.MaxURL)}}
		}},
		{call.TypeRecordingTranscription, func(i int) call.Detail {
			return &call.Transcription{ID: fmt.Sprint("t", i), Recording: fmt.Sprint("r", i), Text: text(call.MaxTranscription)}
		}},
		{call.TypeConferenceRecordingSaved, func(i int) call.Detail {
			return &call.Recording{ID: fmt.Sprint("r", i), Conference: fmt.Sprint("c", i%40), URLs: map[string]string{"mp3": text(call.MaxURL)}}
		}},
		{call.TypeAIGatherHistory, func(i int) call.Detail {
			return &call.AIGather{MessagesTotal: i, Messages: []call.Message{{Role: "user", Content: text(call.MaxMessage)}}}
		}},
		{call.TypeAIGatherEnded, func(int) call.Detail { return &call.AIGather{Status: "valid"} }},
		{call.TypeInsights, func(i int) call.Detail {
			return &call.Insights{Group: "g", Results: []call.Insight{{ID: fmt.Sprint(i), Result: call.RawJSON(`{"a":"` + strings.Repeat("ü", min(size, call.MaxResult)/3) + `"}`)}}}
		}},
		{call.TypeConversationEnded, func(i int) call.Detail { return &call.Conversation{ID: fmt.Sprint("v", i), Reason: "done"} }},
		{call.TypeEnqueued, func(i int) call.Detail { return &call.Queue{Name: fmt.Sprint("q", i%3)} }},
		{call.TypeDequeued, func(i int) call.Detail { return &call.Queue{Name: fmt.Sprint("q", i%3), Reason: "timeout"} }},
		{call.TypeStreamingFailed, func(int) call.Detail { return &call.Streaming{ID: "s", Reason: text(call.MaxText)} }},
		{call.TypePaymentProgress, func(int) call.Detail { return &call.Payment{Step: "security-code"} }},
		{"call.something.new", func(int) call.Detail { return nil }},
	}
	ref := call.Ref{Session: "s", Leg: "l", Control: "c", Connection: "1"}
	events := make([]call.Event, n)
	for i := range events {
		d := details[i%len(details)]
		events[i] = call.Event{
			ID: fmt.Sprintf("5f1c0aff-e%05d-4a00-8a00-0242ac110002", i), Type: d.typ, Ref: ref, Detail: d.make(i),
			OccurredAt: off(time.Duration(i/3) * time.Second), // three at a time
		}
	}
	events[0].Type, events[0].Detail = call.TypeInitiated, &call.Initiated{Direction: "incoming"}
	events[n-1].Type, events[n-1].Detail = call.TypeHangup, &call.Hangup{Cause: "normal_clearing", SIPCode: "200"}
	return events
}

// rules are the defaults of the service, as far as a fold of one call asks for them.
var rules = session.Rules{SessionSettle: 5 * time.Second, StatusWindow: 10 * time.Minute, AmendWindow: 48 * time.Hour}

// folded is the leg of the events, folded in an order, as it would be published.
func folded(t *testing.T, events []call.Event, order []int) (summary.Leg, []byte) {
	t.Helper()
	table := session.New(session.Config{Rules: rules, Decode: func(e call.Entry) (call.Event, error) {
		return events[binary.BigEndian.Uint32(e.Data)], nil
	}})
	table.Restart(call.Log{ID: "log", First: 1})
	for i, n := range order {
		// All are received at once: what is told of receipt is not what this is about.
		table.Fold(call.Entry{
			Seq: uint64(i + 1), ReceivedAt: off(24 * time.Hour), Topic: call.TopicEvent + events[n].Type,
			Ref: events[n].Ref, Data: binary.BigEndian.AppendUint32(nil, uint32(n)),
		})
	}
	v, ok := table.View("s")
	if !ok || len(v.Legs) != 1 {
		t.Fatalf("%d legs", len(v.Legs))
	}
	leg, content, err := compose.FitLeg(compose.Leg(v.ID, &v.Legs[0]), summary.MaxBody)
	if err != nil {
		t.Fatal(err)
	}
	return leg, content
}

func TestALegOfManyEventsIsTheSameInAnyOrderAndFits(t *testing.T) {
	for name, c := range map[string]struct {
		events []call.Event
		whole  bool
	}{
		"200 short ones":   {busyCall(200, 30), true},
		"5,000 short ones": {busyCall(5000, 30), true},
		"5,000 long ones":  {busyCall(5000, 1<<20), false},
	} {
		t.Run(name, func(t *testing.T) {
			n := len(c.events)
			order := make([]int, n)
			for i := range order {
				order[i] = i
			}
			leg, want := folded(t, c.events, order)
			if len(want) > compose.MaxContent(summary.MaxBody) {
				t.Errorf("%d bytes", len(want))
			}
			t.Logf("%d bytes, %v omitted", len(want), leg.Omitted)
			if got := len(leg.Events) + leg.EventsOmitted; got != n {
				t.Errorf("%d of %d events are accounted for", got, n)
			}
			if c.whole && leg.Transcript.Pieces == nil {
				t.Error("it was shed without need")
			}
			for seed := range uint64(3) {
				rng := rand.New(rand.NewPCG(7, seed))
				rng.Shuffle(n, func(i, j int) { order[i], order[j] = order[j], order[i] })
				again := append(order, order[:n/3]...) // and some of them twice
				if _, got := folded(t, c.events, again); string(got) != string(want) {
					t.Fatalf("in another order (-want +got):\n%s", cmp.Diff(string(want), string(got)))
				}
			}
		})
	}
}
