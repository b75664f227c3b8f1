package console_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/console"
	"github.com/legato-calls/legato/internal/story"
	"github.com/legato-calls/legato/publish/parked"
)

// secrets stand in the call of secretCall, and on no page that masks.
var secrets = []string{"+12025550111", "12025550122", "Ada Lovelace", "c2VjcmV0IHN0YXRl", "secret state", "recordings.example/1.mp3", "a tag", "X-Customer", "4711", "said something", "asked about a refund", "0815", "7716325"}

// secretCall plays a call with all that a page must not show, and returns entries of it in the log, and its revisions.
func secretCall(w *world) (entries, revisions []uint64) {
	ref := call.Ref{Session: "secret-session", Leg: "secret-leg", Control: "v3:secret-control", Connection: "1700000000000000042"}
	parties := map[string]any{
		"from": "+12025550111", "to": "+12025550122", "direction": "incoming", "caller_id_name": "Ada Lovelace", "client_state": "c2VjcmV0IHN0YXRl",
		"tags": []string{"a tag"}, "custom_headers": []map[string]any{{"name": "X-Customer", "value": "4711"}}, "state": "parked",
	}
	w.event("call.initiated", ref, parties)
	for typ, payload := range map[string]map[string]any{
		call.TypeInsights:        {"results": []map[string]any{{"insight_id": "i", "result": "The caller asked about a refund."}}},
		call.TypeAIGatherPartial: {"partial_results": map[string]any{"code": "0815"}},
		call.TypeAIGatherEnded:   {"status": "valid", "result": map[string]any{"code": "0815", "amount": 7716325}},
	} {
		entries = append(entries, w.event(typ, ref, payload))
	}
	entries = append(entries, w.event("call.hangup", ref, map[string]any{
		"from": "+12025550111", "to": "+12025550122", "hangup_cause": "normal_clearing", "hangup_source": "caller", "sip_hangup_cause": "200",
		"client_state": "c2VjcmV0IHN0YXRl", "transcription_data": map[string]any{"transcript": "said something"},
		"recording_urls": map[string]any{"mp3": "https://recordings.example/1.mp3"},
	}))
	leg := summary.Leg{
		Kind: summary.KindLeg, Schema: 1, Revision: 1, CallSessionID: "secret-session", CallLegID: "secret-leg", CallControlID: "v3:secret-control",
		From: "+12025550111", To: "+12025550122", CallerName: "Ada Lovelace", Outcome: summary.OutcomeAnswered, EndedBy: summary.EndedByHangup,
		Status: summary.Status{State: summary.StatusPending}, ClientState: "c2VjcmV0IHN0YXRl", ClientStateText: "secret state", Tags: []string{"a tag"},
		Headers: &summary.Headers{Custom: []summary.Header{{Name: "X-Customer", Value: "4711"}}}, FirstReceivedAt: summary.MustAt(time.Now()), PublishedAt: summary.MustAt(time.Now()),
		Notes: []summary.Note{summary.NoteAnsweredMissing},
	}
	key := summary.Key{Kind: summary.KindLeg, Session: "secret-session", Leg: "secret-leg"}
	revisions = append(revisions, w.publish(key, 1, &leg))
	leg.Revision, leg.Status.State, leg.Reasons = 2, summary.StatusConfirmed, []summary.Reason{"recording"}
	leg.Recordings = []summary.Recording{{ID: "1", Format: "mp3", URLs: map[string]string{"mp3": "https://recordings.example/1.mp3"}}}
	revisions = append(revisions, w.publish(key, 2, &leg))
	w.session("secret-session", "+12025550111", "+12025550122")
	return entries, revisions
}

