package forward_test

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish/forward"
)

func TestARequestIsTheWebhookUnchangedAndWhatLegatoAdds(t *testing.T) {
	t.Parallel()
	w, a := newWorld(t), newApp(t, nil)
	w.run(forward.Config{Targets: targets(t, a.server.URL+"/in?x=1", func(f *forward.Flags) { f.Headers = []string{"app=X-Secret: s"} })})
	old := strconv.FormatInt(time.Now().Add(-250*time.Second).Unix(), 10)
	body := "{ \"data\" : {\"\u00e4\":1} }\n"
	w.put(event{
		typ: "call.initiated", session: "s1", leg: "l1", body: body, signature: "sig==", timestamp: old,
		contentType: "application/json; charset=utf-8", agent: "telnyx-webhooks/2", trace: "00-a-b-01",
	})
	fresh := strconv.FormatInt(time.Now().Unix(), 10)
	w.put(event{typ: "call.answered", session: "s1", leg: "l1", body: "{}", signature: "sig2", timestamp: fresh})

	got := a.awaitCount(2)
	if got[0].body != body {
		t.Errorf("body: got %q, want %q", got[0].body, body)
	}
	want := map[string]string{
		"Telnyx-Signature-Ed25519": "sig==", "Telnyx-Timestamp": old, "Content-Type": "application/json; charset=utf-8",
		"User-Agent": "telnyx-webhooks/2", "Legato-Event-Seq": "1", "Legato-Forward-Attempt": "1", "Traceparent": "00-a-b-01",
		"X-Secret": "s", "Content-Length": strconv.Itoa(len(body)),
	}
	for name, value := range want {
		if v := got[0].header.Get(name); v != value {
			t.Errorf("%s: got %q, want %q", name, v, value)
		}
	}
	if age, err := strconv.Atoi(got[0].header.Get("Legato-Signature-Age")); err != nil || age < 250 || age > 260 {
		t.Errorf("age of the signature: got %q, want some 250", got[0].header.Get("Legato-Signature-Age"))
	}
	if at, err := time.Parse(time.RFC3339Nano, got[0].header.Get("Legato-Received-At")); err != nil || time.Since(at) > patience {
		t.Errorf("received at: got %q", got[0].header.Get("Legato-Received-At"))
	}
	if h := got[1].header; h.Get("User-Agent") != "telnyx-webhooks" || h.Get("Content-Type") != "application/json" {
		t.Errorf("where the log says nothing, Telnyx's own are wanted: got %q, %q", h.Get("User-Agent"), h.Get("Content-Type"))
	}
	for _, name := range []string{"Legato-Signature-Age", "Traceparent", "Accept-Encoding"} {
		if v, ok := got[1].header[name]; ok {
			t.Errorf("%s should not be there: %q", name, v)
		}
	}
	w.settled(w.desk(), "app")
}

func TestEventsOfASessionGoOneAfterAnotherAndOtherSessionsBeside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hold := make(chan struct{})
	a := newApp(t, func(_ http.ResponseWriter, r request) {
		if r.body == "s1" {
			<-hold
		}
	})
	w.fold.sessions["c1"] = "s1"
	w.run(forward.Config{Targets: targets(t, a.server.URL, nil), Timeout: patience})
	first := w.put(event{typ: "call.initiated", session: "s1", leg: "l1", body: "s1"})
	second := w.put(event{typ: "call.answered", session: "s1", leg: "l2", body: "s1b"})
	// It names no session, but the fold knows which one it is of.
	third := w.put(event{typ: "call.dtmf.received", control: "c1", body: "s1c"})
	other := w.put(event{typ: "call.initiated", session: "s2", leg: "l3", body: "s2"})
	got := a.await("the other session", func(r []request) bool { return slices.Contains(seqs(r), other) })
	if slices.Contains(seqs(got), second) || slices.Contains(seqs(got), third) {
		t.Errorf("the first of s1 is not answered yet; got %v", seqs(got))
	}
	close(hold)
	got = a.awaitCount(4)
	order := slices.DeleteFunc(seqs(got), func(s uint64) bool { return s == other })
	if diff := cmp.Diff([]uint64{first, second, third}, order); diff != "" {
		t.Errorf("order within the session (-want +got):\n%s", diff)
	}
	w.settled(w.desk(), "app")
}

