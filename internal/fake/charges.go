package fake

import (
	"fmt"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

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
