package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish/parked"
)

// pages is a replica's console, read as a program reads it.
type pages struct {
	t  *testing.T
	at string
}

func pagesOf(t *testing.T, s *legatotest.Server) pages {
	t.Helper()
	at, _ := s.Logged("console")["url"].(string)
	if at == "" {
		t.Fatal("the replica has no console")
	}
	return pages{t, strings.TrimSuffix(at, "/")}
}

func (p pages) body(response *http.Response, err error) string {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		p.t.Fatalf("%s answers %d: %s", response.Request.URL.Path, response.StatusCode, body)
	}
	return string(body)
}

func (p pages) get(path string) string { p.t.Helper(); return p.body(http.Get(p.at + path)) }

func (p pages) post(path string, form url.Values) string {
	p.t.Helper()
	return p.body(http.PostForm(p.at+path, form))
}

// find waits for the end of a search, whose page the form leads to.
func (p pages) find(q string) (page string) {
	p.t.Helper()
	response, err := http.PostForm(p.at+"/find", url.Values{"q": {q}})
	page = p.body(response, err)
	path := response.Request.URL.Path
	legatotest.Eventually(p.t, "the search ends", func() error {
		if page = p.get(path); strings.Contains(page, "hx-trigger") {
			return errors.New("it goes on")
		}
		return nil
	})
	return page
}

// parts are all parts of a page that match, in order.
func parts(page, expression string) []string {
	return regexp.MustCompile(expression).FindAllString(page, -1)
}

// TestAnyReplicasConsoleAnswersForEveryCall asks two replicas for the same, whichever took the webhooks.
func TestAnyReplicasConsoleAnswersForEveryCall(t *testing.T) {
	t.Parallel()
	nats := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	var attempts atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		attempts.Add(1)
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer app.Close()
	flags := append([]string{
		"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + nats, "--console-listen=127.0.0.1:0", "--forward=app=" + app.URL,
	}, legatotest.Quick...)
	a, b := legatotest.Serve(t, world.Env(), flags...), legatotest.Serve(t, world.Env(), flags...)
	both := []pages{pagesOf(t, a), pagesOf(t, b)}

	play := world.Player(t, a.Target(), 10, 23, over(&spray{hosts: []string{a.Webhooks, b.Webhooks}}))
	if err := play.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, nats, play.Ledger())
	// What both show must be the same, but for times that are of the question.
	same := func(what, expression, path string, least int) {
		t.Helper()
		legatotest.Eventually(t, what+" is the same", func() error {
			one, other := parts(both[0].get(path), expression), parts(both[1].get(path), expression)
			if !slices.Equal(one, other) || len(one) < least {
				return fmt.Errorf("%d and %d of at least %d: %.2000s and %.2000s", len(one), len(other), least, one, other)
			}
			return nil
		})
	}
	for _, c := range world.Calls {
		session := string(c.Session)
		same("the ladder of a call", `(?s)<tr.*?</tr>`, "/calls/"+session, len(c.Legs)*3)
		for _, p := range both {
			if !strings.Contains(p.get("/calls/"+session), "▶ session r1") {
				t.Errorf("%s does not know of the summary of %s", p.at, session)
			}
			if !strings.Contains(p.find(c.Legs[0].From), "/calls/"+session) {
				t.Errorf("%s does not find %s by its number", p.at, session)
			}
		}
	}
	same("the list of last calls", `href="/calls/[^"]+"`, "/", len(world.Calls))

	// A leg that rings is live at both, though one took its only webhook.
	if answer := world.Post(t, a.Target(), time.Now(), legatotest.Ringing(1)); answer.Status != http.StatusOK {
		t.Fatalf("a webhook was answered %d", answer.Status)
	}
	same("the list of live legs", `<td data-name="(Leg|Last event|Connection)".*?</td>`, "/live", 3)

	same("what is not taken", `(?s)<h3>app: .*?</h3>`, "/forward", 1)
	// Of a leg that is over only what reports is tried once more.
	seqs := func(page string) []string {
		all := parts(page, `name="seq" value="\d+"`)
		for i := range all {
			all[i] = strings.Trim(strings.TrimPrefix(all[i], `name="seq" value=`), `"`)
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	dry := both[1].post("/forward/retry", url.Values{"target": {"app"}, "seq": seqs(both[1].get("/forward"))})
	if !strings.Contains(dry, "Dry run: one more attempt at app") || len(seqs(dry)) == 0 {
		t.Fatalf("a dry run says %s", dry)
	}
	before := attempts.Load()
	both[1].post("/forward/retry", url.Values{"target": {"app"}, "seq": seqs(dry)[:1], "sure": {"1"}})
	legatotest.Eventually(t, "the event is tried once more", func() error {
		if attempts.Load() == before {
			return errors.New("it is not")
		}
		return nil
	})

	body := []byte(`{"data":{"record_type":"event","id":"put-back","event_type":"call.initiated","occurred_at":"` + time.Now().UTC().Format(time.RFC3339Nano) +
		`","payload":{"call_control_id":"v3:put-back","call_leg_id":"put-back-leg","call_session_id":"put-back-session"}}}`)
	timestamp, signature := world.Sign(time.Now(), body)
	layout, err := natsd.NewLayout(natsd.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if err := parked.New(legatotest.Dial(t, nats), layout).Park(t.Context(), call.Parked{Reason: "no_type", Signature: signature, Timestamp: timestamp, Data: body}); err != nil {
		t.Fatal(err)
	}
	same("what is parked", `<td data-name="(Parked|Reason|Bytes)".*?</td>`, "/parked", 3)
	if page := both[1].post("/parked/retry", url.Values{"seq": {"1"}, "sure": {"1"}}); !strings.Contains(page, "stored as event.call.initiated") {
		t.Errorf("putting back says %s", page)
	}
	same("what is not parked any more", `Nothing is parked`, "/parked", 1)
	legatotest.Eventually(t, "both replicas know the call that was put back", func() error {
		for _, p := range both {
			if page := p.get("/calls/put-back-session"); !strings.Contains(page, "initiated") {
				return fmt.Errorf("%s: %.500s", p.at, page)
			}
		}
		return nil
	})

	for _, p := range both {
		if n := len(parts(p.get("/health"), `<li><span class="id">`)); n != 2 {
			t.Errorf("%s sees %d of two replicas", p.at, n)
		}
	}
	legatotest.StopsCleanly(t, a)
	legatotest.StopsCleanly(t, b)
}