func TestNoMoreAttemptsAreUnderWayThanAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	full, hold := make(chan struct{}, 40), make(chan struct{})
	a := newApp(t, func(http.ResponseWriter, request) { full <- struct{}{}; <-hold })
	w.run(forward.Config{Targets: targets(t, a.server.URL, nil), Concurrency: 3, Timeout: patience})
	for i := range 20 {
		w.put(event{typ: "call.initiated", session: fmt.Sprint("s", i), body: "{}"})
	}
	for range 3 {
		<-full
	}
	close(hold)
	a.awaitCount(20)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.max != 3 {
		t.Errorf("under way at once: got %d, want 3", a.max)
	}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		answer func(w http.ResponseWriter, r request)
		within time.Duration // the second attempt comes at least so late
		want   []int         // attempts
		result forward.Result
	}{
		{"2xx is done", func(w http.ResponseWriter, _ request) { w.WriteHeader(202) }, 0, []int{1}, forward.Done},
		{"a bad request is final", func(w http.ResponseWriter, _ request) { http.Error(w, "no such thing", 400) }, 0, []int{1}, forward.Refused},
		{"a redirect is final", func(w http.ResponseWriter, _ request) { w.Header().Set("Location", "/other"); w.WriteHeader(307) }, 0, []int{1}, forward.Refused},
		{"408 again", once(408), 150 * time.Millisecond, []int{1, 2}, forward.Done},
		{"503 again", once(503), 150 * time.Millisecond, []int{1, 2}, forward.Done},
		{"429 again, when it says", func(w http.ResponseWriter, r request) {
			if r.attempt == 1 {
				w.Header().Set("Retry-After", "1")
				w.WriteHeader(429)
			}
		}, time.Second, []int{1, 2}, forward.Done},
		{"a broken connection again", func(_ http.ResponseWriter, r request) {
			if r.attempt == 1 {
				panic(http.ErrAbortHandler)
			}
		}, 150 * time.Millisecond, []int{1, 2}, forward.Done},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			a := newApp(t, tt.answer)
			w.run(forward.Config{Targets: targets(t, a.server.URL, nil)})
			before := time.Now()
			seq := w.put(event{typ: "call.initiated", session: "s", leg: "l", body: "{}"})
			got := a.awaitCount(len(tt.want))
			w.settled(w.desk(), "app")
			var attempts []int
			for _, r := range a.all() {
				attempts = append(attempts, r.attempt)
			}
			if diff := cmp.Diff(tt.want, attempts); diff != "" {
				t.Errorf("attempts (-want +got):\n%s", diff)
			}
			if len(got) > 1 && got[1].at.Sub(got[0].at) < tt.within {
				t.Errorf("the second attempt came after %v, want %v at least", got[1].at.Sub(got[0].at), tt.within)
			}
			last := w.attempts(seq, before, len(tt.want))
			if r := last[len(last)-1]; r.Result != tt.result || r.Number != len(tt.want) {
				t.Errorf("recorded: got %+v, want %s at attempt %d", r, tt.result, len(tt.want))
			}
		})
	}
}

func once(status int) func(http.ResponseWriter, request) {
	return func(w http.ResponseWriter, r request) {
		if r.attempt == 1 {
			w.WriteHeader(status)
		}
	}
}

// attempts waits until so many attempts at an event are recorded.
func (w *world) attempts(seq uint64, since time.Time, n int) []forward.Attempt {
	w.t.Helper()
	var got []forward.Attempt
	eventually(w.t, fmt.Sprintf("%d attempts at %d are recorded", n, seq), func() bool {
		history, complete, err := w.desk().Attempts(w.t.Context(), since, time.Time{}, seq)
		if err != nil || !complete {
			w.t.Fatalf("attempts: complete %v, error %v", complete, err)
		}
		got = history[seq]["app"]
		return len(got) >= n
	})
	return got
}

