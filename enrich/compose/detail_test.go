package compose_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// idOf is the id that happened gives.
func idOf(typ string, at time.Duration) string { return typ + "@" + at.String() }

func TestWhoIsCalling(t *testing.T) {
	got := composed(
		happened(call.TypeInitiated, 0, &call.Initiated{
			Attestation: "B", Validated: new(false), Screening: "spam_likely", OfferedCodecs: "PCMU,G729",
		}),
		happened(call.TypeInitiated, 1, &call.Initiated{Attestation: "A", Screening: "other", OfferedCodecs: "PCMA"}),
		happened(call.TypeAnswered, 2, &call.Answered{Codec: "PCMU", SamplingRate: new(int64(8000))}),
		happened(call.TypeAnswered, 3, &call.Answered{Codec: "OPUS", SamplingRate: new(int64(48000))}),
	)
	check(t, "stir_shaken", got.STIRShaken, &summary.STIRShaken{Attestation: "B", Validated: new(false)})
	check(t, "screening", got.Screening, "spam_likely")
	check(t, "codec", got.Codec, "PCMU")
	check(t, "sampling_rate", got.SamplingRate, new(int64(8000)))
	check(t, "offered_codecs", got.OfferedCodecs, "PCMU,G729")
	said := func(at int, f call.Facts) *session.Event {
		return happened(call.TypeSpeakStarted, time.Duration(at), nil, stating(session.Facts{Facts: f}))
	}
	got = composed(said(1, call.Facts{}), said(2, call.Facts{CallingParty: "sip", FromSIP: "a@b", ToSIP: "c@d"}), said(3, call.Facts{CallingParty: "pstn", FromSIP: "e"}))
	check(t, "of any event", []string{got.CallingPartyType, got.FromSIPURI, got.ToSIPURI}, []string{"sip", "a@b", "c@d"})
	check(t, "nothing said of the caller", composed(happened(call.TypeInitiated, 0, &call.Initiated{})).STIRShaken, nil)
}

func TestHeadersStandOnceInTheOrderInWhichTheyWereStated(t *testing.T) {
	of := func(names ...string) *call.Headers {
		h := &call.Headers{SIP: []call.Header{{Name: "User-to-User", Value: "00ab"}}}
		for _, n := range names {
			h.Custom = append(h.Custom, call.Header{Name: n, Value: "v" + n})
		}
		return h
	}
	got := composed(
		happened(call.TypeInitiated, 0, &call.Initiated{Headers: of("X-B", "X-A")}),
		happened(call.TypeAnswered, 1, &call.Answered{Headers: of("X-C", "X-B")}),
		happened(call.TypeHangup, 2, &call.Hangup{Headers: of("X-A")}),
	)
	check(t, "headers", got.Headers, &summary.Headers{
		Custom: []summary.Header{{Name: "X-B", Value: "vX-B"}, {Name: "X-A", Value: "vX-A"}, {Name: "X-C", Value: "vX-C"}},
		SIP:    []summary.Header{{Name: "User-to-User", Value: "00ab"}},
	})
	check(t, "omitted", got.Omitted, nil)
	var many []string
	for i := range 40 {
		many = append(many, "X-"+strconv.Itoa(i))
	}
	got = composed(happened(call.TypeAnswered, 1, &call.Answered{Headers: of(many...)}))
	check(t, "the first", len(got.Headers.Custom), 32)
	check(t, "omitted", got.Omitted, map[string]int{"headers.custom": 8})
}

