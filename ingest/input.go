package ingest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// classify decides what a body whose signature was checked becomes: an entry of the
// log. It fails with *telnyx.Unusable when the body is to be parked.
func classify(signature, timestamp string, body []byte) (call.Entry, error) {
	envelope, err := telnyx.ParseEnvelope(body)
	if err != nil {
		return call.Entry{}, err
	}
	return call.Entry{
		Topic:     call.TopicEvent + envelope.Type,
		ID:        envelope.Key(),
		Ref:       envelope.Ref,
		Attempt:   envelope.Attempt,
		Signature: signature,
		Timestamp: timestamp,
		Data:      body,
	}, nil
}

// Retry decides what parked input becomes now; seq is its place in the parked store. A webhook becomes what it
// would become if it came in now, except that its age is not held against it: that was checked when it came. It
// fails with *telnyx.Unusable when that still is no event, and with the verifier's error when the signature does
// not match; a nil verifier checks none.
//
// Input that was an entry of the log becomes one again, under an id made of seq and not under its own: the log
// would take it for a redelivery, and nobody would be handed the work that was given up. What is folded twice
// counts once, for the fold goes by what the bytes say.
func Retry(p call.Parked, seq uint64, verifier *telnyx.Verifier) (call.Entry, error) {
	again := "retry/" + strconv.FormatUint(seq, 10) + "/"
	if p.Topic != "" && !strings.HasPrefix(p.Topic, call.TopicEvent) {
		return call.Entry{Topic: p.Topic, ID: again + p.Topic, Ref: p.Ref, Data: p.Data}, nil
	}
	// What came from the provider's history was never signed.
	if verifier != nil && !p.Backfill {
		if err := verifier.Verify(p.Timestamp, p.Signature, p.Data); err != nil {
			return call.Entry{}, fmt.Errorf("verify parked message %d: %w", seq, err)
		}
	}
	e, err := classify(p.Signature, p.Timestamp, p.Data)
	if err != nil {
		return call.Entry{}, err
	}
	if p.Topic != "" {
		e.ID, e.Backfill = again+e.ID, p.Backfill
	}
	return e, nil
}
