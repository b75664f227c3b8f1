package call

import (
	"cmp"
	"strconv"
	"strings"
	"time"
)

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
	if eventType, ok := strings.CutPrefix(e.Topic, TopicEvent); ok {
		return prefix + "." + TopicEvent + e.Ref.Connection.Token() + "." + eventType
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

// Handed returns the header of an entry, its topic included, for a message that hands it to a
// service to be appended.
func (e *Entry) Handed() map[string][]string {
	h := e.message()
	h.set(headerTopic, e.Topic)
	return h.header
}

// ReadHanded reads back what Handed tells. The caller adds Data.
func ReadHanded(fields map[string][]string) Entry {
	e := ReadEntry("", "", fields)
	e.Topic = KnownTopic(header(fields).get(headerTopic))
	return e
}

// Place notes where an entry that was read stands: the sequence of its message, and when it was received, which in a copy
// of the log its header says and otherwise the time of the message.
func (e *Entry) Place(seq uint64, at time.Time, fields map[string][]string) {
	e.Seq, e.ReceivedAt = seq, at.UTC()
	if received, err := time.Parse(time.RFC3339Nano, header(fields).get(headerReceived)); err == nil {
		e.ReceivedAt = received.UTC()
	}
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