func TestDigitsThatWereNotKeptAreCounted(t *testing.T) {
	got := composed(
		happened(call.TypeDTMF, 1*time.Second, &call.DTMF{}),
		happened(call.TypeDTMF, 2*time.Second, &call.DTMF{}),
		happened(call.TypeGatherEnded, 3*time.Second, &call.Gather{DigitCount: 4, Status: "valid"}),
		happened(call.TypeGatherEnded, 4*time.Second, &call.Gather{Status: "timeout"}),
		happened(call.TypeAIGatherEnded, 5*time.Second, &call.AIGather{Status: "valid", Result: `{"pin":"7777"}`}),
	)
	check(t, "dtmf", got.DTMF, &summary.DTMF{Count: 2})
	check(t, "gathers", got.Gathers, []summary.Gather{
		{ID: idOf(call.TypeGatherEnded, 3*time.Second), At: known(3 * time.Second), Status: "valid", DigitCount: 4},
		{ID: idOf(call.TypeGatherEnded, 4*time.Second), At: known(4 * time.Second), Status: "timeout"},
	})
	content, err := compose.LegContent(got)
	if err != nil || strings.Contains(string(content), "7777") {
		t.Errorf("digits are shown (%v): %s", err, content)
	}
	check(t, "no keys", composed(hungUp("", "", "")).DTMF, nil)
}

func TestDigitsThatWereKeptAreShown(t *testing.T) {
	digit := func(at time.Duration, d string) summary.Digit {
		return summary.Digit{ID: idOf(call.TypeDTMF, at), At: known(at), Digit: d}
	}
	got := composed(
		happened(call.TypeDTMF, 2*time.Second, &call.DTMF{Digit: "#"}),
		happened(call.TypeDTMF, 1*time.Second, &call.DTMF{Digit: "7"}),
		happened(call.TypeDTMF, 3*time.Second, &call.DTMF{}),
		happened(call.TypeGatherEnded, 4*time.Second, &call.Gather{DigitCount: 1, Digits: "7", Status: "valid"}),
	)
	check(t, "dtmf", got.DTMF, &summary.DTMF{Count: 3, Digits: []summary.Digit{digit(1*time.Second, "7"), digit(2*time.Second, "#")}})
	check(t, "gathers", got.Gathers, []summary.Gather{
		{ID: idOf(call.TypeGatherEnded, 4*time.Second), At: known(4 * time.Second), Status: "valid", DigitCount: 1, Digits: "7"},
	})

	var many []*session.Event
	for i := range 300 {
		many = append(many, happened(call.TypeDTMF, time.Duration(i)*time.Second, &call.DTMF{Digit: strconv.Itoa(i % 10)}))
	}
	got = composed(many...)
	check(t, "the count", got.DTMF.Count, 300)
	check(t, "the digits", len(got.DTMF.Digits), 256)
	check(t, "the end of the first half", got.DTMF.Digits[127], digit(127*time.Second, "7"))
	check(t, "the beginning of the last", got.DTMF.Digits[128], digit(172*time.Second, "2"))
	check(t, "omitted", got.Omitted, map[string]int{"dtmf.digits": 44})
}

func TestWhatWasPlayedAndSpoken(t *testing.T) {
	got := composed(
		happened(call.TypePlaybackStarted, 1*time.Second, &call.Playback{Media: "menu.mp3"}),
		happened(call.TypePlaybackEnded, 2*time.Second, &call.Playback{Media: "menu.mp3", Status: "completed", StatusDetail: "why"}),
		happened(call.TypeParticipantPlaybackEnded, 3*time.Second, &call.Playback{Media: "moh", Conference: "c1"}),
		happened(call.TypeSpeakStarted, 4*time.Second, nil),
		happened(call.TypeSpeakEnded, 5*time.Second, &call.Speech{Status: "call_hangup"}),
		happened(call.TypeParticipantSpeakStarted, 6*time.Second, &call.Speech{Conference: "c1"}),
		happened(call.TypeParticipantSpeakEnded, 7*time.Second, &call.Speech{Conference: "c1"}),
	)
	check(t, "playbacks", got.Playbacks, []summary.Playback{
		{ID: idOf(call.TypePlaybackEnded, 2*time.Second), At: known(2 * time.Second), Media: "menu.mp3", Status: "completed", StatusDetail: "why"},
		{ID: idOf(call.TypeParticipantPlaybackEnded, 3*time.Second), At: known(3 * time.Second), Media: "moh", ConferenceID: "c1"},
	})
	check(t, "speaks", got.Speaks, []summary.Speak{
		{ID: idOf(call.TypeSpeakEnded, 5*time.Second), At: known(5 * time.Second), Status: "call_hangup"},
		{ID: idOf(call.TypeParticipantSpeakEnded, 7*time.Second), At: known(7 * time.Second), ConferenceID: "c1"},
	})
	check(t, "conferences", got.Conferences, nil)
}

