package console_test

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/console"
)

func TestACallIsFoundByWhatItsSummarySays(t *testing.T) {
	w := open(t, console.Access{})
	w.session("first", "+12025550111", "+12025550122")
	w.session("second", "+12025550133", "sip:ada@pbx.example.com", func(s *summary.Session) { s.Outcome = summary.OutcomeBusy })
	w.session("third", "+12025550144", "+12025550155", func(s *summary.Session) {
		s.Legs = append(s.Legs, summary.SessionLeg{CallLegID: "third-b", To: "+442071838750"})
		s.ConnectionID = "1700000000000000077"
	})
	w.session("first", "+12025550111", "+12025550199", func(s *summary.Session) { s.Revision = 2 })
	w.publish(summary.Key{Kind: summary.KindLeg, Session: "second", Leg: "second-a"}, 1, &summary.Leg{
		Kind: summary.KindLeg, Revision: 1, CallSessionID: "second", CallLegID: "second-a", Tags: []string{"vip"}, Outcome: summary.OutcomeBusy,
	})
	for _, tt := range []struct {
		name, q string
		want    []string
	}{
		{"a whole number", "+12025550111", []string{"first"}},
		{"as people write it", "+1 (202) 555-0111", []string{"first"}},
		{"as people dial it", "00 1 202 555 0111", []string{"first"}},
		{"with what is dialed at home only", "+44 (0)20 7183 8750", []string{"third"}},
		{"its end", "0133", []string{"second"}},
		{"of a leg beyond the first", "442071838750", []string{"third"}},
		{"a part of all, the newest first", "1202555", []string{"first", "third", "second"}},
		{"what a newer revision does not say any more", "+12025550122", nil},
		{"an outcome", "outcome:busy", []string{"second"}},
		{"an outcome by its word", "busy", []string{"second"}},
		{"an outcome and a number", "busy 0111", nil},
		{"a connection", "connection:1700000000000000077", []string{"third"}},
		{"a tag", "tag:vip", []string{"second"}},
		{"a tag that is part of another", "tag:vi", nil},
		{"a time", "1202555 since:1h", []string{"first", "third", "second"}},
		{"before a time", "1202555 until:1h", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // it is the same however often it is asked
				page := w.found(tt.q)
				if diff := gocmp.Diff(tt.want, callsOf(page)); diff != "" {
					t.Errorf("(-want +got)\n%s", diff)
				}
				if strings.Contains(page, "2025550111") {
					t.Errorf("the list is not masked: %s", page)
				}
			}
		})
	}
}

func TestWhatCannotBeLookedForIsSaid(t *testing.T) {
	w := open(t, console.Access{})
	for _, q := range []string{"", "   ", "123", "two words", "outcome:unheard", "since:soon", "since:-2h", "\x00", "😀", strings.Repeat("x", 513)} {
		got := w.post("/find", url.Values{"q": {q}})
		if got.status != http.StatusBadRequest || !strings.Contains(got.body, `role="alert"`) {
			t.Errorf("%.20q: %d", q, got.status)
		}
	}
	if page := w.found("nobody-has-this-id"); !strings.Contains(page, "Nothing is known") {
		t.Errorf("an id that nobody has: %s", page)
	}
}

func TestWhatIsLookedForStandsInNoLog(t *testing.T) {
	w := open(t, console.Access{})
	if err := w.nats.JS.DeleteStream(t.Context(), w.nats.Layout.Calls); err != nil {
		t.Fatal(err)
	}
	if got := w.post("/find", url.Values{"q": {"Lovelace"}}); got.status != http.StatusServiceUnavailable || strings.Contains(got.body, "Lovelace") {
		t.Errorf("got %d: %s", got.status, got.body)
	}
	if log := w.log.String(); strings.Contains(log, "Lovelace") || !strings.Contains(log, "stream not found") {
		t.Errorf("the log says %s, want the cause alone", log)
	}
}

func TestASearchIsItsOwners(t *testing.T) {
	w := open(t, console.Access{TrustHeader: "X-User"})
	as := func(user, method, path string, form url.Values) answer {
		r := w.request(method, path, form)
		r.Header.Set("X-User", user)
		return w.do(r)
	}
	at := as("ada", http.MethodPost, "/find", url.Values{"q": {"busy"}}).header.Get("Location")
	if got := as("ada", http.MethodGet, at, nil).status; got != http.StatusOK {
		t.Errorf("its owner got %d", got)
	}
	if got := as("bob", http.MethodGet, at, nil).status; got != http.StatusNotFound {
		t.Errorf("somebody else got %d", got)
	}
	if got := as("bob", http.MethodPost, at+"/cancel", url.Values{}).status; got != http.StatusNotFound {
		t.Errorf("somebody else canceled it: %d", got)
	}
	if got := as("ada", http.MethodPost, at+"/cancel", url.Values{}); got.header.Get("Location") != at {
		t.Errorf("its owner canceled it: %d %v", got.status, got.header)
	}
}