func TestWhatIsPersonalIsMaskedUntilSomebodyWhoMayRevealsItByALineInTheLog(t *testing.T) {
	w := open(t, console.Access{User: "ada", Password: "x", Reveal: []string{"ada"}})
	entries, revisions := secretCall(w)
	as := func(method, path string, form url.Values) answer {
		t.Helper()
		r := w.request(method, path, form)
		r.SetBasicAuth("ada", "x")
		return w.do(r)
	}
	pages := []string{"/calls/secret-session", fmt.Sprintf("/calls/secret-session/revisions/%d", revisions[1])}
	for _, entry := range entries {
		pages = append(pages, fmt.Sprintf("/calls/secret-session/entries/%d", entry))
	}
	for _, path := range append(pages, "/") {
		got := as(http.MethodGet, path, nil)
		if got.status != http.StatusOK {
			t.Fatalf("%s: %d %s", path, got.status, got.body)
		}
		for _, secret := range secrets {
			if strings.Contains(got.body, secret) {
				t.Errorf("%s shows %q", path, secret)
			}
		}
		if again := as(http.MethodGet, path+"?reveal=1", nil); strings.Contains(again.body, "+12025550111") {
			t.Errorf("%s: a link reveals", path)
		}
	}
	if strings.Contains(w.log.String(), "sees what is masked") {
		t.Errorf("a look that reveals nothing is logged: %s", w.log)
	}
	for i, path := range pages {
		got := as(http.MethodPost, path, url.Values{"reveal": {"1"}})
		if got.status != http.StatusOK || !slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(got.body, s) }) {
			t.Errorf("%s reveals nothing: %d %s", path, got.status, got.body)
		}
		if n := strings.Count(w.log.String(), "somebody sees what is masked"); n != i+1 {
			t.Errorf("%d looks have %d lines", i+1, n)
		}
	}
	if log := w.log.String(); !strings.Contains(log, "user=ada") || !strings.Contains(log, "session=secret-session") || strings.Contains(log, "1202555") {
		t.Errorf("the lines say %s", log)
	}
}

func TestWhoMayNotRevealIsRefused(t *testing.T) {
	w := open(t, console.Access{Reveal: []string{"somebody else"}})
	entries, _ := secretCall(w)
	for _, path := range []string{"/calls/secret-session", fmt.Sprintf("/calls/secret-session/entries/%d", entries[0])} {
		if got := w.post(path, url.Values{"reveal": {"1"}}); got.status != http.StatusForbidden || strings.Contains(got.body, "12025550111") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
		if got := w.get(path); strings.Contains(got.body, ">Reveal<") {
			t.Errorf("%s offers it", path)
		}
	}
}