func TestListsKeepTheirEnds(t *testing.T) {
	var events []*session.Event
	for i := range 130 {
		events = append(events, happened(call.TypeSpeakEnded, time.Duration(i)*time.Second, &call.Speech{Status: "completed"}))
	}
	got := composed(events...)
	check(t, "kept", len(got.Speaks), 100)
	check(t, "the first of the second half", got.Speaks[50].At, known(80*time.Second))
	check(t, "omitted", got.Omitted, map[string]int{"speaks": 30})
}

func TestTranscriptions(t *testing.T) {
	saved := func(at time.Duration, d call.Transcription) *session.Event {
		return happened(call.TypeRecordingTranscription, at, &d)
	}
	got := composed(
		saved(1*time.Second, call.Transcription{ID: "t1", Recording: "r1", Status: "completed", Text: "old"}),
		saved(2*time.Second, call.Transcription{ID: "t1", Recording: "r1", Status: "completed", Text: "new", TextOmitted: 9}),
		saved(3*time.Second, call.Transcription{Text: "nameless"}),
	)
	check(t, "transcriptions", got.Transcriptions, []summary.Transcription{
		{ID: "t1", RecordingID: "r1", At: known(2 * time.Second), Status: "completed", Text: "new", TextOmitted: 9},
		{ID: idOf(call.TypeRecordingTranscription, 3*time.Second), At: known(3 * time.Second), Text: "nameless"},
	})
	check(t, "expected", got.Completeness.Expected, []summary.Part{"initiated", "hangup", "status", "recording"})
}

func TestALiveTranscriptKeepsItsBeginning(t *testing.T) {
	said := func(at int, text string, omitted int) *session.Event {
		return happened(call.TypeTranscription, time.Duration(at)*time.Second, &call.Utterance{
			Track: "inbound", Text: text, TextOmitted: omitted, Confidence: new(0.5),
		})
	}
	got := composed(said(1, "Hello.", 0), said(2, "Bye.", 3), happened(call.TypeTranscription, 3, nil))
	check(t, "transcript", got.Transcript, &summary.Transcript{TextOmitted: 3, Pieces: []summary.Piece{
		{ID: idOf(call.TypeTranscription, time.Second), At: known(time.Second), Track: "inbound", Text: "Hello.", Confidence: new(summary.Number(0.5))},
		{ID: idOf(call.TypeTranscription, 2*time.Second), At: known(2 * time.Second), Track: "inbound", Text: "Bye.", Confidence: new(summary.Number(0.5))},
	}})
	var long []*session.Event
	for i := range 20 {
		long = append(long, said(i, strings.Repeat("a", 4000), 0))
	}
	got = composed(long...)
	check(t, "pieces in 64 KiB", len(got.Transcript.Pieces), 16)
	check(t, "bytes left out", got.Transcript.TextOmitted, 16000)
	check(t, "omitted", got.Omitted, map[string]int{"transcript.pieces": 4})
	var many []*session.Event
	for i := range 600 {
		many = append(many, said(i, "a", 0))
	}
	check(t, "pieces by number", len(composed(many...).Transcript.Pieces), 500)
}