func TestATargetThatDoesNotAnswerInTimeIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	gone := make(chan struct{})
	a := newApp(t, func(_ http.ResponseWriter, r request) {
		if r.attempt == 1 {
			<-gone
		}
	})
	t.Cleanup(func() { close(gone) })
	w.run(forward.Config{Targets: targets(t, a.server.URL, nil), Timeout: time.Second})
	before := time.Now()
	seq := w.put(event{typ: "call.initiated", session: "s", leg: "l", body: "{}"})
	a.awaitCount(2)
	if got := w.attempts(seq, before, 2); got[0].Result != forward.TimedOut || got[1].Result != forward.Done {
		t.Errorf("recorded: got %+v, want a time-out and a success", got)
	}
}

func TestACommandForALegThatIsOverIsNeverSentAndAReportIs(t *testing.T) {
	t.Parallel()
	w, a := newWorld(t), newApp(t, nil)
	w.fold.end("l1")
	w.run(forward.Config{Targets: targets(t, a.server.URL, nil)})
	before := time.Now()
	stale := w.put(event{typ: "call.initiated", session: "s1", leg: "l1", body: "{}"})
	report := w.put(event{typ: "call.hangup", session: "s1", leg: "l1", body: "{}"})
	// Telnyx sends it behind the hangup that has brought it about.
	left := w.put(event{typ: "conference.participant.left", session: "s1", leg: "l1", body: "{}"})
	live := w.put(event{typ: "call.initiated", session: "s1", leg: "l2", body: "{}"})
	a.awaitCount(3)
	w.settled(w.desk(), "app")
	if diff := cmp.Diff([]uint64{report, left, live}, seqs(a.all())); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
	if got := w.attempts(stale, before, 1); got[0].Result != forward.Stale || got[0].Number != 0 {
		t.Errorf("recorded: got %+v, want stale without an attempt", got)
	}
}

func TestACommandWhoseLegEndsBetweenTwoAttemptsIsStale(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := newApp(t, func(rw http.ResponseWriter, _ request) { w.fold.end("l1"); rw.WriteHeader(500) })
	w.run(forward.Config{Targets: targets(t, a.server.URL, nil)})
	w.put(event{typ: "call.initiated", session: "s1", leg: "l1", body: "{}"})
	a.awaitCount(1)
	w.settled(w.desk(), "app")
	if got := len(a.all()); got != 1 {
		t.Errorf("attempts: got %d, want 1", got)
	}
}

func TestACommandWaitsForAFoldThatCannotTell(t *testing.T) {
	t.Parallel()
	w, a := newWorld(t), newApp(t, nil)
	w.fold.blind = true
	w.run(forward.Config{Targets: targets(t, a.server.URL, nil)})
	w.put(event{typ: "call.initiated", session: "s1", leg: "l1", body: "{}"})
	w.put(event{typ: "call.hangup", session: "s2", leg: "l2", body: "report"})
	if got := a.awaitCount(1); got[0].body != "report" {
		t.Errorf("the command was sent although nobody knows whether its leg is over")
	}
	w.fold.mu.Lock()
	w.fold.blind = false
	w.fold.mu.Unlock()
	if got := a.awaitCount(2); got[1].attempt != 1 {
		t.Errorf("attempt: got %d, want 1: waiting for the fold is none", got[1].attempt)
	}
}

func TestACommandExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := newApp(t, func(rw http.ResponseWriter, _ request) { rw.WriteHeader(500) })
	w.run(forward.Config{Targets: targets(t, a.server.URL, nil), For: 1500 * time.Millisecond})
	before := time.Now()
	seq := w.put(event{typ: "call.initiated", session: "s1", leg: "l1", body: "{}"})
	var last forward.Attempt
	eventually(t, "it is recorded as expired", func() bool {
		got := w.attempts(seq, before, 2)
		last = got[len(got)-1]
		return last.Result == forward.Expired
	})
	if after := last.At.Sub(before); after < 1400*time.Millisecond || after > 10*time.Second {
		t.Errorf("it expired after %v, want some 1.5 s", after)
	}
}

