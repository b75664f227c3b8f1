package publish_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	cenats "github.com/cloudevents/sdk-go/protocol/nats_jetstream/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.opentelemetry.io/otel/trace"
	"go.yaml.in/yaml/v4"

	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/parked"
)

const asyncAPIFile = "../docs/asyncapi.yaml"

// asyncAPI is the document of the subjects.
type asyncAPI struct {
	t    *testing.T
	tree any
}

func loadAsyncAPI(t *testing.T) asyncAPI {
	t.Helper()
	file, err := os.ReadFile(asyncAPIFile)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := yaml.Unmarshal(file, &tree); err != nil {
		t.Fatal(err)
	}
	asJSON, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	tree, err = jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return asyncAPI{t: t, tree: tree}
}

// at returns what a path of names leads to, through references.
func (d asyncAPI) at(path ...string) any {
	d.t.Helper()
	node := d.tree
	for _, name := range path {
		node = d.follow(node)
		m, ok := node.(map[string]any)
		if !ok || m[name] == nil {
			d.t.Fatalf("%s: nothing at %s", asyncAPIFile, strings.Join(path, "/"))
		}
		node = m[name]
	}
	return d.follow(node)
}

// follow returns what a reference refers to, and anything else as it is.
func (d asyncAPI) follow(node any) any {
	d.t.Helper()
	m, _ := node.(map[string]any)
	ref, ok := m["$ref"].(string)
	if !ok {
		return node
	}
	if pointer, local := strings.CutPrefix(ref, "#/"); local {
		return d.at(strings.Split(pointer, "/")...)
	}
	file, err := os.ReadFile(filepath.Join(filepath.Dir(asyncAPIFile), ref))
	if err != nil {
		d.t.Fatalf("%s refers to %s: %v", asyncAPIFile, ref, err)
	}
	var other any
	if err := json.Unmarshal(file, &other); err != nil {
		d.t.Fatalf("%s refers to %s: %v", asyncAPIFile, ref, err)
	}
	return other
}

// names are the keys at a path, in order.
func (d asyncAPI) names(path ...string) []string {
	d.t.Helper()
	return slices.Sorted(maps.Keys(d.at(path...).(map[string]any)))
}

// channelOf returns the channel that a subject belongs to, and the values of its parameters.
func (d asyncAPI) channelOf(subject string) (string, map[string]string) {
	d.t.Helper()
	for _, name := range d.names("channels") {
		address := d.at("channels", name, "address").(string)
		pattern := regexp.QuoteMeta(address)
		for _, p := range d.names("channels", name, "parameters") {
			if !strings.Contains(address, "{"+p+"}") {
				d.t.Errorf("channel %s: %s has no parameter %s", name, address, p)
			}
			token := `[^.]+`
			if p == "type" { // the one whose dots stay
				token = `.+`
			}
			pattern = strings.Replace(pattern, `\{`+p+`\}`, `(?P<`+p+`>`+token+`)`, 1)
		}
		match := regexp.MustCompile("^" + pattern + "$")
		found := match.FindStringSubmatch(subject)
		if found == nil {
			continue
		}
		values := make(map[string]string)
		for _, p := range match.SubexpNames()[1:] {
			values[p] = found[match.SubexpIndex(p)]
		}
		return name, values
	}
	d.t.Errorf("no channel has the subject %s", subject)
	return "", nil
}

// headers are the names that a schema of headers has, its parts included.
func (d asyncAPI) headers(node any) map[string]bool {
	all := make(map[string]bool)
	m := d.follow(node).(map[string]any)
	if properties, ok := m["properties"].(map[string]any); ok {
		for name := range properties {
			all[name] = true
		}
	}
	if parts, ok := m["allOf"].([]any); ok {
		for _, part := range parts {
			maps.Copy(all, d.headers(part))
		}
	}
	return all
}

