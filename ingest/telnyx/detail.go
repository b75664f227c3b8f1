package telnyx

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"github.com/legato-calls/legato/internal/call"
)

// ownDetail is how the detail of a type of event is read.
type ownDetail struct {
	// read returns the detail, and whether fields that were read for it alone state something that could not be read.
	read func(p *payload, body []byte) (detail call.Detail, unread bool)
	// fields is the struct that it is read into. Nil: such events have none.
	fields reflect.Type
}

// details reads what only events of a type state. Of the types that are not here that is nothing.
var details = map[string]ownDetail{
	call.TypeInitiated:                  common((*payload).initiated),
	call.TypeAnswered:                   common((*payload).answered),
	call.TypeEnqueued:                   common((*payload).enqueued),
	call.TypeDequeued:                   common((*payload).dequeued),
	call.TypeHangup:                     common((*payload).hangup),
	call.TypeCost:                       common((*payload).cost),
	call.TypeReferStarted:               rare((*refer).noun),
	call.TypeReferCompleted:             rare((*refer).noun),
	call.TypeReferFailed:                rare((*refer).noun),
	call.TypeMachineDetection:           common((*payload).machine),
	call.TypeMachineGreeting:            common((*payload).machine),
	call.TypeMachinePremium:             common((*payload).machine),
	call.TypeMachinePremiumGreet:        common((*payload).machine),
	call.TypeMachineScreening:           common((*payload).machine),
	call.TypeDeepfakeResult:             rare((*deepfake).noun),
	call.TypeDeepfakeError:              rare((*deepfake).noun),
	call.TypeSpeakEnded:                 common((*payload).speech),
	call.TypePlaybackStarted:            common((*payload).playback),
	call.TypePlaybackEnded:              common((*payload).playback),
	call.TypeDTMF:                       common((*payload).dtmf),
	call.TypeGatherEnded:                common((*payload).gather),
	call.TypePaymentProgress:            rare((*payment).progress),
	call.TypePaymentDone:                rare((*payment).completed),
	call.TypeTranscription:              common((*payload).utterance),
	call.TypeDialogflow:                 rare((*dialogflow).noun),
	call.TypeAIGatherEnded:              rare((*aiGather).ended),
	call.TypeAIGatherHistory:            rare((*aiGather).updated),
	call.TypeAIGatherPartial:            rare((*aiGather).updated),
	call.TypeConversationNew:            rare((*conversation).noun),
	call.TypeConversationEnded:          rare((*conversation).noun),
	call.TypeConversationFailed:         rare((*conversation).noun),
	call.TypeInsights:                   rare((*insights).noun),
	call.TypeRecordingSaved:             common((*payload).recording),
	call.TypeRecordingError:             common((*payload).recordingError),
	call.TypeRecordingTranscription:     rare((*transcription).noun),
	call.TypeForkStarted:                rare((*streaming).fork),
	call.TypeForkStopped:                rare((*streaming).fork),
	call.TypeStreamingStarted:           rare((*streaming).noun),
	call.TypeStreamingStopped:           rare((*streaming).noun),
	call.TypeStreamingFailed:            rare((*streaming).noun),
	call.TypeSIPRECStarted:              rare((*siprec).noun),
	call.TypeSIPRECStopped:              rare((*siprec).stopped),
	call.TypeSIPRECFailed:               rare((*siprec).noun),
	call.TypeConferenceCreated:          common((*payload).conference),
	call.TypeConferenceEnded:            common((*payload).conference),
	call.TypeConferenceFloor:            common((*payload).conference),
	call.TypeConferenceJoined:           common((*payload).conference),
	call.TypeConferenceLeft:             common((*payload).conference),
	call.TypeConferenceSpeakStarted:     common((*payload).speech),
	call.TypeConferenceSpeakEnded:       common((*payload).speech),
	call.TypeConferencePlaybackStarted:  common((*payload).playback),
	call.TypeConferencePlaybackEnded:    common((*payload).playback),
	call.TypeConferenceRecordingSaved:   common((*payload).recording),
	call.TypeParticipantSpeakStarted:    common((*payload).speech),
	call.TypeParticipantSpeakEnded:      common((*payload).speech),
	call.TypeParticipantPlaybackStarted: common((*payload).playback),
	call.TypeParticipantPlaybackEnded:   common((*payload).playback),
}

