package console_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/console"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/internal/story"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/parked"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a console over a NATS of its own.
type world struct {
	t     testing.TB
	nats  *natsdtest.Server
	calls *publish.Publisher
	table *session.Table
	log   *lines
	seq   uint64 // of the last entry of the log
	trace string // of the entries that come
	url   string
	http  *http.Client
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func decode(e call.Entry) (call.Event, error) { return telnyx.Decode(e.Data) }

// open starts a console with the given access, and whatever else is changed.
func open(t testing.TB, access console.Access, changes ...func(*console.Config)) *world {
	t.Helper()
	w := &world{t: t, nats: natsdtest.Run(t), log: new(lines), http: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	var err error
	if w.calls, err = publish.New(t.Context(), w.nats.JS, w.nats.Layout); err != nil {
		t.Fatal(err)
	}
	rules := session.Rules{SessionSettle: 5 * time.Second, StatusWindow: 10 * time.Minute, SweepAfter: 5 * time.Minute, AmendWindow: 15 * time.Minute}
	w.table = session.New(session.Config{Rules: rules, Decode: decode})
	w.table.Restart(call.Log{ID: "log", First: 1})
	config := console.Config{
		Listen: "127.0.0.1:0", Access: access, JetStream: w.nats.JS, Layout: w.nats.Layout,
		Sources: &story.Sources{
			Log: stream.NewReader(w.nats.JS, w.nats.Layout.Events, w.nats.Layout.Prefix), Summaries: w.calls,
			Parked: parked.New(w.nats.JS, w.nats.Layout), Rules: rules, Decode: decode, Table: w.table,
		},
		Logger:   slog.New(slog.NewTextHandler(w.log, nil)),
		Health:   func(context.Context) console.Health { return console.Health{} },
		Webhooks: func() console.Webhooks { return console.Webhooks{} },
	}
	for _, change := range changes {
		change(&config)
	}
	c, err := console.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- c.Serve() }()
	w.url = "http://" + c.Addr().String()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 5*time.Second)
		defer cancel()
		w.http.CloseIdleConnections()
		if err := c.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return w
}

// answer is what a request was answered.
type answer struct {
	status int
	header http.Header
	body   string
}