// compile returns the schema at a place of the document.
func (d asyncAPI) compile(pointer string) *jsonschema.Schema {
	d.t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("asyncapi.json", d.tree); err != nil {
		d.t.Fatal(err)
	}
	s, err := c.Compile("asyncapi.json#" + pointer)
	if err != nil {
		d.t.Fatal(err)
	}
	return s
}

// TestAsyncAPIDocumentIsWhatIsStored fills the three streams and holds every
// message against the document, and the document against the messages.
func TestAsyncAPIDocumentIsWhatIsStored(t *testing.T) {
	d := loadAsyncAPI(t)
	headersSeen := make(map[string]map[string]bool)
	valuesSeen := make(map[string]map[string]bool)
	for _, m := range storeOneOfEach(t) {
		channel, values := d.channelOf(m.Subject)
		if channel == "" {
			continue
		}
		header := make(map[string]any)
		if headersSeen[channel] == nil {
			headersSeen[channel] = make(map[string]bool)
		}
		documented := d.headers(d.at("channels", channel, "messages", channel, "headers"))
		for name := range m.Header {
			if strings.HasPrefix(name, "Nats-") && name != jetstream.MsgIDHeader {
				continue // the server's own
			}
			header[name] = m.Header.Get(name)
			headersSeen[channel][name] = true
			if !documented[name] {
				t.Errorf("%s: the header %s is not documented", m.Subject, name)
			}
		}
		if err := d.compile("/components/messages/" + channel + "/headers").Validate(header); err != nil {
			t.Errorf("%s: %v", m.Subject, err)
		}
		for name, value := range values {
			if valuesSeen[name] == nil {
				valuesSeen[name] = make(map[string]bool)
			}
			valuesSeen[name][value] = true
		}
	}
	for _, channel := range d.names("channels") {
		want := slices.Sorted(maps.Keys(d.headers(d.at("channels", channel, "messages", channel, "headers"))))
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(headersSeen[channel]))); diff != "" {
			t.Errorf("headers of channel %s (-documented +stored):\n%s", channel, diff)
		}
	}
	for channel, parameter := range map[string]string{"internal": "kind", "parked": "reason"} {
		var want []string
		for _, v := range d.at("channels", channel, "parameters", parameter, "enum").([]any) {
			want = append(want, v.(string))
		}
		slices.Sort(want)
		if diff := cmp.Diff(want, slices.Sorted(maps.Keys(valuesSeen[parameter]))); diff != "" {
			t.Errorf("words of %s (-documented +stored):\n%s", parameter, diff)
		}
	}
}

