// Package publish puts summaries onto the stream of summaries, each revision
// exactly once, and reads back what stands there.
//
// In goes a [summary.Draft] with what its maker believes to be stored before it;
// out comes the stored summary, or [ErrRefused]: somebody published in between, or
// this very message is there already. Which of the two only a read tells ([Publisher.Last]).
//
// What it guarantees:
//   - Of any number of publishers that race for a revision of one key, one succeeds,
//     also when they do not agree on the connection that the subject names.
//   - An error that is neither ErrRefused nor [ErrInvalid] is one of infrastructure; the
//     message may be stored or not. Publishing again is safe, reading first is cheaper.
//   - "Nothing is stored" is an answer of its own, never an error swallowed.
//
// It does not know what a summary says, nor when one is due. Subjects, headers and
// their meaning for consumers are in publisher.go and message.go.
package publish

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

var (
	// ErrRefused is wrapped by the error of a publication that found something
	// else than it was told to expect: [summary.ErrRefused].
	ErrRefused = summary.ErrRefused
	// ErrInvalid is wrapped by the error of a message that can never be published: [summary.ErrInvalid].
	ErrInvalid = summary.ErrInvalid
)

// headerRoom is what the headers of a summary take of a message, at most: some 1 KiB, and ids of 128 bytes where Telnyx's
// have 36.
const headerRoom = 4 << 10

// MaxBody returns the largest body that the server takes now, in bytes: 512 KiB, or what its max_payload leaves for it.
func (p *Publisher) MaxBody() int {
	if limit := p.js.Conn().MaxPayload(); limit > 0 {
		return int(min(summary.MaxBody, max(limit-headerRoom, 0)))
	}
	return summary.MaxBody
}

// DefaultTimeout bounds one exchange with NATS where the caller's context allows more.
const DefaultTimeout = 5 * time.Second

// Publisher publishes the summaries of one deployment and reads them back. It is safe for concurrent use.
type Publisher struct {
	js      jetstream.JetStream
	stream  jetstream.Stream
	layout  natsd.Layout
	foreign foreign
	// full holds back publications while the server refuses them for want of room.
	full natsd.Breaker
	// silent is the time in which the server answered no publication; nil: the last one was stored.
	silent atomic.Pointer[silence]
}

// New returns a Publisher onto the stream of summaries. It fails when the stream cannot be looked up, or allows
// direct gets: those are answered by any replica, and a publication must be decided on what the leader has.
func New(ctx context.Context, js jetstream.JetStream, layout natsd.Layout) (*Publisher, error) {
	stream, err := js.Stream(ctx, layout.Calls)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", layout.Calls, err)
	}
	if stream.CachedInfo().Config.AllowDirect {
		return nil, fmt.Errorf("stream %s allows direct gets, which may be stale", layout.Calls)
	}
	return &Publisher{js: js, stream: stream, layout: layout}, nil
}