func TestACallShowsItsLadderItsDoubtsAndWhatARevisionChanged(t *testing.T) {
	w := open(t, console.Access{})
	_, revisions := secretCall(w)
	page := w.get("/calls/secret-session").body
	for _, want := range []string{
		"● initiated", "● hangup normal_clearing 200", "▶ r1 answered, pending", "r2 recording", "▶ session r1", "answered is missing",
		"&#43;1202555···· → &#43;1202555····", fmt.Sprintf("/calls/secret-session/revisions/%d", revisions[1]), "Doubtful",
	} {
		if !strings.Contains(strings.ReplaceAll(page, "</span>", ""), want) && !strings.Contains(strings.ReplaceAll(strings.ReplaceAll(page, "</span>", ""), `<span class="party">`, ""), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	diff := w.get(fmt.Sprintf("/calls/secret-session/revisions/%d", revisions[1])).body
	for _, want := range []string{"/status/state", "&#34;pending&#34;", "&#34;confirmed&#34;", "/recordings/0/format"} {
		if !strings.Contains(diff, want) {
			t.Errorf("the revision lacks %q: %s", want, diff)
		}
	}
	if strings.Contains(diff, "/call_leg_id") {
		t.Errorf("what is the same is shown as changed: %s", diff)
	}
}

func TestACallIsFoundByEachOfItsIds(t *testing.T) {
	w := open(t, console.Access{})
	secretCall(w)
	for _, id := range []string{"secret-session", "secret-leg", "v3:secret-control"} {
		if to := w.found(id); to != "/calls/secret-session" {
			t.Errorf("%s leads to %s", id, to)
		}
	}
	if got := w.get("/calls/secret-leg"); got.header.Get("Location") != "/calls/secret-session" {
		t.Errorf("the leg's own address leads to %v", got.header)
	}
	if got := w.get("/calls/nobody"); got.status != http.StatusNotFound {
		t.Errorf("a call that is not known: %d", got.status)
	}
	if got := w.get("/calls/other-session/entries/1"); got.status != http.StatusNotFound {
		t.Errorf("an entry under the name of another call: %d", got.status)
	}
}

func TestRunsOfAlikeEventsAreOneLine(t *testing.T) {
	w := open(t, console.Access{})
	ref := call.Ref{Session: "keys", Leg: "keys-a", Control: "v3:keys"}
	w.event("call.initiated", ref, nil)
	for i := range 12 {
		ref := ref
		w.eventAs(fmt.Sprintf("key-%d", i), "call.dtmf.received", ref, map[string]any{"digit": "7"})
	}
	page := w.get("/calls/keys").body
	if !strings.Contains(page, "● dtmf.received <b>× 12</b>") {
		t.Errorf("twelve keys are no line of their own: %s", page)
	}
}

func TestACallInALongLogIsShownAtOnceAndThenCompleted(t *testing.T) {
	w := open(t, console.Access{}, func(c *console.Config) { c.Quick = time.Nanosecond })
	secretCall(w)
	const rest = `hx-get="/calls/secret-session?whole=1"`
	at, whole := w.get("/calls/secret-session").body, w.get("/calls/secret-session?whole=1").body
	for _, want := range []string{"● initiated", "● hangup normal_clearing 200", "▶ session r1", rest, "Log: memory"} {
		if !strings.Contains(at, want) {
			t.Errorf("at once it lacks %q", want)
		}
	}
	if !strings.Contains(whole, "● initiated") || !strings.Contains(whole, "Log: whole") || strings.Contains(whole, rest) {
		t.Errorf("it is not completed: %s", whole)
	}
	// Of a call that has left memory the summaries tell until the log does.
	w.session("gone", "+12025550111", "+12025550122")
	if page := w.get("/calls/gone"); page.status != http.StatusOK || !strings.Contains(page.body, "▶ session r1") || strings.Contains(page.body, "has nothing of this call") {
		t.Errorf("a call that has left memory: %d %s", page.status, page.body)
	}
	if page := w.get("/calls/gone?whole=1").body; !strings.Contains(page, "has nothing of this call") {
		t.Errorf("the log is not said to have nothing of it: %s", page)
	}
}

func TestACallOfWhichAPartOfTheLogWasReadDoesNotLive(t *testing.T) {
	w := open(t, console.Access{})
	secretCall(w)
	sources := story.Sources{
		Log: stream.NewReader(w.nats.JS, w.nats.Layout.Events, w.nats.Layout.Prefix), Summaries: w.calls,
		Parked: parked.New(w.nats.JS, w.nats.Layout), Rules: session.Rules{SweepAfter: time.Minute}, Decode: decode,
	}
	told, err := sources.Story(t.Context(), story.Query{ID: "secret-session", MaxScanned: 1})
	if err != nil {
		t.Fatal(err)
	}
	if len(told.Next) > 0 || told.Legs[0].State != "hangup" {
		t.Errorf("its leg is %q, and %v is to come", told.Legs[0].State, told.Next)
	}
}

func TestACallLeadsToItsTrace(t *testing.T) {
	const id = "0af7651916cd43dd8448eb211c80319c"
	for address, want := range map[string]string{
		"": `<dd class="id">` + id + `</dd>`,
		"https://traces.example.com/t/{trace}?org=1": `href="https://traces.example.com/t/` + id + `?org=1"`,
	} {
		w := open(t, console.Access{}, func(c *console.Config) { c.TraceURL = address })
		w.trace = "00-" + id + "-b7ad6b7169203331-01"
		w.event("call.initiated", call.Ref{Session: "traced", Leg: "traced-a", Control: "v3:traced"}, nil)
		if page := w.get("/calls/traced").body; !strings.Contains(page, want) {
			t.Errorf("with %q the page lacks %s: %s", address, want, page)
		}
	}
	for _, address := range []string{"traces.example.com/{trace}", "https://traces.example.com/", "javascript:alert('{trace}')", "https:///{trace}", "https://%zz/{trace}"} {
		if console.CheckTraceURL(address) == nil {
			t.Errorf("%s is taken", address)
		}
	}
}
