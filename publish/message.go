package publish

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/tidwall/gjson"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/time/rate"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

// Headers of a summary message that are Legato's own. The others are NATS's
// (Nats-Msg-Id and the condition) and those of CloudEvents in binary mode.
const (
	// HeaderPosition is the sequence in the log that the summary was folded to, decimal.
	HeaderPosition = "Legato-Position"
	// HeaderLog identifies the log that the position is a place in.
	HeaderLog = "Legato-Log"
	// HeaderRevision is the summary's revision, decimal.
	HeaderRevision = "Legato-Revision"
)

// headerTrace is of W3C Trace Context, and of the CloudEvents extension for it; NATS heeds case.
const headerTrace = "traceparent"

// carryTrace makes a message part of the trace that it is published in, if there is one.
func carryTrace(ctx context.Context, m *nats.Msg) {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	m.Header[headerTrace] = []string{carrier[headerTrace]}
}

// SchemaURI returns the stable name of the shape of summaries of a kind, as in ce-dataschema:
// "urn:legato:schema:leg:1". It is a name, not an address: the JSON Schema ships with Legato. Its number is
// summary.Schema, which counts up only for a change that would break a consumer.
func SchemaURI(kind string) string {
	return "urn:legato:schema:" + kind + ":" + strconv.Itoa(summary.Schema)
}

// messageID returns the idempotency key of a revision: "leg/<session>/<leg>/<revision>" or
// "session/<session>/<revision>". No id contains a slash, so no two collide. The session is in
// a leg's because the subject's is: were a leg ever seen in two
// sessions, the server would otherwise drop the second summary as a repetition.
func messageID(k summary.Key, revision int) string { return string(appendMessageID(nil, k, revision)) }

func appendMessageID(to []byte, k summary.Key, revision int) []byte {
	to = append(append(append(to, k.Kind...), '/'), k.Session...)
	if k.Kind == summary.KindLeg {
		to = append(append(to, '/'), k.Leg...)
	}
	return strconv.AppendInt(append(to, '/'), int64(revision), 10)
}

// about is the ce-subject: "<session>/<leg>" or "<session>".
func about(k summary.Key) string {
	if k.Kind == summary.KindLeg {
		return k.Session + "/" + k.Leg
	}
	return k.Session
}

// timeFormat is RFC 3339 to the microsecond, as in the bodies.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// encode builds the message of a draft.
func encode(prefix string, d summary.Draft) *nats.Msg {
	id := messageID(d.Key, d.Revision)
	return &nats.Msg{
		Subject: subject(prefix, verb(d.Revision), call.ConnectionID(d.Connection).Token(), d.Key),
		Data:    d.Body,
		Header: nats.Header{
			jetstream.MsgIDHeader: {id},
			"Content-Type":        {"application/json"},
			"ce-specversion":      {"1.0"},
			"ce-id":               {id},
			"ce-type":             {"legato.call." + d.Key.Kind + "." + verb(d.Revision) + ".v" + strconv.Itoa(summary.Schema)},
			// Source and id together are unique among all events, so the source names the deployment.
			"ce-source":          {"urn:legato:" + prefix},
			"ce-subject":         {about(d.Key)},
			"ce-time":            {d.PublishedAt.UTC().Format(timeFormat)},
			"ce-datacontenttype": {"application/json"},
			"ce-dataschema":      {SchemaURI(d.Key.Kind)},
			HeaderPosition:       {strconv.FormatUint(d.Position.Seq, 10)},
			HeaderLog:            {d.Position.Log},
			HeaderRevision:       {strconv.Itoa(d.Revision)},
		},
	}
}

// decode reads a stored summary back. It fails on a message that encode did not make.
func decode(m *jetstream.RawStreamMsg) (summary.Stored, error) {
	d, err := decodeHeader(m.Subject, m.Header)
	if err != nil {
		return summary.Stored{}, err
	}
	if d.Body = m.Data; !saysItself(&d) || !gjson.ValidBytes(d.Body) {
		return summary.Stored{}, errors.New("the body is not of the summary that its subject and header name")
	}
	return summary.Stored{Seq: m.Sequence, Draft: d}, nil
}

// saysItself reports whether the body of a draft names the key and the revision that it is of.
func saysItself(d *summary.Draft) bool {
	get := func(field string) string { return gjson.GetBytes(d.Body, field).String() }
	return get("kind") == d.Key.Kind && get("revision") == strconv.Itoa(d.Revision) &&
		get("call_session_id") == d.Key.Session && (d.Key.Leg == "" || get("call_leg_id") == d.Key.Leg)
}

// Wrote returns the revision of a message of this subject; false when its headers are not those of a summary that
// Legato wrote. Its body may yet be another's.
func (s Subject) Wrote(h nats.Header) (revision int, ok bool) {
	d, err := s.draft(h)
	return d.Revision, err == nil
}