// hollow is what can hold an object of which nothing was read. Whether it states something all the same tells
// unreadFields.
type hollow interface{ isHollow() bool }

// common reads a detail of what was read in the first pass, because nearly every call has such events or
// because their fields are nothing special.
func common(noun func(*payload, *trimmer) call.Detail) ownDetail {
	return ownDetail{
		read:   func(p *payload, _ []byte) (call.Detail, bool) { return noun(p, &p.trimmer), p.isHollow() },
		fields: reflect.TypeFor[payload](),
	}
}

// rare reads the body a second time, for the fields P that no other event has.
func rare[P any](noun func(*P, *trimmer) call.Detail) ownDetail {
	return ownDetail{
		read: func(common *payload, body []byte) (call.Detail, bool) {
			f, err := parse[P](body)
			if err != nil {
				return nil, false // cannot be: the body was read before
			}
			p := f.payload()
			may, _ := any(p).(hollow)
			return noun(p, &common.trimmer), f.unread || may != nil && may.isHollow()
		},
		fields: reflect.TypeFor[P](),
	}
}

// courseFields are the fields of how a leg went.
type courseFields struct {
	Direction     string    `json:"direction"`
	CallerName    string    `json:"caller_id_name"`
	State         string    `json:"state"`
	Attestation   string    `json:"shaken_stir_attestation"`
	Validated     flag      `json:"shaken_stir_validated"`
	Screening     screening `json:"call_screening_result"`
	OfferedCodecs string    `json:"offered_codecs"`
	CustomHeaders []header  `json:"custom_headers"`
	SIPHeaders    []header  `json:"sip_headers"`

	Codec        string `json:"codec"`
	SamplingRate count  `json:"sampling_rate"`

	HangupCause  string   `json:"hangup_cause"`
	HangupSource string   `json:"hangup_source"`
	SIPCode      text     `json:"sip_hangup_cause"`
	Quality      *quality `json:"call_quality_stats"`
	Fault        *fault   `json:"telnyx_error"`

	Queue              string `json:"queue"`
	CurrentPosition    count  `json:"current_position"`
	QueuePosition      count  `json:"queue_position"`
	WaitSeconds        count  `json:"wait_time_secs"`
	AverageWaitSeconds count  `json:"queue_avg_wait_time_secs"`

	TotalCost     decimal    `json:"total_cost"`
	BilledSeconds count      `json:"billed_duration_secs"`
	CostParts     []costPart `json:"cost_parts"`
}

// header is a SIP header, in the form of the specification or that of a guide.
type header struct {
	Name      string `json:"name"`
	Value     text   `json:"value"`
	LongName  string `json:"header_name"`
	LongValue text   `json:"header_value"`
}

// fault is telnyx_error. Every one that was seen has error_code, if it has a code.
type fault struct {
	Code      text   `json:"error_code"`
	PlainCode text   `json:"code"`
	Title     string `json:"title"`
}

// screening is call_screening_result: a word, or an object that holds it, with the caller's attestation.
type screening struct {
	Action      string `json:"action"`
	Attestation string `json:"shaken_stir_attestation"`
}

// UnmarshalJSON implements json.Unmarshaler. It fails when something cannot be read.
func (s *screening) UnmarshalJSON(value []byte) error {
	if isObject(value) {
		type plain screening
		return readObject(value, (*plain)(s))
	}
	var t text
	err := t.UnmarshalJSON(value)
	s.Action = string(t)
	return err
}

