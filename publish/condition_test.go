package publish_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish"
)

// TestTheConditionHoldsWhateverTheConnection has a summary stored whose id the server has
// forgotten: then nothing but the condition tells that it is there.
func TestTheConditionHoldsWhateverTheConnection(t *testing.T) {
	tests := []struct {
		name, stored, tried string
		key                 summary.Key
		revision            int
	}{
		{"a leg whose connection was known, and now is not", "42", "", legKey, 1},
		{"a leg whose connection was not known, and now is", "", "42", legKey, 1},
		{"a leg of another connection", "42", "43", legKey, 1},
		{"a leg's amendment", "42", "42", legKey, 2},
		{"a session whose connection was not known, and now is", "", "42", sessionKey, 1},
		{"a session's amendment", "", "", sessionKey, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := natsdtest.Run(t)
			p := newPublisher(t, s.JS, s.Layout)
			var prev, stands summary.Stored
			for r := 1; r <= tt.revision; r++ {
				prev = stands
				stands = mustPublish(t, p, draft(tt.key, tt.stored, r), stands)
			}
			// The same message again, without an id and in the place of the first.
			stream, err := s.JS.Stream(t.Context(), s.Layout.Calls)
			if err != nil {
				t.Fatal(err)
			}
			m, err := stream.GetMsg(t.Context(), stands.Seq)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.JS.DeleteStream(t.Context(), s.Layout.Calls); err != nil {
				t.Fatal(err)
			}
			if _, err := s.JS.CreateStream(t.Context(), stream.CachedInfo().Config); err != nil {
				t.Fatal(err)
			}
			for name := range m.Header {
				if strings.HasPrefix(name, "Nats-") {
					m.Header.Del(name)
				}
			}
			if _, err := s.JS.PublishMsg(t.Context(), &nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data}); err != nil {
				t.Fatal(err)
			}
			before := mustLast(t, p, tt.key)
			if _, err := p.Publish(t.Context(), draft(tt.key, tt.tried, tt.revision), prev); !errors.Is(err, publish.ErrRefused) {
				t.Errorf("got error %v, want ErrRefused", err)
			}
			if diff := cmp.Diff(before, mustLast(t, p, tt.key)); diff != "" {
				t.Errorf("last (-want +got):\n%s", diff)
			}
		})
	}
}