func TestLastCallsAreFiltered(t *testing.T) {
	w := open(t, console.Access{})
	w.session("good", "+12025550111", "+12025550122")
	w.session("busy", "+12025550111", "+12025550122", func(s *summary.Session) { s.Outcome = summary.OutcomeBusy })
	w.session("denied", "+12025550111", "+12025550122", func(s *summary.Session) { s.StatusState = summary.StatusDenied })
	w.session("fresh", "+12025550111", "+12025550122", func(s *summary.Session) { s.StatusState = summary.StatusPending })
	w.session("long", "+12025550111", "+12025550122", func(s *summary.Session) {
		s.StatusState, s.EndedAt, s.ConnectionID = summary.StatusPending, summary.At(time.Now().Add(-2*time.Minute)), "77"
	})
	leg := summary.Leg{Kind: summary.KindLeg, Revision: 1, CallSessionID: "noted", CallLegID: "noted-a", Notes: []summary.Note{summary.NoteHangupMissing}}
	w.publish(summary.Key{Kind: summary.KindLeg, Session: "noted", Leg: "noted-a"}, 1, &leg)
	w.session("noted", "+12025550111", "+12025550122")
	leg.CallSessionID, leg.CallLegID = "mended", "mended-a"
	w.publish(summary.Key{Kind: summary.KindLeg, Session: "mended", Leg: "mended-a"}, 1, &leg)
	leg.Notes, leg.Revision = nil, 2
	w.publish(summary.Key{Kind: summary.KindLeg, Session: "mended", Leg: "mended-a"}, 2, &leg)
	w.session("mended", "+12025550111", "+12025550122")
	for path, want := range map[string][]string{
		"/":                         {"mended", "noted", "long", "fresh", "denied", "busy", "good"},
		"/?outcome=busy":            {"busy"},
		"/?doubtful=1":              {"noted", "long", "denied"},
		"/?connection=77":           {"long"},
		"/?connection=77&since=1h":  {"long"},
		"/?since=2000-01-01":        {"mended", "noted", "long", "fresh", "denied", "busy", "good"},
		"/?since=2999-01-01":        nil,
		"/?outcome=busy&doubtful=1": nil,
		"/?outcome=busy&outcome=failed&connection=1700000000000000042": {"busy"},
		"/?connection=77,+88":           {"long"},
		"/?level=session&connection=88": nil,
		"/?level=leg":                   {"mended", "noted"},
		"/?level=leg&doubtful=1":        {"noted"},
		"/?level=all&doubtful=1":        {"noted", "noted", "long", "denied"},
	} {
		if diff := gocmp.Diff(want, callsOf(w.get(path).body)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", path, diff)
		}
	}
	for _, path := range []string{"/?outcome=unheard", "/?outcome=busy&outcome=unheard", "/?level=unheard", "/?connection=*.>", "/?since=soon"} {
		if got := w.get(path).status; got != http.StatusBadRequest {
			t.Errorf("%s: %d", path, got)
		}
	}
}

func TestLastCallsComeByThemselves(t *testing.T) {
	t.Parallel()
	w := open(t, console.Access{})
	response, err := w.http.Do(w.request(http.MethodGet, "/stream/calls", nil)) //nolint:bodyclose // it is, below
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if got := response.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("it is %s", got)
	}
	came := make(chan string, 16)
	go func() {
		defer close(came)
		for lines := bufio.NewScanner(response.Body); lines.Scan(); {
			for _, id := range callsOf(lines.Text()) {
				came <- id
			}
		}
	}()
	for _, id := range []string{"now", "then"} {
		w.session(id, "+12025550111", "+12025550122")
		for deadline := time.After(20 * time.Second); ; {
			select {
			case got := <-came:
				if got == id {
					deadline = nil
				}
			case <-deadline:
				t.Fatalf("%s did not come", id)
			}
			if deadline == nil {
				break
			}
		}
	}
}