func TestStreams(t *testing.T) {
	entry := func(typ string, at time.Duration, s summary.Stream) summary.Stream {
		s.ID, s.At = idOf(typ, at), known(at)
		return s
	}
	got := composed(
		happened(call.TypeStreamingStarted, 1*time.Second, &call.Streaming{}),
		happened(call.TypeStreamingFailed, 2*time.Second, &call.Streaming{ID: "s", Type: "websocket", Track: "both_tracks", Reason: "refused"}),
		happened(call.TypeForkStopped, 3*time.Second, &call.Fork{Type: "decrypted"}),
		happened(call.TypeSIPRECStopped, 4*time.Second, &call.SIPREC{Cause: "normal_clearing"}),
	)
	check(t, "streams", got.Streams, []summary.Stream{
		entry(call.TypeStreamingStarted, 1*time.Second, summary.Stream{Kind: "streaming", State: "started"}),
		entry(call.TypeStreamingFailed, 2*time.Second, summary.Stream{
			Kind: "streaming", State: "failed", StreamID: "s", Type: "websocket", Track: "both_tracks", Reason: "refused",
		}),
		entry(call.TypeForkStopped, 3*time.Second, summary.Stream{Kind: "fork", State: "stopped", Type: "decrypted"}),
		entry(call.TypeSIPRECStopped, 4*time.Second, summary.Stream{Kind: "siprec", State: "stopped", Reason: "normal_clearing"}),
	})
}

func TestStaysInQueues(t *testing.T) {
	in := func(at int, name string) *session.Event {
		return happened(call.TypeEnqueued, time.Duration(at)*time.Second, &call.Queue{Name: name, Position: new(int64(4)), AverageWaitSeconds: new(int64(9))})
	}
	out := func(at int, name string) *session.Event {
		return happened(call.TypeDequeued, time.Duration(at)*time.Second, &call.Queue{Name: name, Position: new(int64(1)), Reason: "bridged", WaitSeconds: new(int64(2))})
	}
	visit := func(id *session.Event, name string, entered, left int) summary.QueueVisit {
		v := summary.QueueVisit{ID: id.ID, Name: name}
		if entered > 0 {
			v.EnteredAt, v.EnteredPosition, v.AverageWaitSeconds = known(time.Duration(entered)*time.Second), new(int64(4)), secs(9)
		}
		if left > 0 {
			v.LeftAt, v.LeftPosition, v.Reason, v.WaitSeconds = known(time.Duration(left)*time.Second), new(int64(1)), "bridged", secs(2)
		}
		return v
	}
	for name, c := range map[string]struct {
		events []*session.Event
		want   []summary.QueueVisit
	}{
		"in and out":             {[]*session.Event{in(1, "a"), out(3, "a")}, []summary.QueueVisit{visit(in(1, "a"), "a", 1, 3)}},
		"still in":               {[]*session.Event{in(1, "a")}, []summary.QueueVisit{visit(in(1, "a"), "a", 1, 0)}},
		"the way in is not seen": {[]*session.Event{out(3, "a")}, []summary.QueueVisit{visit(out(3, "a"), "a", 0, 3)}},
		"twice in one queue": {
			[]*session.Event{in(1, "a"), out(3, "a"), in(5, "a"), out(7, "a")},
			[]summary.QueueVisit{visit(in(1, "a"), "a", 1, 3), visit(in(5, "a"), "a", 5, 7)},
		},
		"a way out is not seen": {
			[]*session.Event{in(1, "a"), in(5, "b"), out(7, "b")},
			[]summary.QueueVisit{visit(in(1, "a"), "a", 1, 0), visit(in(5, "b"), "b", 5, 7)},
		},
		"out of another queue": {
			[]*session.Event{in(1, "a"), out(7, "b")},
			[]summary.QueueVisit{visit(in(1, "a"), "a", 1, 0), visit(out(7, "b"), "b", 0, 7)},
		},
	} {
		t.Run(name, func(t *testing.T) { check(t, "queues", composed(c.events...).Queues, c.want) })
	}
}

