package telnyx_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// detailRows has an event of every type that has a detail, with every field that
// is read of it, and some that must not be.
var detailRows = []struct {
	eventType string
	fields    string // JSON members of the payload
	want      call.Detail
}{
	{
		call.TypeInitiated,
		`"call_screening_result":"spam_likely","caller_id_name":"ADA","calling_party_type":"pstn","connection_codecs":"PCMA","direction":"incoming",` +
			`"custom_headers":[{"name":"X-Order","value":"7"},{"header_name":"X-Shop","header_value":"blue"}],"offered_codecs":"PCMU,G729",` +
			`"shaken_stir_attestation":"B","shaken_stir_validated":false,"sip_headers":[{"name":"User-to-User","value":"00abcd"}],"state":"parked"`,
		&call.Initiated{
			Direction: "incoming", CallerName: "ADA", State: "parked", Attestation: "B", Validated: new(false),
			Screening: "spam_likely", OfferedCodecs: "PCMU,G729",
			Headers: &call.Headers{
				Custom: []call.Header{{Name: "X-Order", Value: "7"}, {Name: "X-Shop", Value: "blue"}},
				SIP:    []call.Header{{Name: "User-to-User", Value: "00abcd"}},
			},
		},
	},
	{
		call.TypeAnswered,
		`"calling_party_type":"sip","codec":"PCMU","custom_headers":[{"name":"X-Order","value":7}],"sampling_rate":8000,"state":"answered"`,
		&call.Answered{
			Codec: "PCMU", SamplingRate: new(int64(8000)),
			Headers: &call.Headers{Custom: []call.Header{{Name: "X-Order", Value: "7"}}},
		},
	},
	{
		call.TypeHangup,
		`"call_quality_stats":{"inbound":{"mos":"4.50"},"outbound":{"packet_count":"12"}},"end_time":"2026-03-01T12:00:00Z","hangup_cause":"call_rejected",` +
			`"hangup_source":"callee","sip_hangup_cause":"603","sip_headers":[{"name":"Diversion","value":"sip:x@pbx.test"}],` +
			`"telnyx_error":{"code":90018,"detail":"+12025550100 is gone","title":"Call has already ended"}`,
		&call.Hangup{
			Cause: "call_rejected", Source: "callee", SIPCode: "603", EndTime: noon,
			Quality: &call.Quality{Inbound: &call.Stream{MOS: new(4.5)}, Outbound: &call.Stream{Packets: new(int64(12))}},
			Fault:   &call.Fault{Code: "90018", Title: "Call has already ended"},
			Headers: &call.Headers{SIP: []call.Header{{Name: "Diversion", Value: "sip:x@pbx.test"}}},
		},
	},
	{call.TypeEnqueued, `"current_position":2,"queue":"support","queue_avg_wait_time_secs":30`, &call.Queue{Name: "support", Position: new(int64(2)), AverageWaitSeconds: new(int64(30))}},
	{
		call.TypeDequeued, `"queue":"support","queue_position":1,"reason":"bridged","wait_time_secs":7`,
		&call.Queue{Name: "support", Position: new(int64(1)), Reason: "bridged", WaitSeconds: new(int64(7))},
	},
	{
		call.TypeCost,
		`"billed_duration_secs":60,"cost_parts":[{"billed_duration_secs":60,"call_part":"sip-trunking","cost":"0.0070","currency":"USD","rate":"0.0070"}],` +
			`"status":"success","total_cost":"0.0070"`,
		&call.Cost{
			Status: "success", Total: "0.0070", BilledSeconds: new(int64(60)),
			Parts: []call.CostPart{{Part: "sip-trunking", Amount: "0.0070", Currency: "USD", Rate: "0.0070", BilledSeconds: new(int64(60))}},
		},
	},
	{call.TypeReferStarted, `"sip_notify_response":100`, &call.Refer{SIPCode: "100"}},
	{call.TypeReferCompleted, `"sip_notify_response":200`, &call.Refer{SIPCode: "200"}},
	{call.TypeReferFailed, `"sip_notify_response":"603"`, &call.Refer{SIPCode: "603"}},

	{call.TypeMachineDetection, `"result":"human"`, &call.Machine{Result: "human"}},
	{call.TypeMachineGreeting, `"result":"ended"`, &call.Machine{Result: "ended"}},
	{call.TypeMachinePremium, `"result":"fax_detected"`, &call.Machine{Result: "fax_detected"}},
	{call.TypeMachinePremiumGreet, `"result":"no_beep_detected"`, &call.Machine{Result: "no_beep_detected"}},
	{
		call.TypeDeepfakeResult, `"consistency":94.5,"result":"fake","score":0.8700000000000000123456`,
		&call.Deepfake{Result: "fake", Score: new(0.87), Consistency: new(94.5)},
	},
	{call.TypeDeepfakeError, `"error_message":"rtp_timeout"`, &call.Deepfake{Error: "rtp_timeout"}},

	{call.TypeSpeakEnded, `"speak_id":"YUx4","status":"completed"`, &call.Speech{Status: "completed"}},
	{
		call.TypePlaybackStarted, `"media_url":"https://ada:secret@files.test/u/greeting.mp3?token=secret#secret","overlay":true`,
		&call.Playback{Media: "greeting.mp3"},
	},
	{
		call.TypePlaybackEnded, `"media_name":"moh","media_url":"https://files.test/other.wav","status":"failed","status_detail":"404 from https://a:secret@files.test/x"`,
		&call.Playback{Media: "moh", Status: "failed", StatusDetail: "404 from https://…"},
	},
	{call.TypeDTMF, `"digit":"#"`, &call.DTMF{Digit: "#"}},
	{call.TypeGatherEnded, `"digits":"0123","status":"valid"`, &call.Gather{Digits: "0123", DigitCount: 4, Status: "valid"}},
	{
		call.TypeTranscription, `"transcription_data":{"confidence":0.977219,"is_final":true,"transcript":"Good morning.","transcription_track":"inbound"}`,
		&call.Utterance{Track: "inbound", Text: "Good morning.", Confidence: new(0.977219)},
	},
	{
		call.TypeDialogflow, `"confidence":0.5,"fulfillment_messages":[{"text":["Hello"]}],"transcript":"Good morning."`,
		&call.Utterance{Text: "Good morning.", Confidence: new(0.5)},
	},
	{
		call.TypePaymentProgress, paymentSecrets + `"attempt":2,"error_type":"invalid-card-number","payment_status":"failed","payment_step":"payment-card-number"`,
		&call.Payment{Step: "payment-card-number", Status: "failed", ErrorCode: "invalid-card-number"},
	},
	{
		call.TypePaymentDone, paymentSecrets + `"charge_id":"ch_3Nab","connector_error":{"card":"secret","code":"do_not_honor"},"payment_confirmation_code":"OK-7","pay_error_code":402,"payment_error":"secret words","result":"payment-connector-error"`,
		&call.Payment{Status: "payment-connector-error", ChargeID: "ch_3Nab", ConfirmationCode: "OK-7", ConnectorError: "do_not_honor", ErrorCode: "402"},
	},

	{
		call.TypeAIGatherEnded,
		`"message_history":[{"content":"How old are you?","role":"assistant"},{"content":"Twenty-nine.","role":"user"}],"result":{"age": 29, "of":"\"[" },"status":"valid"`,
		&call.AIGather{
			Status: "valid", Result: `{"age":29,"of":"\"["}`, MessagesTotal: 2,
			Messages: []call.Message{{Role: "assistant", Content: "How old are you?"}, {Role: "user", Content: "Twenty-nine."}},
		},
	},
	{
		call.TypeAIGatherHistory, `"message_history":[{"content":"a","role":"assistant"},{"content":"b","role":"user"},{"content":"c","role":"assistant"}]`,
		&call.AIGather{Messages: []call.Message{{Role: "user", Content: "b"}, {Role: "assistant", Content: "c"}}, MessagesTotal: 3},
	},
	{
		call.TypeAIGatherPartial, `"message_history":[{"content":"a","role":"assistant"}],"partial_results":{"age":29},"result":"none"`,
		&call.AIGather{Result: `{"age":29}`, Messages: []call.Message{{Role: "assistant", Content: "a"}}, MessagesTotal: 1},
	},
	{call.TypeConversationNew, `"conversation_id":"conv-1"`, &call.Conversation{ID: "conv-1"}},
	{
		call.TypeConversationEnded,
		`"assistant_id":"assistant-1","conversation_id":"conv-1","duration_sec":61,"llm_model":"llm","reason":"agent_hangup",` +
			`"stt_model":"stt","tts_model_id":"tts","tts_provider":"maker","tts_voice_id":"voice"`,
		&call.Conversation{
			ID: "conv-1", Assistant: "assistant-1", Reason: "agent_hangup", DurationSeconds: new(int64(61)),
			Models: &call.Models{LLM: "llm", STT: "stt", TTS: "tts", TTSProvider: "maker", TTSVoice: "voice"},
		},
	},
	{
		call.TypeConversationFailed, `"assistant_id":"assistant-1","reason":"invalid_request"`,
		&call.Conversation{Assistant: "assistant-1", Reason: "invalid_request"},
	},
	{
		call.TypeInsights, `"insight_group_id":"group-1","results":[{"insight_id":"in-1","result":"She asked."},{"insight_id":"in-2","result":{"mood":[1, 2]}},{}]`,
		&call.Insights{Group: "group-1", Results: []call.Insight{{ID: "in-1", Result: `"She asked."`}, {ID: "in-2", Result: `{"mood":[1,2]}`}}},
	},

	{
		call.TypeRecordingSaved,
		`"channels":"single","format":"wav","public_recording_urls":{"wav":"https://files.test/p.wav"},"recording_ended_at":"2026-03-01T12:01:00Z",` +
			`"recording_id":"rec-1","recording_started_at":"2026-03-01T12:00:00Z","recording_urls":{"mp3":"https://files.test/a.mp3"}`,
		&call.Recording{
			ID: "rec-1", Channels: "single", Format: "wav", StartedAt: noon, EndedAt: noon.Add(time.Minute),
			URLs: map[string]string{"mp3": "https://files.test/a.mp3"}, PublicURLs: map[string]string{"wav": "https://files.test/p.wav"},
		},
	},
	{
		call.TypeConferenceRecordingSaved, `"channels":"dual","conference_id":"conf-1","format":"mp3","recording_id":"rec-1","recording_urls":{"mp3":"https://files.test/a.mp3"}`,
		&call.Recording{ID: "rec-1", Conference: "conf-1", Channels: "dual", Format: "mp3", URLs: map[string]string{"mp3": "https://files.test/a.mp3"}},
	},
	{call.TypeRecordingError, `"reason":"Internal server error"`, &call.RecordingError{Reason: "Internal server error"}},
	{
		call.TypeRecordingTranscription, `"recording_id":"rec-1","recording_transcription_id":"tr-1","status":"completed","transcription_text":"Hi!"`,
		&call.Transcription{ID: "tr-1", Recording: "rec-1", Status: "completed", Text: "Hi!"},
	},
	{call.TypeForkStarted, `"stream_type":"decrypted"`, &call.Fork{Type: "decrypted"}},
	{call.TypeForkStopped, `"stream_type":"decrypted"`, &call.Fork{Type: "decrypted"}},
	{call.TypeStreamingStarted, `"stream_url":"wss://media.test/?key=secret"`, &call.Streaming{}},
	{call.TypeStreamingStopped, `"stream_id":"st-1","stream_url":"wss://media.test/?key=secret"`, &call.Streaming{ID: "st-1"}},
	{
		call.TypeStreamingFailed,
		`"failure_reason":"no answer from wss://media.test/x?key=secret","stream_id":"st-1","stream_params":{"stream_url":"wss://secret@media.test","track":"both_tracks"},"stream_type":"websocket"`,
		&call.Streaming{ID: "st-1", Type: "websocket", Track: "both_tracks", Reason: "no answer from wss://media.test/…"},
	},
	{call.TypeSIPRECStarted, `"hangup_cause":"none yet"`, &call.SIPREC{}},
	{call.TypeSIPRECStopped, `"hangup_cause":"normal_clearing"`, &call.SIPREC{Cause: "normal_clearing"}},
	{call.TypeSIPRECFailed, `"failure_cause":"no_answer"`, &call.SIPREC{Cause: "no_answer"}},

	{call.TypeConferenceCreated, `"conference_id":"conf-1"`, &call.Conference{ID: "conf-1"}},
	{call.TypeConferenceEnded, `"conference_id":"conf-1","reason":"host_left"`, &call.Conference{ID: "conf-1", Reason: "host_left"}},
	{call.TypeConferenceFloor, `"conference_id":"conf-1"`, &call.Conference{ID: "conf-1"}},
	{call.TypeConferenceJoined, `"conference_id":"conf-1"`, &call.Conference{ID: "conf-1"}},
	{call.TypeConferenceLeft, `"conference_id":"conf-1"`, &call.Conference{ID: "conf-1"}},
	{call.TypeConferenceSpeakStarted, `"conference_id":"conf-1"`, &call.Speech{Conference: "conf-1"}},
	{call.TypeConferenceSpeakEnded, `"conference_id":"conf-1"`, &call.Speech{Conference: "conf-1"}},
	{call.TypeConferencePlaybackStarted, `"conference_id":"conf-1","media_name":"moh"`, &call.Playback{Conference: "conf-1", Media: "moh"}},
	{call.TypeConferencePlaybackEnded, `"conference_id":"conf-1","media_url":"https://files.test/moh.mp3"`, &call.Playback{Conference: "conf-1", Media: "moh.mp3"}},
	{call.TypeParticipantSpeakStarted, `"conference_id":"conf-1"`, &call.Speech{Conference: "conf-1"}},
	{call.TypeParticipantSpeakEnded, `"conference_id":"conf-1"`, &call.Speech{Conference: "conf-1"}},
	{call.TypeParticipantPlaybackStarted, `"conference_id":"conf-1","media_name":"moh"`, &call.Playback{Conference: "conf-1", Media: "moh"}},
	{call.TypeParticipantPlaybackEnded, `"conference_id":"conf-1","media_name":"moh"`, &call.Playback{Conference: "conf-1", Media: "moh"}},
}

