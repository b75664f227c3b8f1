package compose_test

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

func confirmedBy(events []*session.Event, start, end time.Time) summary.Leg {
	a := answer(1, status.Answered, func(a *status.Answer) { a.StartTime, a.EndTime = start, end })
	return compose.Leg("s", &session.LegView{
		ID: "l", Control: "c", Ending: session.ByHangup, Events: events, Answers: []*session.Received{a}, Confirmed: a, Final: true,
	})
}

func TestAStatusThatStartsWithTheAnswerIsNotTheStartOfRinging(t *testing.T) {
	initiated := happened(call.TypeInitiated, 0, &call.Initiated{Direction: "incoming"}, stating(session.Facts{Facts: call.Facts{StartTime: off(0)}}))
	answered := happened(call.TypeAnswered, 4*time.Second, nil)
	for name, start := range map[string]time.Duration{
		"at the answer": 4 * time.Second, "a second before": 3 * time.Second, "a second after": 5 * time.Second,
	} {
		got := confirmedBy([]*session.Event{initiated, answered, hungUp("normal_clearing", "caller", "200")}, off(start), off(30*time.Second))
		check(t, name+": started_at", got.StartedAt, known(0))
		check(t, name+": ring_seconds", got.RingSeconds, secs(4))
		check(t, name+": its source", got.Sources["started_at"], summary.SourceWebhook)
		check(t, name+": discrepancies", got.Discrepancies, []summary.Discrepancy{{
			Field: "started_at", Webhook: *known(0), Status: *known(start), DifferenceSeconds: summary.Seconds(start.Seconds()),
		}})
	}
	between := confirmedBy([]*session.Event{initiated, answered, hungUp("normal_clearing", "caller", "200")}, off(2*time.Second), off(30*time.Second))
	check(t, "a start between is taken", between.StartedAt, known(2*time.Second))

	unstated := happened(call.TypeInitiated, 0, &call.Initiated{Direction: "outgoing"})
	got := confirmedBy([]*session.Event{unstated, answered, hungUp("normal_clearing", "caller", "200")}, off(4*time.Second), off(30*time.Second))
	check(t, "where no webhook states a start, the beginning counts", got.StartedAt, known(0))
	check(t, "and the ringing lasted", got.RingSeconds, secs(4))
}

