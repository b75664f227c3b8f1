package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

// bodiesAtOnce is how many summaries are asked for at a time: 32 × MaxBody = 16 MiB.
const bodiesAtOnce = 32

// Revisions returns every revision of a session and of its legs that is stored, in the
// order of the stream; none when none is. What Legato did not write is passed over. Errors are those of
// infrastructure, and ErrInvalid for a session that no subject can name.
func (p *Publisher) Revisions(ctx context.Context, session string) ([]summary.Stored, error) {
	if err := validKey(summary.Key{Kind: summary.KindSession, Session: session}); err != nil {
		return nil, err
	}
	var all []summary.Stored
	cfg := jetstream.ConsumerConfig{FilterSubjects: []string{
		subject(p.layout.Prefix, "*", "*", summary.Key{Kind: summary.KindSession, Session: session}),
		subject(p.layout.Prefix, "*", "*", summary.Key{Kind: summary.KindLeg, Session: session, Leg: "*"}),
	}}
	err := natsd.Scan(ctx, p.stream, cfg, bodiesAtOnce, "read the summaries of session "+session,
		func(m jetstream.Msg, meta *jetstream.MsgMetadata) error {
			key, ok := keyOf(m.Subject())
			if !ok {
				return nil
			}
			stored, err := decode(key, &jetstream.RawStreamMsg{
				Subject: m.Subject(), Sequence: meta.Sequence.Stream, Header: m.Headers(), Data: m.Data(), Time: meta.Timestamp,
			})
			if err == nil {
				all = append(all, stored)
			}
			return nil // It says nothing about the others that one is not Legato's.
		})
	return all, err
}

// keyOf reads the key back from the subject of a summary.
func keyOf(subject string) (summary.Key, bool) {
	tokens := strings.Split(subject, ".")
	switch {
	case len(tokens) == connectionToken+2 && tokens[1] == summary.KindSession:
		return summary.Key{Kind: summary.KindSession, Session: tokens[connectionToken+1]}, true
	case len(tokens) == connectionToken+3 && tokens[1] == summary.KindLeg:
		return summary.Key{Kind: summary.KindLeg, Session: tokens[connectionToken+1], Leg: tokens[connectionToken+2]}, true
	}
	return summary.Key{}, false
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
	m, err := p.stream.GetLastMsgForSubject(ctx, subject(p.layout.Prefix, "*", "*", summary.Key{Kind: summary.KindLeg, Session: "*", Leg: leg}))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("look for the session of leg %s: %w", leg, err)
	}
	key, ok := keyOf(m.Subject)
	return key.Session, ok, nil
}

var errFound = errors.New("found")

// SessionByControl looks through the bodies of the legs' first summaries that were stored since a time for a
// call_control_id, which no subject names: some tens of thousands a second. Seen, if any, is told how many it
// has looked at. It returns the session, or false.
func (p *Publisher) SessionByControl(ctx context.Context, control string, since time.Time, seen func(n int)) (session string, ok bool, err error) {
	cfg := jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since,
		FilterSubject: subject(p.layout.Prefix, completed, "*", summary.Key{Kind: summary.KindLeg, Session: "*", Leg: "*"}),
	}
	n := 0
	err = natsd.Scan(ctx, p.stream, cfg, bodiesAtOnce, "look for a control id in the summaries",
		func(m jetstream.Msg, _ *jetstream.MsgMetadata) error {
			if n++; seen != nil {
				seen(n)
			}
			// Most are of other calls, and are not worth decoding.
			if !bytes.Contains(m.Data(), []byte(control)) {
				return nil
			}
			var leg struct {
				Session string `json:"call_session_id"`
				Control string `json:"call_control_id"`
			}
			if err := json.Unmarshal(m.Data(), &leg); err == nil && leg.Control == control {
				session = leg.Session
				return errFound
			}
			return nil
		})
	if errors.Is(err, errFound) {
		return session, true, nil
	}
	return "", false, err
}
