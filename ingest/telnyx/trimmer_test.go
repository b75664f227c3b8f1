package telnyx_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// times returns n values of a JSON list, each made by format from its number.
func times(n int, format string) string {
	values := make([]string, n)
	for i := range values {
		values[i] = fmt.Sprintf(format, i)
	}
	return "[" + strings.Join(values, ",") + "]"
}

func TestWhatIsPastItsBoundIsCutAndSaysSo(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	truncated := call.Truncation{Truncated: true}
	headers := make([]call.Header, call.MaxHeaders)
	parts := make([]call.CostPart, call.MaxCostParts)
	for i := range headers {
		headers[i] = call.Header{Name: fmt.Sprint("h", i)}
	}
	for i := range parts {
		parts[i] = call.CostPart{Part: fmt.Sprint("p", i)}
	}
	messages := func(first, last int, content string) (m []call.Message) {
		for i := first; i <= last; i++ {
			m = append(m, call.Message{Role: fmt.Sprint("r", i), Content: content})
		}
		return m
	}
	insights := make([]call.Insight, call.MaxInsights)
	for i := range insights {
		insights[i] = call.Insight{ID: fmt.Sprint("i", i)}
	}
	tests := map[string]struct {
		eventType, fields string
		want              call.Detail
	}{
		"a word at its bound": {call.TypeHangup, `"hangup_cause":"` + x(call.MaxWord) + `"`, &call.Hangup{Cause: x(call.MaxWord)}},
		"a word past it":      {call.TypeHangup, `"hangup_cause":"` + x(call.MaxWord+1) + `"`, &call.Hangup{Cause: x(call.MaxWord), Truncation: truncated}},
		"a text at its bound": {call.TypeInitiated, `"caller_id_name":"` + x(call.MaxText) + `"`, &call.Initiated{CallerName: x(call.MaxText)}},
		"a text past it, truncated between characters": {
			call.TypeInitiated, `"caller_id_name":"` + x(call.MaxText-1) + `é!"`, &call.Initiated{CallerName: x(call.MaxText - 1), Truncation: truncated},
		},
		"digits": {call.TypeGatherEnded, `"digits":"` + strings.Repeat("7", 200) + `"`, &call.Gather{Digits: strings.Repeat("7", call.MaxDigits), DigitCount: 200, Truncation: truncated}},
		"a header's name and value": {
			call.TypeAnswered, `"custom_headers":[{"name":"` + x(200) + `","value":"` + x(1000) + `"}]`,
			&call.Answered{Headers: &call.Headers{Custom: []call.Header{{Name: x(call.MaxWord), Value: x(call.MaxText)}}}, Truncation: truncated},
		},
		"headers at their bound": {call.TypeHangup, `"sip_headers":` + times(call.MaxHeaders, `{"name":"h%d"}`), &call.Hangup{Headers: &call.Headers{SIP: headers}}},
		"headers past it":        {call.TypeHangup, `"sip_headers":` + times(call.MaxHeaders+1, `{"name":"h%d"}`), &call.Hangup{Headers: &call.Headers{SIP: headers}, Truncation: truncated}},
		"charges past their bound": {
			call.TypeCost, `"cost_parts":` + times(call.MaxCostParts+3, `{"call_part":"p%d"}`), &call.Cost{Parts: parts, Truncation: truncated},
		},
		"a piece of a transcript": {
			call.TypeTranscription, `"transcription_data":{"is_final":true,"transcript":"` + x(5000) + `"}`,
			&call.Utterance{Text: x(call.MaxUtterance), TextOmitted: 5000 - call.MaxUtterance, Truncation: truncated},
		},
		"a recording's text": {
			call.TypeRecordingTranscription, `"transcription_text":"` + strings.Repeat("é", 40_000) + `"`,
			&call.Transcription{Text: strings.Repeat("é", 32<<10), TextOmitted: 80_000 - 64<<10, Truncation: truncated},
		},
		"messages by number": {
			call.TypeAIGatherEnded, `"message_history":` + times(70, `{"role":"r%d","content":"c"}`),
			&call.AIGather{Messages: messages(6, 69, "c"), MessagesTotal: 70, Truncation: truncated},
		},
		"messages by size": {
			call.TypeAIGatherEnded, `"message_history":` + times(20, `{"role":"r%d","content":"`+x(call.MaxMessage)+`"}`),
			&call.AIGather{Messages: messages(12, 19, x(call.MaxMessage)), MessagesTotal: 20, Truncation: truncated},
		},
		"one message": {
			call.TypeAIGatherPartial, `"message_history":` + times(1, `{"role":"r%d","content":"`+x(3000)+`"}`),
			&call.AIGather{Messages: messages(0, 0, x(call.MaxMessage)), MessagesTotal: 1, Truncation: truncated},
		},
		"a history so far is not truncated": {
			call.TypeAIGatherHistory, `"message_history":` + times(70, `{"role":"r%d","content":"c"}`),
			&call.AIGather{Messages: messages(68, 69, "c"), MessagesTotal: 70},
		},
		"a result at its bound": {
			call.TypeAIGatherEnded, `"result":["` + x(call.MaxResult-4) + `" ]`, &call.AIGather{Result: call.RawJSON(`["` + x(call.MaxResult-4) + `"]`)},
		},
		"a result past it":           {call.TypeAIGatherEnded, `"result":["` + x(call.MaxResult-3) + `"]`, &call.AIGather{Truncation: truncated}},
		"a result at its depth":      {call.TypeAIGatherEnded, `"result":` + nested(call.MaxResultDepth), &call.AIGather{Result: call.RawJSON(nested(call.MaxResultDepth))}},
		"a result past it, in depth": {call.TypeAIGatherEnded, `"result":` + nested(call.MaxResultDepth+1), &call.AIGather{Truncation: truncated}},
		"a text that is a result": {
			call.TypeInsights, `"results":[{"result":"` + x(10_000) + `"}]`,
			&call.Insights{Results: []call.Insight{{Result: call.RawJSON(`"` + x(call.MaxResult-2) + `"`)}}, Truncation: truncated},
		},
		"insights": {call.TypeInsights, `"results":` + times(17, `{"insight_id":"i%d"}`), &call.Insights{Results: insights, Truncation: truncated}},
		"a URL is left out whole": {
			call.TypeRecordingSaved, `"recording_urls":{"mp3":"https://files.test/` + x(call.MaxURL) + `","wav":"w"}`,
			&call.Recording{URLs: map[string]string{"wav": "w"}, Truncation: truncated},
		},
		"URLs": {
			call.TypeRecordingSaved, `"public_recording_urls":{"f":"6","e":"5","d":"4","c":"3","b":"2","a":"1"}`,
			&call.Recording{PublicURLs: map[string]string{"a": "1", "b": "2", "c": "3", "d": "4"}, Truncation: truncated},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got := detailOf(t, body(tt.eventType, ","+tt.fields))
			// A text that is a result is cut by proportion: it may end a little early.
			if want, ok := tt.want.(*call.Insights); ok && want.Results[0].Result != "" {
				checkCutText(t, got.(*call.Insights))
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("detail (-want +got):\n%s", diff)
			}
		})
	}
}

