package call

import (
	"errors"
	"strings"
	"time"
)

// ErrFull says that there is no room: a stream, its account, its server or its disk is at a limit. The input was not
// stored, and repeating at once is of no use.
var ErrFull = errors.New("there is no room")

// Entry is one message of the log: what arrived or what Legato learned, with
// the place that the log gave it. Package journal stores and delivers entries.
type Entry struct {
	// Seq is the stream sequence, from 1, contiguous. Zero on an entry not yet appended.
	Seq uint64
	// ReceivedAt is the stream's timestamp of the message: one clock for all
	// replicas. Zero on an entry not yet appended.
	ReceivedAt time.Time
	// Topic says what the entry is: TopicEvent and an event type, or one of the internal topics. Its subject
	// begins with the deployment's prefix and, of an event, has the connection before the type.
	Topic string
	// ID is the idempotency key (Nats-Msg-Id): a second entry of the same id is not stored.
	ID string
	// Ref names the call, copied from the body into headers so that the queue need not open it.
	Ref Ref
	// Attempt is Telnyx's delivery attempt, 0 where there is none.
	Attempt int
	// Signature and Timestamp are Telnyx's signature headers as received, so
	// that a body can be verified again offline. Empty on internal entries.
	Signature, Timestamp string
	// ContentType and UserAgent are the webhook's headers of these names. Empty: not stated, or those
	// that Telnyx's webhooks have (WebhookContentType, WebhookUserAgent).
	ContentType, UserAgent string
	// Backfill marks an event that came from the provider's history.
	Backfill bool
	// Sweep marks what is asked and heard about a leg that lives: it takes no room that calls need to be finished. It is
	// not stored.
	Sweep bool
	// Foreign marks what was read from the log's stream and was not written by Legato: it says nothing.
	Foreign bool
	// Trace is the traceparent (W3C) of the span that appended the entry. Empty: it was not traced.
	Trace string
	// Data is the body, byte for byte.
	Data []byte
	// Event is what Data says, where whoever appended it has decoded it for a fold in the same process. Nil: nobody has.
	// It is not stored.
	Event *Event
}

// EventType returns the type of the event that the entry is, empty when it is one of Legato's own.
func (e Entry) EventType() string {
	eventType, ok := strings.CutPrefix(e.Topic, TopicEvent)
	if !ok {
		return ""
	}
	return eventType
}

// Headers of Telnyx's webhooks that are the same on nearly all of them; an entry need not repeat them.
const (
	WebhookContentType = "application/json"
	WebhookUserAgent   = "telnyx-webhooks"
)

// Topics of the log. TopicEvent is followed by the event's type.
const (
	TopicEvent     = "event."
	TopicStatus    = "internal.status"
	TopicCheck     = "internal.check"
	TopicHeartbeat = "internal.probe"
	TopicBackfill  = "internal.repair"
)

// InternalTopics returns the topics of Legato's own entries, in order: all that the log takes beside events.
func InternalTopics() []string {
	return []string{TopicCheck, TopicHeartbeat, TopicBackfill, TopicStatus}
}

// Receipt is the log's word that an entry is stored.
type Receipt struct {
	// Seq is the stream sequence of the stored entry; on a duplicate that of the
	// first, or 0 where that is not known.
	Seq uint64
	// Duplicate tells that an entry of the same id was there before.
	Duplicate bool
}

// Parked is input that cannot be used, kept byte for byte: a signed webhook that
// is no call event, or an entry of the log on which the work has failed.
type Parked struct {
	// Reason is a short stable word that can stand as a subject token.
	Reason string
	// Signature and Timestamp are Telnyx's signature headers as received.
	Signature, Timestamp string
	// ContentType is the request's.
	ContentType string
	// Seq, Topic, Ref and Backfill are those of the entry. Zero on a webhook that never was in the log.
	Seq      uint64
	Topic    string
	Ref      Ref
	Backfill bool
	// Data is the body, byte for byte.
	Data []byte
}

// Log describes the log at one moment.
type Log struct {
	// ID identifies this life of the log: one that was deleted and made again
	// counts from 1 anew and has another ID.
	ID string
	// First and Last are the sequences of the first and the last entry that it
	// holds; an empty log has First one above Last.
	First, Last uint64
}

// Need is what the calls that are not finished will still take of the storage, by estimate. It is kept free for them.
type Need struct {
	// Legs counts the legs that are not finished.
	Legs int64
	// Log and Summaries are in bytes, of one copy of the log and of the stream of summaries.
	Log, Summaries int64
}

// Depth is what the queue still has to do.
type Depth struct {
	// Waiting entries were not handed out yet; Held ones are with a replica.
	Waiting, Held uint64
	// Floor: every entry up to and including this sequence needs no more work.
	Floor uint64
}

// BackfillID is the id of an entry of an event from the provider's history. It is another than that of the
// event's webhook, so that the webhook, should it still come, is taken for what it is and not for a repetition.
func BackfillID(key string) string { return "backfill/" + key }