// paymentSecrets is what a payment's events say of the payer.
const paymentSecrets = `"bank_account_number":"secret","bank_routing_number":"secret","expiration_date":"secret","payment_card_number":"secret",` +
	`"payment_card_postal_code":"secret","payment_card_type":"secret","payment_confirmation_code":"secret","security_code":"secret","token_id":"secret",`

// plainTypes are the documented types that state nothing beyond the facts.
var plainTypes = []string{call.TypeBridged, call.TypeHold, call.TypeUnhold, call.TypeSpeakStarted}

// The 55 voice events of the specification, and five newer ones: two of
// payments, two of conversations, Dialogflow's.
func TestEveryDocumentedTypeIsTold(t *testing.T) {
	types := make(map[string]bool)
	for _, row := range detailRows {
		types[row.eventType] = true
	}
	for _, eventType := range plainTypes {
		types[eventType] = true
		for _, row := range detailRows {
			if got := detailOf(t, body(eventType, ","+row.fields)); got != nil {
				t.Errorf("detail of %s: got %#v, want none", eventType, got)
			}
		}
	}
	if got, want := len(types), 60; got != want {
		t.Errorf("types: got %d, want %d", got, want)
	}
}

// detailOf decodes a body that is a call event, secrets included.
func detailOf(t *testing.T, body []byte) call.Detail {
	t.Helper()
	outcomeOf(t, body)
	event, err := telnyx.Decode(body, telnyx.Digits)
	if err != nil {
		t.Fatal(err)
	}
	return event.Detail
}