func TestConferences(t *testing.T) {
	got := composed(
		happened(call.TypeConferenceFloor, 1*time.Second, &call.Conference{ID: "c1"}),
		happened(call.TypeConferenceCreated, 2*time.Second, &call.Conference{ID: "c1"}),
		happened(call.TypeConferenceJoined, 3*time.Second, &call.Conference{ID: "c1"}),
		happened(call.TypeConferenceLeft, 5*time.Second, &call.Conference{ID: "c1"}),
		happened(call.TypeConferenceJoined, 7*time.Second, &call.Conference{ID: "c1"}),
		happened(call.TypeConferenceLeft, 9*time.Second, &call.Conference{ID: "c1"}),
		happened(call.TypeConferenceEnded, 10*time.Second, &call.Conference{ID: "c1", Reason: "all_left"}),
		happened(call.TypeConferenceJoined, 11*time.Second, &call.Conference{ID: "c2"}),
		happened(call.TypeConferenceRecordingSaved, 12*time.Second, &call.Recording{ID: "r2", Conference: "c1", StartedAt: off(4 * time.Second)}),
		happened(call.TypeConferenceRecordingSaved, 13*time.Second, &call.Recording{ID: "r1", Conference: "c1", StartedAt: off(3 * time.Second)}),
		happened(call.TypeRecordingSaved, 14*time.Second, &call.Recording{ID: "r3", StartedAt: off(3 * time.Second)}),
		happened(call.TypeConferenceJoined, 15*time.Second, &call.Conference{}),
	)
	check(t, "conferences", got.Conferences, []summary.Conference{
		{
			ID: "c1", CreatedAt: known(2 * time.Second), JoinedAt: known(3 * time.Second), LeftAt: known(9 * time.Second),
			EndedAt: known(10 * time.Second), Reason: "all_left",
			Recordings: []summary.Recording{{ID: "r1", StartedAt: known(3 * time.Second)}, {ID: "r2", StartedAt: known(4 * time.Second)}},
		},
		{ID: "c2", JoinedAt: known(11 * time.Second)},
	})
	check(t, "the leg's own recordings", got.Recordings, []summary.Recording{{ID: "r3", StartedAt: known(3 * time.Second)}})
}

func TestRefersPaymentsAndErrors(t *testing.T) {
	got := composed(
		happened(call.TypeReferStarted, 1*time.Second, &call.Refer{SIPCode: "100"}),
		happened(call.TypeReferFailed, 2*time.Second, &call.Refer{SIPCode: "603"}),
		happened(call.TypePaymentProgress, 3*time.Second, &call.Payment{Step: "payment-card-number", Status: "processing"}),
		happened(call.TypePaymentDone, 4*time.Second, &call.Payment{Status: "success", ChargeID: "ch_1", ConfirmationCode: "OK-7", ConnectorError: "E5", ErrorCode: "402"}),
		happened(call.TypeRecordingError, 5*time.Second, &call.RecordingError{Reason: "Internal server error"}),
		happened(call.TypeHangup, 6*time.Second, &call.Hangup{Fault: &call.Fault{Code: "90018", Title: "Call has already ended"}}),
	)
	check(t, "refers", got.Refers, []summary.Refer{
		{ID: idOf(call.TypeReferStarted, time.Second), At: known(time.Second), State: "started", SIPCode: "100"},
		{ID: idOf(call.TypeReferFailed, 2*time.Second), At: known(2 * time.Second), State: "failed", SIPCode: "603"},
	})
	check(t, "payments", got.Payments, []summary.Payment{
		{ID: idOf(call.TypePaymentProgress, 3*time.Second), At: known(3 * time.Second), Step: "payment-card-number", Status: "processing"},
		{ID: idOf(call.TypePaymentDone, 4*time.Second), At: known(4 * time.Second), Status: "success", ChargeID: "ch_1", ConfirmationCode: "OK-7", ConnectorError: "E5", ErrorCode: "402"},
	})
	check(t, "recording_errors", got.RecordingErrors, []summary.RecordingError{
		{ID: idOf(call.TypeRecordingError, 5*time.Second), At: known(5 * time.Second), Reason: "Internal server error"},
	})
	check(t, "fault", got.Hangup.Fault, &summary.Fault{Code: "90018", Title: "Call has already ended"})
}