func TestAReportThatFailsIsSetAsideAndStandsInNobodysWay(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	a := newApp(t, func(rw http.ResponseWriter, r request) {
		if r.body == "report" && r.attempt < 4 {
			rw.WriteHeader(500)
		}
	})
	w.run(forward.Config{
		Targets: targets(t, a.server.URL, nil),
		Pauses:  []time.Duration{300 * time.Millisecond, 600 * time.Millisecond, 1200 * time.Millisecond},
	})
	report := w.put(event{typ: "call.cost", session: "s1", leg: "l1", body: "report"})
	command := w.put(event{typ: "call.answered", session: "s1", leg: "l1", body: "command"})
	got := a.awaitCount(4) // the command, and three attempts at the report
	if i := slices.Index(seqs(got), command); i > 1 {
		t.Errorf("the command came as number %d of %v, want it right after the first failure of the report", i+1, seqs(got))
	}
	got = a.await("the report", func(r []request) bool { return r[len(r)-1].seq == report && r[len(r)-1].attempt >= 4 })
	var at []time.Time
	for _, r := range got {
		if r.seq == report {
			at = append(at, r.at)
		}
	}
	for i, least := range []time.Duration{300 * time.Millisecond, 600 * time.Millisecond, 1200 * time.Millisecond} {
		if pause := at[i+1].Sub(at[i]); pause < least {
			t.Errorf("pause %d: got %v, want %v at least", i+1, pause, least)
		}
	}
	w.settled(w.desk(), "app")
}

// A replica that is killed after it has set an event aside anew, and before it has acknowledged where that stood before,
// leaves it in both places.
func TestAnEventThatWasSetAsideTwiceIsTriedOnceAndKeepsNobodyFromStopping(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	t.Cleanup(release)
	a := newApp(t, func(_ http.ResponseWriter, r request) {
		if r.body == "busy" {
			<-hold
		}
	})
	only := func(f *forward.Flags) { f.Only = []string{"app=call.cost"} }
	cfg := forward.Config{Targets: targets(t, a.server.URL, only), Timeout: 3 * time.Second, Pauses: []time.Duration{time.Millisecond}}
	_, stop := w.run(cfg)
	w.put(event{typ: "call.cost", session: "s1", body: "busy"})
	a.awaitCount(1)
	// The filter has let them pass by, so that nothing but the messages below makes anybody try them.
	twice := w.put(event{typ: "call.recording.saved", session: "s1", body: "twice"})
	other := w.put(event{typ: "call.recording.saved", session: "s2", body: "other"})
	var refs []string
	for _, seq := range []uint64{twice, twice, other} {
		refs = append(refs, fmt.Sprintf(`{"seq":%d,"at":%d,"attempts":1,"rounds":1}`, seq, time.Now().UnixMilli()))
	}
	body := `{"refs":[` + strings.Join(refs, ",") + `]}`
	if _, err := w.nats.JS.Publish(t.Context(), w.nats.Layout.Prefix+".internal.later.app.0", []byte(body)); err != nil {
		t.Fatal(err)
	}
	a.await("the last one of the message", func(got []request) bool { return got[len(got)-1].seq == other })
	stop() // what stood twice waits behind the busy event of its session

	release()
	w.run(cfg)
	w.settled(w.desk(), "app")
	var n int
	for _, r := range a.all() {
		if r.seq == twice {
			n++
		}
	}
	if n != 1 {
		t.Errorf("it was tried %d times, want once", n)
	}
}

func TestFilledInEventsAreForwardedWhereTheyAreWanted(t *testing.T) {
	t.Parallel()
	for _, wanted := range []bool{false, true} {
		t.Run(strconv.FormatBool(wanted), func(t *testing.T) {
			t.Parallel()
			w, a := newWorld(t), newApp(t, nil)
			w.run(forward.Config{Targets: targets(t, a.server.URL, nil), Backfill: wanted})
			w.put(event{typ: "call.cost", session: "s1", leg: "l1", body: "old", backfill: true})
			w.put(event{typ: "call.cost", session: "s1", leg: "l1", body: "new"})
			w.settled(w.desk(), "app")
			want := []string{"new"}
			if wanted {
				want = []string{"old", "new"}
			}
			var got []string
			for _, r := range a.all() {
				got = append(got, r.body)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("bodies (-want +got):\n%s", diff)
			}
		})
	}
}

func TestTwoTargetsGetTheirOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ivr, crm := newApp(t, nil), newApp(t, nil)
	all, err := forward.Parse(forward.Flags{
		Targets: []string{"ivr=" + ivr.server.URL, "crm=" + crm.server.URL},
		Only:    []string{"ivr=connection:1", "crm=call.rec*", "call.hangup", "connection:1", "2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.run(forward.Config{Targets: all})
	for _, connection := range []string{"1", "2", "3", ""} {
		for _, typ := range []string{"call.initiated", "call.recording.saved", "call.refer.started", "call.hangup"} {
			w.put(event{typ: typ, connection: connection, session: "s" + connection, leg: "l" + connection, body: connection + typ})
		}
	}
	w.settled(w.desk(), "ivr")
	w.settled(w.desk(), "crm")
	bodies := func(a *app) (all []string) {
		for _, r := range a.all() {
			all = append(all, r.body)
		}
		slices.Sort(all)
		return all
	}
	if diff := cmp.Diff([]string{"1call.hangup", "1call.initiated", "1call.recording.saved", "1call.refer.started"}, bodies(ivr)); diff != "" {
		t.Errorf("ivr (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"1call.hangup", "1call.recording.saved", "2call.hangup", "2call.recording.saved"}, bodies(crm)); diff != "" {
		t.Errorf("crm (-want +got):\n%s", diff)
	}
}

func TestARestartGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	hold := make(chan struct{})
	var held sync.Once
	a := newApp(t, func(_ http.ResponseWriter, r request) {
		if r.body == "3" {
			held.Do(func() { <-hold })
		}
	})
	cfg := forward.Config{Targets: targets(t, a.server.URL, nil), Timeout: patience}
	_, stop := w.run(cfg)
	for i := range 6 {
		w.put(event{typ: "call.dtmf.received", session: "s", leg: "l", body: strconv.Itoa(i)})
	}
	a.awaitCount(4) // the fourth is under way
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	close(hold) // what is under way is let finish
	<-stopped
	w.put(event{typ: "call.dtmf.received", session: "s", leg: "l", body: "6"})
	w.run(cfg)
	a.awaitCount(7)
	w.settled(w.desk(), "app")
	if diff := cmp.Diff([]uint64{1, 2, 3, 4, 5, 6, 7}, seqs(a.all())); diff != "" {
		t.Errorf("requests (-want +got):\n%s", diff)
	}
}

func TestATargetThatIsNewBeginsWithWhatIsReceivedThen(t *testing.T) {
	t.Parallel()
	w, a := newWorld(t), newApp(t, nil)
	w.put(event{typ: "call.initiated", session: "s", leg: "l", body: "before"})
	w.run(forward.Config{Targets: targets(t, a.server.URL, nil)})
	w.put(event{typ: "call.initiated", session: "s", leg: "l", body: "after"})
	if got := a.awaitCount(1); got[0].body != "after" {
		t.Errorf("got %q, want what came after the target was configured", got[0].body)
	}
}

func TestWhatFailedAtTheStartIsTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	if err := w.nats.JS.DeleteStream(t.Context(), w.nats.Layout.Events); err != nil {
		t.Fatal(err)
	}
	cfg := w.config(w.nats.JS, forward.Config{Targets: targets(t, "http://127.0.0.1:1/", nil)})
	if _, err := forward.New(t.Context(), cfg); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Fatalf("without the stream of events: got error %v", err)
	}
	if _, err := natsd.Manage(t.Context(), w.nats.JS, w.nats.Layout, natsd.Limits{Forward: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := forward.New(t.Context(), cfg); err != nil {
		t.Errorf("the stream is there now: got error %v", err)
	}
	if _, err := forward.New(t.Context(), cfg); err == nil {
		t.Error("two share their metrics")
	}
}
