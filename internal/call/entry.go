package call

import (
	"cmp"
	"errors"
	"strconv"
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
	// PutBack marks an event that comes by no webhook: it was parked. It is not stored.
	PutBack bool
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

// Names of the headers that messages of the log and parked messages have. They carry what the
// queue needs to know without opening the body, and what a later reader needs to verify it.
const (
	headerID         = "Nats-Msg-Id"
	headerSession    = "Legato-Session"
	headerLeg        = "Legato-Leg"
	headerControl    = "Legato-Control"
	headerConnection = "Legato-Connection"
	headerAttempt    = "Legato-Attempt"
	headerSource     = "Legato-Source"
	headerReceived   = "Legato-Received-At"
	headerOriginal   = "Legato-Id"
	headerTrace      = "traceparent" // as written by W3C Trace Context; NATS heeds case
	headerSignature  = "Telnyx-Signature-Ed25519"
	headerTimestamp  = "Telnyx-Timestamp"

	headerContentType = "Content-Type"
	headerUserAgent   = "User-Agent" // of entries only

	// Of parked messages only: the reason, and the place and topic of an entry of the log.
	headerReason   = "Legato-Reason"
	headerSequence = "Legato-Sequence"
	headerTopic    = "Legato-Topic"

	sourceBackfill = "backfill"
)

// header is the header of a NATS message. Names keep their case: nats.Header's methods find only
// canonical ones, which not all of these are.
type header map[string][]string

func (h header) get(name string) string {
	if v := h[name]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// headerFields are most of those that a message has.
const headerFields = 14

// making is a header that is being made. Its values stand in one place: an entry's message has a dozen, and each would
// be a slice to allocate.
type making struct {
	header
	values []string
}

func newHeader() *making {
	return &making{make(header, headerFields), make([]string, 0, headerFields)}
}

// set leaves out what is not stated.
func (h *making) set(name, value string) {
	if value == "" {
		return
	}
	h.values = append(h.values, value)
	n := len(h.values)
	h.header[name] = h.values[n-1 : n : n]
}

// setOrigin writes what entries and parked input share.
func (h *making) setOrigin(ref Ref, signature, timestamp string, backfill bool) {
	h.set(headerSession, string(ref.Session))
	h.set(headerLeg, string(ref.Leg))
	h.set(headerControl, string(ref.Control))
	h.set(headerConnection, string(ref.Connection))
	h.set(headerSignature, signature)
	h.set(headerTimestamp, timestamp)
	if backfill {
		h.set(headerSource, sourceBackfill)
	}
}

func (h header) origin() (ref Ref, signature, timestamp string, backfill bool) {
	ref = Ref{
		Session:    SessionID(h.get(headerSession)),
		Leg:        LegID(h.get(headerLeg)),
		Control:    ControlID(h.get(headerControl)),
		Connection: ConnectionID(h.get(headerConnection)),
	}
	return ref, h.get(headerSignature), h.get(headerTimestamp), h.get(headerSource) == sourceBackfill
}

// Subject returns the subject of the entry in a deployment: of an event
// <prefix>.event.<connection>.<event type>, of Legato's own <prefix>.internal.<kind>.
func (e *Entry) Subject(prefix string) string {
	if t := e.EventType(); t != "" {
		return prefix + "." + TopicEvent + e.Ref.Connection.Token() + "." + t
	}
	return prefix + "." + e.Topic
}

// topicOf returns the topic that a subject stands for. Logs of earlier releases have no connection in their subjects:
// the token after TopicEvent is a connection only where it is "_", which no event type has in it, or what the
// header states as the connection. So an entry of the earlier form would be misread only if Telnyx
// gave a connection the name of a product, as "call"; its connection ids are numbers.
func topicOf(prefix, subject string, ref Ref) string {
	topic := strings.TrimPrefix(subject, prefix+".")
	rest, isEvent := strings.CutPrefix(topic, TopicEvent)
	first, eventType, more := strings.Cut(rest, ".")
	if isEvent && more && (first == UnknownConnection || first == string(ref.Connection)) {
		return KnownTopic(TopicEvent + eventType)
	}
	return topic
}

// KnownTopic returns the topic as it is: one text for all entries of a type that is known.
func KnownTopic(topic string) string {
	if known, ok := topics[topic]; ok {
		return known
	}
	return topic
}

// topics are those of the types in the table, and Legato's own.
var topics = func() map[string]string {
	all := make(map[string]string, len(eventTypes))
	for _, t := range eventTypes {
		all[TopicEvent+t.Name] = TopicEvent + t.Name
	}
	for _, t := range InternalTopics() {
		all[t] = t
	}
	return all
}()

// Header returns the header of the entry's message, a new one each time. Beside what the log itself
// adds (Seq, ReceivedAt), subject, header and Data are all of an entry.
func (e *Entry) Header() map[string][]string { return e.message().header }

func (e *Entry) message() *making {
	h := newHeader()
	h.set(headerID, e.ID)
	h.setOrigin(e.Ref, e.Signature, e.Timestamp, e.Backfill)
	h.set(headerTrace, e.Trace)
	h.set(headerContentType, HeaderValue(e.ContentType))
	h.set(headerUserAgent, HeaderValue(e.UserAgent))
	if e.Attempt > 0 {
		h.set(headerAttempt, strconv.Itoa(e.Attempt))
	}
	return h
}

// headerNames is more than all header names of an entry take, with ": " and line ends.
const headerNames = 288

// Size bounds what the server holds against its limits: header and body as they travel.
func (e *Entry) Size() int64 {
	return int64(headerNames + len(e.ID) + len(e.Ref.Session) + len(e.Ref.Leg) + len(e.Ref.Control) + len(e.Ref.Connection) +
		len(e.Signature) + len(e.Timestamp) + len(e.Trace) + len(e.ContentType) + len(e.UserAgent) + len(e.Data))
}

// ReadEntry reads back what subject and header of a message in the log tell of an entry; what is not
// stated is empty, and what has not the form of an entry is marked as foreign. The caller adds Seq, ReceivedAt and Data.
func ReadEntry(prefix, subject string, fields map[string][]string) Entry {
	h := header(fields)
	e := Entry{ID: cmp.Or(h.get(headerOriginal), h.get(headerID)), Trace: h.get(headerTrace), ContentType: h.get(headerContentType), UserAgent: h.get(headerUserAgent)}
	e.Ref, e.Signature, e.Timestamp, e.Backfill = h.origin()
	e.Topic = topicOf(prefix, subject, e.Ref)
	// An attempt that is no number was never written by Legato; it counts as not stated.
	e.Attempt, _ = strconv.Atoi(h.get(headerAttempt))
	e.Foreign = !e.hasOrigin()
	return e
}

// hasOrigin reports whether what was read has what every entry is written with: an identity, and ids of a call that can
// be subject tokens. Heartbeats have neither, and say nothing.
func (e *Entry) hasOrigin() bool {
	valid := func(id string) bool { return id == "" || ValidToken(id) }
	return e.Topic == TopicHeartbeat ||
		e.ID != "" && !e.Ref.Empty() && valid(string(e.Ref.Session)) && valid(string(e.Ref.Leg))
}

// CopyHeader returns the header of the entry's message in a copy of the log, a new one each time: it says when the entry
// was received, since the message itself is younger. again: an entry of the same id stands in the copy already, and the
// server would take this one for a repetition of its message.
func (e *Entry) CopyHeader(again bool) map[string][]string {
	h := e.message()
	h.set(headerReceived, e.ReceivedAt.UTC().Format(time.RFC3339Nano))
	if again && e.ID != "" {
		h.set(headerOriginal, e.ID)
		h.set(headerID, e.ID+"/"+strconv.FormatUint(e.Seq, 10))
	}
	return h.header
}

// ReadPlaced is ReadEntry of a message with its body and its place: the sequence, and when it was received, which in a
// copy of the log its header says and otherwise the time of the message.
func ReadPlaced(prefix, subject string, fields map[string][]string, data []byte, seq uint64, at time.Time) Entry {
	e := ReadEntry(prefix, subject, fields)
	e.Seq, e.ReceivedAt, e.Data = seq, at.UTC(), data
	if received, err := time.Parse(time.RFC3339Nano, header(fields).get(headerReceived)); err == nil {
		e.ReceivedAt = received.UTC()
	}
	return e
}

// Header returns the header of the input's message under an idempotency key, a new one each time. What a sender
// chose is written as [HeaderValue] has it.
func (p *Parked) Header(id string) map[string][]string {
	h := newHeader()
	h.setOrigin(p.Ref, p.Signature, p.Timestamp, p.Backfill)
	h.set(headerReason, p.Reason)
	h.set(headerContentType, p.ContentType)
	h.set(headerTopic, p.Topic)
	for name, values := range h.header {
		if values[0] = HeaderValue(values[0]); values[0] == "" {
			delete(h.header, name)
		}
	}
	if p.Seq > 0 {
		h.set(headerSequence, strconv.FormatUint(p.Seq, 10))
	}
	h.set(headerID, id)
	return h.header
}

// ReadParked reads back what the header of a parked message tells; what is not stated is empty. The caller adds Data.
func ReadParked(fields map[string][]string) Parked {
	h := header(fields)
	p := Parked{Reason: h.get(headerReason), ContentType: h.get(headerContentType), Topic: h.get(headerTopic)}
	p.Ref, p.Signature, p.Timestamp, p.Backfill = h.origin()
	// A sequence that is no number was never written by Legato; it counts as not stated.
	p.Seq, _ = strconv.ParseUint(h.get(headerSequence), 10, 64)
	return p
}

// maxHeaderValue bounds what a sender may put into one header of a message: the
// server refuses headers over 64 KiB, and what cannot be stored would come again and again.
const maxHeaderValue = 1024

// HeaderValue returns s as it can stand in a header of a message: on one line, of bounded length.
func HeaderValue(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s))
	if len(s) > maxHeaderValue {
		s = strings.ToValidUTF8(s[:maxHeaderValue], "")
	}
	return s
}