// quality is call_quality_stats.
type quality struct {
	Inbound  stream `json:"inbound"`
	Outbound stream `json:"outbound"`
}

type stream struct {
	MOS            number `json:"mos"`
	JitterVariance number `json:"jitter_max_variance"`
	JitterPackets  count  `json:"jitter_packet_count"`
	Packets        count  `json:"packet_count"`
	Skipped        count  `json:"skip_packet_count"`
}

// costPart is one of cost_parts.
type costPart struct {
	Part          string  `json:"call_part"`
	Cost          decimal `json:"cost"`
	Currency      string  `json:"currency"`
	Rate          decimal `json:"rate"`
	BilledSeconds count   `json:"billed_duration_secs"`
}

// isHollow implements hollow.
func (p *payload) isHollow() bool {
	q := p.Quality
	return q != nil && (q.Inbound == stream{} || q.Outbound == stream{}) || p.Fault != nil && *p.Fault == fault{} ||
		p.Transcript != nil && *p.Transcript == piece{} || slices.Contains(p.CostParts, costPart{}) ||
		slices.Contains(p.CustomHeaders, header{}) || slices.Contains(p.SIPHeaders, header{})
}

func (p *payload) initiated(t *trimmer) call.Detail {
	return &call.Initiated{
		Direction:     t.word(p.Direction),
		CallerName:    t.text(p.CallerName),
		State:         t.word(p.State),
		Attestation:   t.word(cmp.Or(p.Attestation, p.Screening.Attestation)),
		Validated:     p.Validated.noun(),
		Screening:     t.word(p.Screening.Action),
		OfferedCodecs: t.text(p.OfferedCodecs),
		Headers:       t.headers(p),
	}
}

func (p *payload) answered(t *trimmer) call.Detail {
	return &call.Answered{
		Codec:        t.word(p.Codec),
		SamplingRate: p.SamplingRate.n,
		Headers:      t.headers(p),
	}
}

func (p *payload) hangup(t *trimmer) call.Detail {
	return &call.Hangup{
		Cause:   t.word(p.HangupCause),
		Source:  t.word(p.HangupSource),
		SIPCode: t.word(string(p.SIPCode)),
		EndTime: p.EndTime.Time,
		Quality: p.Quality.noun(),
		Fault:   t.fault(p.Fault),
		Headers: t.headers(p),
	}
}

func (p *payload) enqueued(t *trimmer) call.Detail {
	return &call.Queue{
		Name:               t.text(p.Queue),
		Position:           p.CurrentPosition.n,
		AverageWaitSeconds: p.AverageWaitSeconds.n,
	}
}

func (p *payload) dequeued(t *trimmer) call.Detail {
	return &call.Queue{
		Name:        t.text(p.Queue),
		Reason:      t.word(p.Reason),
		Position:    p.QueuePosition.n,
		WaitSeconds: p.WaitSeconds.n,
	}
}

func (p *payload) cost(t *trimmer) call.Detail {
	return &call.Cost{
		Status:        t.word(p.Status),
		Total:         string(p.TotalCost),
		BilledSeconds: p.BilledSeconds.n,
		Parts:         t.parts(p.CostParts),
	}
}

func (p *payload) machine(t *trimmer) call.Detail {
	return &call.Machine{Result: t.word(p.Result)}
}

// headers returns both lists, nil when they are empty.
func (t *trimmer) headers(p *payload) *call.Headers {
	known := call.Headers{Custom: t.list(p.CustomHeaders), SIP: t.list(p.SIPHeaders)}
	if known.Custom == nil && known.SIP == nil {
		return nil
	}
	return &known
}

