package console

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/legato-calls/legato/internal/story"
)

const (
	// maxDepth and maxShown bound what is drawn of a body.
	maxDepth, maxShown = 40, 256 << 10
	// hidden stands for a text that is not shown.
	hidden = "····"
)

// parties are the fields that name a party: they are masked as explain masks them, so that one party can be told
// from another.
var parties = set("from", "to", "final_to", "from_sip_uri", "to_sip_uri", "caller_id_number")

// plain are the fields whose texts are words of Telnyx's or Legato's, or ids. Every other text is hidden: what is not
// known cannot be known to be harmless. Times are shown wherever they stand.
var plain = set(
	"action", "answered_by", "attestation", "billing_group_id", "call_control_id", "call_leg_id", "call_part", "call_session_id", "calling_party_type",
	"cause", "changed", "channels", "code", "codec", "conference_id", "connection_id", "creator_call_session_id",
	"currency", "digest", "direction", "ended_by", "event_type", "far_leg", "far_outcome", "field", "format", "greeting", "hangup_cause",
	"hangup_source", "id", "jitter_max_variance", "jitter_packets", "kind", "legs", "mos", "notes", "offered_codecs", "outcome",
	"packets", "part", "party", "queue_id", "reason", "reasons", "record_type", "recording_id", "screening", "sip_code",
	"sip_hangup_cause", "skipped_packets", "source", "started_at", "state", "status", "status_state", "title", "type",
	"unread_fields", "received", "expected", "webhook_id", "amount", "rate", "total_cost", "cost",
	"answered_at_source", "bridged_at", "answered_at", "ended_at", "omitted", "what", "problem", "call_quality_stats",
)

// results are a word of Telnyx's, or what a conversation was about, or what somebody was asked for: an object with the
// application's own keys, of which neither these nor numbers can be known to be harmless.
var results = set("result", "partial_results")

// resultWord is a result that is a word of Telnyx's, as human.
var resultWord = regexp.MustCompile(`^[a-z_]{1,32}$`)

// hidesAll reports whether a value is hidden as a whole.
func hidesAll(field string, v gjson.Result, reveal bool) bool {
	return results[field] && v.Type != gjson.String && v.Type != gjson.Null && !reveal
}

func set(words ...string) map[string]bool {
	m := make(map[string]bool, len(words))
	for _, w := range words {
		m[w] = true
	}
	return m
}

// shownText is a text of a field as it may be shown.
func shownText(field, text string, reveal bool) string {
	switch {
	case reveal || plain[field] || results[field] && resultWord.MatchString(text) || isTime(text):
		return text
	case parties[field]:
		return story.Masked(text)
	case text == "":
		return ""
	}
	return hidden
}

func isTime(text string) bool {
	if len(text) < len(time.DateOnly) || len(text) > 40 {
		return false
	}
	_, err := time.Parse(time.RFC3339Nano, text)
	return err == nil
}

// drawBody draws a body for people, with what is not to be shown hidden. cut: there is more.
func drawBody(data []byte, reveal bool) (text string, cut bool) {
	if !gjson.ValidBytes(data) {
		if reveal {
			return strings.ToValidUTF8(string(data[:min(len(data), maxShown)]), "\uFFFD"), len(data) > maxShown
		}
		return fmt.Sprintf("%d bytes that are no JSON", len(data)), false
	}
	d := bodyDrawing{reveal: reveal}
	d.value("", gjson.ParseBytes(data), 0)
	return d.out.String(), d.cut
}

type bodyDrawing struct {
	out    strings.Builder
	reveal bool
	cut    bool
}

func (d *bodyDrawing) indent(depth int) { d.out.WriteString("\n" + strings.Repeat("  ", depth)) }

func (d *bodyDrawing) value(field string, v gjson.Result, depth int) {
	switch {
	case d.out.Len() > maxShown:
		d.cut = true
	case hidesAll(field, v, d.reveal):
		d.out.WriteString(hidden)
	case v.IsObject(), v.IsArray():
		d.nested(field, v, depth)
	case v.Type == gjson.String:
		d.out.WriteString(strconv.Quote(shownText(field, v.Str, d.reveal)))
	default:
		d.out.WriteString(shownScalar(field, v.Raw, d.reveal))
	}
}

