package telnyx

import (
	"maps"
	"slices"

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