func TestDetailOfEveryType(t *testing.T) {
	for _, row := range detailRows {
		t.Run(row.eventType, func(t *testing.T) {
			got := detailOf(t, body(row.eventType, ","+row.fields))
			if diff := cmp.Diff(row.want, got); diff != "" {
				t.Errorf("detail (-want +got):\n%s", diff)
			}
			if text, _ := json.Marshal(got); strings.Contains(string(text), "secret") {
				t.Errorf("it tells what it must not: %s", text)
			}
		})
	}
}

func TestDigitsAreKeptOnlyForWhoAsks(t *testing.T) {
	for _, row := range []struct {
		eventType, fields string
		want              call.Detail
	}{
		{call.TypeDTMF, `,"digit":"7","digits":"77"`, &call.DTMF{}},
		{call.TypeDTMF, `,"digit":7`, &call.DTMF{}},
		{call.TypeGatherEnded, `,"digit":"7","digits":"7777","status":"valid"`, &call.Gather{DigitCount: 4, Status: "valid"}},
		{call.TypeGatherEnded, `,"digits":"` + strings.Repeat("7", 200) + `"`, &call.Gather{DigitCount: 200}},
	} {
		event, err := telnyx.Decode(body(row.eventType, row.fields))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(row.want, event.Detail); diff != "" {
			t.Errorf("%s with %s (-want +got):\n%s", row.eventType, row.fields, diff)
		}
	}
}