func (t *trimmer) list(wire []header) []call.Header {
	var known []call.Header
	for _, w := range wire {
		name, value := w.Name, w.Value
		if name == "" {
			name, value = w.LongName, w.LongValue
		}
		// SIPREC describes itself in some kilobytes of base64, which say nothing of the call.
		if name == "" || strings.EqualFold(name, "X-metadata-xml") {
			continue
		}
		if len(known) == call.MaxHeaders {
			t.truncated = true
			break
		}
		known = append(known, call.Header{Name: t.word(name), Value: t.text(string(value))})
	}
	return known
}

func (t *trimmer) fault(wire *fault) *call.Fault {
	if wire == nil || *wire == (fault{}) {
		return nil
	}
	return &call.Fault{Code: t.word(string(cmp.Or(wire.Code, wire.PlainCode))), Title: t.reason(wire.Title)}
}

// noun returns the quality as far as it is stated, nil when nothing is.
func (q *quality) noun() *call.Quality {
	if q == nil {
		return nil
	}
	known := &call.Quality{Inbound: q.Inbound.noun(), Outbound: q.Outbound.noun()}
	if known.Inbound == nil && known.Outbound == nil {
		return nil
	}
	return known
}

func (s stream) noun() *call.Stream {
	known := call.Stream{
		MOS:               s.MOS.n,
		JitterMaxVariance: s.JitterVariance.n,
		JitterPackets:     s.JitterPackets.n,
		Packets:           s.Packets.n,
		SkippedPackets:    s.Skipped.n,
	}
	if known == (call.Stream{}) {
		return nil
	}
	return &known
}

// parts returns the charges; one that states nothing is left out.
func (t *trimmer) parts(wire []costPart) []call.CostPart {
	var known []call.CostPart
	for _, w := range wire {
		if w == (costPart{}) {
			continue
		}
		if len(known) == call.MaxCostParts {
			t.truncated = true
			break
		}
		known = append(known, call.CostPart{
			Part:          t.word(w.Part),
			Amount:        string(w.Cost),
			Currency:      t.word(w.Currency),
			Rate:          string(w.Rate),
			BilledSeconds: w.BilledSeconds.n,
		})
	}
	return known
}

// refer is what only the call.refer events have.
type refer struct {
	SIPCode text `json:"sip_notify_response"`
}

func (r *refer) noun(t *trimmer) call.Detail {
	return &call.Refer{SIPCode: t.word(string(r.SIPCode))}
}

// deepfake is the call.deepfake_detection events' own.
type deepfake struct {
	Result      string  `json:"result"`
	Score       measure `json:"score"`
	Consistency measure `json:"consistency"`
	Error       string  `json:"error_message"`
}

func (d *deepfake) noun(t *trimmer) call.Detail {
	return &call.Deepfake{
		Result:      t.word(d.Result),
		Score:       d.Score.n,
		Consistency: d.Consistency.n,
		Error:       t.word(d.Error),
	}
}

// vocabulary are the words that nearly every call's events repeat. Legs keep the one text here instead of a copy
// each; a word that is missing costs some 16 bytes, and nothing else depends on this list.
var vocabulary = func() map[string]string {
	words := make(map[string]string)
	for _, word := range []string{
		"incoming", "outgoing", "parked", "bridging", "pstn", "sip", "PCMU", "PCMA", "opus", "G722", "G729",
		"caller", "callee", "unknown", "unspecified", "200", "404", "486", "487", "503", "603",
		"normal_clearing", "originator_cancel", "call_rejected", "user_busy", "not_found", "no_answer", "timeout", "time_limit",
		"completed", "failed", "cancelled", "cancelled_amd", "call_hangup", "file_not_found", "valid", "invalid",
		"bridged", "bridging-in-process", "hangup", "leave", "success", "error",
		"human", "machine", "not_sure", "human_residence", "human_business", "silence", "fax_detected",
		"ended", "beep_detected", "no_beep_detected", "prompt_ended", "screening",
		"sip-trunking", "call-control", "USD", "single", "dual", "mp3", "wav",
		"inbound", "outbound", "assistant", "user",
	} {
		words[word] = word
	}
	return words
}()
