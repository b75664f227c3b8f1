package publish_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

var (
	legKey     = summary.Key{Kind: summary.KindLeg, Session: "7a1c", Leg: "7a1d"}
	sessionKey = summary.Key{Kind: summary.KindSession, Session: "7a1c"}
	publishAt  = time.Date(2026, 3, 14, 15, 9, 26, 535_897_000, time.UTC)
)

func newPublisher(tb testing.TB, js jetstream.JetStream, layout natsd.Layout) *publish.Publisher {
	tb.Helper()
	p, err := publish.New(tb.Context(), js, layout)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func draft(k summary.Key, connection string, revision int) summary.Draft {
	return summary.Draft{
		Key:         k,
		Connection:  connection,
		Revision:    revision,
		Position:    summary.Position{Log: "2026-03-14T00:00:00Z", Seq: uint64(100 + revision)},
		PublishedAt: publishAt.Add(time.Duration(revision) * time.Second),
		Body:        bodyOf(k, revision),
	}
}

// bodyOf is the least that a summary says.
func bodyOf(k summary.Key, revision int) []byte {
	leg := ""
	if k.Leg != "" {
		leg = fmt.Sprintf(`,"call_leg_id":%q`, k.Leg)
	}
	return fmt.Appendf(nil, `{"kind":%q,"revision":%d,"call_session_id":%q%s}`, k.Kind, revision, k.Session, leg)
}

func mustPublish(tb testing.TB, p *publish.Publisher, d summary.Draft, prev summary.Stored) summary.Stored {
	tb.Helper()
	stored, err := p.Publish(tb.Context(), d, prev)
	if err != nil {
		tb.Fatal(err)
	}
	return stored
}

func mustLast(tb testing.TB, p *publish.Publisher, k summary.Key) summary.Stored {
	tb.Helper()
	stored, found, err := p.Last(tb.Context(), k)
	if err != nil || !found {
		tb.Fatalf("last of %v: found %v, error %v", k, found, err)
	}
	return stored
}

func TestMessageHasTheContractsSubjectAndHeaders(t *testing.T) {
	tests := []struct {
		name        string
		key         summary.Key
		connection  string
		revision    int
		wantSubject string
		wantID      string
		wantType    string
		wantAbout   string
		wantSchema  string
	}{
		{
			name: "a leg's first summary", key: legKey, connection: "1684641123236054244", revision: 1,
			wantSubject: "calls.leg.completed.1684641123236054244.7a1c.7a1d", wantID: "leg/7a1c/7a1d/1",
			wantType: "legato.call.leg.completed.v1", wantAbout: "7a1c/7a1d", wantSchema: "urn:legato:schema:leg:1",
		},
		{
			name: "a leg's amendment", key: legKey, connection: "1684641123236054244", revision: 2,
			wantSubject: "calls.leg.amended.1684641123236054244.7a1c.7a1d", wantID: "leg/7a1c/7a1d/2",
			wantType: "legato.call.leg.amended.v1", wantAbout: "7a1c/7a1d", wantSchema: "urn:legato:schema:leg:1",
		},
		{
			name: "a session's first summary of an unknown connection", key: sessionKey, revision: 1,
			wantSubject: "calls.session.completed._.7a1c", wantID: "session/7a1c/1",
			wantType: "legato.call.session.completed.v1", wantAbout: "7a1c", wantSchema: "urn:legato:schema:session:1",
		},
		{
			name: "a session's amendment", key: sessionKey, revision: 2,
			wantSubject: "calls.session.amended._.7a1c", wantID: "session/7a1c/2",
			wantType: "legato.call.session.amended.v1", wantAbout: "7a1c", wantSchema: "urn:legato:schema:session:1",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := natsdtest.Run(t)
			p := newPublisher(t, s.JS, s.Layout)
			var stored summary.Stored
			for r := 1; r <= tt.revision; r++ {
				stored = mustPublish(t, p, draft(tt.key, tt.connection, r), stored)
			}
			stream, err := s.JS.Stream(t.Context(), s.Layout.Calls)
			if err != nil {
				t.Fatal(err)
			}
			m, err := stream.GetMsg(t.Context(), stored.Seq)
			if err != nil {
				t.Fatal(err)
			}
			if m.Subject != tt.wantSubject {
				t.Errorf("subject: got %s, want %s", m.Subject, tt.wantSubject)
			}
			got := map[string]string{}
			for k, v := range m.Header {
				if !strings.HasPrefix(k, "Nats-Expected-") { // The condition, which the server keeps.
					got[k] = strings.Join(v, "|")
				}
			}
			want := map[string]string{
				"Nats-Msg-Id": tt.wantID, "Content-Type": "application/json",
				"ce-specversion": "1.0", "ce-id": tt.wantID, "ce-type": tt.wantType, "ce-source": "urn:legato:calls",
				"ce-subject": tt.wantAbout, "ce-datacontenttype": "application/json", "ce-dataschema": tt.wantSchema,
				"ce-time":         fmt.Sprintf("2026-03-14T15:09:%02d.535897Z", 26+tt.revision),
				"Legato-Position": fmt.Sprint(100 + tt.revision), "Legato-Log": "2026-03-14T00:00:00Z",
				"Legato-Revision": fmt.Sprint(tt.revision),
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("headers (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRevisionsFormAChainThatIsReadBackAfterARestart(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	for _, key := range []summary.Key{legKey, sessionKey} {
		if _, found, err := p.Last(t.Context(), key); found || err != nil {
			t.Fatalf("last of nothing: found %v, error %v", found, err)
		}
		var stored summary.Stored
		for r := 1; r <= 4; r++ {
			d := draft(key, "42", r)
			if r > 1 {
				d.Connection = "43" // Learned too late: the subject keeps its tokens.
			}
			stored = mustPublish(t, p, d, stored)
			want := draft(key, "42", r)
			if diff := cmp.Diff(want, stored.Draft); diff != "" {
				t.Errorf("revision %d as published (-want +got):\n%s", r, diff)
			}
			if diff := cmp.Diff(stored, mustLast(t, p, key)); diff != "" {
				t.Errorf("revision %d as read (-published +read):\n%s", r, diff)
			}
		}
	}
	before := mustLast(t, p, legKey)
	s.Restart()
	p = newPublisher(t, s.JS, s.Layout)
	if diff := cmp.Diff(before, mustLast(t, p, legKey)); diff != "" {
		t.Errorf("after a restart (-before +after):\n%s", diff)
	}
	after := mustPublish(t, p, draft(legKey, "", 5), before)
	if after.Connection != "42" {
		t.Errorf("connection: got %q, want that of the first publication", after.Connection)
	}
}

// Where somebody has emptied the stream, of the revision before nothing may be known but its number.
func TestARevisionOfALostSummaryStandsOnItsConnection(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	const connection = "1684641123236054244"
	stored := mustPublish(t, p, draft(legKey, connection, 3), summary.Stored{Draft: summary.Draft{Key: legKey, Revision: 2}})
	if stored.Connection != connection || stored.Seq != 1 {
		t.Errorf("it is stored as %+v", stored)
	}
	if last, found, err := p.Last(t.Context(), legKey); err != nil || !found || last.Connection != connection {
		t.Errorf("the last is %+v, %v", last, err)
	}
}

func TestPublishIsRefused(t *testing.T) {
	// Each row publishes onto a chain of two revisions.
	tests := []struct {
		name string
		d    summary.Draft
		prev func(first, second summary.Stored) summary.Stored
	}{
		{
			name: "when the first summary comes again",
			d:    draft(legKey, "42", 1),
			prev: func(_, _ summary.Stored) summary.Stored { return summary.Stored{} },
		},
		{
			name: "when the first summary comes again under another connection",
			d:    draft(legKey, "", 1),
			prev: func(_, _ summary.Stored) summary.Stored { return summary.Stored{} },
		},
		{
			name: "when an amendment comes again",
			d:    draft(legKey, "42", 2),
			prev: func(first, _ summary.Stored) summary.Stored { return first },
		},
		{
			name: "when another amendment came first",
			d:    draft(legKey, "42", 3),
			prev: func(_, second summary.Stored) summary.Stored { second.Seq--; return second },
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := natsdtest.Run(t)
			p := newPublisher(t, s.JS, s.Layout)
			first := mustPublish(t, p, draft(legKey, "42", 1), summary.Stored{})
			second := mustPublish(t, p, draft(legKey, "42", 2), first)
			_, err := p.Publish(t.Context(), tt.d, tt.prev(first, second))
			if !errors.Is(err, publish.ErrRefused) || errors.Is(err, publish.ErrInvalid) {
				t.Errorf("got error %v, want ErrRefused", err)
			}
			if diff := cmp.Diff(second, mustLast(t, p, legKey)); diff != "" {
				t.Errorf("last (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPublishRefusesAnIdentityThatTheServerRemembers(t *testing.T) {
	// A summary that was deleted by hand within the duplicate window: the
	// condition holds, the server answers with a success that stored nothing.
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	first := mustPublish(t, p, draft(legKey, "42", 1), summary.Stored{})
	stream, err := s.JS.Stream(t.Context(), s.Layout.Calls)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), first.Seq); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Publish(t.Context(), draft(legKey, "42", 1), summary.Stored{}); !errors.Is(err, publish.ErrRefused) {
		t.Errorf("got error %v, want ErrRefused", err)
	}
}

func TestChainGoesOnWhenItsBeginningHasAged(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	first := mustPublish(t, p, draft(legKey, "42", 1), summary.Stored{})
	stream, err := s.JS.Stream(t.Context(), s.Layout.Calls)
	if err != nil {
		t.Fatal(err)
	}
	purge := func(upTo uint64) {
		t.Helper()
		if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(upTo+1)); err != nil {
			t.Fatal(err)
		}
	}
	purge(first.Seq)
	second := mustPublish(t, p, draft(legKey, "42", 2), first)
	third := mustPublish(t, p, draft(legKey, "42", 3), second)
	purge(second.Seq)
	if diff := cmp.Diff(third, mustLast(t, p, legKey)); diff != "" {
		t.Errorf("last (-want +got):\n%s", diff)
	}
	purge(third.Seq)
	if _, err := p.Publish(t.Context(), draft(legKey, "42", 4), third); !errors.Is(err, publish.ErrRefused) {
		t.Errorf("amending what has aged: got error %v, want ErrRefused", err)
	}
	if _, found, err := p.Last(t.Context(), legKey); found || err != nil {
		t.Errorf("last of what has aged: found %v, error %v", found, err)
	}
}

func TestWhatCannotBePublishedIsInvalid(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	first := mustPublish(t, p, draft(legKey, "42", 1), summary.Stored{})
	with := func(change func(*summary.Draft)) summary.Draft {
		d := draft(summary.Key{Kind: summary.KindLeg, Session: "s", Leg: "l"}, "42", 1)
		change(&d)
		return d
	}
	tests := []struct {
		name string
		d    summary.Draft
		prev summary.Stored
	}{
		{name: "a leg id with a dot", d: with(func(d *summary.Draft) { d.Key.Leg = "a.b" })},
		{name: "a session id with a wildcard", d: with(func(d *summary.Draft) { d.Key.Session = "*" })},
		{name: "no session id", d: with(func(d *summary.Draft) { d.Key.Session = "" })},
		{name: "a session with a leg id", d: with(func(d *summary.Draft) { d.Key.Kind = summary.KindSession })},
		{name: "an unknown kind", d: with(func(d *summary.Draft) { d.Key.Kind = "queue" })},
		{name: "a connection id with a space", d: with(func(d *summary.Draft) { d.Connection = "4 2" })},
		{name: "a log identity with a line break", d: with(func(d *summary.Draft) { d.Position.Log = "a\r\nb" })},
		{name: "a body over the limit", d: with(func(d *summary.Draft) { d.Body = make([]byte, summary.MaxBody+1) })},
		{name: "a body of another leg", d: with(func(d *summary.Draft) { d.Body = bodyOf(legKey, 1) })},
		{name: "a body of another revision", d: with(func(d *summary.Draft) { d.Body = bodyOf(d.Key, 2) })},
		{name: "revision zero", d: with(func(d *summary.Draft) { d.Revision = 0 })},
		{name: "a first revision after another", d: draft(legKey, "42", 1), prev: first},
		{name: "an amendment of nothing", d: draft(legKey, "42", 2)},
		{name: "a revision left out", d: draft(legKey, "42", 3), prev: first},
		{name: "an amendment of another key", d: draft(sessionKey, "42", 2), prev: first},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := p.Publish(t.Context(), tt.d, tt.prev); !errors.Is(err, publish.ErrInvalid) {
				t.Errorf("got error %v, want ErrInvalid", err)
			}
		})
	}
	if _, _, err := p.Last(t.Context(), summary.Key{Kind: summary.KindLeg, Session: "*", Leg: ">"}); !errors.Is(err, publish.ErrInvalid) {
		t.Errorf("last of a wildcard: got error %v, want ErrInvalid", err)
	}
	mustPublish(t, p, with(func(d *summary.Draft) {
		d.Body = append(d.Body, bytes.Repeat([]byte(" "), summary.MaxBody-len(d.Body))...)
	}), summary.Stored{})
}

func TestTroubleWithNATSIsNoAnswer(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	check := func(ctx context.Context, t *testing.T) {
		t.Helper()
		if _, _, err := p.Last(ctx, legKey); err == nil {
			t.Error("Last: got no error")
		}
		_, err := p.Publish(ctx, draft(legKey, "42", 1), summary.Stored{})
		if err == nil || errors.Is(err, publish.ErrRefused) || errors.Is(err, publish.ErrInvalid) {
			t.Errorf("Publish: got error %v, want one of infrastructure", err)
		}
	}
	t.Run("a canceled context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		check(ctx, t)
	})
	t.Run("a stream that is gone", func(t *testing.T) {
		if err := s.JS.DeleteStream(t.Context(), s.Layout.Calls); err != nil {
			t.Fatal(err)
		}
		check(t.Context(), t)
	})
	t.Run("a server that is gone", func(t *testing.T) {
		s.Stop()
		check(t.Context(), t)
	})
}

func TestNewWantsAStreamThatIsReadFromItsLeader(t *testing.T) {
	s := natsdtest.Run(t)
	stream, err := s.JS.Stream(t.Context(), s.Layout.Calls)
	if err != nil {
		t.Fatal(err)
	}
	cfg := stream.CachedInfo().Config
	cfg.AllowDirect = true
	if _, err := s.JS.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, err := publish.New(t.Context(), s.JS, s.Layout); err == nil {
		t.Error("a stream with direct gets: got no error")
	}
	other, err := natsd.NewLayout("emea")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := publish.New(t.Context(), s.JS, other); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("no stream: got error %v, want ErrStreamNotFound", err)
	}
}

func TestLastFindsItsKeyAmongThousands(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	fill(t, s.JS, s.Layout, 4000, 2000)
	first := mustPublish(t, p, draft(legKey, "c1", 1), summary.Stored{})
	session := mustPublish(t, p, draft(sessionKey, "c1", 1), summary.Stored{})
	fill(t, s.JS, s.Layout, 4000, 2000)
	if diff := cmp.Diff(first, mustLast(t, p, legKey)); diff != "" {
		t.Errorf("leg (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(session, mustLast(t, p, sessionKey)); diff != "" {
		t.Errorf("session (-want +got):\n%s", diff)
	}
}

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

// A first revision that was lost is published again, and its amendments of before lie below it.
func TestAnAmendmentIsPublishedThoughOlderOnesOutlivedTheFirstRevision(t *testing.T) {
	s := natsdtest.Run(t)
	stream, err := s.JS.Stream(t.Context(), s.Layout.Calls)
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.Duplicates = 100 * time.Millisecond // the ids of before count no longer
	if _, err := s.JS.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	p := newPublisher(t, s.JS, s.Layout)
	lost := summary.Stored{Draft: draft(legKey, "42", 1), Seq: 7}
	mustPublish(t, p, draft(legKey, "42", 2), lost)
	first := mustPublish(t, p, draft(legKey, "42", 1), summary.Stored{})
	deadline := time.Now().Add(20 * time.Second)
	for {
		second, err := p.Publish(t.Context(), draft(legKey, "42", 2), first)
		if err == nil {
			if diff := cmp.Diff(second, mustLast(t, p, legKey)); diff != "" {
				t.Errorf("last (-want +got):\n%s", diff)
			}
			break
		}
		if !errors.Is(err, publish.ErrRefused) || time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	if _, err := p.Publish(t.Context(), draft(legKey, "42", 2), first); !errors.Is(err, publish.ErrRefused) {
		t.Errorf("a second amendment of the first revision: got error %v, want ErrRefused", err)
	}
}

func TestAServerThatAnswersNoPublicationIsNoticed(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	if err := s.JS.DeleteStream(t.Context(), s.Layout.Calls); err != nil {
		t.Fatal(err)
	}
	var answer atomic.Pointer[string]
	server, err := s.JS.Conn().Subscribe(s.Layout.Prefix+".leg.>", func(m *nats.Msg) {
		if a := answer.Load(); a != nil {
			if err := m.Respond([]byte(*a)); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Publish(ctx, draft(legKey, "1", 1), summary.Stored{}); err == nil {
		t.Error("nobody answers, and it was published")
	}
	try := func() error {
		_, err := p.Publish(t.Context(), draft(legKey, "1", 1), summary.Stored{})
		return err
	}
	if err := try(); !errors.Is(err, context.DeadlineExceeded) || p.Unanswered() != 0 {
		t.Errorf("the first without an answer, after one whose caller had no time: error %v, unanswered for %v", err, p.Unanswered())
	}
	if err := try(); !errors.Is(err, context.DeadlineExceeded) || p.Unanswered() < publish.DefaultTimeout {
		t.Errorf("two without an answer: error %v, unanswered for %v", err, p.Unanswered())
	}
	for _, says := range []string{
		`{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 1"}}`,
		`{"stream":"` + s.Layout.Calls + `","seq":1,"duplicate":true}`,
	} {
		answer.Store(&says)
		if err := try(); !errors.Is(err, publish.ErrRefused) || p.Unanswered() < publish.DefaultTimeout {
			t.Errorf("%s stores nothing: error %v, unanswered for %v", says, err, p.Unanswered())
		}
	}
	if err := server.Unsubscribe(); err != nil {
		t.Fatal(err)
	}
	if err := try(); err == nil || p.Unanswered() != 0 {
		t.Errorf("the server says that no stream takes it: error %v, unanswered for %v", err, p.Unanswered())
	}
}

// The server looks through all connections for a condition that names none. Only the first revision has one.
func TestTheConditionOfALaterRevisionNamesItsConnection(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	var stands summary.Stored
	stream, err := s.JS.Stream(t.Context(), s.Layout.Calls)
	if err != nil {
		t.Fatal(err)
	}
	for revision := 1; revision <= 3; revision++ {
		stands = mustPublish(t, p, draft(legKey, "42", revision), stands)
		m, err := stream.GetMsg(t.Context(), stands.Seq)
		if err != nil {
			t.Fatal(err)
		}
		condition := m.Header.Get("Nats-Expected-Last-Subject-Sequence-Subject")
		if condition == "" || strings.Contains(condition, "*") != (revision == 1) {
			t.Errorf("the condition of revision %d is about %q", revision, condition)
		}
	}
}
