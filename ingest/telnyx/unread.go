package telnyx

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	json "github.com/go-json-experiment/json/v1"
)

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
