package publish

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

const (
	// watchPrefetch: a start reads the revisions of the last hours.
	watchPrefetch = 1000
	// watchForgotten is when the server drops the consumer of a watch that is gone.
	watchForgotten = time.Minute
	// watchRelease bounds the removal of that consumer.
	watchRelease = 500 * time.Millisecond
)

var errWatchMissed = errors.New("a summary was lost on its way")

// Watch tells of every revision that was stored since a time, in order, and goes on with what is stored until
// ctx ends, whose error it returns, or until it is interrupted. Some may be reported twice, and after an interruption
// some not at all: who needs them begins again. It reads headers only.
//
// It is not nats.go's ordered consumer: where its consumer cannot be made again, that one tries for ever, on a context
// of its own.
func (p *Publisher) Watch(ctx context.Context, since time.Time, seen func(k summary.Key, revision int, at summary.Position)) error {
	fail := func(err error) error { return fmt.Errorf("watch stream %s: %w", p.layout.Calls, err) }
	consumer, err := p.js.CreateConsumer(ctx, p.layout.Calls, jetstream.ConsumerConfig{
		Description:       "tells Legato of published summaries",
		FilterSubjects:    p.all(),
		DeliverPolicy:     jetstream.DeliverByStartTimePolicy,
		OptStartTime:      &since,
		AckPolicy:         jetstream.AckNonePolicy,
		HeadersOnly:       true,
		InactiveThreshold: watchForgotten,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return fail(err)
	}
	defer p.release(ctx, consumer)
	var delivered uint64
	c, err := natsd.Consume(consumer, watchPrefetch, func(m jetstream.Msg) error {
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read the metadata of a summary: %w", err)
		}
		if delivered++; meta.Sequence.Consumer != delivered {
			return errWatchMissed
		}
		if d, err := decodeHeader(m.Subject(), m.Headers()); err == nil { // else it is not Legato's
			seen(d.Key, d.Revision, d.Position)
		}
		return ctx.Err()
	})
	if err != nil {
		return fail(err)
	}
	defer c.Stop()
	return fail(c.Wait(ctx))
}

// Published tells of every revision that was stored since a time, in order, each once, up to the last one that is stored
// when it begins. It reads headers only. Errors are that of ctx and those of infrastructure.
func (p *Publisher) Published(ctx context.Context, since time.Time, seen func(k summary.Key, revision int, at summary.Position)) error {
	scan := natsd.Scan{Stream: p.layout.Calls, Subjects: p.all(), Since: since, HeadersOnly: true}
	return scan.Each(ctx, p.js, func(m *jetstream.RawStreamMsg) error {
		if d, err := decodeHeader(m.Subject, m.Header); err == nil { // else it is not Legato's
			seen(d.Key, d.Revision, d.Position)
		}
		return ctx.Err()
	})
}

// all are the subjects of all summaries.
func (p *Publisher) all() []string {
	return []string{
		subject(p.layout.Prefix, "*", "*", summary.Key{Kind: summary.KindLeg, Session: "*", Leg: "*"}),
		subject(p.layout.Prefix, "*", "*", summary.Key{Kind: summary.KindSession, Session: "*"}),
	}
}

// release spares the server a consumer that nobody asks any more.
func (p *Publisher) release(ctx context.Context, consumer jetstream.Consumer) {
	if !p.js.Conn().IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), watchRelease)
	defer cancel()
	// What cannot be removed is left to the server.
	_ = p.js.DeleteConsumer(ctx, p.layout.Calls, consumer.CachedInfo().Name)
}

