package compose_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

var base = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func at(d time.Duration) *summary.Time { return summary.At(base.Add(d)) }

// maybe draws a value or none.
func maybe[T any](t *rapid.T, name string, g *rapid.Generator[T]) *T {
	if rapid.Bool().Draw(t, name+"?") {
		return new(g.Draw(t, name))
	}
	return nil
}

var (
	times = rapid.Custom(func(t *rapid.T) summary.Time {
		return summary.MustAt(base.Add(time.Duration(rapid.IntRange(0, 60_000_000).Draw(t, "µs")) * time.Microsecond))
	})
	words  = rapid.SampledFrom([]string{"", "a", "b/~<&>", "ü"})
	money  = rapid.SampledFrom([]string{"0.0050", "0.01", "-1"})
	counts = rapid.Int64Range(0, 100)

	events = rapid.Custom(func(t *rapid.T) summary.Event {
		return summary.Event{
			ID:         rapid.SampledFrom([]string{"1", "2", "3", "4", "5"}).Draw(t, "id"),
			Type:       rapid.SampledFrom([]string{"call.initiated", "call.hangup", "call.dtmf.received"}).Draw(t, "type"),
			OccurredAt: maybe(t, "occurred", times), ReceivedAt: times.Draw(t, "received"),
			Attempt: rapid.IntRange(0, 2).Draw(t, "attempt"),
		}
	})
	legs = rapid.Custom(drawLeg)
)

func unique[T any, K comparable](list []T, id func(T) K) []T {
	var out []T
	known := make(map[K]bool)
	for _, v := range list {
		if !known[id(v)] {
			known[id(v)] = true
			out = append(out, v)
		}
	}
	return out
}

func drawLeg(t *rapid.T) summary.Leg {
	l := summary.Leg{
		Kind: summary.KindLeg, Schema: summary.Schema, Revision: rapid.IntRange(1, 3).Draw(t, "revision"),
		CallSessionID: "s", CallLegID: "l",
		CallControlID: words.Draw(t, "control"), Direction: words.Draw(t, "direction"), From: words.Draw(t, "from"),
		Outcome:         rapid.SampledFrom([]summary.Outcome{"answered", "busy", "unknown"}).Draw(t, "outcome"),
		AnsweredBy:      rapid.SampledFrom([]summary.AnsweredBy{"", "human", "machine"}).Draw(t, "by"),
		FirstReceivedAt: times.Draw(t, "first"), PublishedAt: times.Draw(t, "published"),
		StartedAt: maybe(t, "started", times), AnsweredAt: maybe(t, "answered", times), EndedAt: maybe(t, "ended", times),
		EndedBy:     rapid.SampledFrom([]summary.EndedBy{"hangup", "status"}).Draw(t, "ended by"),
		Status:      summary.Status{State: rapid.SampledFrom([]summary.StatusState{"confirmed", "pending"}).Draw(t, "state"), IsAlive: maybe(t, "alive", rapid.Bool())},
		ClientState: words.Draw(t, "state"),
		Events:      unique(rapid.SliceOfN(events, 0, 5).Draw(t, "events"), func(e summary.Event) [2]string { return [2]string{e.ID, e.Type} }),
	}
	if rapid.Bool().Draw(t, "hangup?") {
		l.Hangup = &summary.Hangup{Cause: words.Draw(t, "cause"), SIPCode: words.Draw(t, "sip"), Party: summary.PartyUnknown}
	}
	if rapid.Bool().Draw(t, "cost?") {
		d := call.Cost{
			Status: rapid.SampledFrom([]string{"success", "error"}).Draw(t, "cost"), BilledSeconds: maybe(t, "billed", counts),
			Total: rapid.OneOf(rapid.Just(""), money).Draw(t, "total"),
		}
		for _, part := range unique(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b"}), 0, 2).Draw(t, "parts"), func(s string) string { return s }) {
			d.Parts = append(d.Parts, call.CostPart{Part: part, Amount: money.Draw(t, "amount"), Currency: "USD"})
		}
		l.Cost = compose.Cost(&d)
	}
	if rapid.Bool().Draw(t, "amd?") {
		l.MachineDetection = &summary.MachineDetection{Result: words.Draw(t, "result"), Greeting: words.Draw(t, "greeting")}
		l.AnsweredBy = compose.Verdict(l.MachineDetection)
	}
	for _, id := range unique(rapid.SliceOfN(rapid.SampledFrom([]string{"r1", "r2"}), 0, 2).Draw(t, "recordings"), func(s string) string { return s }) {
		l.Recordings = append(l.Recordings, summary.Recording{ID: id, StartedAt: maybe(t, "rec", times)})
	}
	if rapid.Bool().Draw(t, "sources?") {
		l.Sources = map[string]summary.Source{"ended_at": summary.SourceWebhook}
	}
	drawLists(t, &l)
	l.Events = sorted(l.Events, compose.CompareEvents)
	compose.TruncateLeg(&l)
	compose.Derive(&l)
	if rapid.Bool().Draw(t, "judged?") {
		compose.Annotate(&l, nil, rapid.SampledFrom([][]summary.Note{nil, {summary.NoteClockSkew}, {summary.NoteDetailsCut}}).Draw(t, "doubts"))
	}
	return l
}

