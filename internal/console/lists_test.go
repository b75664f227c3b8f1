package console_test

import (
	"bufio"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
				if diff := cmp.Diff(tt.want, callsOf(page)); diff != "" {
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
	} {
		if diff := cmp.Diff(want, callsOf(w.get(path).body)); diff != "" {
			t.Errorf("%s (-want +got)\n%s", path, diff)
		}
	}
	for _, path := range []string{"/?outcome=unheard", "/?connection=*.>", "/?since=soon"} {
		if got := w.get(path).status; got != http.StatusBadRequest {
			t.Errorf("%s: %d", path, got)
		}
	}
}

func TestLastCallsComeByThemselves(t *testing.T) {
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

// BenchmarkFindByNumber looks through the summaries of calls that are all of other numbers.
func BenchmarkFindByNumber(b *testing.B) {
	const calls = 50_000
	w := open(b, console.Access{})
	w.many(calls)
	b.ResetTimer()
	for b.Loop() {
		if page := w.found("99999999"); !strings.Contains(page, "0 calls") {
			b.Fatal(page)
		}
	}
	b.ReportMetric(float64(calls)*float64(b.N)/b.Elapsed().Seconds(), "summaries/s")
}
