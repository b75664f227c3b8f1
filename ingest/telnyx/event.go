package telnyx

import (
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Secret names something that Decode leaves out of an event unless it is asked to keep it.
type Secret string

// Digits are the keys that a caller pressed: PINs and cards among them.
const Digits Secret = "digits"

// Decode reads a whole event: a webhook's body, or one of the same form made from the provider's history (Backfill
// is the caller's to set). Of secrets it keeps those that it is told to. It fails with *Unusable and with nothing
// else; then ParseEnvelope fails alike.
func Decode(body []byte, keep ...Secret) (call.Event, error) {
	f, err := parse[payload](body)
	if err != nil {
		return call.Event{}, err
	}
	event, p := f.event(), f.payload()
	p.digits = slices.Contains(keep, Digits)
	env, err := f.envelope(body, p.ref())
	if err != nil {
		return call.Event{}, err
	}
	var detail call.Detail
	if read, known := details[env.Type]; known {
		detail = read(p, body)
	}
	return call.Event{
		ID:         env.ID,
		Type:       env.Type,
		OccurredAt: firstTime(event.OccurredAt, p.OccurredAt),
		Ref:        env.Ref,
		Attempt:    env.Attempt,
		Facts:      p.facts(env.Type),
		Detail:     detail,
	}, nil
}

// payload is what events state about any leg, and what the events of nearly every call state beyond that. Fields
// that only rare events have are read by rare, so that the others do not pay for them. Some names mean different
// things in different types (result, status, start_time): the type decides which of them count.
type payload struct {
	ids
	OccurredAt  string   `json:"occurred_at"`
	From        string   `json:"from"`
	To          string   `json:"to"`
	StartTime   string   `json:"start_time"`
	EndTime     string   `json:"end_time"`
	ClientState string   `json:"client_state"`
	Tags        []string `json:"tags"`

	// Of several types.
	Status     string `json:"status"`
	Result     string `json:"result"`
	Reason     string `json:"reason"`
	Conference string `json:"conference_id"`

	courseFields
	dialogFields
	mediaFields

	// digits tells to keep them.
	digits bool
}

// facts returns what an event of that type states about its leg.
func (p *payload) facts(eventType string) call.Facts {
	var t trimmer
	facts := call.Facts{
		From:        t.text(p.From),
		To:          t.text(p.To),
		ClientState: t.whole(p.ClientState, call.MaxState),
		Tags:        t.tags(p.Tags),
	}
	facts.Truncated = t.truncated
	// In a recording's event it is the recording's.
	if call.EventTypeOf(eventType).Starts {
		facts.StartTime = instant(p.StartTime)
	}
	return facts
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

// tags bounds the application's tags.
func (t *trimmer) tags(values []string) []string {
	values = stated(values)
	if len(values) > call.MaxTags {
		t.truncated = true
		values = slices.Clone(values[:call.MaxTags]) // the rest does not stay in memory with it
	}
	for i, v := range values {
		values[i] = t.text(v)
	}
	return values
}

// stated returns the values that are not empty (null, or of another type); nil when none is left.
func stated(values []string) []string {
	values = slices.DeleteFunc(values, func(s string) bool { return s == "" })
	if len(values) == 0 {
		return nil
	}
	return values
}
