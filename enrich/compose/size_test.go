package compose_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

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
	leg, content, err := compose.FitLeg(compose.Leg(v.ID, &v.Legs[0]))
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
			if len(want) > compose.MaxContent {
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
