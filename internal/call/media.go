package call

import "time"

// Recording is the detail of call.recording.saved and conference.recording.saved.
type Recording struct {
	// ID is recording_id. Empty: not stated.
	ID string
	// Conference is conference_id. Empty: a leg was recorded.
	Conference string
	// Channels is "single" or "dual"; Format "mp3" or "wav". Empty: not stated.
	Channels, Format string
	// StartedAt and EndedAt bound the recording (not the call), UTC. Zero: not stated.
	StartedAt, EndedAt time.Time
	// URLs are recording_urls by format. Telnyx's own open without a password for as long as they say; those into the
	// customer's own storage are no signed ones.
	URLs map[string]string
	// PublicURLs are public_recording_urls by format.
	PublicURLs map[string]string
	Truncation
}

// RecordingError is the detail of call.recording.error.
type RecordingError struct {
	// Reason is reason, a sentence: "Internal server error", …. URLs in it are reduced to their host.
	Reason string
	Truncation
}

// Transcription is the detail of call.recording.transcription.saved.
type Transcription struct {
	// ID is recording_transcription_id, Recording is recording_id.
	ID, Recording string
	// Status is status: "completed".
	Status string
	// Text is transcription_text, its first MaxTranscription bytes.
	Text string
	// TextOmitted is how many bytes of the text are left out.
	TextOmitted int
	Truncation
}

// Streaming is the detail of streaming.started, .stopped and .failed. Where the
// media went (stream_url) is not kept: such URLs hold credentials.
type Streaming struct {
	// ID is stream_id.
	ID string
	// Type is stream_type: "websocket" or "dialogflow".
	Type string
	// Track is stream_params.track: "inbound_track", "outbound_track" or "both_tracks".
	Track string
	// Reason is failure_reason. URLs in it are reduced to their host. Empty: it did not fail.
	Reason string
	Truncation
}

// Fork is the detail of call.fork.started and call.fork.stopped.
type Fork struct {
	// Type is stream_type: "decrypted".
	Type string
	Truncation
}

// SIPREC is the detail of siprec.started, .stopped and .failed.
type SIPREC struct {
	// Cause is hangup_cause of a session that stopped, failure_cause of one that failed. Empty on siprec.started.
	Cause string
	Truncation
}

// Conference is the detail of a conference's course: created, ended, floor changed, participant joined and left.
type Conference struct {
	// ID is conference_id.
	ID string
	// Reason is why it ended: "all_left", "host_left" or "time_exceeded". Empty on other events.
	Reason string
	Truncation
}