// Last returns the newest revision that is stored for the key, and whether there is
// any. What Legato did not write counts as not there. Errors are those of infrastructure, and ErrInvalid for a key that
// no subject can name.
func (p *Publisher) Last(ctx context.Context, key summary.Key) (summary.Stored, bool, error) {
	if err := validKey(key); err != nil {
		return summary.Stored{}, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	// One wildcard for completed and amended, one for the connection. Every
	// revision is stored on condition of the one before, so the last is the newest.
	stored, _, err := p.newest(ctx, subject(p.layout.Prefix, "*", "*", key))
	if err != nil {
		return summary.Stored{}, false, fmt.Errorf("read last summary of %s: %w", name(key), err)
	}
	return stored, stored.Seq > 0, nil
}

// Publish stores a draft when prev is what stands before it: the zero Stored for revision 1, for a later one the
// revision just before. The connection of a later revision is that of prev, whatever the draft says, but where nothing of
// prev is known but its revision. It returns the summary as it is stored. It fails with ErrRefused when something else stands there, with ErrInvalid when no
// attempt could succeed, with a call.ErrFull where there is no room, and with a wrapped infrastructure error when the
// outcome is not known.
func (p *Publisher) Publish(ctx context.Context, d summary.Draft, prev summary.Stored) (summary.Stored, error) {
	if d.Revision > 1 && (prev.Seq > 0 || prev.Connection != "") {
		d.Connection = prev.Connection
	}
	if err := validDraft(d, prev); err != nil {
		return summary.Stored{}, fmt.Errorf("publish %s: %w", messageID(d.Key, d.Revision), err)
	}
	if err := p.full.Allow(); err != nil {
		return summary.Stored{}, fmt.Errorf("publish %s: %w", messageID(d.Key, d.Revision), err)
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	m := encode(p.layout.Prefix, d)
	carryTrace(ctx, m)
	filter := p.condition(d, prev)
	ack, err := p.store(ctx, m, filter, expected(d, prev))
	if refused(err) {
		if last, foreign := p.behindForeign(ctx, filter, expected(d, prev)); foreign {
			ack, err = p.store(ctx, m, filter, last)
		} else if last, outlived := p.outlived(ctx, filter, d, prev); outlived {
			ack, err = p.store(ctx, m, filter, last)
		}
	}
	p.note(begun, ack, err)
	if natsd.IsFull(err) {
		err = fmt.Errorf("%w: %w", call.ErrFull, err)
		p.full.Note(err)
	} else if err == nil {
		p.full.Note(nil)
	}
	switch {
	case refused(err):
		return summary.Stored{}, fmt.Errorf("publish %s: %w (%w)", messageID(d.Key, d.Revision), ErrRefused, err)
	case errors.Is(err, nats.ErrMaxPayload):
		return summary.Stored{}, fmt.Errorf("publish %s: %w: %d bytes and headers are more than the server takes (%d)",
			messageID(d.Key, d.Revision), ErrInvalid, len(d.Body), p.js.Conn().MaxPayload())
	case err != nil:
		return summary.Stored{}, fmt.Errorf("publish %s: %w", messageID(d.Key, d.Revision), err)
	case ack.Stream != p.layout.Calls:
		return summary.Stored{}, fmt.Errorf("publish %s: %w", messageID(d.Key, d.Revision), natsd.StoredIn(ack, p.layout.Calls))
	case ack.Duplicate:
		// On a cluster the server looks at the id before the condition and at the
		// body never, so this says only that some body of this id was stored.
		return summary.Stored{}, fmt.Errorf("publish %s: %w (a message of this id is stored)", messageID(d.Key, d.Revision), ErrRefused)
	}
	d.PublishedAt = d.PublishedAt.UTC().Truncate(time.Microsecond) // As it is read back.
	return summary.Stored{Draft: d, Seq: ack.Sequence}, nil
}

// silence is the time of the first and of the last publication that got no answer, with none stored between them.
type silence struct{ first, last time.Time }

const (
	// silentAfter is how long a publication waits before it counts as one without an answer. Who has less time learns nothing.
	silentAfter = 2 * time.Second
	// silenceEnds is how long after a publication without an answer the next one counts as another fault.
	silenceEnds = time.Minute
)

// Unanswered returns for how long publications got no answer while none was stored, as it is when the disk of a server has
// failed; zero: the last one was stored, or one alone got no answer.
func (p *Publisher) Unanswered() time.Duration {
	if s := p.silent.Load(); s != nil {
		return s.last.Sub(s.first)
	}
	return 0
}

// note takes note of whether the server stores. A refusal says nothing about it, nor does a repetition: a server that
// cannot write any more still looks at ids and conditions.
func (p *Publisher) note(begun time.Time, ack *jetstream.PubAck, err error) {
	now := time.Now()
	switch {
	case refused(err) || errors.Is(err, context.Canceled) || err == nil && ack.Duplicate:
	case errors.Is(err, context.DeadlineExceeded):
		if now.Sub(begun) < silentAfter {
			return
		}
		for {
			before := p.silent.Load()
			s := silence{first: now, last: now}
			if before != nil && now.Sub(before.last) < silenceEnds {
				s.first = before.first
			}
			if p.silent.CompareAndSwap(before, &s) {
				return
			}
		}
	default:
		p.silent.Store(nil)
	}
}

// condition returns the subjects on which nothing may have come since the revision before. Of the first revision they are
// those of any connection: two replicas may know different ones, and yet race for it. The server looks through all
// connections for that. A later one has the connection of the one before, which is stored, whoever publishes it.
func (p *Publisher) condition(d summary.Draft, prev summary.Stored) string {
	connection := "*"
	if prev.Seq > 0 {
		connection = call.ConnectionID(prev.Connection).Token()
	}
	return subject(p.layout.Prefix, verb(d.Revision), connection, d.Key)
}

// store publishes a message if the last one that matches the filter is at a sequence.
func (p *Publisher) store(ctx context.Context, m *nats.Msg, filter string, last uint64) (*jetstream.PubAck, error) {
	return p.js.PublishMsg(ctx, m, jetstream.WithExpectLastSequenceForSubject(last, filter))
}

// outlived reports whether the last amendment is older than the summary that the draft amends, and its sequence. Its
// first revision was lost, by a server that came back with an older disk or by somebody who emptied the stream, and was
// published again later.
func (p *Publisher) outlived(ctx context.Context, filter string, d summary.Draft, prev summary.Stored) (last uint64, ok bool) {
	if d.Revision != 2 {
		return 0, false
	}
	amended, _, err := p.newest(ctx, filter)
	return amended.Seq, err == nil && amended.Seq > 0 && amended.Seq < prev.Seq
}

// expected returns the sequence that must be the last on the subject that the
// draft goes to. The first amendment finds nothing there: completed is another subject.
func expected(d summary.Draft, prev summary.Stored) uint64 {
	if d.Revision <= 2 {
		return 0
	}
	return prev.Seq
}

func validDraft(d summary.Draft, prev summary.Stored) error {
	if err := validKey(d.Key); err != nil {
		return err
	}
	switch {
	case d.Connection != "" && !call.ValidToken(d.Connection):
		return fmt.Errorf("%w: connection id %.64q is no subject token", ErrInvalid, d.Connection)
	case len(d.Body) > summary.MaxBody:
		return fmt.Errorf("%w: body has %d bytes, limit %d", ErrInvalid, len(d.Body), summary.MaxBody)
	case call.HeaderValue(d.Position.Log) != d.Position.Log:
		return fmt.Errorf("%w: the log's identity cannot stand in a header", ErrInvalid)
	case d.Revision < 1:
		return fmt.Errorf("%w: revision %d", ErrInvalid, d.Revision)
	case d.Revision != prev.Revision+1:
		return fmt.Errorf("%w: revision %d does not follow %d", ErrInvalid, d.Revision, prev.Revision)
	case d.Revision > 1 && prev.Key != d.Key:
		return fmt.Errorf("%w: the revision before is of another key", ErrInvalid)
	case !saysItself(&d):
		// It would not be known for Legato's when it is read back.
		return fmt.Errorf("%w: the body does not name its key and revision", ErrInvalid)
	}
	return nil
}

// name writes a key for people.
func name(k summary.Key) string {
	if k.Kind == summary.KindLeg {
		return "leg " + k.Leg + " of session " + k.Session
	}
	return k.Kind + " " + k.Session
}

// Subjects of a leg, and of a session without the last token; a prefix is one token:
//
//	<prefix>.leg.completed.<connection>.<session>.<leg>
//	<prefix>.leg.amended.<connection>.<session>.<leg>
//
// The connection is call.UnknownConnection where the first publication did not know it.
const (
	completed = "completed"
	amended   = "amended"
)

// subject returns the subject of a key; verb and connection may be wildcards.
func subject(prefix, verb, connection string, k summary.Key) string {
	s := prefix + "." + k.Kind + "." + verb + "." + connection + "." + k.Session
	if k.Kind == summary.KindLeg {
		s += "." + k.Leg
	}
	return s
}

// verb returns the token that tells a first publication from a later one.
func verb(revision int) string {
	if revision == 1 {
		return completed
	}
	return amended
}

// validKey fails when a key cannot be named by a subject. Ingest parks input
// with such ids, so it is a mistake of the program when it happens.
func validKey(k summary.Key) error {
	if !call.ValidToken(k.Session) {
		return fmt.Errorf("%w: session id %.64q is no subject token", ErrInvalid, k.Session)
	}
	switch k.Kind {
	case summary.KindLeg:
		if !call.ValidToken(k.Leg) {
			return fmt.Errorf("%w: leg id %.64q is no subject token", ErrInvalid, k.Leg)
		}
	case summary.KindSession:
		if k.Leg != "" {
			return fmt.Errorf("%w: a session has no leg id", ErrInvalid)
		}
	default:
		return fmt.Errorf("%w: kind %.16q is neither leg nor session", ErrInvalid, k.Kind)
	}
	return nil
}

// Subject is what the subject of a summary tells.
type Subject struct {
	// Completed tells that it is of a first publication, and not of an amendment.
	Completed bool
	// Connection is the connection_id. Empty: not known at the first publication.
	Connection string
	Key        summary.Key
}

// ParseSubject reads the subject of a summary, whatever the prefix; false when it is none.
func ParseSubject(subject string) (Subject, bool) {
	var room [6]string
	tokens := room[:0]
	for rest, more := subject, true; more; {
		if len(tokens) == cap(tokens) {
			return Subject{}, false
		}
		var token string
		token, rest, more = strings.Cut(rest, ".")
		tokens = append(tokens, token)
	}
	if len(tokens) < 5 || tokens[2] != completed && tokens[2] != amended {
		return Subject{}, false
	}
	s := Subject{Completed: tokens[2] == completed, Key: summary.Key{Kind: tokens[1], Session: tokens[4]}}
	if tokens[3] != call.UnknownConnection {
		s.Connection = tokens[3]
	}
	switch {
	case s.Key.Kind == summary.KindSession && len(tokens) == 5:
	case s.Key.Kind == summary.KindLeg && len(tokens) == 6:
		s.Key.Leg = tokens[5]
	default:
		return Subject{}, false
	}
	return s, true
}