func TestEachTypeHasTheDetailThatItsRowSays(t *testing.T) {
	// A transcription that says nothing has no detail.
	const fields = `,"transcription_data":{"transcript":"yes","is_final":true}`
	for _, row := range append(call.EventTypes(), call.EventTypeOf("call.not.known")) {
		event, err := telnyx.Decode(body(row.Name, fields))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := reflect.TypeOf(event.Detail), reflect.TypeOf(row.Detail); got != want {
			t.Errorf("%s has a %v, its row says %v", row.Name, got, want)
		}
	}
}

// A field that is missing, null or of a wrong type is not stated, and does not
// disturb those beside it.
func TestDetailOfFieldsThatStateNothing(t *testing.T) {
	object, list := json.RawMessage(`{"x":[1]}`), json.RawMessage(`[{"x":1},null,7]`)
	for _, row := range detailRows {
		var fields map[string]any
		if err := json.Unmarshal([]byte("{"+row.fields+"}"), &fields); err != nil {
			t.Fatalf("%s: %v", row.eventType, err)
		}
		want := reflect.New(reflect.TypeOf(row.want).Elem()).Interface()
		if row.eventType == call.TypeTranscription {
			want = call.Detail(nil) // a piece that says nothing is none
		}
		for name, change := range map[string]func(value any) any{
			"missing":         func(any) any { return nil },
			"null":            func(any) any { return nil },
			"null inside":     func(value any) any { return leaves(value, nil) },
			"objects inside":  func(value any) any { return leaves(value, object) },
			"another form":    func(value any) any { return otherForm(value, object, list) },
			"text for others": func(value any) any { return otherText(value, object) },
		} {
			changed := map[string]any{"call_leg_id": "leg-1", "to": "+12025550199"}
			for field, value := range fields {
				switch {
				case name == "missing":
				case field == "result" && strings.HasPrefix(row.eventType, "call.ai_gather."), field == "partial_results":
					changed[field] = nil // of free form: any value states something
				case field == "results" && strings.HasSuffix(name, "inside"):
				default:
					changed[field] = change(value)
				}
			}
			payload, err := json.Marshal(changed)
			if err != nil {
				t.Fatal(err)
			}
			t.Run(row.eventType+" "+name, func(t *testing.T) {
				body := []byte(`{"data":{"event_type":"` + row.eventType + `","payload":` + string(payload) + `}}`)
				outcomeOf(t, body)
				got, err := telnyx.Decode(body, telnyx.Digits)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, any(got.Detail)); diff != "" {
					t.Errorf("detail of %s (-want +got):\n%s", payload, diff)
				}
				if got, want := got.Facts.To, "+12025550199"; got != want {
					t.Errorf("to: got %q, want %q", got, want)
				}
			})
		}
	}
}