// TestWhatIsFoundIsWhatALookAtEverySummaryFinds compares what is found with a look at all that was published, while calls
// are revised, and fall silent, and however often it is asked.
func TestWhatIsFoundIsWhatALookAtEverySummaryFinds(t *testing.T) {
	t.Parallel()
	w := open(t, console.Access{})
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // the same calls each time
	newest := make(map[string]*summary.Session)
	place, tagged := make(map[string]uint64), make(map[string]uint64)
	tags := make(map[string]string)
	number := func() string {
		switch random.IntN(8) {
		case 0:
			return fmt.Sprintf("sip:user-%d@pbx%04d.example.com", random.IntN(100), random.IntN(3000))
		case 1:
			return fmt.Sprintf("+1 (202) 555-%04d", random.IntN(300))
		default:
			return fmt.Sprintf("+1202555%04d", random.IntN(300))
		}
	}
	digits := func(text string) string {
		return strings.Map(func(r rune) rune {
			if r < '0' || r > '9' {
				return -1
			}
			return r
		}, text)
	}
	check := func() {
		t.Helper()
		for _, q := range []string{
			digits(number()), digits(number()), fmt.Sprintf("%04d", random.IntN(300)), fmt.Sprintf("555%04d", random.IntN(300)), "0000", "busy", "failed",
			"1202 busy", "connection:1700000000000000007", fmt.Sprintf("connection:1700000000000000007 canceled %04d", random.IntN(30)), "tag:a", "tag:b busy", "tag:c", "tag:a 2025",
		} {
			if len(q) < 4 {
				continue
			}
			var want []string
			for id, s := range newest {
				ok := true
				for word := range strings.FieldsSeq(q) {
					switch key, value, _ := strings.Cut(word, ":"); {
					case key == "connection":
						ok = ok && s.ConnectionID == value
					case key == "tag":
						ok = ok && tags[id] == value
					case strings.Trim(word, "0123456789") == "":
						all := []string{s.From, s.To, s.FinalTo}
						for _, l := range s.Legs {
							all = append(all, l.From, l.To)
						}
						ok = ok && slices.ContainsFunc(all, func(p string) bool { return strings.Contains(digits(p), word) })
					default:
						ok = ok && (string(s.Outcome) == word || string(s.FarOutcome) == word)
					}
				}
				if ok {
					want = append(want, id)
				}
			}
			slices.SortFunc(want, func(a, b string) int { return cmp.Compare(place[b], place[a]) })
			want = want[:min(len(want), 200)]
			for range 2 {
				if diff := gocmp.Diff(want, callsOf(w.found(q)), cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("%s (-want +got)\n%s", q, diff)
				}
			}
		}
	}
	outcomes := summary.Outcomes()
	for i := range 900 {
		id := fmt.Sprintf("call-%d", random.IntN(500))
		revision := 1
		if was := newest[id]; was != nil {
			revision = was.Revision + 1
		}
		if tags[id] == "" && random.IntN(4) == 0 {
			tags[id] = string("abc"[random.IntN(3)])
			key := summary.Key{Kind: summary.KindLeg, Session: id, Leg: id + "-a"}
			tagged[id] = w.publish(key, 1, &summary.Leg{Kind: summary.KindLeg, Revision: 1, CallSessionID: id, CallLegID: id + "-a", Tags: []string{"x", tags[id]}})
		}
		place[id] = w.session(id, number(), number(), func(s *summary.Session) {
			s.Revision, s.Outcome, s.FarOutcome, s.FinalTo = revision, outcomes[random.IntN(len(outcomes))], outcomes[random.IntN(len(outcomes))], number()
			s.ConnectionID = fmt.Sprintf("170000000000000000%d", random.IntN(9))
			for leg := range random.IntN(4) {
				s.Legs = append(s.Legs, summary.SessionLeg{CallLegID: fmt.Sprintf("%s-%d", id, leg), From: number(), To: number()})
			}
			newest[id] = s
		})
		if i%300 == 299 {
			check()
		}
	}
	// What was removed from the stream is not found, and a stream that was made anew is read anew.
	stream, err := w.nats.JS.Stream(t.Context(), w.nats.Layout.Calls)
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(t.Context(), jetstream.WithPurgeKeep(100)); err != nil {
		t.Fatal(err)
	}
	info, err := stream.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for id := range newest {
		if place[id] < info.State.FirstSeq {
			delete(newest, id)
		}
		if tagged[id] < info.State.FirstSeq {
			delete(tags, id)
		}
	}
	check()
}