func TestAStatusThatCannotBeTrueIsListedAndNotTaken(t *testing.T) {
	initiated := happened(call.TypeInitiated, 0, &call.Initiated{Direction: "incoming"}, stating(session.Facts{Facts: call.Facts{StartTime: off(0)}}))
	answered := happened(call.TypeAnswered, 4*time.Second, nil)
	events := []*session.Event{initiated, answered, hungUp("normal_clearing", "caller", "200")}
	for name, c := range map[string]struct {
		start, end time.Time
		fields     []string // that are listed, and stay as the webhooks have them
	}{
		"an end before its start":            {off(28 * time.Second), off(2 * time.Second), []string{"started_at", "ended_at"}},
		"an end before the first event":      {off(0), off(-5 * time.Minute), []string{"ended_at"}},
		"an end before the answer":           {off(0), off(2 * time.Second), []string{"ended_at"}},
		"an end far after the hangup":        {off(0), off(3 * time.Minute), []string{"ended_at"}},
		"an end in another century":          {off(0), off(0).AddDate(100, 0, 0), []string{"ended_at"}},
		"an end in the year 9999":            {off(0), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), []string{"ended_at"}},
		"a start after the answer":           {off(20 * time.Second), off(30 * time.Second), []string{"started_at"}},
		"a start long before the first word": {off(-5 * time.Minute), off(30 * time.Second), []string{"started_at"}},
		"a start in the year 1":              {time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), off(30 * time.Second), []string{"started_at"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := confirmedBy(events, c.start, c.end)
			check(t, "started_at", got.StartedAt, known(0))
			check(t, "ended_at", got.EndedAt, known(30*time.Second))
			check(t, "duration_seconds", got.DurationSeconds, secs(30))
			var listed []string
			for _, d := range got.Discrepancies {
				listed = append(listed, d.Field)
			}
			check(t, "listed", listed, c.fields)
			check(t, "note", slices.Contains(got.Notes, summary.NoteDiscrepancy), true)
			check(t, "the status as stated", got.Status.EndTime, summary.At(c.end))
		})
	}
	t.Run("an end between the answer and the bridge", func(t *testing.T) {
		bridged := happened(call.TypeBridged, 15*time.Second, nil)
		got := confirmedBy([]*session.Event{initiated, answered, bridged, hungUp("normal_clearing", "caller", "200")}, off(0), off(10*time.Second))
		check(t, "ended_at", got.EndedAt, known(30*time.Second))
		check(t, "bridged_seconds", got.BridgedSeconds, secs(15))
		check(t, "note", slices.Contains(got.Notes, summary.NoteDiscrepancy), true)
	})
	for name, c := range map[string]struct {
		event string
		at    time.Duration
		want  *summary.Time
	}{
		"an end before somebody pressed a key":        {call.TypeDTMF, 30 * time.Minute, nil},
		"an end that cut the gathering of keys short": {call.TypeGatherEnded, 10*time.Minute + 20*time.Second, known(10 * time.Minute)},
		"an end before a recording was there":         {call.TypeRecordingSaved, 30 * time.Minute, known(10 * time.Minute)},
	} {
		t.Run(name, func(t *testing.T) {
			a := answer(1, status.Answered, func(a *status.Answer) { a.StartTime, a.EndTime = off(0), off(10*time.Minute) })
			got := compose.Leg("s", &session.LegView{
				Control: "c", Ending: session.ByStatus, Events: []*session.Event{initiated, answered, happened(c.event, c.at, nil)},
				Answers: []*session.Received{a}, Confirmed: a, Final: true,
			})
			check(t, "ended_at", got.EndedAt, c.want)
			check(t, "note", slices.Contains(got.Notes, summary.NoteDiscrepancy), c.want == nil)
		})
	}
	t.Run("a time that no webhook states", func(t *testing.T) {
		a := answer(1, status.Answered, func(a *status.Answer) { a.EndTime = off(-time.Hour) })
		got := compose.Leg("s", &session.LegView{
			Control: "c", Ending: session.ByStatus, Events: events[:2], Answers: []*session.Received{a}, Confirmed: a, Final: true,
		})
		check(t, "ended_at", got.EndedAt, nil)
		check(t, "duration_seconds", got.DurationSeconds, nil)
		check(t, "note", slices.Contains(got.Notes, summary.NoteDiscrepancy), true)
	})
}

// ranges are those of docs/messages.md: of the seconds of a leg, and of what is none of them by its path.
var ranges = map[string][2]float64{
	"_seconds": {0, summary.MaxLegSeconds}, "status.call_duration": {0, summary.MaxLegSeconds},
	"discrepancies.difference_seconds": {-summary.MaxDifferenceSeconds, summary.MaxDifferenceSeconds},
	"schema":                           {1, 1}, "revision": {0, math.MaxInt32}, "status.attempts": {0, math.MaxInt32}, "status.http_status": {100, 999},
	"events.attempt": {0, math.MaxInt32}, "sampling_rate": {0, 1e6},
	"quality.inbound.mos": {1, 5}, "quality.inbound.jitter_max_variance": {0, 86_400_000},
	"quality.inbound.packets": {0, 86_400_000}, "quality.inbound.jitter_packets": {0, 86_400_000}, "quality.inbound.skipped_packets": {0, 86_400_000},
	"deepfake.score": {0, 1}, "deepfake.consistency": {0, 100}, "transcript.pieces.confidence": {0, 1},
}

// outOfRange returns the numbers of a body that lie outside their range, or have none.
func outOfRange(body any, path string) (found []string) {
	switch v := body.(type) {
	case map[string]any:
		for name, value := range v {
			found = append(found, outOfRange(value, strings.TrimPrefix(path+"."+name, "."))...)
		}
	case []any:
		for _, value := range v {
			found = append(found, outOfRange(value, path)...)
		}
	case float64:
		r, ok := ranges[path]
		if !ok && strings.HasSuffix(path, "_seconds") {
			r, ok = ranges["_seconds"]
		}
		if !ok || v < r[0] || v > r[1] {
			found = append(found, path)
		}
	}
	return found
}

