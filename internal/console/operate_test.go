package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/console"
	"github.com/legato-calls/legato/publish/forward"
	"github.com/legato-calls/legato/publish/parked"
)

func TestWhatIsParkedIsPutBackOnlyAfterADryRunSaysYes(t *testing.T) {
	type put struct {
		seq    uint64
		dryRun bool
	}
	var puts []put
	w := open(t, console.Access{}, func(c *console.Config) {
		c.PutBack = func(_ context.Context, seq uint64, dryRun bool) (string, bool, error) {
			puts = append(puts, put{seq, dryRun})
			return fmt.Sprintf("outcome of %d", seq), seq != 2, nil
		}
	})
	store := parked.New(w.nats.JS, w.nats.Layout)
	for i := range 4 {
		p := call.Parked{Reason: []string{"not_json", "api_v1"}[i%2], Data: fmt.Appendf(nil, `{"from":"+12025550111","n":%d}`, i)}
		if err := store.Park(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	page := w.get("/parked").body
	for _, want := range []string{"4 messages are parked", "not_json <b>2</b>", "api_v1 <b>2</b>", `href="/parked/3"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if err := store.Park(t.Context(), call.Parked{Reason: "poison", Ref: call.Ref{Session: "of-a-call"}, Data: []byte("{}")}); err != nil {
		t.Fatal(err)
	}
	if body := w.get("/parked/5").body; !strings.Contains(body, `href="/calls/of-a-call"`) {
		t.Errorf("what is parked of a call does not lead there: %s", body)
	}
	if body := w.get("/parked/1").body; strings.Contains(body, `href="/calls/"`) {
		t.Errorf("what is parked of no call leads to one: %s", body)
	}
	if body := w.get("/parked/1").body; strings.Contains(body, "+12025550111") || !strings.Contains(body, "from") {
		t.Errorf("the body: %s", body)
	}
	dry := w.post("/parked/retry", url.Values{"seq": {"1", "2", "3"}})
	if strings.Contains(dry.body, `name="seq" value="2"`) || !strings.Contains(dry.body, `name="seq" value="3"`) || !strings.Contains(dry.body, "Put back 2 messages") {
		t.Errorf("the dry run offers: %s", dry.body)
	}
	if len(puts) != 3 || !puts[0].dryRun || strings.Contains(w.log.String(), "puts back") {
		t.Errorf("a dry run did %v", puts)
	}
	puts = nil
	w.post("/parked/retry", url.Values{"reason": {"api_v1"}})
	if len(puts) != 2 || puts[0].seq != 2 || puts[1].seq != 4 {
		t.Errorf("a dry run of a reason is of %v", puts)
	}
	puts = nil
	if got := w.post("/parked/retry", url.Values{"seq": {"1", "3"}, "sure": {"1"}}); got.status != http.StatusOK || len(puts) != 2 || puts[0].dryRun {
		t.Errorf("the second form did %v: %s", puts, got.body)
	}
	if !strings.Contains(w.log.String(), "somebody puts back what is parked") {
		t.Error("nothing is logged")
	}
	for name, form := range map[string]url.Values{"nothing": {}, "no number": {"seq": {"x"}}, "no reason": {"reason": {"*.>"}}} {
		if got := w.post("/parked/retry", form).status; got != http.StatusBadRequest {
			t.Errorf("%s: %d", name, got)
		}
	}
}

// record stores what the service stores of attempts.
func record(w *world, target string, attempts ...forward.Attempt) {
	w.t.Helper()
	body, err := json.Marshal(map[string]any{"attempts": attempts})
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.nats.JS.Publish(w.t.Context(), w.nats.Layout.Prefix+".internal.forward."+target, body); err != nil {
		w.t.Fatal(err)
	}
}

func TestEventsThatNoApplicationTookAreGroupedByHowTheyFailed(t *testing.T) {
	w := open(t, console.Access{}, func(c *console.Config) { c.Forwarding = forward.NewDesk(c.JetStream, c.Layout) })
	if _, err := w.nats.JS.CreateStream(t.Context(), forwardStream(w)); err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC()
	at := func(seq uint64, result forward.Result, status int) forward.Attempt {
		return forward.Attempt{Seq: seq, Number: 1, At: now, Result: result, Status: status}
	}
	ringing := w.event("call.initiated", call.Ref{Session: "s", Leg: "l", Control: "v3:c"}, map[string]any{"direction": "incoming"})
	record(w, "crm", at(ringing, forward.Refused, 404), at(101, forward.Failed, 500), at(102, forward.Failed, 500))
	record(w, "crm", at(101, forward.Done, 200), at(103, forward.Failed, 500))
	all, complete, err := forward.NewDesk(w.nats.JS, w.nats.Layout).Undelivered(t.Context(), now.Add(-time.Hour), 10)
	if err != nil || !complete || len(all) != 3 {
		t.Errorf("got %+v, complete %v, %v", all, complete, err)
	}
	if newest, complete, err := forward.NewDesk(w.nats.JS, w.nats.Layout).Undelivered(t.Context(), now.Add(-time.Hour), 2); err != nil || complete || len(newest) != 2 {
		t.Errorf("of the newest: got %+v, complete %v, %v", newest, complete, err)
	}
	dry := w.post("/forward/retry", url.Values{"target": {"crm"}, "seq": {fmt.Sprint(ringing), "999"}})
	for _, want := range []string{"would be tried once more", "has left the log", "Try 1 event once more"} {
		if !strings.Contains(dry.body, want) {
			t.Errorf("the dry run lacks %q: %s", want, dry.body)
		}
	}
	w.event("call.hangup", call.Ref{Session: "s", Leg: "l", Control: "v3:c"}, map[string]any{"hangup_cause": "normal_clearing"})
	if over := w.post("/forward/retry", url.Values{"target": {"crm"}, "seq": {fmt.Sprint(ringing)}}); !strings.Contains(over.body, "its leg is over") || !strings.Contains(over.body, "None of them") {
		t.Errorf("a command for a leg that is over: %s", over.body)
	}
	if got := w.post("/forward/retry", url.Values{"target": {"nobody"}, "seq": {fmt.Sprint(ringing)}, "sure": {"1"}}); got.status != http.StatusNotFound {
		t.Errorf("an application that is none: %d %s", got.status, got.body)
	}
}

func TestLiveLegsAreShownWhileTheyLive(t *testing.T) {
	w := open(t, console.Access{})
	ref := call.Ref{Session: "live-session", Leg: "live-leg", Control: "v3:live"}
	w.event("call.initiated", ref, nil)
	if page := w.get("/live").body; !strings.Contains(page, "/calls/live-session") || !strings.Contains(page, "call.initiated") || !strings.Contains(page, "1 leg is not over") {
		t.Errorf("a live leg: %s", page)
	}
	w.event("call.hangup", ref, map[string]any{"hangup_cause": "normal_clearing"})
	if page := w.get("/live").body; strings.Contains(page, "/calls/live-session") {
		t.Errorf("one that is over: %s", page)
	}
}

func TestOutcomesCountEachCallByItsNewestRevision(t *testing.T) {
	w := open(t, console.Access{})
	start := time.Now().Add(-time.Minute)
	timed := func(answer, talk float64, connection string) func(*summary.Session) {
		return func(s *summary.Session) {
			seconds := summary.Seconds(talk)
			s.StartedAt, s.TalkSeconds, s.ConnectionID = summary.At(start), &seconds, connection
			s.AnsweredAt, s.Hangup = nil, &summary.SessionHangup{CallLegID: "x", Hangup: summary.Hangup{Cause: "normal_clearing"}}
			if answer > 0 {
				s.AnsweredAt = summary.At(start.Add(time.Duration(answer * float64(time.Second))))
			}
		}
	}
	w.session("one", "+12025550111", "+12025550122", timed(2, 10, "1"))
	w.session("two", "+12025550111", "+12025550122", timed(4, 20, "1"))
	w.session("three", "+12025550111", "+12025550122", timed(0, 0, "2"), func(s *summary.Session) { s.Outcome = summary.OutcomeAnswered })
	w.session("three", "+12025550111", "+12025550122", timed(0, 0, "2"), func(s *summary.Session) { s.Outcome, s.Revision = summary.OutcomeBusy, 2 })
	type hour struct {
		Calls           int
		Outcomes        map[string]int
		ASR, ACD, Delay *float64
	}
	var got struct {
		Hours  []hour
		All    hour
		Causes []struct {
			Word string
			N    int
		}
	}
	w.get("/outcomes") // it reads before it answers
	if err := json.Unmarshal([]byte(w.get("/outcomes/data?hours=6").body), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Hours) != 6 || got.All.Calls != 3 || got.All.Outcomes["answered"] != 2 || got.All.Outcomes["busy"] != 1 {
		t.Fatalf("got %+v", got)
	}
	near := func(name string, have *float64, want float64) {
		if have == nil || *have < want-0.01 || *have > want+0.01 {
			t.Errorf("%s: got %v, want %v", name, have, want)
		}
	}
	near("ASR", got.All.ASR, 200.0/3)
	near("ACD", got.All.ACD, 15)
	near("delay", got.All.Delay, 3)
	if len(got.Causes) != 1 || got.Causes[0].Word != "normal_clearing" || got.Causes[0].N != 3 {
		t.Errorf("causes: %+v", got.Causes)
	}
	if err := json.Unmarshal([]byte(w.get("/outcomes/data?hours=6&connection=2").body), &got); err != nil {
		t.Fatal(err)
	}
	if got.All.Calls != 1 || got.All.ASR == nil || *got.All.ASR != 0 || got.All.ACD != nil {
		t.Errorf("of one connection: %+v", got.All)
	}
	if page := w.get("/outcomes?hours=6").body; !strings.Contains(page, "66.7 %") || !strings.Contains(page, "15.0 s") {
		t.Errorf("the page without script: %s", page)
	}
	for _, path := range []string{"/outcomes?hours=0", "/outcomes?hours=x", "/outcomes?hours=999", "/outcomes/data?connection=*.>"} {
		if got := w.get(path).status; got != http.StatusBadRequest {
			t.Errorf("%s: %d", path, got)
		}
	}
}

func TestOfTooManyCallsTheNewestAreCounted(t *testing.T) {
	const room = 4
	t.Cleanup(console.CountAtMost(room))
	w := open(t, console.Access{})
	began := func(ago time.Duration) func(*summary.Session) {
		return func(s *summary.Session) { s.StartedAt = summary.At(time.Now().Add(-ago)) }
	}
	for i, ago := range []time.Duration{30 * time.Hour, 30 * time.Hour, 20 * time.Hour, 10 * time.Hour, 0, 0, 0, 40 * time.Hour, 0} {
		w.session(fmt.Sprint("call-", i), "+12025550111", "+12025550122", began(ago))
	}
	w.session("call-4", "+12025550111", "+12025550122", began(0), func(s *summary.Session) { s.Outcome, s.Revision = summary.OutcomeBusy, 2 })
	w.get("/outcomes?hours=72") // it reads before it answers
	var got struct {
		All   struct{ Calls int }
		Full  bool
		Hours []struct{ Calls int }
	}
	if err := json.Unmarshal([]byte(w.get("/outcomes/data?hours=72").body), &got); err != nil {
		t.Fatal(err)
	}
	newest := 0
	for _, h := range got.Hours[70:] {
		newest += h.Calls
	}
	if got.All.Calls != room || newest != room || !got.Full {
		t.Errorf("got %d calls, %d of them new, full %v; want the %d newest", got.All.Calls, newest, got.Full, room)
	}
	if page := w.get("/outcomes").body; !strings.Contains(page, "only the newest") {
		t.Errorf("the page does not say so: %s", page)
	}
}

func TestCausesAreCountedByHourTheMostFrequentByName(t *testing.T) {
	w := open(t, console.Access{})
	causes := []string{"user_busy", "no_answer", "normal_clearing", "originator_cancel", "call_rejected", "timeout", "time_limit"}
	for i, cause := range causes {
		for n := range len(causes) - i { // user_busy seven times, time_limit once
			w.session(fmt.Sprintf("%s-%d", cause, n), "+12025550111", "+12025550122", func(s *summary.Session) {
				s.StartedAt = summary.At(time.Now())
				s.Hangup = &summary.SessionHangup{CallLegID: "x", Hangup: summary.Hangup{Cause: cause}}
			})
		}
	}
	w.get("/outcomes")
	var got struct {
		Hours []struct{ Causes map[string]int }
		All   struct{ Causes map[string]int }
	}
	if err := json.Unmarshal([]byte(w.get("/outcomes/data?hours=2").body), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"user_busy": 7, "no_answer": 6, "normal_clearing": 5, "originator_cancel": 4, "call_rejected": 3, "(others)": 3}
	if diff := gocmp.Diff(want, got.All.Causes); diff != "" {
		t.Errorf("of all (-want +got)\n%s", diff)
	}
	sum := make(map[string]int)
	for _, h := range got.Hours {
		for cause, n := range h.Causes {
			sum[cause] += n
		}
	}
	if diff := gocmp.Diff(want, sum); diff != "" {
		t.Errorf("of the hours together (-want +got)\n%s", diff)
	}
	if page := w.get("/outcomes?hours=2").body; !strings.Contains(page, `<th scope="col" class="n">originator_cancel</th>`) || !strings.Contains(page, `<th scope="col" class="n">(others)</th>`) {
		t.Errorf("the page without script: %s", page)
	}
}

func TestAFileIsForThoseWhoMayReveal(t *testing.T) {
	w := open(t, console.Access{TrustHeader: "X-User", Reveal: []string{"ada"}})
	w.session("good", "+12025550111", "+12025550122")
	w.session("busy", "+12025550133", "+12025550122", func(s *summary.Session) { s.Outcome = summary.OutcomeBusy })
	as := func(user string, form url.Values) answer {
		r := w.request(http.MethodPost, "/download", form)
		r.Header.Set("X-User", user)
		return w.do(r)
	}
	form := url.Values{"level": {"session"}, "format": {"ndjson"}, "outcome": {"busy"}, "reveal": {"1"}}
	got := as("ada", form)
	if got.status != http.StatusOK || strings.Count(got.body, "\n") != 1 || !strings.Contains(got.body, "+12025550133") || !strings.Contains(got.header.Get("Content-Disposition"), "legato-sessions.ndjson") {
		t.Errorf("got %d %v %s", got.status, got.header, got.body)
	}
	if n := strings.Count(w.log.String(), "a file of calls"); n != 1 {
		t.Errorf("it has %d lines in the log", n)
	}
	if got := as("bob", form); got.status != http.StatusForbidden || strings.Contains(got.body, "+1202") {
		t.Errorf("who may not: %d", got.status)
	}
	large := url.Values{"level": {"session"}, "format": {"ndjson"}, "reveal": {"1"}}
	undo := console.DownloadAtMost(100)
	if got := as("ada", large); got.status != http.StatusRequestEntityTooLarge || !strings.Contains(got.body, "choose less") || strings.Contains(got.body, "+1202") {
		t.Errorf("a file that is too large: %d %s", got.status, got.body)
	}
	undo()
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "missing"))
	if got := as("ada", form); got.status != http.StatusServiceUnavailable {
		t.Errorf("without a place to make it: %d", got.status)
	}
	if n := strings.Count(w.log.String(), "a file of calls"); n != 1 {
		t.Errorf("files that were not given have %d lines in the log", n-1)
	}
	form.Set("format", "exe")
	if got := as("ada", form); got.status != http.StatusBadRequest {
		t.Errorf("another format: %d", got.status)
	}
}

func TestTestCallsAreSentOnlyWhereTheyAreAllowed(t *testing.T) {
	w := open(t, console.Access{})
	if got := w.post("/webhooks/test", url.Values{}).status; got != http.StatusForbidden {
		t.Errorf("not allowed: %d", got)
	}
	w = open(t, console.Access{}, func(c *console.Config) {
		c.TestCall = func(context.Context) (string, error) { return "test-session", nil }
		c.Check = func(context.Context) []console.Finding {
			return []console.Finding{{Name: "API key", Verdict: "fault", Detail: "refused", Do: "Make a new one."}}
		}
		c.Webhooks = func() console.Webhooks {
			return console.Webhooks{Results: map[string]int64{"stored": 7}, Refusals: []console.Refusal{{At: time.Now(), Result: "api_v1", Status: 401, Do: "Set version 2."}}}
		}
	})
	if got := w.post("/webhooks/test", url.Values{}).body; !strings.Contains(got, "/calls/test-session") {
		t.Errorf("allowed: %s", got)
	}
	if got := w.post("/webhooks/check", url.Values{}).body; !strings.Contains(got, "Make a new one.") || !strings.Contains(got, "Set version 2.") || !strings.Contains(got, `<dt>stored</dt><dd class="big">7</dd>`) {
		t.Errorf("the check: %s", got)
	}
}

func TestHealthSaysWhatIsWrong(t *testing.T) {
	w := open(t, console.Access{}, func(c *console.Config) {
		c.Health = func(context.Context) console.Health {
			return console.Health{
				NotReady: "the log cannot be written", Fill: map[string]float64{"log_bytes": 0.42},
				Balances: []console.Balance{{Name: "legs over", Left: 3, Right: 2, Parts: "1 completed + 1 pending"}, {Name: "webhooks", Left: 5, Right: 5}},
			}
		}
	})
	page := w.get("/health").body
	for _, want := range []string{"Not ready: the log cannot be written", "42.0 %", ">differs<", ">balanced<", "3 legs over = 1 completed"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q: %s", want, page)
		}
	}
}