// decodeHeader reads back what subject and header of a stored summary tell. It fails on a message that encode did not make.
func decodeHeader(subject string, h nats.Header) (summary.Draft, error) {
	of, ok := ParseSubject(subject)
	if !ok {
		return summary.Draft{}, fmt.Errorf("subject %.128q is none of a summary", subject)
	}
	return of.draft(h)
}

// draft is what the subject and headers of a summary tell.
func (s Subject) draft(h nats.Header) (summary.Draft, error) {
	revision, err := strconv.Atoi(h.Get(HeaderRevision))
	if err != nil || revision < 1 || s.Completed != (revision == 1) {
		return summary.Draft{}, fmt.Errorf("header %s is %.32q", HeaderRevision, h.Get(HeaderRevision))
	}
	position, err := strconv.ParseUint(h.Get(HeaderPosition), 10, 64)
	if err != nil {
		return summary.Draft{}, fmt.Errorf("header %s is %.32q", HeaderPosition, h.Get(HeaderPosition))
	}
	at, err := time.Parse(time.RFC3339Nano, h.Get("ce-time"))
	if err != nil {
		return summary.Draft{}, fmt.Errorf("header ce-time: %w", err)
	}
	var room [128]byte // with the ids of Telnyx it is enough
	if id := h.Get("ce-id"); id != string(appendMessageID(room[:0], s.Key, revision)) {
		return summary.Draft{}, fmt.Errorf("header ce-id is %.128q", id)
	}
	return summary.Draft{
		Key: s.Key, Connection: s.Connection, Revision: revision, PublishedAt: at.UTC(),
		Position: summary.Position{Log: h.Get(HeaderLog), Seq: position},
	}, nil
}

// refusals are the API errors of the server that mean "another message came first".
var refusals = []jetstream.ErrorCode{
	jetstream.JSErrCodeStreamWrongLastSequence,         // 10071: something else is stored.
	jetstream.JSErrCodeStreamWrongLastSequenceConstant, // 10164: something else is proposed, on a replicated stream.
	10158, // A message of this id is proposed and not yet stored; the client library has no name for it.
}

// refused reports whether the server turned a message down because of what is stored or about to be.
func refused(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && slices.Contains(refusals, api.ErrorCode)
}

// Tell has p count and log what it meets that Legato did not write. A nil Registerer counts nothing. It is called before any other
// method, if at all.
func (p *Publisher) Tell(log *slog.Logger, r prometheus.Registerer) {
	p.foreign = foreign{
		log:  log,
		said: rate.Sometimes{Interval: time.Minute},
		met: promauto.With(r).NewCounter(prometheus.CounterOpts{
			Name: "legato_summaries_foreign_total",
			Help: "Times that a message was met among the summaries that Legato did not write, and was passed over or overtaken.",
		}),
	}
}

// foreign tells of messages among the summaries that Legato did not write. The zero value is silent.
type foreign struct {
	log  *slog.Logger
	said rate.Sometimes
	met  prometheus.Counter
}

func (f *foreign) note(stream string, seq uint64) {
	if f.log == nil {
		return
	}
	f.met.Inc()
	f.said.Do(func() {
		f.log.Warn("there are messages among the summaries that Legato did not write; they are passed over: somebody else may publish there",
			"stream", stream, "seq", seq)
	})
}

// newest returns the newest summary on the subjects that match a filter, zero when there is none, and the sequence of the
// last message, whoever wrote it.
func (p *Publisher) newest(ctx context.Context, filter string) (stored summary.Stored, last uint64, err error) {
	m, err := p.stream.GetLastMsgForSubject(ctx, filter)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return summary.Stored{}, 0, nil
	case err != nil:
		return summary.Stored{}, 0, err
	}
	if stored, err = decode(m); err == nil {
		return stored, m.Sequence, nil
	}
	scan := natsd.Scan{Stream: p.layout.Calls, Subjects: []string{filter}}
	err = scan.Each(ctx, p.js, func(m *jetstream.RawStreamMsg) error {
		last = m.Sequence
		if s, err := decode(m); err == nil {
			stored = s
		} else {
			p.foreign.note(p.layout.Calls, m.Sequence)
		}
		return nil
	})
	return stored, last, err
}

// behindForeign reports whether nothing but messages that Legato did not write came on the subjects that match a filter
// since the summary at a sequence (0: since ever), and the sequence of the last of them. Whoever publishes on condition
// that it still is the last, publishes after that summary.
func (p *Publisher) behindForeign(ctx context.Context, filter string, seq uint64) (last uint64, ok bool) {
	stored, last, err := p.newest(ctx, filter)
	return last, err == nil && stored.Seq == seq && last > seq
}
