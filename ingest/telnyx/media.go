package telnyx

import (
	"cmp"
	"maps"
	"slices"

	json "github.com/go-json-experiment/json/v1"

	"github.com/legato-calls/legato/internal/call"
)

// mediaFields are the fields of recordings.
type mediaFields struct {
	RecordingID string            `json:"recording_id"`
	Channels    string            `json:"channels"`
	Format      string            `json:"format"`
	StartedAt   moment            `json:"recording_started_at"`
	EndedAt     moment            `json:"recording_ended_at"`
	URLs        map[string]string `json:"recording_urls"`
	PublicURLs  map[string]string `json:"public_recording_urls"`
}

func (p *payload) recording(t *trimmer) call.Detail {
	return &call.Recording{
		ID:         t.word(p.RecordingID),
		Conference: t.word(p.Conference),
		Channels:   t.word(p.Channels),
		Format:     t.word(p.Format),
		StartedAt:  firstTime(p.StartedAt, p.StartTime),
		EndedAt:    firstTime(p.EndedAt, p.EndTime),
		URLs:       t.links(p.URLs),
		PublicURLs: t.links(p.PublicURLs),
	}
}

func (p *payload) recordingError(t *trimmer) call.Detail {
	return &call.RecordingError{Reason: t.reason(p.Reason)}
}

func (p *payload) conference(t *trimmer) call.Detail {
	return &call.Conference{ID: t.word(p.Conference), Reason: t.word(p.Reason)}
}

// links returns the URLs by format without those that are null; nil when none is left.
// Which ones are past the bounds does not depend on the order of a map.
func (t *trimmer) links(wire map[string]string) map[string]string {
	var known map[string]string
	for _, format := range slices.Sorted(maps.Keys(wire)) {
		url := wire[format]
		switch {
		case url == "":
			continue
		case len(known) == call.MaxURLs || len(format) > call.MaxWord || len(url) > call.MaxURL:
			t.truncated = true
			continue
		case known == nil:
			known = make(map[string]string, 1)
		}
		known[format] = url
	}
	return known
}

// transcription is call.recording.transcription.saved's own.
type transcription struct {
	ID        string `json:"recording_transcription_id"`
	Recording string `json:"recording_id"`
	Status    string `json:"status"`
	Text      string `json:"transcription_text"`
}

func (w *transcription) noun(t *trimmer) call.Detail {
	text := t.start(w.Text, call.MaxTranscription)
	return &call.Transcription{
		ID:          t.word(w.ID),
		Recording:   t.word(w.Recording),
		Status:      t.word(w.Status),
		Text:        text,
		TextOmitted: len(w.Text) - len(text),
	}
}

// streaming is what only streams and forks have.
type streaming struct {
	ID     string `json:"stream_id"`
	Type   string `json:"stream_type"`
	Reason string `json:"failure_reason"`
	Params struct {
		Track string `json:"track"`
	} `json:"stream_params"`
}

// isHollow implements hollow.
func (s *streaming) isHollow() bool { return s.Params.Track == "" }

func (s *streaming) noun(t *trimmer) call.Detail {
	return &call.Streaming{
		ID:     t.word(s.ID),
		Type:   t.word(s.Type),
		Track:  t.word(s.Params.Track),
		Reason: t.reason(s.Reason),
	}
}

func (s *streaming) fork(t *trimmer) call.Detail {
	return &call.Fork{Type: t.word(s.Type)}
}

// siprec is what SIPREC sessions have.
type siprec struct {
	HangupCause  string `json:"hangup_cause"`
	FailureCause string `json:"failure_cause"`
}

func (s *siprec) noun(t *trimmer) call.Detail {
	return &call.SIPREC{Cause: t.reason(s.FailureCause)}
}

func (s *siprec) stopped(t *trimmer) call.Detail {
	return &call.SIPREC{Cause: t.word(s.HangupCause)}
}