func checkCutText(t *testing.T, got *call.Insights) {
	t.Helper()
	value := string(got.Results[0].Result)
	if n := len(value); !got.Truncated || n > call.MaxResult || n < call.MaxResult*9/10 || strings.Trim(value, `"x`) != "" {
		t.Errorf("cut %t, a text of %d bytes: %.20s…", got.Truncated, n, value)
	}
}

// nested returns lists in lists.
func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// checkBounded walks through a detail: no text is past the largest bound, each
// is UTF-8, and raw JSON is JSON.
func checkBounded(t *testing.T, detail call.Detail) {
	t.Helper()
	total := 0
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Struct:
			if v.Type().PkgPath() != reflect.TypeFor[call.Event]().PkgPath() {
				return // time.Time
			}
			for _, field := range v.Fields() {
				walk(field)
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Map:
			for _, key := range v.MapKeys() {
				walk(key)
				walk(v.MapIndex(key))
			}
		case reflect.String:
			total += v.Len()
			if v.Len() > call.MaxTranscription || !utf8.ValidString(v.String()) {
				t.Errorf("a text of %d bytes: %.40q", v.Len(), v.String())
			}
			if v.Type() == reflect.TypeFor[call.RawJSON]() && v.Len() > 0 && (v.Len() > call.MaxResult || !json.Valid([]byte(v.String()))) {
				t.Errorf("no JSON, or %d bytes of it: %.40q", v.Len(), v.String())
			}
		default:
		}
	}
	walk(reflect.ValueOf(detail))
	// The largest detail is that of insights: their results and ids.
	if limit := call.MaxInsights*(call.MaxResult+call.MaxWord) + call.MaxWord; total > limit {
		t.Errorf("a detail of %d bytes, more than %d", total, limit)
	}
}

