package publish_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/call"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/natsd/natsdtest"
)

func TestParkKeepsInputByteForByte(t *testing.T) {
	s := natsdtest.Run(t)
	lot := publish.NewLot(s.JS, s.Layout)
	raw := []byte("\x00\xff not JSON \r\n")
	p := call.Parked{
		Reason: "not_json", Signature: "c2ln\r\nX-Evil: 1", Timestamp: "1773500966",
		ContentType: " application/json" + strings.Repeat("x", 2000), Data: raw,
	}
	for range 2 { // A redelivery parks once.
		if err := lot.Park(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := s.JS.Stream(t.Context(), s.Layout.Parked)
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("messages: got %d, want 1", got)
	}
	m, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if m.Subject != "calls.parked.not_json" {
		t.Errorf("subject: got %s", m.Subject)
	}
	if diff := cmp.Diff(raw, m.Data); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	delete(m.Header, jetstream.ExpectedStreamHeader)
	want := nats.Header{
		"Nats-Msg-Id":              {"sha256:d76bf67b1ead0ebae22c6afe87b661af40e8413812906d2f6e3b52ddd4f22df2"},
		"Legato-Reason":            {"not_json"},
		"Telnyx-Signature-Ed25519": {"c2lnX-Evil: 1"},
		"Telnyx-Timestamp":         {"1773500966"},
		"Content-Type":             {"application/json" + strings.Repeat("x", 1024-len("application/json"))},
	}
	if diff := cmp.Diff(want, m.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestParkFails(t *testing.T) {
	s := natsdtest.Run(t)
	lot := publish.NewLot(s.JS, s.Layout)
	tests := []struct {
		name        string
		p           call.Parked
		wantInvalid bool
	}{
		{name: "a reason with a dot", p: call.Parked{Reason: "a.b"}, wantInvalid: true},
		{name: "more than the server takes", p: call.Parked{Reason: "large", Data: make([]byte, 1<<20)}, wantInvalid: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := lot.Park(t.Context(), tt.p); err == nil || errors.Is(err, publish.ErrInvalid) != tt.wantInvalid {
				t.Errorf("got error %v, want ErrInvalid: %v", err, tt.wantInvalid)
			}
		})
	}
	s.Stop()
	if err := lot.Park(t.Context(), call.Parked{Reason: "not_json"}); err == nil || errors.Is(err, publish.ErrInvalid) {
		t.Errorf("without a server: got error %v, want one of infrastructure", err)
	}
}
