package bench

import (
	"fmt"
	"strings"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// between are the types of the events between initiated and hangup, repeated as needed.
var between = []string{
	call.TypeAnswered, call.TypeBridged, "call.playback.started", "call.playback.ended", "call.speak.started", "call.speak.ended",
}

// eventType is the type of event number step of a leg.
func (b *builder) eventType(step int) string {
	switch {
	case step == 0:
		return call.TypeInitiated
	case step == b.PerLeg-1 && !b.Open:
		return call.TypeHangup
	case step <= len(between):
		return between[step-1]
	}
	// A leg is answered and bridged once.
	return between[2+(step-1)%(len(between)-2)]
}

// body appends the JSON of an event: the fields of Telnyx's bodies in their order.
func (b *builder) body(to []byte, leg *Leg, n, step int) []byte {
	eventType := b.eventType(step)
	from := len(to)
	to = fmt.Appendf(to, `{"data":{"event_type":%q,"id":"%08x-%04x-4%03x-8000-%012x","occurred_at":%q,"payload":{"call_control_id":%q,"call_leg_id":%q,`,
		eventType, b.Tag, step>>12, step&0xfff, n, stamp(leg.Start.Add(time.Duration(step)*time.Second)), leg.Ref.Control, leg.Ref.Leg)
	if eventType == call.TypeHangup {
		to = append(to, `"call_quality_stats":{"inbound":{"jitter_max_variance":"12.54","jitter_packet_count":"3","mos":"4.21",`+
			`"packet_count":"1994","skip_packet_count":"7"},"outbound":{"packet_count":"1991","skip_packet_count":"0"}},`...)
	}
	to = fmt.Appendf(to, `"call_session_id":%q,"calling_party_type":"pstn","client_state":"eyJ0aWNrZXQiOjI5ODQxfQ==","connection_id":%q,`,
		leg.Ref.Session, leg.Ref.Connection)
	to = b.detail(to, eventType, leg, n)
	to = append(to, `"tags":["campaign","callback"],"to":"+12025550199"},"record_type":"event"},"meta":{"attempt":1,"delivered_to":"https://hooks.example.com/webhooks/telnyx`...)
	const closing = `"}}`
	// Telnyx repeats the whole URL here, so that is where the length is made up.
	if missing := bodyLength - len(closing) - (len(to) - from); missing > 1 {
		to = append(append(to, '?'), padding[:missing-1]...)
	}
	return append(to, closing...)
}

var padding = strings.Repeat("application=legato&", bodyLength/19+1)

// detail appends the fields of a type, up to those that begin with t.
func (b *builder) detail(to []byte, eventType string, leg *Leg, n int) []byte {
	from, start := fmt.Sprintf("+120255501%02d", n%100), stamp(leg.Start)
	switch eventType {
	case call.TypeInitiated:
		return fmt.Appendf(to, `"caller_id_name":%q,"connection_codecs":"G722,PCMU,PCMA","direction":"incoming","from":%q,"from_sip_uri":"%s@198.51.100.7:5060",`+
			`"offered_codecs":"PCMU,PCMA,G729","shaken_stir_attestation":"A","shaken_stir_validated":true,"start_time":%q,"state":"parked",`, from, from, from, start)
	case call.TypeAnswered:
		return fmt.Appendf(to, `"codec":"PCMU","from":%q,"sampling_rate":8000,"start_time":%q,"state":"answered",`, from, start)
	case call.TypeHangup:
		return fmt.Appendf(to, `"end_time":%q,"from":%q,"hangup_cause":"normal_clearing","hangup_source":"caller","sip_hangup_cause":"200","start_time":%q,`,
			stamp(leg.End), from, start)
	case call.TypeBridged:
		return fmt.Appendf(to, `"from":%q,"start_time":%q,`, from, start)
	case "call.playback.ended":
		return fmt.Appendf(to, `"from":%q,"media_name":"waiting","overlay":false,"status":"completed",`, from)
	case "call.speak.ended":
		return fmt.Appendf(to, `"from":%q,"speak_id":"%010d","status":"completed",`, from, n)
	case "call.speak.started":
		return fmt.Appendf(to, `"from":%q,"speak_id":"%010d",`, from, n)
	}
	return fmt.Appendf(to, `"from":%q,"media_name":"waiting","overlay":false,`, from)
}

// stamp writes an instant as Telnyx does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }
