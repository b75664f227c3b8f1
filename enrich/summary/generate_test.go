package summary_test

import (
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"pgregory.net/rapid"
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
			Type:       rapid.SampledFrom([]string{"call.initiated", "call.hangup"}).Draw(t, "type"),
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
		l.Hangup = &summary.Hangup{Cause: words.Draw(t, "cause"), SIPCode: words.Draw(t, "sip")}
	}
	if rapid.Bool().Draw(t, "cost?") {
		l.Cost = &summary.Cost{
			Status: rapid.SampledFrom([]string{"success", "error"}).Draw(t, "cost"), BilledSeconds: maybe(t, "billed", counts),
			Totals: []summary.Amount{{Currency: "USD", Amount: money.Draw(t, "total")}},
		}
	}
	if rapid.Bool().Draw(t, "amd?") {
		l.MachineDetection = &summary.MachineDetection{Result: words.Draw(t, "result"), Greeting: words.Draw(t, "greeting")}
	}
	for _, id := range unique(rapid.SliceOfN(rapid.SampledFrom([]string{"r1", "r2"}), 0, 2).Draw(t, "recordings"), func(s string) string { return s }) {
		l.Recordings = append(l.Recordings, summary.Recording{ID: id, StartedAt: maybe(t, "rec", times)})
	}
	if rapid.Bool().Draw(t, "sources?") {
		l.Sources = map[string]summary.Source{"ended_at": summary.SourceWebhook}
	}
	l.Events = sorted(l.Events, summary.CompareEvents)
	l.Recordings = sorted(l.Recordings, summary.CompareRecordings)
	l.Derive()
	return l
}

func contentOf(t interface{ Fatal(...any) }, l summary.Leg) string {
	b, err := l.Content()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func rapidly(t *testing.T, property func(t *rapid.T)) {
	t.Helper()
	rapid.Check(t, property)
}
