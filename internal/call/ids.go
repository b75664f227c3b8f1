package call

// SessionID is Telnyx's call_session_id: it groups the legs that logically
// belong to one phone call. A UUID in practice; treated as opaque text.
type SessionID string

// LegID is Telnyx's call_leg_id: one leg of a call. A UUID in practice, and in
// some examples equal to the session's id; treated as opaque text.
type LegID string

// ControlID is Telnyx's call_control_id: the handle under which the API knows a
// leg. Opaque, contains ':' and, in old forms, '+', '/' and '='; never a subject token.
type ControlID string

// ConnectionID is Telnyx's connection_id: the Call Control application or SIP connection that a leg belongs to.
// Nineteen decimal digits, too large for a float, hence text.
type ConnectionID string

// UnknownConnection stands in subjects for a connection that is not known. No id is a lone "_", see ValidToken.
const UnknownConnection = "_"

// Token returns the connection as a token of a subject.
func (c ConnectionID) Token() string {
	if !ValidToken(string(c)) {
		return UnknownConnection
	}
	return string(c)
}

// Ref names the call that an event speaks of. Empty fields were not stated.
type Ref struct {
	// Session is call_session_id, or creator_call_session_id of an event that names a conference's session only.
	Session SessionID
	// Leg is call_leg_id.
	Leg LegID
	// Control is call_control_id.
	Control ControlID
	// Connection is connection_id.
	Connection ConnectionID
}

// Empty reports whether the ref offers no way to a call at all. A connection
// alone is no way: it carries many calls.
func (r Ref) Empty() bool {
	return r.Session == "" && r.Leg == "" && r.Control == ""
}

// MaxTokenLength bounds an id or a token of an event type that is to stand in a subject. Telnyx's longest id seen
// is 57 bytes; NATS has no limit of its own but keeps every subject in memory.
const MaxTokenLength = 128

// ValidToken reports whether s can stand as one token of a NATS subject: between 1 and MaxTokenLength of the ASCII
// letters, digits, '-', '_' and ':'. A lone "_" is refused: in subjects it means "not known".
func ValidToken(s string) bool {
	if s == "" || s == "_" || len(s) > MaxTokenLength {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == ':':
		default:
			return false
		}
	}
	return true
}

// ValidType reports whether s can stand as an event type in a subject: valid
// tokens separated by single dots, no more than eight of them.
func ValidType(s string) bool {
	if s == "" || len(s) > MaxTokenLength {
		return false
	}
	tokens, start := 0, 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			continue
		}
		if tokens++; tokens > 8 || !ValidToken(s[start:i]) {
			return false
		}
		start = i + 1
	}
	return true
}

// MaxControlLength bounds a control id, which travels in headers and URL paths.
const MaxControlLength = 512

// ValidControl reports whether s can travel in a message header: at most
// MaxControlLength printable ASCII characters without spaces. The empty id is valid: absent.
func ValidControl(s string) bool {
	if len(s) > MaxControlLength {
		return false
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