// dialogFields are the fields of what a leg heard, entered and said.
type dialogFields struct {
	MediaName  string `json:"media_name"`
	MediaURL   string `json:"media_url"`
	Detail     string `json:"status_detail"`
	Digit      text   `json:"digit"`
	Digits     text   `json:"digits"`
	Transcript *piece `json:"transcription_data"`
}

// piece is transcription_data.
type piece struct {
	Track      string  `json:"transcription_track"`
	Text       string  `json:"transcript"`
	Confidence measure `json:"confidence"`
	Final      flag    `json:"is_final"`
}

func (p *payload) speech(t *trimmer) call.Detail {
	return &call.Speech{Status: t.word(p.Status), Conference: t.word(p.Conference)}
}

func (p *payload) playback(t *trimmer) call.Detail {
	return &call.Playback{
		Media:        t.media(p.MediaName, p.MediaURL),
		Status:       t.word(p.Status),
		StatusDetail: t.reason(p.Detail),
		Conference:   t.word(p.Conference),
	}
}

func (p *payload) dtmf(t *trimmer) call.Detail {
	if !p.digits {
		return new(call.DTMF)
	}
	return &call.DTMF{Digit: t.word(string(p.Digit))}
}

func (p *payload) gather(t *trimmer) call.Detail {
	digits := string(p.Digits)
	if !p.digits {
		digits = ""
	}
	return &call.Gather{
		Digits:     t.start(digits, call.MaxDigits),
		DigitCount: len(p.Digits),
		Status:     t.word(p.Status),
	}
}

// utterance keeps a piece unless it is said to be an interim one: an engine that
// has no interim pieces need not call any of its pieces final.
func (p *payload) utterance(t *trimmer) call.Detail {
	w := p.Transcript
	if w == nil || *w == (piece{}) || w.Final.stated && !w.Final.yes {
		return nil
	}
	return w.noun(t)
}

func (w *piece) noun(t *trimmer) call.Detail {
	text := t.start(w.Text, call.MaxUtterance)
	return &call.Utterance{
		Track:       t.word(w.Track),
		Text:        text,
		TextOmitted: len(w.Text) - len(text),
		Confidence:  w.Confidence.n,
	}
}

// dialogflow is dialogflow.detectintent.response's own, as far as it is what a caller said.
type dialogflow struct {
	Text       string  `json:"transcript"`
	Confidence measure `json:"confidence"`
}

func (d *dialogflow) noun(t *trimmer) call.Detail {
	w := piece{Text: d.Text, Confidence: d.Confidence}
	return w.noun(t)
}

// payment is the call.payment events' own. What names or masks a card, an account or a payer is not read at all.
type payment struct {
	Step      string `json:"payment_step"`
	Status    string `json:"payment_status"`
	StepError string `json:"error_type"`

	Result       string         `json:"result"`
	ChargeID     text           `json:"charge_id"`
	Confirmation text           `json:"payment_confirmation_code"`
	Connector    connectorError `json:"connector_error"`
	ErrorCode    text           `json:"pay_error_code"`
	PaymentError text           `json:"payment_error"`
}

// connectorError is connector_error: a code, or an object of the connector's own, of which no more than a code is read.
type connectorError struct {
	Code      text `json:"code"`
	ErrorCode text `json:"error_code"`
}

// UnmarshalJSON implements json.Unmarshaler. It fails when something cannot be read.
func (e *connectorError) UnmarshalJSON(value []byte) error {
	if !isObject(value) {
		return e.Code.UnmarshalJSON(value)
	}
	type plain connectorError
	return json.Unmarshal(value, (*plain)(e))
}

func (p *payment) progress(t *trimmer) call.Detail {
	return &call.Payment{
		Step:      t.word(p.Step),
		Status:    t.word(p.Status),
		ErrorCode: t.code(p.StepError),
	}
}

func (p *payment) completed(t *trimmer) call.Detail {
	errorCode := t.code(string(p.ErrorCode))
	if errorCode == "" {
		errorCode = t.code(string(p.PaymentError))
	}
	return &call.Payment{
		Status:           t.word(p.Result),
		ChargeID:         t.code(string(p.ChargeID)),
		ConfirmationCode: t.code(string(p.Confirmation)),
		ConnectorError:   t.code(string(cmp.Or(p.Connector.Code, p.Connector.ErrorCode))),
		ErrorCode:        errorCode,
	}
}

