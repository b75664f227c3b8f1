package telnyx

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/ingest/call"
)

// Decode reads a whole event: a webhook's body, or one of the same form made
// from the provider's history (Backfill is the caller's to set). It fails with
// *Unusable and with nothing else; then ParseEnvelope fails alike.
func Decode(body []byte) (call.Event, error) {
	f, err := parse[payload](body)
	if err != nil {
		return call.Event{}, err
	}
	env, err := f.envelope(body)
	if err != nil {
		return call.Event{}, err
	}
	event, p := f.event(), f.payload()
	return call.Event{
		ID:         env.ID,
		Type:       env.Type,
		OccurredAt: firstTime(event.OccurredAt, p.OccurredAt),
		Ref:        env.Ref,
		Attempt:    env.Attempt,
		Facts:      p.facts(env.Type),
		Detail:     p.detail(env.Type),
	}, nil
}

// payload is every field of any event type that Legato reads. Some names mean
// different things in different types (result, status, start_time): the
// type decides below which of them count.
type payload struct {
	ids
	OccurredAt  string   `json:"occurred_at"`
	From        string   `json:"from"`
	To          string   `json:"to"`
	StartTime   string   `json:"start_time"`
	EndTime     string   `json:"end_time"`
	ClientState string   `json:"client_state"`
	Tags        []string `json:"tags"`

	Direction  string `json:"direction"`
	CallerName string `json:"caller_id_name"`

	HangupCause  string   `json:"hangup_cause"`
	HangupSource string   `json:"hangup_source"`
	SIPCode      text     `json:"sip_hangup_cause"`
	Quality      *quality `json:"call_quality_stats"`

	RecordingID string            `json:"recording_id"`
	Channels    string            `json:"channels"`
	Format      string            `json:"format"`
	StartedAt   string            `json:"recording_started_at"`
	EndedAt     string            `json:"recording_ended_at"`
	URLs        map[string]string `json:"recording_urls"`
	PublicURLs  map[string]string `json:"public_recording_urls"`

	Status        string     `json:"status"`
	TotalCost     text       `json:"total_cost"`
	BilledSeconds text       `json:"billed_duration_secs"`
	CostParts     []costPart `json:"cost_parts"`

	Result string `json:"result"`

	Queue       string `json:"queue"`
	Reason      string `json:"reason"`
	WaitSeconds text   `json:"wait_time_secs"`
}

// quality is call_quality_stats.
type quality struct {
	Inbound  stream `json:"inbound"`
	Outbound stream `json:"outbound"`
}

type stream struct {
	MOS            text `json:"mos"`
	JitterVariance text `json:"jitter_max_variance"`
	JitterPackets  text `json:"jitter_packet_count"`
	Packets        text `json:"packet_count"`
	Skipped        text `json:"skip_packet_count"`
}

// costPart is one of cost_parts.
type costPart struct {
	Part          string `json:"call_part"`
	Cost          text   `json:"cost"`
	Currency      string `json:"currency"`
	Rate          text   `json:"rate"`
	BilledSeconds text   `json:"billed_duration_secs"`
}

// facts returns what an event of that type states about its leg.
func (p *payload) facts(eventType string) call.Facts {
	facts := call.Facts{
		From:        p.From,
		To:          p.To,
		ClientState: p.ClientState,
		Tags:        stated(p.Tags),
	}
	// Only in these four is start_time the leg's; in a recording's event it is the recording's.
	switch eventType {
	case call.TypeInitiated, call.TypeAnswered, call.TypeBridged, call.TypeHangup:
		facts.StartTime = instant(p.StartTime)
	}
	return facts
}

// detail returns what only events of that type state, nil for types that the
// fold has no detail for.
func (p *payload) detail(eventType string) call.Detail {
	switch eventType {
	case call.TypeInitiated:
		return &call.Initiated{Direction: p.Direction, CallerName: p.CallerName}
	case call.TypeHangup:
		return &call.Hangup{
			Cause:   p.HangupCause,
			Source:  p.HangupSource,
			SIPCode: string(p.SIPCode),
			EndTime: instant(p.EndTime),
			Quality: p.Quality.noun(),
		}
	case call.TypeRecordingSaved:
		return &call.Recording{
			ID:         p.RecordingID,
			Channels:   p.Channels,
			Format:     p.Format,
			StartedAt:  firstTime(p.StartedAt, p.StartTime),
			EndedAt:    firstTime(p.EndedAt, p.EndTime),
			URLs:       links(p.URLs),
			PublicURLs: links(p.PublicURLs),
		}
	case call.TypeCost:
		return &call.Cost{
			Status:        p.Status,
			Total:         p.TotalCost.decimal(),
			BilledSeconds: p.BilledSeconds.count(),
			Parts:         parts(p.CostParts),
		}
	case call.TypeMachineDetection, call.TypeMachineGreeting, call.TypeMachinePremium, call.TypeMachinePremiumGreet:
		return &call.Machine{Result: p.Result}
	case call.TypeEnqueued:
		return &call.Queue{Name: p.Queue}
	case call.TypeDequeued:
		return &call.Queue{Name: p.Queue, Reason: p.Reason, WaitSeconds: p.WaitSeconds.count()}
	}
	return nil
}

// noun returns the quality as far as it is stated, nil when nothing is.
func (q *quality) noun() *call.Quality {
	if q == nil {
		return nil
	}
	known := &call.Quality{Inbound: q.Inbound.noun(), Outbound: q.Outbound.noun()}
	if known.Inbound == nil && known.Outbound == nil {
		return nil
	}
	return known
}

func (s stream) noun() *call.Stream {
	known := call.Stream{
		MOS:               s.MOS.number(),
		JitterMaxVariance: s.JitterVariance.number(),
		JitterPackets:     s.JitterPackets.count(),
		Packets:           s.Packets.count(),
		SkippedPackets:    s.Skipped.count(),
	}
	if known == (call.Stream{}) {
		return nil
	}
	return &known
}

// parts returns the charges; one that states nothing is left out.
func parts(wire []costPart) []call.CostPart {
	var known []call.CostPart
	for _, w := range wire {
		if w == (costPart{}) {
			continue
		}
		known = append(known, call.CostPart{
			Part:          w.Part,
			Amount:        w.Cost.decimal(),
			Currency:      w.Currency,
			Rate:          w.Rate.decimal(),
			BilledSeconds: w.BilledSeconds.count(),
		})
	}
	return known
}

// firstTime returns the first of the texts that is a time.
func firstTime(texts ...string) (at time.Time) {
	for _, s := range texts {
		if at = instant(s); !at.IsZero() {
			break
		}
	}
	return at
}

// stated returns the values that are not empty (null, or of another type); nil when none is left.
func stated(values []string) []string {
	values = slices.DeleteFunc(values, func(s string) bool { return s == "" })
	if len(values) == 0 {
		return nil
	}
	return values
}

// links returns the URLs by format without those that are null; nil when none is left.
func links(urls map[string]string) map[string]string {
	for format, url := range urls {
		if url == "" {
			delete(urls, format)
		}
	}
	if len(urls) == 0 {
		return nil
	}
	return urls
}