// drawLists fills the lists with entries of the leg's events. Every event has an
// id of its own here, as with Telnyx.
func drawLists(t *rapid.T, l *summary.Leg) {
	l.Events = unique(l.Events, func(e summary.Event) string { return e.ID })
	for _, e := range l.Events {
		switch at := e.OccurredAt; rapid.IntRange(0, 12).Draw(t, "list") {
		case 0:
			l.Playbacks = append(l.Playbacks, summary.Playback{ID: e.ID, At: at})
		case 1:
			l.Gathers = append(l.Gathers, summary.Gather{ID: e.ID, At: at, DigitCount: 1, Digits: words.Draw(t, "digits")})
		case 2:
			l.Queues = append(l.Queues, summary.QueueVisit{ID: e.ID, Name: "q", EnteredAt: at})
		case 3:
			l.Queues = append(l.Queues, summary.QueueVisit{ID: e.ID, Name: "q", LeftAt: at, Reason: "hangup"})
		case 4:
			l.Transcript = &summary.Transcript{Pieces: []summary.Piece{{ID: e.ID, At: at, Text: "a"}}, TextOmitted: 1}
		case 5:
			c := rapid.SampledFrom([]string{"c1", "c2"}).Draw(t, "conference")
			l.Conferences = append(l.Conferences, summary.Conference{
				ID: c, JoinedAt: at, LeftAt: maybe(t, "left", times), Recordings: []summary.Recording{{ID: "r" + e.ID}},
			})
		case 6:
			l.AI = &summary.AI{
				Conversations: []summary.Conversation{{ID: "v", StartedAt: at, Reason: words.Draw(t, "reason")}},
				Gathers:       []summary.AIGather{{ID: e.ID, At: at}},
				Insights:      []summary.Insight{{ID: e.ID, At: at, InsightID: "1"}, {ID: e.ID, At: at, InsightID: "2"}},
			}
		case 7:
			l.Deepfake = &summary.Deepfake{Result: "real", At: at, Error: "timeout", ErrorAt: maybe(t, "error", times)}
		case 8:
			l.Headers = &summary.Headers{Custom: []summary.Header{{Name: "X-" + e.ID, Value: "v"}}}
		case 9:
			l.Transcriptions = append(l.Transcriptions, summary.Transcription{ID: "t" + e.ID, At: at, Text: "a"})
		case 10:
			l.Omitted = map[string]int{"recordings": 2, "playbacks": 1}
		}
		if e.Type == "call.dtmf.received" {
			if l.DTMF == nil {
				l.DTMF = &summary.DTMF{}
			}
			l.DTMF.Count++
			if digit := words.Draw(t, "digit"); digit != "" {
				l.DTMF.Digits = append(l.DTMF.Digits, summary.Digit{ID: e.ID, At: e.OccurredAt, Digit: digit})
			}
		}
	}
	l.Conferences = unique(l.Conferences, func(c summary.Conference) string { return c.ID })
}

func contentOf(t interface{ Fatal(...any) }, l summary.Leg) string {
	b, err := compose.LegContent(l)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// BenchmarkComposeLeg makes the summary of a leg of seven events, without its bytes.
func BenchmarkComposeLeg(b *testing.B) {
	v := sevenEvents()
	b.ReportAllocs()
	for b.Loop() {
		if leg := compose.Leg("5f1c0a02-0000-11f1-9c00-02420a0d0a00", v); len(leg.Events) != 7 {
			b.Fatal("not as supposed")
		}
	}
}

// BenchmarkFitLeg encodes a leg's content and finds it within the bound.
func BenchmarkFitLeg(b *testing.B) {
	leg := compose.Leg("5f1c0a02-0000-11f1-9c00-02420a0d0a00", sevenEvents())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := compose.FitLeg(leg, summary.MaxBody); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncodeLeg makes the bytes that are published.
func BenchmarkEncodeLeg(b *testing.B) {
	leg := compose.Leg("5f1c0a02-0000-11f1-9c00-02420a0d0a00", sevenEvents())
	b.ReportAllocs()
	for b.Loop() {
		body, err := summary.Encode(leg)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(body)))
	}
}

// BenchmarkSessionSummary makes the summary of a session of three legs, and its bytes.
func BenchmarkSessionSummary(b *testing.B) {
	v := &session.View{ID: "s", FirstAt: off(0)}
	legs := sessionLegs()
	b.ReportAllocs()
	for b.Loop() {
		s, _, err := compose.FitSession(compose.Session(v, legs), summary.MaxBody)
		if err != nil {
			b.Fatal(err)
		}
		body, err := summary.Encode(s)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(body)))
	}
}
