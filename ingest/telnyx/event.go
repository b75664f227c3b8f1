package telnyx

import (
	"bytes"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	json "github.com/go-json-experiment/json/v1"

	"github.com/legato-calls/legato/internal/call"
)

// Secret names something that Decode leaves out of an event unless it is asked to keep it.
type Secret string

// Digits are the keys that a caller pressed: PINs and cards among them.
const Digits Secret = "digits"

// Decode reads a whole event: a webhook's body, or one of the same form made from the provider's history (Backfill
// is the caller's to set). Of secrets it keeps those that are configured, and U+FFFD stands for every U+0000. What is
// stated and cannot be read is named in the event's facts. It fails with *Unusable and with nothing else; then
// ParseEnvelope fails alike.
func Decode(body []byte, keep ...Secret) (call.Event, error) {
	raw := body // which an event without an id is named after
	if bytes.Contains(body, []byte(`\u0000`)) {
		body = []byte(call.PrintableJSON(string(body)))
	}
	f, err := parse[payload](body)
	if err != nil {
		return call.Event{}, err
	}
	p := f.payload()
	p.digits = slices.Contains(keep, Digits)
	env, err := f.envelope(raw, f.ids(body, p))
	if err != nil {
		return call.Event{}, err
	}
	event := call.Event{
		ID:          env.ID,
		Type:        env.Type,
		OccurredAt:  firstTime(f.event().OccurredAt, p.OccurredAt),
		Approximate: f.event().Approximate.yes,
		Ref:         env.Ref,
		Attempt:     env.Attempt,
		Facts:       p.facts(env.Type),
	}
	unread, own := f.unread, details[env.Type]
	if own.read != nil {
		var more bool
		event.Detail, more = own.read(p, body)
		unread = unread || more
		if p.trimmer.truncated {
			event.Detail.Truncate()
		}
	}
	if unread { // perhaps
		event.Facts.Unread = unreadFields(body, own.fields)
	}
	return event, nil
}

// payload is what events state about any leg, and what the events of nearly every call state beyond that. Fields
// that only rare events have are read by rare, so that the others do not pay for them. Some names mean different
// things in different types (result, status, start_time): the type decides which of them count.
type payload struct {
	ids
	factFields

	// Of several types.
	EndTime    moment `json:"end_time"`
	Status     string `json:"status"`
	Result     string `json:"result"`
	Reason     string `json:"reason"`
	Conference string `json:"conference_id"`

	courseFields
	dialogFields
	mediaFields

	// digits tells to keep them.
	digits bool
	// trimmer is the detail's. One of its own would be one more thing to allocate.
	trimmer trimmer
}

// factFields are what events of any type state.
type factFields struct {
	OccurredAt   moment   `json:"occurred_at"`
	From         string   `json:"from"`
	To           string   `json:"to"`
	FromSIP      string   `json:"from_sip_uri"`
	ToSIP        string   `json:"to_sip_uri"`
	CallingParty string   `json:"calling_party_type"`
	StartTime    moment   `json:"start_time"`
	ClientState  string   `json:"client_state"`
	Tags         []string `json:"tags"`
}

// facts returns what an event of that type states about its leg.
func (p *payload) facts(eventType string) call.Facts {
	var t trimmer
	facts := call.Facts{
		From:         t.text(p.From),
		To:           t.text(p.To),
		FromSIP:      t.text(p.FromSIP),
		ToSIP:        t.text(p.ToSIP),
		CallingParty: t.word(p.CallingParty),
		ClientState:  t.whole(p.ClientState, call.MaxState),
		Tags:         t.tags(p.Tags),
	}
	facts.Truncated = t.truncated
	// In a recording's event it is the recording's.
	if call.EventTypeOf(eventType).Starts {
		facts.StartTime = p.StartTime.Time
	}
	return facts
}

// firstTime returns the first of the times that is stated.
func firstTime(times ...moment) (at time.Time) {
	for _, m := range times {
		if at = m.Time; !at.IsZero() {
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
		values = values[:call.MaxTags]
	}
	// They stay in memory for as long as the call does, and only they: neither the rest nor the room for more.
	if len(values) < cap(values) {
		values = append(make([]string, 0, len(values)), values...) // a clone would have room for more
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

// unreadFields returns the names of the fields that an event states and that could not be read, in order, each once;
// own is the struct of what only events of its type have. Hardly any event has such fields: it is read once more for
// them, slowly, field by field.
func unreadFields(body []byte, own reflect.Type) []string {
	w := make(unreadNames)
	var outer struct {
		Data json.RawMessage `json:"data"`
		Meta json.RawMessage `json:"meta"`
	}
	_ = json.Unmarshal(body, &outer) // the body was read before
	event := body
	if isObject(outer.Data) {
		event = outer.Data
	}
	w.object(reflect.TypeFor[struct {
		Attempt count `json:"attempt"`
	}](), outer.Meta, "meta.")
	w.object(reflect.TypeFor[struct {
		ID         string `json:"id"`
		OccurredAt moment `json:"occurred_at"`
	}](), event, "")
	var payload json.RawMessage
	if raw, stated := members(event)["payload"]; stated {
		payload = raw
	}
	if !isUnset(payload) && !isObject(payload) {
		w["payload"] = struct{}{}
	}
	w.object(reflect.TypeFor[looseIDs](), payload, "")
	w.object(reflect.TypeFor[factFields](), payload, "")
	if own != nil {
		w.object(own, payload, "")
	}
	return slices.Sorted(maps.Keys(w))
}

// unreadNames are the names that were found.
type unreadNames map[string]struct{}

// value notes what cannot be read of a value of a field into a type.
func (w unreadNames) value(typ reflect.Type, raw json.RawMessage, name string) {
	if isUnset(raw) {
		return
	}
	if typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	isLeaf := reflect.PointerTo(typ).Implements(reflect.TypeFor[json.Unmarshaler]())
	switch {
	case !isLeaf && typ.Kind() == reflect.Struct && isObject(raw):
		if !w.object(typ, raw, name+".") && states(raw) {
			w[name] = struct{}{} // whatever it states, it has other names
		}
	case !isLeaf && typ.Kind() == reflect.Map && isObject(raw):
		for _, each := range members(raw) { // whose names are the event's own
			w.value(typ.Elem(), each, name)
		}
	case !isLeaf && typ.Kind() == reflect.Slice && raw[0] == '[':
		var list []json.RawMessage
		_ = json.Unmarshal(raw, &list)
		for _, each := range list {
			w.value(typ.Elem(), each, name)
		}
	case json.Unmarshal(raw, reflect.New(typ).Interface()) != nil:
		w[name] = struct{}{}
	}
}

// object notes what cannot be read of an object's fields into those of a struct, by their names behind a prefix. It
// reports whether the object states one of them.
func (w unreadNames) object(typ reflect.Type, raw json.RawMessage, prefix string) (known bool) {
	all := members(raw)
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Type == reflect.TypeFor[ids](): // read as looseIDs
		case f.Anonymous && name == "":
			known = w.object(f.Type, raw, prefix) || known
		case name != "":
			known = known || !isUnset(all[name])
			w.value(f.Type, all[name], prefix+name)
		}
	}
	return known
}

// states reports whether an object states anything.
func states(raw json.RawMessage) bool {
	for _, value := range members(raw) {
		if !isUnset(value) {
			return true
		}
	}
	return false
}

// members are the fields of an object; none of anything else.
func members(raw json.RawMessage) map[string]json.RawMessage {
	var all map[string]json.RawMessage
	if isObject(raw) {
		_ = json.Unmarshal(raw, &all)
	}
	return all
}
