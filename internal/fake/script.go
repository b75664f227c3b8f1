package fake

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// fields are the fields of a JSON object. Encoding sorts them, as Telnyx does.
type fields map[string]any

// encode returns the JSON of v, with '&' and the like as they are.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("encode an invented value: %v", err)) // Nothing here is beyond JSON.
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// stamp writes an instant as Telnyx does: UTC with six digits.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// script writes one call. Its times are offsets from the call's start.
type script struct {
	rng        *rand.Rand
	ids        ids
	connection call.ConnectionID
	call       Call
	legs       []*actor
}

// actor is a leg on its way through a script.
type actor struct {
	*script
	Leg
	tags []string
	talk time.Duration // from answer to hangup; set by hangup
}

// between returns a duration from a up to b, to the microsecond.
func (s *script) between(a, b time.Duration) time.Duration {
	return (a + time.Duration(s.rng.Int64N(int64(b-a)))).Truncate(time.Microsecond)
}

func (s *script) chance(percent int) bool { return s.rng.IntN(100) < percent }

func (s *script) at(offset time.Duration) time.Time { return s.call.Start.Add(offset) }

// incoming adds a leg that rings from the offset, and its call.initiated.
func (s *script) incoming(offset time.Duration, from, to string) *actor {
	a := s.leg(offset, "incoming", from, to)
	a.Start = s.at(offset)
	a.say(offset, call.TypeInitiated, a.parties(fields{
		"caller_id_name":          from,
		"connection_codecs":       "G722,PCMU,PCMA",
		"direction":               a.Direction,
		"from_sip_uri":            fmt.Sprintf("%s@198.51.100.%d:5060", from, 1+s.rng.IntN(250)),
		"offered_codecs":          "PCMU,PCMA,G729",
		"shaken_stir_attestation": []string{"A", "B", "C"}[s.rng.IntN(3)],
		"shaken_stir_validated":   s.chance(80),
		"start_time":              stamp(a.Start),
		"state":                   "parked",
		"to_sip_uri":              to + "@sip.example.com:5060",
	}))
	return a
}