func (w *world) do(r *http.Request) answer {
	w.t.Helper()
	response, err := w.http.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

func (w *world) request(method, path string, form url.Values) *http.Request {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(form.Encode()))
	if err != nil {
		w.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

func (w *world) get(path string) answer { return w.do(w.request(http.MethodGet, path, nil)) }

func (w *world) post(path string, form url.Values) answer {
	return w.do(w.request(http.MethodPost, path, form))
}

// event puts an event into log and table, as it would arrive.
func (w *world) event(typ string, ref call.Ref, payload map[string]any) uint64 {
	w.t.Helper()
	return w.eventAs("id-"+typ+"-"+string(ref.Leg), typ, ref, payload)
}

// eventAs is event with an id.
func (w *world) eventAs(id, typ string, ref call.Ref, payload map[string]any) uint64 {
	w.t.Helper()
	all := map[string]any{
		"call_control_id": ref.Control, "call_leg_id": ref.Leg, "call_session_id": ref.Session, "connection_id": ref.Connection,
	}
	maps.Copy(all, payload)
	body, err := json.Marshal(map[string]any{"data": map[string]any{
		"record_type": "event", "id": id, "event_type": typ, "occurred_at": time.Now().UTC().Format(time.RFC3339Nano), "payload": all,
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	e := call.Entry{Topic: call.TopicEvent + typ, ID: id + "/" + typ, Ref: ref, Data: body, Trace: w.trace}
	log, err := stream.Open(w.t.Context(), stream.Config{Config: journal.Config{
		JetStream: w.nats.JS, Stream: w.nats.Layout.Events, Prefix: w.nats.Layout.Prefix, Logger: slog.New(slog.DiscardHandler),
	}})
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() {
		if err := log.Close(w.t.Context()); err != nil {
			w.t.Error(err)
		}
	}()
	receipt, err := log.Append(w.t.Context(), e)
	if err != nil {
		w.t.Fatal(err)
	}
	e.Seq, e.ReceivedAt = receipt.Seq, time.Now().UTC()
	w.table.Fold(e)
	return e.Seq
}

// publish stores a revision of a summary, and returns its place in the stream.
func (w *world) publish(key summary.Key, revision int, body any) uint64 {
	w.t.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	before, _, err := w.calls.Last(w.t.Context(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	w.seq++
	stored, err := w.calls.Publish(w.t.Context(), summary.Draft{
		Key: key, Connection: "1700000000000000042", Revision: revision, Position: summary.Position{Log: "log", Seq: w.seq},
		PublishedAt: time.Now(), Body: data,
	}, before)
	if err != nil {
		w.t.Fatal(err)
	}
	return stored.Seq
}

// session stores the summary of a call.
func (w *world) session(id, from, to string, change ...func(*summary.Session)) uint64 {
	w.t.Helper()
	seconds := summary.Seconds(12)
	s := summary.Session{
		Kind: summary.KindSession, Schema: 1, Revision: 1, CallSessionID: id, ConnectionID: "1700000000000000042", Direction: "incoming",
		From: from, To: to, Outcome: summary.OutcomeAnswered, PublishedAt: summary.MustAt(time.Now()), StartedAt: summary.At(time.Now().Add(-20 * time.Second)),
		EndedAt: summary.At(time.Now().Add(-8 * time.Second)), DurationSeconds: &seconds, TalkSeconds: &seconds, LegCount: 1, AnsweredLegs: 1, StatusState: summary.StatusConfirmed,
		Legs: []summary.SessionLeg{{CallLegID: id + "-a", From: from, To: to, Outcome: summary.OutcomeAnswered}},
	}
	for _, c := range change {
		c(&s)
	}
	return w.publish(summary.Key{Kind: summary.KindSession, Session: id}, s.Revision, &s)
}

// many stores the summaries of many calls, as Publisher does and faster. They are session-0 and so on, each with two legs
// and a number of its own, +1606 and seven digits.
func (w *world) many(n int) {
	w.t.Helper()
	seq := w.session("session-template", "+12025550111", "+16060000000", func(s *summary.Session) {
		s.Legs = append(s.Legs, summary.SessionLeg{CallLegID: "b", From: "+12025550111", To: "+16060000000"})
	})
	stream, err := w.nats.JS.Stream(w.t.Context(), w.nats.Layout.Calls)
	if err != nil {
		w.t.Fatal(err)
	}
	template, err := stream.GetMsg(w.t.Context(), seq)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range n {
		of := strings.NewReplacer("session-template", fmt.Sprintf("session-%d", i), "+16060000000", fmt.Sprintf("+1606%07d", i))
		m := &nats.Msg{Subject: of.Replace(template.Subject), Data: []byte(of.Replace(string(template.Data))), Header: make(nats.Header)}
		for key, values := range template.Header {
			m.Header.Set(key, of.Replace(values[0]))
		}
		if _, err := w.nats.JS.PublishMsgAsync(m); err != nil {
			w.t.Fatal(err)
		}
		if i%1000 != 999 && i != n-1 {
			continue
		}
		select {
		case <-w.nats.JS.PublishAsyncComplete():
		case <-time.After(time.Minute):
			w.t.Fatal("they are not stored")
		}
	}
}

// found posts what is looked for, waits for the end of the search, and returns the page.
func (w *world) found(q string) string {
	w.t.Helper()
	begun := w.post("/find", url.Values{"q": {q}})
	if begun.status != http.StatusSeeOther {
		w.t.Fatalf("a search for %q was answered %d: %s", q, begun.status, begun.body)
	}
	to := begun.header.Get("Location")
	if strings.HasPrefix(to, "/calls/") {
		return to
	}
	deadline := time.After(time.Minute)
	again := time.NewTicker(2 * time.Millisecond) // more often would keep the search from its work
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-deadline:
			w.t.Fatalf("the search for %q did not end", q)
		}
		page := w.get(to)
		if loc := page.header.Get("Location"); loc != "" {
			return loc
		}
		if !strings.Contains(page.body, "hx-trigger") {
			return page.body
		}
	}
}

var callLink = regexp.MustCompile(`href="/calls/([\w-]+)"`)

// calls are the calls that a page names, in order.
func callsOf(page string) (ids []string) {
	for _, m := range callLink.FindAllStringSubmatch(page, -1) {
		ids = append(ids, m[1])
	}
	return ids
}

// forwardStream is the stream that holds attempts, where there is an application.
func forwardStream(w *world) jetstream.StreamConfig {
	p := w.nats.Layout.Prefix + ".internal."
	return jetstream.StreamConfig{Name: w.nats.Layout.Forward, Subjects: []string{p + "forward.>", p + "later.>"}, AllowDirect: true}
}
