// Package call holds the nouns of a phone call: the ids that tie its webhooks together, the events that Telnyx
// reports about it, and the entries of the log in which Legato keeps them.
//
// It is a leaf: it knows neither JSON nor NATS nor HTTP, imports nothing but the
// standard library, and every room may import it. The wire format of an event is
// the business of package telnyx, its storage that of package journal.
package call

import (
	"strings"
	"time"
)

// Event is one thing that Telnyx said about a call: a webhook, decoded, or the
// same event filled in later from the provider's history.
//
// Its identity is (ID, Type). Two events of equal identity are deliveries of
// the same fact, however different their bytes.
type Event struct {
	// ID is data.id; where that is missing, "sha256:" and the hex digest of the bytes of data.
	ID string
	// Type is Telnyx's event type, dots included: "call.hangup".
	Type string
	// OccurredAt is when it happened, by Telnyx's clock, UTC. Zero: not stated.
	OccurredAt time.Time
	// Approximate tells of an event from the provider's history that OccurredAt is when a delivery was noted.
	Approximate bool
	// Ref names the call.
	Ref Ref
	// Attempt is meta.attempt, counting from 1. Zero: not stated.
	Attempt int
	// Backfill tells that the event came from the provider's history, not from a webhook.
	Backfill bool
	// Facts are what any event of a leg may state about it.
	Facts Facts
	// Detail is what only events of this type state: one of the pointer types of this package (*Initiated, *Hangup,
	// …; the constants of the types say which), or nil.
	Detail Detail
}

// Facts are the statements about a leg that its events repeat. Empty: not stated.
type Facts struct {
	// From and To are the parties in Telnyx's own words: E.164, a SIP URI
	// without scheme, a user name, or whatever an anonymous caller shows. Their first MaxText bytes.
	From, To string
	// FromSIP and ToSIP are from_sip_uri and to_sip_uri: the parties as SIP had them, without scheme.
	FromSIP, ToSIP string
	// CallingParty is calling_party_type: "pstn" or "sip".
	CallingParty string
	// StartTime is when the leg began to ring, by Telnyx's clock, UTC. It is not the time of the answer.
	StartTime time.Time
	// ClientState is what the application attached: base64 of arbitrary bytes.
	// One longer than MaxState is left out: half of it would be of no use.
	ClientState string
	// Tags are the first MaxTags of the application's tags, in its order.
	Tags []string
	// Truncated tells that something of these was past its limit.
	Truncated bool
	// Unread are the names of the fields of which the event stated something that could not be read: a value of a type
	// or form that was not expected. In order; of a field within another "call_quality_stats.inbound.mos". The
	// names are of our own knowledge, never from the event. Nil: all was read.
	Unread []string
}

// Detail is what only events of some types state. It is implemented by pointers to the types of this package that
// say so. In all of them an empty text, a nil pointer and an empty list mean: not stated.
type Detail interface {
	detail()
	// IsTruncated reports whether something in the detail was past its limit.
	IsTruncated() bool
	// Truncate notes that something was.
	Truncate()
}

// Limits of an event. A leg keeps its events in memory for hours, and most of what stands in them was chosen by an
// application or a far end, so everything in them has a limit. Lengths are in bytes of UTF-8, and a text is never
// truncated within a character.
const (
	// MaxWord bounds a word of Telnyx's vocabularies, a code or an id. The
	// longest one seen is an assistant's id, of 46 bytes.
	MaxWord = 128
	// MaxText bounds what people and programs name as they like: callers,
	// queues, media, codec lists, reasons, the values of SIP headers.
	MaxText = 512
	// MaxState bounds a client_state, base64, and MaxTags the number of tags.
	MaxState = 32 << 10
	MaxTags  = 100
	// MaxHeaders bounds each of the two lists of SIP headers: in all at most 2 × 16 × (MaxWord + MaxText) = 20 KiB.
	MaxHeaders = 16
	// MaxDigits bounds the digits of a gather; Telnyx collects at most 128.
	MaxDigits = 128
	// MaxUtterance bounds one piece of a live transcript: some five minutes of speech.
	MaxUtterance = 4 << 10
	// MaxTranscription bounds the text of a recording: some 80 minutes of speech.
	MaxTranscription = 64 << 10
	// MaxMessages and MaxHistory bound the messages of an AI gather by number and together, MaxMessage each of
	// them. MaxUpdateMessages bounds their number in an event that repeats the history so far with little added:
	// keeping all of each would be quadratic.
	MaxMessages       = 64
	MaxUpdateMessages = 2
	MaxMessage        = 2 << 10
	MaxHistory        = 16 << 10
	// MaxResult and MaxResultDepth bound a result that is JSON of any form, and
	// MaxInsights the number of such results: 16 × 8 KiB = 128 KiB.
	MaxResult      = 8 << 10
	MaxResultDepth = 32
	MaxInsights    = 16
	// MaxCostParts bounds the charges of a leg; ten are many.
	MaxCostParts = 64
	// MaxURLs bounds each of the two sets of URLs of a recording (Telnyx knows
	// two formats), MaxURL one of them: a signed one has some 1,500 bytes.
	MaxURLs = 4
	MaxURL  = 4 << 10
)

// Truncation is part of every detail.
type Truncation struct {
	// Truncated tells that something in the detail was past its limit: a text lost
	// its end; what is of no use without its end (a URL, a JSON value) was left
	// out, as were entries of a list. The whole is in the log. False: all is here.
	Truncated bool
}

func (Truncation) detail() {}

// IsTruncated returns Truncated.
func (t Truncation) IsTruncated() bool { return t.Truncated }

// Truncate sets Truncated.
func (t *Truncation) Truncate() { t.Truncated = true }

// RawJSON is a JSON value as Telnyx wrote it, without white space around its
// tokens: valid UTF-8, at most MaxResult long and MaxResultDepth deep. Empty: not stated.
type RawJSON string

// replacement stands for what cannot stand in a text.
const replacement = "\uFFFD"

// nul is U+0000 as JSON has to write it.
const nul = `\u0000`

// PrintableJSON returns JSON with U+FFFD in place of every U+0000 in its texts. That character is legal in JSON and in
// what a caller names itself, and stops readers: PostgreSQL takes no text that has it.
func PrintableJSON(s string) string {
	if !strings.Contains(s, nul) {
		return s
	}
	var out strings.Builder
	out.Grow(len(s))
	for {
		i := strings.IndexByte(s, '\\')
		if i < 0 || i+1 == len(s) {
			out.WriteString(s)
			return out.String()
		}
		out.WriteString(s[:i])
		if escape := s[i:]; strings.HasPrefix(escape, nul) {
			out.WriteString(replacement)
			s = escape[len(nul):]
		} else { // the second character is none that begins an escape of its own
			out.WriteString(escape[:2])
			s = escape[2:]
		}
	}
}
