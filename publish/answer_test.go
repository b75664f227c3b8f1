package publish_test

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish"
)

// TestAnswersOfTheServerAreTold plays the server's part after the stream is
// gone: some of its answers come only from clusters, and only at the right moment.
func TestAnswersOfTheServerAreTold(t *testing.T) {
	tests := []struct {
		name, answer string
		wantRefused  bool
	}{
		{name: "another message came first", answer: `{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 7"},"stream":"CALLS","seq":0}`, wantRefused: true},
		{name: "another message is on its way", answer: `{"error":{"code":400,"err_code":10164,"description":"wrong last sequence"},"stream":"CALLS","seq":0}`, wantRefused: true},
		{name: "a message of this id is on its way", answer: `{"error":{"code":409,"err_code":10158,"description":"duplicate message id is in process"},"stream":"CALLS","seq":0}`, wantRefused: true},
		{name: "a message of this id is stored", answer: `{"stream":"CALLS","seq":7,"duplicate":true}`, wantRefused: true},
		{name: "the stream is full", answer: `{"error":{"code":400,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"CALLS","seq":0}`},
		{name: "the server is out of resources", answer: `{"error":{"code":503,"err_code":10023,"description":"insufficient resources"},"stream":"CALLS","seq":0}`},
		{name: "another stream holds the subject", answer: `{"error":{"code":400,"err_code":10060,"description":"expected stream does not match"},"stream":"X","seq":0}`},
		{name: "nothing that can be read", answer: `what?`},
	}
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	if err := s.JS.DeleteStream(t.Context(), s.Layout.Calls); err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sub, err := s.Conn.Subscribe("calls.leg.>", func(m *nats.Msg) {
				if err := m.Respond([]byte(tt.answer)); err != nil {
					t.Error(err)
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := sub.Unsubscribe(); err != nil {
					t.Error(err)
				}
			}()
			_, err = p.Publish(t.Context(), draft(legKey, "42", 1), summary.Stored{})
			if err == nil || errors.Is(err, publish.ErrInvalid) || errors.Is(err, publish.ErrRefused) != tt.wantRefused {
				t.Errorf("got error %v, want ErrRefused: %v", err, tt.wantRefused)
			}
		})
	}
}