func TestDeepfakeDetection(t *testing.T) {
	got := composed(
		happened(call.TypeDeepfakeResult, 1*time.Second, &call.Deepfake{Result: "real", Score: new(0.1)}),
		happened(call.TypeDeepfakeResult, 2*time.Second, &call.Deepfake{Result: "fake", Score: new(0.9), Consistency: new(94.5)}),
		happened(call.TypeDeepfakeError, 3*time.Second, &call.Deepfake{Error: "rtp_timeout"}),
	)
	check(t, "the last of either", got.Deepfake, &summary.Deepfake{
		Result: "fake", Score: new(summary.Number(0.9)), Consistency: new(summary.Number(94.5)), At: known(2 * time.Second), Error: "rtp_timeout", ErrorAt: known(3 * time.Second),
	})
}

func TestConversations(t *testing.T) {
	got := composed(
		happened(call.TypeConversationNew, 1*time.Second, &call.Conversation{ID: "v1"}),
		happened(call.TypeConversationEnded, 9*time.Second, &call.Conversation{
			ID: "v1", Assistant: "a1", Reason: "agent_hangup", DurationSeconds: new(int64(8)),
			Models: &call.Models{LLM: "llm", STT: "stt", TTS: "tts", TTSProvider: "maker", TTSVoice: "voice"},
		}),
		happened(call.TypeConversationFailed, 10*time.Second, &call.Conversation{Assistant: "a2", Reason: "invalid_request"}),
	)
	check(t, "conversations", got.AI.Conversations, []summary.Conversation{
		{
			ID: "v1", AssistantID: "a1", StartedAt: known(time.Second), EndedAt: known(9 * time.Second), DurationSeconds: secs(8), Reason: "agent_hangup",
			LLMModel: "llm", STTModel: "stt", TTSModel: "tts", TTSProvider: "maker", TTSVoice: "voice",
		},
		{ID: idOf(call.TypeConversationFailed, 10*time.Second), AssistantID: "a2", FailedAt: known(10 * time.Second), Reason: "invalid_request"},
	})
}

func TestInsights(t *testing.T) {
	id := idOf(call.TypeInsights, time.Second)
	got := composed(happened(call.TypeInsights, time.Second, &call.Insights{Group: "g", Results: []call.Insight{
		{ID: "i1", Result: `"She \"asked\"."`}, {ID: "i2", Result: `{"mood":null}`}, {ID: "i3"},
	}}))
	check(t, "insights", got.AI.Insights, []summary.Insight{
		{ID: id, At: known(time.Second), GroupID: "g", InsightID: "i1", Text: `She "asked".`},
		{ID: id, At: known(time.Second), GroupID: "g", InsightID: "i2", JSON: `{"mood":null}`},
		{ID: id, At: known(time.Second), GroupID: "g", InsightID: "i3"},
	})
}

