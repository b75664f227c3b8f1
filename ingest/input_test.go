package ingest_test

import (
	"crypto/ed25519"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

func TestRetry(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	const (
		hangup = `{"data":{"event_type":"call.hangup","id":"ev-1","payload":{"call_leg_id":"leg-1","call_session_id":"ses-1"}},"meta":{"attempt":2}}`
		flat   = `{"event_type":"call_hangup","id":"ev-1","payload":{"call_leg_id":"leg-1"}}`
		check  = `{"kind":"settle"}`
	)
	// Signed a year ago: no age is too old for what was accepted once.
	signed := func(p call.Parked) call.Parked {
		p.Timestamp, p.Signature = telnyx.Sign(key, time.Now().AddDate(-1, 0, 0), p.Data)
		return p
	}
	ref := call.Ref{Session: "ses-1", Leg: "leg-1"}
	eventOf := func(id string, p call.Parked) call.Entry {
		return call.Entry{
			Topic: "event.call.hangup", ID: id, Ref: ref, Attempt: 2,
			Signature: p.Signature, Timestamp: p.Timestamp, Backfill: p.Backfill, Data: p.Data,
		}
	}
	event := signed(call.Parked{Reason: "bad_id", Data: []byte(hangup)})
	logged := event
	logged.Reason, logged.Seq, logged.Topic, logged.Ref = "poison", 99, "event.call.hangup", ref
	repaired := call.Parked{Reason: "poison", Seq: 99, Topic: "event.call.hangup", Ref: ref, Backfill: true, Data: []byte(hangup)}
	tests := []struct {
		name   string
		parked call.Parked
		want   call.Entry
	}{
		{"a webhook that can be used now is what it would be if it came in", event, eventOf("ev-1/call.hangup", event)},
		{"an event of the log gets an id that the log does not know", logged, eventOf("retry/7/ev-1/call.hangup", logged)},
		{"an event from the history was never signed", repaired, eventOf("retry/7/ev-1/call.hangup", repaired)},
		{
			"an entry of Legato's own is put back as it was",
			call.Parked{Reason: "poison", Seq: 99, Topic: call.TopicCheck, Ref: ref, Data: []byte(check)},
			call.Entry{Topic: call.TopicCheck, ID: "retry/7/" + call.TopicCheck, Ref: ref, Data: []byte(check)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ingest.Retry(tt.parked, 7, telnyx.NewVerifier([]ed25519.PublicKey{public}))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("entry (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("what still is no event says why", func(t *testing.T) {
		_, err := ingest.Retry(signed(call.Parked{Reason: "api_v1", Data: []byte(flat)}), 7, nil)
		unusable, ok := errors.AsType[*telnyx.Unusable](err)
		if !ok || unusable.Reason != telnyx.ReasonAPIv1 {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a signature that does not match is refused when there is a key", func(t *testing.T) {
		forged := event
		forged.Data = []byte(flat)
		if _, err := ingest.Retry(forged, 7, telnyx.NewVerifier([]ed25519.PublicKey{public})); !errors.Is(err, telnyx.ErrBadSignature) {
			t.Errorf("got %v, want ErrBadSignature", err)
		}
	})
	t.Run("without a key the signature counts as checked", func(t *testing.T) {
		unsigned := call.Parked{Reason: "bad_id", Data: []byte(hangup)}
		if _, err := ingest.Retry(unsigned, 7, nil); err != nil {
			t.Error(err)
		}
	})
}
