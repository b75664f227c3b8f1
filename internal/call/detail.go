package call

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