// Whatever webhooks and status state, and in whatever contradiction: no number that is published lies outside its range.
func TestNoPublishedNumberIsOutsideItsRange(t *testing.T) {
	instants := rapid.Custom(func(t *rapid.T) time.Time {
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			return time.Time{}
		case 1:
			return time.Date(rapid.SampledFrom([]int{1, 1900, 1970, 2026, 2262, 9999}).Draw(t, "year"), 1, 1, 0, 0, 0, 1000, time.UTC)
		}
		return off(time.Duration(rapid.Int64Range(-1e14, 1e14).Draw(t, "ns")))
	})
	whole := rapid.Int64()
	fractions := rapid.Float64()
	detail := rapid.Custom(func(t *rapid.T) *session.Event {
		n := func() *int64 { return maybe(t, "n", whole) }
		f := func() *float64 { return maybe(t, "f", fractions) }
		events := []struct {
			typ    string
			detail call.Detail
		}{
			{call.TypeInitiated, &call.Initiated{Direction: "incoming"}},
			{call.TypeAnswered, &call.Answered{SamplingRate: n()}},
			{call.TypeBridged, nil},
			{call.TypeHold, nil},
			{call.TypeUnhold, nil},
			{call.TypeHangup, &call.Hangup{Cause: "normal_clearing", EndTime: instants.Draw(t, "end"), Quality: &call.Quality{
				Inbound: &call.Stream{MOS: f(), JitterMaxVariance: f(), JitterPackets: n(), Packets: n(), SkippedPackets: n()},
			}}},
			{call.TypeDequeued, &call.Queue{Name: "q", WaitSeconds: n()}},
			{call.TypeCost, &call.Cost{Status: "success", BilledSeconds: n(), Parts: []call.CostPart{{Amount: "1", BilledSeconds: n()}}}},
			{"call.deepfake_detection.result", &call.Deepfake{Result: "fake", Score: f(), Consistency: f()}},
			{"call.transcription", &call.Utterance{Text: "a", Confidence: f()}},
			{"call.conversation.ended", &call.Conversation{ID: "v", DurationSeconds: n()}},
		}
		i := rapid.IntRange(0, len(events)-1).Draw(t, "event")
		return &session.Event{
			ID: rapid.StringN(1, 4, 4).Draw(t, "id"), Type: events[i].typ, OccurredAt: instants.Draw(t, "occurred"), ReceivedAt: off(0),
			Facts: &session.Facts{Facts: call.Facts{StartTime: instants.Draw(t, "start")}}, Detail: events[i].detail,
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a := answer(1, status.Answered, func(a *status.Answer) {
			a.StartTime, a.EndTime, a.CallDuration = instants.Draw(t, "start"), instants.Draw(t, "end"), maybe(t, "duration", fractions)
		})
		v := session.LegView{
			ID: "l", Control: "c", Final: true, Ending: rapid.SampledFrom([]session.Ending{session.ByHangup, session.ByStatus}).Draw(t, "ending"),
			Events: rapid.SliceOfN(detail, 0, 8).Draw(t, "events"), Answers: []*session.Received{a},
		}
		if rapid.Bool().Draw(t, "confirmed") {
			v.Confirmed = a
		}
		leg := compose.Leg("s", &v)
		again := compose.MergeLeg(leg, leg)
		for _, body := range []any{leg, again} {
			encoded, err := json.Marshal(body)
			if err != nil {
				t.Fatal(err)
			}
			var read any
			if err := json.Unmarshal(encoded, &read); err != nil {
				t.Fatal(err)
			}
			if found := outOfRange(read, ""); len(found) > 0 {
				t.Fatalf("out of range are %v of %s", found, encoded)
			}
		}
		s := compose.Session(&session.View{ID: "s", FirstAt: off(0)}, []summary.Leg{leg, leg})
		for name, seconds := range map[string]*summary.Seconds{"duration": s.DurationSeconds, "talk": s.TalkSeconds} {
			if seconds != nil && (*seconds < 0 || *seconds > summary.MaxSessionSeconds) {
				t.Fatalf("the session's %s is %v", name, *seconds)
			}
		}
	})
}