func TestAGatherByAnAssistant(t *testing.T) {
	said := func(from, to int) (list []call.Message) {
		for i := from; i < to; i++ {
			list = append(list, call.Message{Role: "user", Content: strconv.Itoa(i)})
		}
		return list
	}
	told := func(from, to int) (list []summary.Message) {
		for _, m := range said(from, to) {
			list = append(list, summary.Message{Role: m.Role, Content: m.Content})
		}
		return list
	}
	update := func(at, from, to int) *session.Event {
		return happened(call.TypeAIGatherHistory, time.Duration(at)*time.Second, &call.AIGather{Messages: said(from, to), MessagesTotal: to})
	}
	end := func(at, from, to int) *session.Event {
		return happened(call.TypeAIGatherEnded, time.Duration(at)*time.Second, &call.AIGather{Status: "valid", Messages: said(from, to), MessagesTotal: to})
	}
	gather := func(e *session.Event, at int, status string, count int, messages []summary.Message) summary.AIGather {
		return summary.AIGather{ID: e.ID, At: known(time.Duration(at) * time.Second), Status: status, MessageCount: count, Messages: messages}
	}
	for name, c := range map[string]struct {
		events []*session.Event
		want   []summary.AIGather
	}{
		"the end tells all":           {[]*session.Event{update(1, 0, 1), end(5, 0, 4)}, []summary.AIGather{gather(end(5, 0, 4), 5, "valid", 4, told(0, 4))}},
		"the end tells the last":      {[]*session.Event{update(1, 0, 2), update(2, 1, 3), end(5, 2, 4)}, []summary.AIGather{gather(end(5, 2, 4), 5, "valid", 4, told(0, 4))}},
		"no end is seen":              {[]*session.Event{update(1, 0, 2), update(2, 1, 3)}, []summary.AIGather{gather(update(1, 0, 2), 2, "", 3, told(0, 3))}},
		"a piece between is not seen": {[]*session.Event{update(1, 0, 2), update(2, 4, 6)}, []summary.AIGather{gather(update(1, 0, 2), 2, "", 6, told(4, 6))}},
		"an older state comes later":  {[]*session.Event{update(1, 0, 4), update(2, 0, 2)}, []summary.AIGather{gather(update(1, 0, 4), 2, "", 4, told(0, 4))}},
		"two":                         {[]*session.Event{end(1, 0, 2), update(2, 0, 1)}, []summary.AIGather{gather(end(1, 0, 2), 1, "valid", 2, told(0, 2)), gather(update(2, 0, 1), 2, "", 1, told(0, 1))}},
		"a long one keeps its end":    {[]*session.Event{update(1, 0, 50), update(2, 50, 100)}, []summary.AIGather{gather(update(1, 0, 50), 2, "", 100, told(36, 100))}},
	} {
		t.Run(name, func(t *testing.T) { check(t, "gathers", composed(c.events...).AI.Gathers, c.want) })
	}
}

func TestClientStateAsText(t *testing.T) {
	for name, c := range map[string]struct{ state, want string }{
		"none":            {"", ""},
		"JSON":            {"eyJ0aWNrZXQiOjQyfQ==", `{"ticket":42}`},
		"without padding": {"eyJ0aWNrZXQiOjQyfQ", `{"ticket":42}`},
		"lines":           {"YQpiCWM=", "a\nb\tc"},
		"binary":          {"AAEC/w==", ""},
		"a control mark":  {"YRti", ""},
		"no base64":       {"not base64", ""},
		"long":            {strings.Repeat("YWFh", 2000), ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := composed(happened(call.TypeAnswered, 1, nil, stating(session.Facts{Facts: call.Facts{ClientState: c.state}})))
			check(t, "client_state", got.ClientState, c.state)
			check(t, "client_state_text", got.ClientStateText, c.want)
		})
	}
}

