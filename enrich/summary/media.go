package summary

// Recording is one call.recording.saved, or conference.recording.saved of a conference.
type Recording struct {
	// ID is recording_id; where Telnyx does not send it, the id of the event. Always.
	ID string `json:"id"`
	// Channels is single or dual; Format is mp3 or wav.
	Channels string `json:"channels,omitempty"`
	Format   string `json:"format,omitempty"`
	// StartedAt and EndedAt bound the recording, not the call.
	StartedAt *Time `json:"started_at,omitempty"`
	EndedAt   *Time `json:"ended_at,omitempty"`
	// URLs lead to the recording by format. Telnyx's own open without a password until URLsExpireAt; those into the
	// customer's own storage (s3, gs, Azure) open with the customer's rights only, and do not expire.
	URLs map[string]string `json:"urls,omitempty"`
	// URLsExpireAt is when the first of the URLs stops working, as they say themselves (X-Amz-Date and
	// X-Amz-Expires). Absent where none says it.
	URLsExpireAt *Time `json:"urls_expire_at,omitempty"`
	// PublicURLs are those of a recording that was made public.
	PublicURLs map[string]string `json:"public_urls,omitempty"`
}

// RecordingError is one call.recording.error.
type RecordingError struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it occurred.
	At *Time `json:"at,omitempty"`
	// Reason is reason, a sentence.
	Reason string `json:"reason,omitempty"`
}

// Transcription is the text of a recording: one call.recording.transcription.saved.
type Transcription struct {
	// ID is recording_transcription_id; where Telnyx does not send it, the id of the event. Always.
	ID string `json:"id"`
	// RecordingID is recording_id: the ID of one of the recordings.
	RecordingID string `json:"recording_id,omitempty"`
	// At is when it occurred.
	At *Time `json:"at,omitempty"`
	// Status is status: completed.
	Status string `json:"status,omitempty"`
	// Text is transcription_text, its first 64 KiB at most.
	Text string `json:"text,omitempty"`
	// TextOmitted is how many bytes of the text are left out. Absent: none.
	TextOmitted int `json:"text_omitted,omitempty"`
}

// Transcript is a live transcript: the final pieces of call.transcription, and
// what Dialogflow heard.
type Transcript struct {
	// Pieces are its first ones by time: at most 500 of them, with 64 KiB of text.
	Pieces []Piece `json:"pieces,omitempty"`
	// TextOmitted is how many bytes of text are left out, with or without their
	// piece. Absent: none.
	TextOmitted int `json:"text_omitted,omitempty"`
}

// Piece is something that was said at one go.
type Piece struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it occurred.
	At *Time `json:"at,omitempty"`
	// Track is transcription_track: inbound or outbound.
	Track string `json:"track,omitempty"`
	// Text is transcript, its first 4 KiB at most.
	Text string `json:"text,omitempty"`
	// Confidence is confidence, from 0 to 1.
	Confidence *Number `json:"confidence,omitempty"`
}

// Stream is one event of media that goes elsewhere.
type Stream struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it occurred.
	At *Time `json:"at,omitempty"`
	// Kind is streaming, fork or siprec; State is started, stopped or failed. Always.
	Kind  string `json:"kind"`
	State string `json:"state"`
	// StreamID is stream_id.
	StreamID string `json:"stream_id,omitempty"`
	// Type is stream_type: websocket, dialogflow or decrypted.
	Type string `json:"type,omitempty"`
	// Track is stream_params.track: inbound_track, outbound_track or both_tracks.
	Track string `json:"track,omitempty"`
	// Reason is failure_reason, failure_cause, or hangup_cause of a SIPREC session that stopped.
	Reason string `json:"reason,omitempty"`
}

// Playback is one playing of audio that ended: call.playback.ended and its
// siblings in conferences.
type Playback struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it ended.
	At *Time `json:"at,omitempty"`
	// Media is media_name, or the file name in media_url.
	Media string `json:"media,omitempty"`
	// Status is status: completed, failed, file_not_found, cancelled, call_hangup, ….
	Status string `json:"status,omitempty"`
	// StatusDetail is status_detail: why it failed. Of URLs in it only the host is shown.
	StatusDetail string `json:"status_detail,omitempty"`
	// ConferenceID is conference_id. Absent: it was played to the leg.
	ConferenceID string `json:"conference_id,omitempty"`
}

// Speak is one text that was spoken to its end: call.speak.ended and its
// siblings in conferences.
type Speak struct {
	// ID is the event's. Always.
	ID string `json:"id"`
	// At is when it ended.
	At *Time `json:"at,omitempty"`
	// Status is status: completed, call_hangup, ….
	Status string `json:"status,omitempty"`
	// ConferenceID is conference_id. Absent: it was spoken to the leg.
	ConferenceID string `json:"conference_id,omitempty"`
}

// Deepfake is what deepfake detection reported: the last result and the last error by occurrence.
type Deepfake struct {
	// Result is result: real, fake or silence_timeout.
	Result string `json:"result,omitempty"`
	// Score is score: how likely the voice is made, from 0 to 1.
	Score *Number `json:"score,omitempty"`
	// Consistency is consistency, in percent by Telnyx's example.
	Consistency *Number `json:"consistency,omitempty"`
	// At is when the result occurred.
	At *Time `json:"at,omitempty"`
	// Error is error_message: detection_timeout, rtp_timeout, ….
	Error string `json:"error,omitempty"`
	// ErrorAt is when the error occurred.
	ErrorAt *Time `json:"error_at,omitempty"`
}