// shownScalar is a number, a boolean or null. A number can be somebody's where a party or unknown digits stand.
func shownScalar(field, raw string, reveal bool) string {
	if !reveal && (parties[field] || field == "digits" || field == "digit") {
		return hidden
	}
	return raw
}

func (d *bodyDrawing) nested(field string, v gjson.Result, depth int) {
	open, end := "{", "}"
	if v.IsArray() {
		open, end = "[", "]"
	}
	if depth == maxDepth {
		d.out.WriteString(open + "…" + end)
		return
	}
	d.out.WriteString(open)
	n := 0
	v.ForEach(func(key, value gjson.Result) bool {
		if d.out.Len() > maxShown {
			d.cut = true
			return false
		}
		if n++; n > 1 {
			d.out.WriteString(",")
		}
		d.indent(depth + 1)
		of := field
		if v.IsObject() {
			of = key.Str
			d.out.WriteString(strconv.Quote(shownKey(of, d.reveal)) + ": ")
		}
		d.value(of, value, depth+1)
		return true
	})
	if n > 0 {
		d.indent(depth)
	}
	d.out.WriteString(end)
}

// shownKey hides names of fields that are none: an object can have what somebody typed as its keys.
func shownKey(key string, reveal bool) string {
	for _, r := range key {
		if r != '_' && r != '-' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') {
			if !reveal {
				return hidden
			}
		}
	}
	if !reveal && strings.Trim(key, "0123456789") == "" && len(key) > 3 {
		return hidden
	}
	return key
}

// leaves are the values in a body by their JSON Pointer, as they may be shown, and as they are.
func leaves(data []byte, reveal bool) (shown, raw map[string]string) {
	shown, raw = make(map[string]string), make(map[string]string)
	var walk func(at, field string, v gjson.Result, depth int)
	walk = func(at, field string, v gjson.Result, depth int) {
		hide := hidesAll(field, v, reveal)
		if depth < maxDepth && (v.IsObject() || v.IsArray()) && !hide {
			i := 0
			v.ForEach(func(key, value gjson.Result) bool {
				of, name := field, strconv.Itoa(i)
				if v.IsObject() {
					of, name = key.Str, shownKey(key.Str, reveal)
				}
				i++
				walk(at+"/"+name, of, value, depth+1)
				return true
			})
			return
		}
		raw[at] = v.Raw
		switch {
		case hide:
			shown[at] = hidden
		case v.Type == gjson.String:
			shown[at] = strconv.Quote(shownText(field, v.Str, reveal))
		default:
			shown[at] = shownScalar(field, v.Raw, reveal)
		}
	}
	walk("", "", gjson.ParseBytes(data), 0)
	return shown, raw
}

// change is a value that differs between two revisions. An empty text: it was not there.
type change struct {
	Pointer, Before, After string
}

// bookkeeping differs between any two revisions and tells nothing.
var bookkeeping = set("/published_at", "/revision", "/status/attempts", "/status/fetched_at")

// differences are what differs between two bodies, by place.
func differences(before, after []byte, reveal bool) []change {
	was, wasRaw := leaves(before, reveal)
	is, isRaw := leaves(after, reveal)
	var all []change
	for at, raw := range isRaw {
		if old, ok := wasRaw[at]; (!ok || old != raw) && !bookkeeping[at] && !strings.HasPrefix(at, "/changed/") && !strings.HasPrefix(at, "/reasons/") {
			all = append(all, change{at, was[at], is[at]})
		}
	}
	for at := range wasRaw {
		if _, ok := isRaw[at]; !ok && !strings.HasPrefix(at, "/changed/") && !strings.HasPrefix(at, "/reasons/") {
			all = append(all, change{at, was[at], ""})
		}
	}
	slices.SortFunc(all, func(a, b change) int { return cmp.Compare(a.Pointer, b.Pointer) })
	return all
}