// storeOneOfEach stores messages of every kind, with every header, and returns them.
func storeOneOfEach(t *testing.T) []*jetstream.RawStreamMsg {
	t.Helper()
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	traced := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
	for _, key := range []summary.Key{legKey, sessionKey} {
		var prev summary.Stored
		for revision := 1; revision <= 2; revision++ {
			var err error
			if prev, err = p.Publish(traced, draft(key, "42", revision), prev); err != nil {
				t.Fatal(err)
			}
		}
	}

	log, err := stream.Open(t.Context(), stream.Config{Queue: "queue", Config: journal.Config{
		JetStream: s.JS, Stream: s.Layout.Events, Prefix: s.Layout.Prefix, Logger: slog.New(slog.DiscardHandler),
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range append([]string{call.TopicEvent + "call.hangup"}, call.InternalTopics()...) {
		e := call.Entry{
			Topic: topic, ID: topic, Ref: call.Ref{Session: "7a1c", Leg: "7a1d", Control: "v3:c", Connection: "42"},
			Attempt: 1, Signature: "c2ln", Timestamp: "1773500966", Backfill: true, Data: []byte(`{}`),
			Trace:       "00-01000000000000000000000000000000-0200000000000000-00",
			ContentType: "application/json; charset=utf-8", UserAgent: "telnyx-webhooks/1.0",
		}
		if _, err := log.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		// As it stands in a copy of the log, beside an embedded NATS, where its id was there before.
		e.Seq, e.ReceivedAt = 100, time.Now()
		again := &nats.Msg{Subject: e.Subject(s.Layout.Prefix), Header: e.CopyHeader(true), Data: e.Data}
		if _, err := s.JS.PublishMsg(t.Context(), again); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	store := parked.New(s.JS, s.Layout)
	reasons := enrich.ParkReasons()
	for _, r := range telnyx.Reasons() {
		reasons = append(reasons, string(r))
	}
	for _, reason := range reasons {
		parked := call.Parked{Reason: reason, Signature: "c2ln", Timestamp: "1773500966", ContentType: "application/json", Data: []byte(reason)}
		if slices.Contains(enrich.ParkReasons(), reason) {
			parked.Seq, parked.Topic, parked.Backfill = 1, call.TopicEvent+"call.hangup", true
			parked.Ref = call.Ref{Session: "7a1c", Leg: "7a1d", Control: "v3:c", Connection: "42"}
		}
		if err := store.Park(t.Context(), parked); err != nil {
			t.Fatal(err)
		}
	}
	var all []*jetstream.RawStreamMsg
	for _, name := range []string{s.Layout.Events, s.Layout.Calls, s.Layout.Parked} {
		stream, err := s.JS.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
			m, err := stream.GetMsg(t.Context(), seq)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, m)
		}
	}
	return all
}

func TestAsyncAPIDocumentHangsTogether(t *testing.T) {
	d := loadAsyncAPI(t)
	var walk func(node any)
	walk = func(node any) {
		d.follow(node) // fails where a reference leads nowhere
		switch node := node.(type) {
		case map[string]any:
			for _, child := range node {
				walk(child)
			}
		case []any:
			for _, child := range node {
				walk(child)
			}
		}
	}
	walk(d.tree)

	operated := make(map[string]bool)
	for _, name := range d.names("operations") {
		ref := d.at("operations", name, "channel")
		for _, channel := range d.names("channels") {
			if cmp.Equal(ref, d.at("channels", channel)) {
				operated[channel] = true
			}
		}
	}
	if diff := cmp.Diff(d.names("channels"), slices.Sorted(maps.Keys(operated))); diff != "" {
		t.Errorf("channels with an operation (-all +with):\n%s", diff)
	}
	if diff := cmp.Diff(d.names("channels"), d.names("components", "messages")); diff != "" {
		t.Errorf("messages (-channels +messages):\n%s", diff)
	}
	for name, kind := range map[string]string{"Leg": summary.KindLeg, "Session": summary.KindSession} {
		if got := d.at("components", "schemas", name, "schema", "$id"); got != publish.SchemaURI(kind) {
			t.Errorf("the schema of a %s is %s, want %s", kind, got, publish.SchemaURI(kind))
		}
	}
}

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

func TestTheSubjectOfASummaryIsReadBack(t *testing.T) {
	leg, session := summary.Key{Kind: summary.KindLeg, Session: "s", Leg: "l"}, summary.Key{Kind: summary.KindSession, Session: "s"}
	for subject, want := range map[string]publish.Subject{
		"calls.leg.completed.17.s.l":   {Completed: true, Connection: "17", Key: leg},
		"emea.leg.amended._.s.l":       {Key: leg},
		"calls.session.completed._.s":  {Completed: true, Key: session},
		"calls.session.amended.17.s":   {Connection: "17", Key: session},
		"":                             {},
		"calls.leg.completed.17.s":     {},
		"calls.session.completed.17":   {},
		"calls.session.amended.17.s.l": {},
		"calls.leg.completed.17.s.l.x": {},
		"calls.leg.deleted.17.s.l":     {},
		"calls.event.17.call.hangup":   {},
		"calls.parked.not_json":        {},
	} {
		got, ok := publish.ParseSubject(subject)
		if diff := cmp.Diff(want, got); diff != "" || ok != (want != publish.Subject{}) {
			t.Errorf("%s: %v (-want +got):\n%s", subject, ok, diff)
		}
	}
}