// leaves puts another value in place of every text, number and truth.
func leaves(value, other any) any {
	switch v := value.(type) {
	case map[string]any:
		changed := make(map[string]any, len(v))
		for key := range v {
			changed[key] = leaves(v[key], other)
		}
		return changed
	case []any:
		changed := make([]any, len(v))
		for i := range v {
			changed[i] = leaves(v[i], other)
		}
		return changed
	}
	return other
}

func otherForm(value any, object, list json.RawMessage) any {
	if _, ok := value.([]any); ok {
		return object
	}
	return list
}

// otherText puts text where an object or a list belongs, and an object elsewhere.
func otherText(value any, object json.RawMessage) any {
	switch value.(type) {
	case map[string]any, []any:
		return "a text"
	}
	return object
}

func TestDetailsOfSeveralForms(t *testing.T) {
	tests := map[string]struct {
		eventType, fields string
		want              call.Detail
	}{
		"a validation as text":           {call.TypeInitiated, `"shaken_stir_validated":"true"`, &call.Initiated{Validated: new(true)}},
		"a validation that is no answer": {call.TypeInitiated, `"shaken_stir_validated":"perhaps"`, &call.Initiated{}},
		"a header without a name":        {call.TypeInitiated, `"custom_headers":[{"value":"x"},null,{"header_value":"y"}],"sip_headers":[]`, &call.Initiated{}},
		"a header of both forms":         {call.TypeInitiated, `"custom_headers":[{"name":"A","header_name":"B","header_value":"b"}]`, &call.Initiated{Headers: &call.Headers{Custom: []call.Header{{Name: "A"}}}}},
		"a screening with an attestation": {
			call.TypeInitiated, `"call_screening_result":{"action":"flag_calls","reputation":null,"shaken_stir_attestation":"A"}`,
			&call.Initiated{Screening: "flag_calls", Attestation: "A"},
		},
		"an attestation of its own comes first": {
			call.TypeInitiated, `"call_screening_result":{"shaken_stir_attestation":"A"},"shaken_stir_attestation":"B"`, &call.Initiated{Attestation: "B"},
		},
		"SIPREC's description of itself": {
			call.TypeInitiated, `"custom_headers":[{"name":"x-metadata-XML","value":"` + strings.Repeat("PD94", 1000) + `"},{"name":"A","value":"1"}]`,
			&call.Initiated{Headers: &call.Headers{Custom: []call.Header{{Name: "A", Value: "1"}}}},
		},
		"an error under the name that was seen": {call.TypeHangup, `"telnyx_error":{"code":"x","error_code":"D17","title":"t"}`, &call.Hangup{Fault: &call.Fault{Code: "D17", Title: "t"}}},
		"a connector's error that is text":      {call.TypePaymentDone, `"connector_error":"E7"`, &call.Payment{ConnectorError: "E7"}},
		"a connector's error in words":          {call.TypePaymentDone, `"connector_error":"card 4111 refused"`, &call.Payment{}},
		"times without a zone":                  {call.TypeHangup, `"end_time":"2026-03-01 12:00:00.5"`, &call.Hangup{EndTime: noon.Add(500 * time.Millisecond)}},
		"U+0000 in a name":                      {call.TypeInitiated, `"caller_id_name":"A\u0000B\\u0000"`, &call.Initiated{CallerName: "A\uFFFDB\\u0000"}},
		"U+0000 in a result":                    {call.TypeAIGatherEnded, `"result":{"a\u0000":"\u0000\\u0000"}`, &call.AIGather{Result: "{\"a\uFFFD\":\"\uFFFD\\\\u0000\"}"}},
		"an error without a title":              {call.TypeHangup, `"telnyx_error":{"code":"D61"}`, &call.Hangup{Fault: &call.Fault{Code: "D61"}}},
		"an error that says nothing":            {call.TypeHangup, `"telnyx_error":{}`, &call.Hangup{}},
		"a digit as a number":                   {call.TypeDTMF, `"digit":5`, &call.DTMF{Digit: "5"}},
		"an interim piece":                      {call.TypeTranscription, `"transcription_data":{"is_final":false,"transcript":"Good"}`, nil},
		"a piece that is not called final":      {call.TypeTranscription, `"transcription_data":{"transcript":"Good"}`, &call.Utterance{Text: "Good"}},
		"a transcription without data":          {call.TypeTranscription, `"transcript":"Good"`, nil},
		"a confidence beyond numbers":           {call.TypeTranscription, `"transcription_data":{"confidence":1e999,"transcript":"Good"}`, &call.Utterance{Text: "Good"}},
		"a confidence in words":                 {call.TypeTranscription, `"transcription_data":{"confidence":"Infinity","transcript":"Good"}`, &call.Utterance{Text: "Good"}},
		"a small score":                         {call.TypeDeepfakeResult, `"score":1.2345678901234567e-05`, &call.Deepfake{Score: new(1.2345678901234567e-05)}},
		"silence has no score":                  {call.TypeDeepfakeResult, `"result":"silence_timeout","score":null,"consistency":null`, &call.Deepfake{Result: "silence_timeout"}},
		"a name that is a URL":                  {call.TypePlaybackEnded, `"media_name":"https://a:b@files.test/x/y.wav?z"`, &call.Playback{Media: "y.wav"}},
		"a URL that ends in no file":            {call.TypePlaybackEnded, `"media_url":"https://files.test/get/0123456789abcdef"`, &call.Playback{}},
		"a URL that ends in a signed token":     {call.TypePlaybackEnded, `"media_url":"https://files.test/eyJh.eyJz.c2lnbmF0dXJl"`, &call.Playback{}},
		"a URL without a path":                  {call.TypePlaybackEnded, `"media_url":"https://files.mp3"`, &call.Playback{}},
		"a URL with escapes":                    {call.TypePlaybackEnded, `"media_url":"https://files.test/a%ffb%20c.mp3"`, &call.Playback{Media: "a%ffb%20c.mp3"}},
		"no URL at all":                         {call.TypePlaybackEnded, `"media_url":"%zz.mp3"`, &call.Playback{}},
		"a reason with a password":              {call.TypeStreamingFailed, `"failure_reason":"refused: wss://u:p/w@media.test, twice"`, &call.Streaming{Reason: "refused: wss://… twice"}},
		"a reason with a bare host":             {call.TypeStreamingFailed, `"failure_reason":"wss://media.test:443 is away"`, &call.Streaming{Reason: "wss://media.test:443 is away"}},
		"a payment that was charged":            {call.TypePaymentDone, `"charge_id":"ch_1","pay_error_code":null,"result":"success"`, &call.Payment{Status: "success", ChargeID: "ch_1"}},
		"a payment's error in words":            {call.TypePaymentDone, `"pay_error_code":"card 4111 refused","payment_error":"declined"`, &call.Payment{ErrorCode: "declined"}},
		"a masked number for a charge":          {call.TypePaymentDone, `"charge_id":"xxxx-****-1111"`, &call.Payment{}},
		"a result that is text":                 {call.TypeAIGatherEnded, `"result":"a <b>\u2028"`, &call.AIGather{Result: `"a <b>\u2028"`}},
		"a result that is empty":                {call.TypeAIGatherEnded, `"result":{}`, &call.AIGather{Result: `{}`}},
		"results of invalid UTF-8":              {call.TypeAIGatherEnded, "\"result\":{\"a\xff\":\"\xff\"}", &call.AIGather{Result: "{\"a\uFFFD\":\"\uFFFD\"}"}},
		"a history without contents":            {call.TypeAIGatherEnded, `"message_history":[null,{"role":"","content":null},{"role":"user"}]`, &call.AIGather{Messages: []call.Message{{Role: "user"}}, MessagesTotal: 1}},
		"an insight without a result":           {call.TypeInsights, `"results":[{"insight_id":"in-1","result":null},{"result":null}]`, &call.Insights{Results: []call.Insight{{ID: "in-1"}}}},
		"a duration with a fraction":            {call.TypeConversationEnded, `"duration_sec":61.5`, &call.Conversation{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, detailOf(t, body(tt.eventType, ","+tt.fields))); diff != "" {
				t.Errorf("detail (-want +got):\n%s", diff)
			}
		})
	}
}

// The rare types are read from wherever the event stands.
func TestDetailOfRareEventWithoutDataWrapper(t *testing.T) {
	got := detailOf(t, []byte(`{"event_type":"siprec.failed","id":"ev-1","payload":{"call_leg_id":"leg-1","failure_cause":"no_answer"}}`))
	if diff := cmp.Diff(call.Detail(&call.SIPREC{Cause: "no_answer"}), got); diff != "" {
		t.Errorf("detail (-want +got):\n%s", diff)
	}
}