// aiGather is the call.ai_gather events' own.
type aiGather struct {
	Status  string          `json:"status"`
	History []message       `json:"message_history"`
	Result  json.RawMessage `json:"result"`
	Partial json.RawMessage `json:"partial_results"`
}

type message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// isHollow implements hollow.
func (g *aiGather) isHollow() bool { return slices.Contains(g.History, message{}) }

func (g *aiGather) ended(t *trimmer) call.Detail {
	kept, total := t.messages(g.History, call.MaxMessages)
	t.truncated = t.truncated || len(kept) < total
	return &call.AIGather{
		Status:        t.word(g.Status),
		Result:        t.value(g.Result),
		Messages:      kept,
		MessagesTotal: total,
	}
}

// updated keeps of the history only what is new in it; that is no truncation.
func (g *aiGather) updated(t *trimmer) call.Detail {
	kept, total := t.messages(g.History, call.MaxUpdateMessages)
	return &call.AIGather{
		Result:        t.value(g.Partial),
		Messages:      kept,
		MessagesTotal: total,
	}
}

// messages returns the last ones that fit, and how many there are in all. The
// last are the ones that the result rests on.
func (t *trimmer) messages(wire []message, limit int) (kept []call.Message, total int) {
	wire = slices.DeleteFunc(wire, func(m message) bool { return m == message{} })
	size := 0
	for _, m := range slices.Backward(wire) {
		if size += min(len(m.Content), call.MaxMessage); len(kept) == limit || size > call.MaxHistory {
			break
		}
		kept = append(kept, call.Message{Role: t.word(m.Role), Content: t.start(m.Content, call.MaxMessage)})
	}
	slices.Reverse(kept)
	return kept, len(wire)
}

// conversation is the call.conversation events' own.
type conversation struct {
	ID        string `json:"conversation_id"`
	Assistant string `json:"assistant_id"`
	Reason    string `json:"reason"`
	Duration  count  `json:"duration_sec"`
	models
}

type models struct {
	LLM         string `json:"llm_model"`
	STT         string `json:"stt_model"`
	TTS         string `json:"tts_model_id"`
	TTSProvider string `json:"tts_provider"`
	TTSVoice    string `json:"tts_voice_id"`
}

func (c *conversation) noun(t *trimmer) call.Detail {
	return &call.Conversation{
		ID:              t.word(c.ID),
		Assistant:       t.word(c.Assistant),
		Reason:          t.reason(c.Reason),
		DurationSeconds: c.Duration.n,
		Models:          t.models(c.models),
	}
}

func (t *trimmer) models(wire models) *call.Models {
	if wire == (models{}) {
		return nil
	}
	return &call.Models{
		LLM: t.word(wire.LLM), STT: t.word(wire.STT),
		TTS: t.word(wire.TTS), TTSProvider: t.word(wire.TTSProvider), TTSVoice: t.word(wire.TTSVoice),
	}
}

// insights is call.conversation_insights.generated's own.
type insights struct {
	Group   string    `json:"insight_group_id"`
	Results []insight `json:"results"`
}

type insight struct {
	ID     string          `json:"insight_id"`
	Result json.RawMessage `json:"result"`
}

func (w *insights) noun(t *trimmer) call.Detail {
	return &call.Insights{Group: t.word(w.Group), Results: t.insights(w.Results)}
}

// insights returns the first ones; one that states nothing is left out.
func (t *trimmer) insights(wire []insight) []call.Insight {
	var known []call.Insight
	for _, w := range wire {
		if len(known) == call.MaxInsights {
			t.truncated = true
			break
		}
		if i := (call.Insight{ID: t.word(w.ID), Result: t.value(w.Result)}); i != (call.Insight{}) {
			known = append(known, i)
		}
	}
	return known
}