// Revisions returns every revision of a session and of its legs that is stored, in the
// order of the stream; none when none is. What Legato did not write is passed over. Errors are those of
// infrastructure, and ErrInvalid for a session that no subject can name.
func (p *Publisher) Revisions(ctx context.Context, session string) ([]summary.Stored, error) {
	if err := validKey(summary.Key{Kind: summary.KindSession, Session: session}); err != nil {
		return nil, err
	}
	var all []summary.Stored
	// One after the other: for a consumer of several filters the server walks all subjects of the stream.
	for _, of := range []summary.Key{{Kind: summary.KindSession, Session: session}, {Kind: summary.KindLeg, Session: session, Leg: "*"}} {
		scan := natsd.Scan{Stream: p.layout.Calls, Subjects: []string{subject(p.layout.Prefix, "*", "*", of)}}
		err := scan.Each(ctx, p.js, func(m *jetstream.RawStreamMsg) error {
			// One that is not Legato's says nothing about the others.
			if stored, err := decode(m); err == nil {
				all = append(all, stored)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read the summaries of session %s: %w", session, err)
		}
	}
	slices.SortFunc(all, func(a, b summary.Stored) int { return cmp.Compare(a.Seq, b.Seq) })
	return all, nil
}

// Erase takes every message of a session and of its legs out of the stream of summaries, whoever wrote it, overwrites it
// where it is stored, and returns how many they were; a dry run only counts. Errors are those of infrastructure, and
// ErrInvalid for a session that no subject can name.
func (p *Publisher) Erase(ctx context.Context, session string, dryRun bool) (int, error) {
	if err := validKey(summary.Key{Kind: summary.KindSession, Session: session}); err != nil {
		return 0, err
	}
	scan := natsd.Scan{Stream: p.layout.Calls, HeadersOnly: true, Subjects: []string{
		subject(p.layout.Prefix, "*", "*", summary.Key{Kind: summary.KindSession, Session: session}),
		subject(p.layout.Prefix, "*", "*", summary.Key{Kind: summary.KindLeg, Session: session, Leg: "*"}),
	}}
	return natsd.Erase(ctx, p.js, scan, dryRun, func(*jetstream.RawStreamMsg) (bool, error) { return true, nil })
}

// SessionOf returns the session of a leg of which a summary is stored; false when none
// is. The server looks through the subjects of all legs: it is for a question, not for the
// work. Errors are those of infrastructure, and ErrInvalid for a leg that no subject can name.
func (p *Publisher) SessionOf(ctx context.Context, leg string) (string, bool, error) {
	if !call.ValidToken(leg) {
		return "", false, fmt.Errorf("%w: leg id %.64q is no subject token", ErrInvalid, leg)
	}
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	stored, _, err := p.newest(ctx, subject(p.layout.Prefix, "*", "*", summary.Key{Kind: summary.KindLeg, Session: "*", Leg: leg}))
	if err != nil {
		return "", false, fmt.Errorf("look for the session of leg %s: %w", leg, err)
	}
	return stored.Key.Session, stored.Seq > 0, nil
}

var errFound = errors.New("found")

// SessionByControl looks through the bodies of the legs' first summaries that were stored since a time for a
// call_control_id, which no subject names: some tens of thousands a second. Seen, if any, is told how many it
// has looked at. It returns the session, or false.
func (p *Publisher) SessionByControl(ctx context.Context, control string, since time.Time, seen func(n int)) (session string, ok bool, err error) {
	legs := subject(p.layout.Prefix, completed, "*", summary.Key{Kind: summary.KindLeg, Session: "*", Leg: "*"})
	n := 0
	err = natsd.Scan{Stream: p.layout.Calls, Subjects: []string{legs}, Since: since}.Each(ctx, p.js, func(m *jetstream.RawStreamMsg) error {
		if n++; seen != nil {
			seen(n)
		}
		// Most are of other calls, and are not worth decoding.
		if !bytes.Contains(m.Data, []byte(control)) {
			return nil
		}
		var leg struct {
			Session string `json:"call_session_id"`
			Control string `json:"call_control_id"`
		}
		if err := json.Unmarshal(m.Data, &leg); err == nil && leg.Control == control {
			session = leg.Session
			return errFound
		}
		return nil
	})
	switch {
	case errors.Is(err, errFound):
		return session, true, nil
	case err != nil:
		return "", false, fmt.Errorf("look for a control id in the summaries: %w", err)
	}
	return "", false, nil
}