// outgoing adds a leg that is dialled at the offset, and its call.initiated. That
// comes before the leg rings, and so states no start_time.
func (s *script) outgoing(offset time.Duration, from, to string) *actor {
	a := s.leg(offset, "outgoing", from, to)
	a.Start = s.at(offset + s.between(150*time.Millisecond, 700*time.Millisecond))
	a.ClientState = base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"ticket":%d}`, 10000+s.rng.IntN(90000)))
	a.say(offset, call.TypeInitiated, a.parties(fields{"direction": a.Direction, "state": "bridging"}))
	return a
}

func (s *script) leg(offset time.Duration, direction, from, to string) *actor {
	minted := s.at(offset).Add(time.Duration(1+s.rng.IntN(9)) * 100 * time.Nanosecond)
	a := &actor{script: s, Leg: Leg{
		Ref: call.Ref{
			Session:    s.call.Session,
			Leg:        call.LegID(s.ids.timed(minted.Add(time.Duration(len(s.legs)) * time.Microsecond))),
			Control:    s.ids.control(),
			Connection: s.connection,
		},
		Direction: direction, From: from, To: to,
	}}
	s.legs = append(s.legs, a)
	return a
}

// parties adds what events of the leg's own state repeat.
func (a *actor) parties(f fields) fields {
	f["from"], f["to"] = a.From, a.To
	if len(a.tags) > 0 {
		f["tags"] = a.tags
	}
	return f
}

// say writes one event of the leg. The payload is f and what every event has.
func (a *actor) say(offset time.Duration, eventType string, f fields) {
	f["call_control_id"] = a.Ref.Control
	f["call_leg_id"] = a.Ref.Leg
	f["call_session_id"] = a.Ref.Session
	f["calling_party_type"] = "pstn"
	f["connection_id"] = a.Ref.Connection
	f["client_state"] = nil
	if a.ClientState != "" {
		f["client_state"] = a.ClientState
	}
	at, id := a.at(offset), a.ids.random()
	a.call.Deliveries = append(a.call.Deliveries, Delivery{
		Offset: offset, OccurredAt: at, EventID: id, Type: eventType, LegID: a.Ref.Leg, Attempt: 1,
		Data: encode(fields{
			"event_type": eventType, "id": id, "occurred_at": stamp(at), "payload": f, "record_type": "event",
		}),
	})
}

// answer writes call.answered.
func (a *actor) answer(offset time.Duration) {
	a.AnsweredAt = a.at(offset)
	f := a.parties(fields{"start_time": stamp(a.Start)})
	if a.Direction == "incoming" {
		f["codec"], f["sampling_rate"] = "PCMU", 8000
	}
	a.say(offset, call.TypeAnswered, f)
}

// bridge writes call.bridged, once for each of the two legs, both of the same instant.
func (s *script) bridge(offset time.Duration, legs ...*actor) {
	for _, a := range legs {
		a.say(offset, call.TypeBridged, a.parties(fields{"start_time": stamp(a.Start)}))
	}
}

// hangup writes call.hangup, the end of the leg.
func (a *actor) hangup(offset time.Duration, cause, source, sip string) {
	a.End = a.at(offset)
	a.Cause, a.Source, a.SIPCode = cause, source, sip
	f := a.parties(fields{
		"call_quality_stats": nil,
		"end_time":           stamp(a.End),
		"hangup_cause":       cause,
		"hangup_source":      source,
		"sip_hangup_cause":   sip,
		"start_time":         stamp(a.Start),
	})
	if a.Answered() {
		a.talk = a.End.Sub(a.AnsweredAt)
		a.Duration = int(a.talk / time.Second)
		f["call_quality_stats"] = a.quality()
	}
	a.say(offset, call.TypeHangup, f)
	a.call.Length = max(a.call.Length, offset)
}

// quality invents call_quality_stats, numbers as text: 50 packets a second each way.
func (a *actor) quality() fields {
	packets := int64(a.talk / (20 * time.Millisecond))
	count := func(n int64) string { return fmt.Sprint(n) }
	return fields{
		"inbound": fields{
			"jitter_max_variance": fmt.Sprintf("%.2f", a.rng.Float64()*40),
			"jitter_packet_count": count(a.rng.Int64N(5)),
			"mos":                 fmt.Sprintf("%.2f", 3.9+a.rng.Float64()*0.6),
			"packet_count":        count(packets),
			"skip_packet_count":   count(a.rng.Int64N(packets/50 + 1)),
		},
		"outbound": fields{
			"packet_count":      count(packets - a.rng.Int64N(packets/50+1)),
			"skip_packet_count": "0",
		},
	}
}

// finish sets the call's legs and puts its deliveries in order.
func (s *script) finish() Call {
	for _, a := range s.legs {
		s.call.Legs = append(s.call.Legs, a.Leg)
	}
	byOffset(s.call.Deliveries)
	return s.call
}

func byOffset(deliveries []Delivery) {
	slices.SortStableFunc(deliveries, func(a, b Delivery) int { return cmp.Compare(a.Offset, b.Offset) })
}

// recording writes call.recording.saved of a recording that ran from one offset to another. It is saved a moment
// later, after the hangup, and its start_time and end_time are its own, not the leg's.
func (a *actor) recording(from, to time.Duration) {
	id := a.ids.random()
	f := fields{
		"channels":              "dual",
		"end_time":              stamp(a.at(to)),
		"format":                "mp3",
		"public_recording_urls": fields{},
		"recording_ended_at":    stamp(a.at(to)),
		"recording_id":          id,
		"recording_started_at":  stamp(a.at(from)),
		"recording_urls":        fields{"mp3": "https://recordings.example.com/" + id + ".mp3?X-Amz-Expires=600&take=1"},
		"start_time":            stamp(a.at(from)),
	}
	a.say(to+a.between(500*ms, 1300*ms), call.TypeRecordingSaved, f)
}

// tariff is what the parts of a call cost a minute, in hundred-thousandths of a dollar.
var tariff = []struct {
	part string
	rate int64
}{
	{"call-control", 210},
	{"sip-trunking", 460},
}

// cost writes call.cost: minutes begun, amounts as decimal text; or, when the
// billing failed, the nulls that Telnyx then sends.
func (a *actor) cost(offset time.Duration, failed bool) {
	billed := int64((a.talk + time.Minute - 1) / time.Minute * 60)
	f := fields{
		"billed_duration_secs": nil,
		"billing_group_id":     nil,
		"cost_parts":           []fields{},
		"occurred_at":          stamp(a.at(offset)),
		"status":               "error",
		"total_cost":           nil,
	}
	if !failed {
		total := int64(0)
		parts := make([]fields, 0, len(tariff))
		for _, t := range tariff {
			charge := t.rate * billed / 60
			total += charge
			parts = append(parts, fields{
				"billed_duration_secs": billed, "call_part": t.part, "cost": dollars(charge), "currency": "USD", "rate": dollars(t.rate),
			})
		}
		f["billed_duration_secs"], f["cost_parts"], f["status"], f["total_cost"] = billed, parts, "success", dollars(total)
	}
	a.say(offset, call.TypeCost, f)
}

// dollars writes hundred-thousandths as decimal text.
func dollars(amount int64) string { return fmt.Sprintf("%d.%05d", amount/100000, amount%100000) }