// A leg keeps its details in memory for as long as it is open; of the 3 KiB that
// it may take, events, ids and parties need the greater part.
func TestDetailsOfATypicalCallAreSmall(t *testing.T) {
	bodies := [][]byte{
		body(call.TypeInitiated, `,"caller_id_name":"+12025550100","calling_party_type":"pstn","direction":"incoming","offered_codecs":"PCMU,G729","state":"parked",`+
			`"shaken_stir_attestation":"A","shaken_stir_validated":true`),
		body(call.TypeAnswered, `,"calling_party_type":"pstn","codec":"PCMU","sampling_rate":8000`),
		body(call.TypeSpeakStarted, ``), body(call.TypeSpeakEnded, `,"status":"completed"`),
		body(call.TypePlaybackStarted, `,"media_name":"welcome"`), body(call.TypePlaybackEnded, `,"media_name":"welcome","status":"completed"`),
		body(call.TypeDTMF, `,"digit":"1"`), body(call.TypeDTMF, `,"digit":"2"`), body(call.TypeDTMF, `,"digit":"3"`),
		body(call.TypeGatherEnded, `,"digits":"123","status":"valid"`),
		body(call.TypeEnqueued, `,"queue":"support"`), body(call.TypeDequeued, `,"queue":"support","reason":"bridged","wait_time_secs":7`),
		[]byte(hangupBody),
	}
	const legs = 500
	kept := make([]call.Detail, 0, legs*len(bodies))
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for range legs {
		for _, body := range bodies {
			event, err := telnyx.Decode(body, telnyx.Digits)
			if err != nil {
				t.Fatal(err)
			}
			kept = append(kept, event.Detail)
		}
	}
	perLeg := (heap() - before) / legs
	runtime.KeepAlive(kept)
	t.Logf("details of %d events: %d B", len(bodies), perLeg)
	// Some 950 B; with the race detector 1,100.
	if got, want := perLeg, uint64(1280); got > want {
		t.Errorf("details of a typical leg: got %d B, want at most %d B", got, want)
	}
}

func TestWhatAnyEventStatesIsBounded(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	tags := make([]string, call.MaxTags)
	for i := range tags {
		tags[i] = fmt.Sprint("t", i)
	}
	for name, c := range map[string]struct {
		fields string
		want   call.Facts
	}{
		"parties at their bound": {
			`"from":"` + x(call.MaxText) + `","to":"sip:a@b"`, call.Facts{From: x(call.MaxText), To: "sip:a@b"},
		},
		"a party past it, cut between characters": {
			`"to":"` + x(call.MaxText-1) + `é"`, call.Facts{To: x(call.MaxText - 1), Truncated: true},
		},
		"a state at its bound": {`"client_state":"` + x(call.MaxState) + `"`, call.Facts{ClientState: x(call.MaxState)}},
		"a state past it":      {`"client_state":"` + x(call.MaxState+1) + `"`, call.Facts{Truncated: true}},
		"tags at their bound":  {`"tags":` + times(call.MaxTags, `"t%d"`), call.Facts{Tags: tags}},
		"tags past it":         {`"tags":` + times(call.MaxTags+9, `"t%d"`), call.Facts{Tags: tags, Truncated: true}},
		"a long tag":           {`"tags":["` + x(5000) + `"]`, call.Facts{Tags: []string{x(call.MaxText)}, Truncated: true}},
	} {
		t.Run(name, func(t *testing.T) {
			event, err := telnyx.Decode([]byte(`{"data":{"event_type":"call.bridged","payload":{"call_leg_id":"leg-1",` + c.fields + `}}}`))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, event.Facts); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if got := event.Facts.Tags; cap(got) > len(got) {
				t.Errorf("%d tags stay in memory with room for %d", len(got), cap(got))
			}
		})
	}
}
