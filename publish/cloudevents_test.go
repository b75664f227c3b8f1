package publish_test

import (
	"testing"
	"time"

	cenats "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

// cloudEvent is what a consumer gets from the CloudEvents SDK.
type cloudEvent struct {
	SpecVersion, ID, Type, Source, Subject, Schema, ContentType string
	Time                                                        time.Time
	Extensions                                                  int
	Data                                                        string
}

// TestTheCloudEventsSDKReadsWhatIsPublished decodes stored messages with the
// NATS binding of the CloudEvents SDK, whose rules are not ours.
func TestTheCloudEventsSDKReadsWhatIsPublished(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	stream, err := s.JS.Stream(t.Context(), s.Layout.Calls)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []summary.Key{legKey, sessionKey} {
		first := mustPublish(t, p, draft(key, "42", 1), summary.Stored{})
		second := mustPublish(t, p, draft(key, "42", 2), first)
		about, id := "7a1c/7a1d", "leg/7a1c/7a1d/"
		if key.Kind == summary.KindSession {
			about, id = "7a1c", "session/7a1c/"
		}
		for revision, stored := range []summary.Stored{first, second} {
			m, err := stream.GetMsg(t.Context(), stored.Seq)
			if err != nil {
				t.Fatal(err)
			}
			message := cenats.NewMessage(&nats.Msg{Subject: m.Subject, Header: m.Header, Data: m.Data})
			if message.ReadEncoding() != binding.EncodingBinary {
				t.Fatalf("%s is not in binary mode: %s", m.Subject, message.ReadEncoding())
			}
			e, err := binding.ToEvent(t.Context(), message)
			if err != nil {
				t.Fatalf("%s: %v", m.Subject, err)
			}
			if err := e.Validate(); err != nil {
				t.Errorf("%s is no valid event: %v", m.Subject, err)
			}
			want := cloudEvent{
				SpecVersion: "1.0", Source: "urn:legato:calls", Subject: about, ContentType: "application/json",
				ID: id + []string{"1", "2"}[revision], Type: "legato.call." + key.Kind + "." + []string{"completed", "amended"}[revision] + ".v1",
				Schema: "urn:legato:schema:" + key.Kind + ":1", Time: stored.PublishedAt, Data: string(stored.Body),
			}
			got := cloudEvent{
				SpecVersion: e.SpecVersion(), Source: e.Source(), Subject: e.Subject(), ContentType: e.DataContentType(),
				ID: e.ID(), Type: e.Type(), Schema: e.DataSchema(), Time: e.Time(), Extensions: len(e.Extensions()), Data: string(e.Data()),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", m.Subject, diff)
			}
		}
	}
}