func TestAStreamThatIsMadeAnewIsReadAnew(t *testing.T) {
	w := open(t, console.Access{})
	w.session("old-a", "+12025550111", "+12025550122")
	w.session("old-b", "+12025550111", "+12025550122")
	if diff := gocmp.Diff([]string{"old-b", "old-a"}, callsOf(w.found("12025550111"))); diff != "" {
		t.Fatalf("(-want +got)\n%s", diff)
	}
	stream, err := w.nats.JS.Stream(t.Context(), w.nats.Layout.Calls)
	if err == nil {
		err = w.nats.JS.DeleteStream(t.Context(), w.nats.Layout.Calls)
	}
	if err == nil {
		_, err = w.nats.JS.CreateStream(t.Context(), stream.CachedInfo().Config)
	}
	if err != nil {
		t.Fatal(err)
	}
	// As many as there were, so that the sequences alone do not tell.
	w.session("new-a", "+12025550111", "+12025550133")
	w.session("new-b", "+12025550144", "+12025550155")
	for q, want := range map[string][]string{"12025550111": {"new-a"}, "0144": {"new-b"}, "0122": nil} {
		if diff := gocmp.Diff(want, callsOf(w.found(q))); diff != "" {
			t.Errorf("%s (-want +got)\n%s", q, diff)
		}
	}
}

// BenchmarkFindByNumber looks for numbers in the summaries of a million calls.
func BenchmarkFindByNumber(b *testing.B) {
	const calls = 1_000_000
	w := open(b, console.Access{})
	w.many(calls)
	began := time.Now()
	w.found("99999999")
	b.Logf("the first search among %d summaries, which fills the index, took %v", calls, time.Since(began))
	for _, q := range []struct{ name, digits, want string }{
		{"of none", "99999999", "0 calls"},
		{"of none by four digits", "9999 until:24h", "0 calls"},
		{"of one", "16060123456", "1 call"},
		{"by four digits", "2345", "200 calls"},
		{"of all", "12025550111", "200 calls"},
	} {
		b.Run(q.name, func(b *testing.B) {
			for b.Loop() {
				if page := w.found(q.digits); !strings.Contains(page, ">"+q.want) {
					b.Fatal(page)
				}
			}
		})
	}
}

// slowly removes one consumer only when it is released.
type slowly struct {
	jetstream.JetStream
	armed              *atomic.Bool
	removing, released chan struct{}
}

func (s slowly) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := s.JetStream.Stream(ctx, name)
	return slowStream{stream, s}, err
}

type slowStream struct {
	jetstream.Stream
	slowly
}

func (s slowStream) DeleteConsumer(ctx context.Context, name string) error {
	if s.armed.CompareAndSwap(true, false) {
		close(s.removing)
		<-s.released
	}
	return s.Stream.DeleteConsumer(ctx, name)
}

func TestWhoeverLooksWhileReadingEndsHasAReadingOfHisOwn(t *testing.T) {
	t.Parallel()
	w := open(t, console.Access{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	js := slowly{w.nats.JS, new(atomic.Bool), make(chan struct{}), make(chan struct{})}
	took := make(chan uint64, 100)
	r := console.NewReading(ctx, js, w.nats.Layout.Calls, time.Second, took)
	wait := func(what string, c <-chan struct{}) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(10 * time.Second):
			t.Fatal(what)
		}
	}
	take := func(want uint64) {
		t.Helper()
		for {
			select {
			case seq := <-took:
				if seq == want {
					return
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("message %d is not read", want)
			}
		}
	}
	wait("nothing is read", r.Look())
	take(w.session("one", "+12025550111", "+12025550122"))
	js.armed.Store(true)
	wait("reading does not end", js.removing)
	wait("nothing is read again", r.Look())
	next := w.session("two", "+12025550111", "+12025550122")
	// It is read by the one that has ended, or by none as long as that has not.
	for waits, waited := time.After(600*time.Millisecond), false; !waited; {
		select {
		case seq := <-took:
			if seq == next {
				t.Error("two read with one consumer")
			}
		case <-waits:
			waited = true
		}
	}
	r.Look()
	close(js.released)
	take(next)
	cancel()
	r.Wait()
}

// absent is a JetStream without streams.
type absent struct{ jetstream.JetStream }

func (absent) Stream(context.Context, string) (jetstream.Stream, error) {
	return nil, jetstream.ErrStreamNotFound
}

func TestReadingThatFailsEndsWhenNobodyLooksAnyMore(t *testing.T) {
	r := console.NewReading(t.Context(), absent{}, "CALLS", 300*time.Millisecond, nil)
	<-r.Look() // it was tried once
	over := make(chan struct{})
	go func() { r.Wait(); close(over) }()
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		t.Error("it is tried for ever")
	}
}