func TestNotesAndCompleteness(t *testing.T) {
	initiated := happened(call.TypeInitiated, 0, &call.Initiated{Direction: "incoming"})
	answered := happened(call.TypeAnswered, time.Second, nil)
	hangup := hungUp("normal_clearing", "caller", "200")
	none := hungUp("timeout", "", "")
	confirmed := answer(1, status.Answered, func(a *status.Answer) { a.IsAlive, a.EndTime = new(false), off(99*time.Second) })
	type parts = []summary.Part
	type notes = []summary.Note
	for name, c := range map[string]struct {
		view               session.LegView
		notes              notes
		received, expected parts
	}{
		"all is well": {
			session.LegView{Events: []*session.Event{initiated, answered, hangup}},
			nil,
			parts{"initiated", "answered", "hangup"},
			parts{"status"},
		},
		"never answered": {
			session.LegView{Final: true, Events: []*session.Event{initiated, none}}, nil, parts{"initiated", "hangup"}, nil,
		},
		"nothing but a hangup": {
			session.LegView{Final: true, Events: []*session.Event{none}}, notes{"initiated_missing"}, parts{"hangup"}, parts{"initiated"},
		},
		"no hangup": {
			session.LegView{Final: true, Ending: session.Gone, Events: []*session.Event{initiated}},
			notes{"hangup_missing"},
			parts{"initiated"},
			parts{"hangup"},
		},
		"answered by its hangup": {
			session.LegView{Final: true, Events: []*session.Event{initiated, hangup}},
			notes{"answered_missing"},
			parts{"initiated", "hangup"},
			parts{"answered"},
		},
		"answered by its bridge": {
			session.LegView{Final: true, Events: []*session.Event{initiated, happened(call.TypeBridged, 1, nil), none}},
			notes{"answered_missing"},
			parts{"initiated", "hangup"},
			parts{"answered"},
		},
		"an answer without a time": {
			session.LegView{Final: true, Events: []*session.Event{
				initiated, happened(call.TypeAnswered, 0, nil, func(e *session.Event) { e.OccurredAt = time.Time{} }), hangup,
			}}, nil, parts{"initiated", "answered", "hangup"}, nil,
		},
		"a status that differs": {
			session.LegView{Final: true, Events: []*session.Event{initiated, none}, Confirmed: confirmed, Answers: []*session.Received{confirmed}},
			notes{"discrepancy"},
			parts{"initiated", "hangup", "status"},
			nil,
		},
		"it ended before it began": {
			session.LegView{Final: true, Events: []*session.Event{
				happened(call.TypeInitiated, 0, &call.Initiated{Direction: "incoming"}, stating(session.Facts{Facts: call.Facts{StartTime: off(time.Hour)}})), none,
			}}, notes{"negative_duration"}, parts{"initiated", "hangup"}, nil,
		},
		"it occurred after it was received": {
			session.LegView{Final: true, Events: []*session.Event{
				happened(call.TypeInitiated, 0, &call.Initiated{}, func(e *session.Event) { e.ReceivedAt = off(-61 * time.Second) }), none,
			}}, notes{"clock_skew"}, parts{"initiated", "hangup"}, nil,
		},
		"within a minute": {
			session.LegView{Final: true, Events: []*session.Event{
				happened(call.TypeInitiated, 0, &call.Initiated{}, func(e *session.Event) { e.ReceivedAt = off(-time.Minute) }), none,
			}}, nil, parts{"initiated", "hangup"}, nil,
		},
		"a rating of nothing": {
			session.LegView{Final: true, Events: []*session.Event{initiated, happened(call.TypeHangup, 30*time.Second, &call.Hangup{
				Cause: "timeout", Quality: &call.Quality{Inbound: &call.Stream{MOS: new(4.5), Packets: new(int64(0))}},
			})}}, notes{"mos_without_packets"}, parts{"initiated", "hangup"}, nil,
		},
		"something was cut": {
			session.LegView{Final: true, Events: []*session.Event{initiated, happened(call.TypeRecordingSaved, 1, &call.Recording{Truncation: call.Truncation{Truncated: true}}), none}},
			notes{"details_cut"},
			parts{"initiated", "hangup", "recording"},
			nil,
		},
		"cost and recording": {
			session.LegView{Final: true, Events: []*session.Event{
				initiated, none, happened(call.TypeCost, 40*time.Second, &call.Cost{Status: "error"}),
				happened(call.TypeRecordingSaved, 40*time.Second, &call.Recording{ID: "r"}),
				happened(call.TypeRecordingTranscription, 41*time.Second, &call.Transcription{ID: "t", Recording: "r"}),
			}}, nil, parts{"initiated", "hangup", "recording", "cost"}, nil,
		},
		"a transcription of a recording that is not there": {
			session.LegView{Final: true, Events: []*session.Event{
				initiated, none, happened(call.TypeRecordingTranscription, 41*time.Second, &call.Transcription{ID: "t", Recording: "r"}),
			}}, nil, parts{"initiated", "hangup"}, parts{"recording"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c.view.Control = "c"
			got := compose.Leg("s", &c.view)
			check(t, "notes", got.Notes, c.notes)
			check(t, "received", got.Completeness.Received, c.received)
			check(t, "expected", got.Completeness.Expected, c.expected)
		})
	}
}
