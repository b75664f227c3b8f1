package telnyx

import "github.com/legato-calls/legato/internal/call"

// courseFields are the fields of how a leg went.
type courseFields struct {
	Direction     string   `json:"direction"`
	CallerName    string   `json:"caller_id_name"`
	State         string   `json:"state"`
	CallingParty  string   `json:"calling_party_type"`
	Attestation   string   `json:"shaken_stir_attestation"`
	Validated     flag     `json:"shaken_stir_validated"`
	Screening     string   `json:"call_screening_result"`
	OfferedCodecs string   `json:"offered_codecs"`
	CustomHeaders []header `json:"custom_headers"`
	SIPHeaders    []header `json:"sip_headers"`

	Codec        string `json:"codec"`
	SamplingRate text   `json:"sampling_rate"`

	HangupCause  string   `json:"hangup_cause"`
	HangupSource string   `json:"hangup_source"`
	SIPCode      text     `json:"sip_hangup_cause"`
	Quality      *quality `json:"call_quality_stats"`
	Fault        *fault   `json:"telnyx_error"`

	Queue       string `json:"queue"`
	WaitSeconds text   `json:"wait_time_secs"`

	TotalCost     text       `json:"total_cost"`
	BilledSeconds text       `json:"billed_duration_secs"`
	CostParts     []costPart `json:"cost_parts"`
}

// header is a SIP header, in the form of the specification or that of a guide.
type header struct {
	Name      string `json:"name"`
	Value     text   `json:"value"`
	LongName  string `json:"header_name"`
	LongValue text   `json:"header_value"`
}

// fault is telnyx_error.
type fault struct {
	Code  text   `json:"code"`
	Title string `json:"title"`
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

func (p *payload) initiated() call.Detail {
	var t trimmer
	return &call.Initiated{
		Direction:     t.word(p.Direction),
		CallerName:    t.text(p.CallerName),
		State:         t.word(p.State),
		CallingParty:  t.word(p.CallingParty),
		Attestation:   t.word(p.Attestation),
		Validated:     p.Validated.noun(),
		Screening:     t.word(p.Screening),
		OfferedCodecs: t.text(p.OfferedCodecs),
		Headers:       t.headers(p),
		Truncation:    t.truncation(),
	}
}

func (p *payload) answered() call.Detail {
	var t trimmer
	return &call.Answered{
		CallingParty: t.word(p.CallingParty),
		Codec:        t.word(p.Codec),
		SamplingRate: p.SamplingRate.count(),
		Headers:      t.headers(p),
		Truncation:   t.truncation(),
	}
}

func (p *payload) hangup() call.Detail {
	var t trimmer
	return &call.Hangup{
		Cause:      t.word(p.HangupCause),
		Source:     t.word(p.HangupSource),
		SIPCode:    t.word(string(p.SIPCode)),
		EndTime:    instant(p.EndTime),
		Quality:    p.Quality.noun(),
		Fault:      t.fault(p.Fault),
		Headers:    t.headers(p),
		Truncation: t.truncation(),
	}
}

func (p *payload) enqueued() call.Detail {
	var t trimmer
	return &call.Queue{Name: t.text(p.Queue), Truncation: t.truncation()}
}

func (p *payload) dequeued() call.Detail {
	var t trimmer
	return &call.Queue{
		Name:        t.text(p.Queue),
		Reason:      t.word(p.Reason),
		WaitSeconds: p.WaitSeconds.count(),
		Truncation:  t.truncation(),
	}
}

func (p *payload) cost() call.Detail {
	var t trimmer
	return &call.Cost{
		Status:        t.word(p.Status),
		Total:         p.TotalCost.decimal(),
		BilledSeconds: p.BilledSeconds.count(),
		Parts:         t.parts(p.CostParts),
		Truncation:    t.truncation(),
	}
}

func (p *payload) machine() call.Detail {
	var t trimmer
	return &call.Machine{Result: t.word(p.Result), Truncation: t.truncation()}
}

// headers returns both lists, nil when they are empty.
func (t *trimmer) headers(p *payload) *call.Headers {
	known := call.Headers{Custom: t.list(p.CustomHeaders), SIP: t.list(p.SIPHeaders)}
	if known.Custom == nil && known.SIP == nil {
		return nil
	}
	return &known
}

func (t *trimmer) list(wire []header) []call.Header {
	var known []call.Header
	for _, w := range wire {
		name, value := w.Name, w.Value
		if name == "" {
			name, value = w.LongName, w.LongValue
		}
		if name == "" {
			continue
		}
		if len(known) == call.MaxHeaders {
			t.truncated = true
			break
		}
		known = append(known, call.Header{Name: t.word(name), Value: t.text(string(value))})
	}
	return known
}

func (t *trimmer) fault(wire *fault) *call.Fault {
	if wire == nil || *wire == (fault{}) {
		return nil
	}
	return &call.Fault{Code: t.word(string(wire.Code)), Title: t.reason(wire.Title)}
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
func (t *trimmer) parts(wire []costPart) []call.CostPart {
	var known []call.CostPart
	for _, w := range wire {
		if w == (costPart{}) {
			continue
		}
		if len(known) == call.MaxCostParts {
			t.truncated = true
			break
		}
		known = append(known, call.CostPart{
			Part:          t.word(w.Part),
			Amount:        w.Cost.decimal(),
			Currency:      t.word(w.Currency),
			Rate:          w.Rate.decimal(),
			BilledSeconds: w.BilledSeconds.count(),
		})
	}
	return known
}

// refer is what only the call.refer events have.
type refer struct {
	SIPCode text `json:"sip_notify_response"`
}

func (r *refer) noun() call.Detail {
	var t trimmer
	return &call.Refer{SIPCode: t.word(string(r.SIPCode)), Truncation: t.truncation()}
}

// deepfake is the call.deepfake_detection events' own.
type deepfake struct {
	Result      string `json:"result"`
	Score       text   `json:"score"`
	Consistency text   `json:"consistency"`
	Error       string `json:"error_message"`
}

func (d *deepfake) noun() call.Detail {
	var t trimmer
	return &call.Deepfake{
		Result:      t.word(d.Result),
		Score:       d.Score.measure(),
		Consistency: d.Consistency.measure(),
		Error:       t.word(d.Error),
		Truncation:  t.truncation(),
	}
}
