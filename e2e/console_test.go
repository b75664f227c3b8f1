package e2e_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish/parked"
)

// demonstration is a demo that stays up.
type demonstration struct {
	t                       *testing.T
	webhooks, nats, console string
}

const demoSeed = 7

func newDemonstration(t *testing.T, flags ...string) *demonstration {
	t.Helper()
	cmd := legatotest.Command(nil, legatotest.Program(), append([]string{"demo", "--keep", "--calls=12", "--rate=3", fmt.Sprint("--seed=", demoSeed)}, flags...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := legatotest.LaunchCmd(t, cmd)
	d := &demonstration{t: t}
	lines := bufio.NewScanner(out)
	for d.console == "" && lines.Scan() {
		text := lines.Text()
		if rest, ok := strings.CutPrefix(text, "Webhooks go to "); ok {
			d.webhooks, d.nats, _ = strings.Cut(rest, ", summaries to ")
		}
		d.console, _ = strings.CutPrefix(text, "Look at the calls: ")
		if d.console == text {
			d.console = ""
		}
	}
	if d.console == "" {
		t.Fatalf("the demo did not say where its console is: %s", p.Text())
	}
	d.console = strings.TrimSuffix(d.console, "/")
	go func() {
		for lines.Scan() { // it would wait for a reader
		}
	}()
	return d
}

func sign(at time.Time, body []byte) (timestamp, signature string) {
	return telnyx.Sign(fake.Key(demoSeed), at, body)
}

// send plays deliveries that a test wants.
func (d *demonstration) send(deliveries []fake.Delivery, wanted func(fake.Delivery) bool) {
	d.t.Helper()
	// What a loaded machine does not take within Telnyx's patience is sent again, as often as it takes.
	sender, err := fake.NewSender(fake.SenderConfig{Target: d.webhooks, Sign: sign, Attempts: 30})
	if err != nil {
		d.t.Fatal(err)
	}
	defer sender.Close()
	for _, one := range deliveries {
		if !wanted(one) {
			continue
		}
		if out := sender.Send(d.t.Context(), one); !out.Accepted {
			d.t.Fatalf("%s was not taken: %+v", one.Type, out)
		}
	}
}

// post sends one signed body.
func (d *demonstration) post(body []byte) {
	d.t.Helper()
	timestamp, signature := sign(time.Now(), body)
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.webhooks, strings.NewReader(string(body)))
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Telnyx-Timestamp", timestamp)
	r.Header.Set("Telnyx-Signature-Ed25519", signature)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		d.t.Fatalf("a webhook was answered %d: %s", response.StatusCode, body)
	}
}

// TestSomebodyLooksAtCallsInABrowser walks through the console as a support engineer does.
func TestSomebodyLooksAtCallsInABrowser(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	b := newBrowser(t)
	d := newDemonstration(t)

	// Last calls come without a reload.
	b.open(d.console)
	value[bool](b, "window.notReloaded = true")
	legatotest.Eventually(t, "calls appear", func() error {
		if n := value[int](b, "document.querySelectorAll('#calls a').length"); n < 3 {
			return fmt.Errorf("there are %d", n)
		}
		return nil
	})
	if !value[bool](b, "window.notReloaded === true") {
		t.Error("the page was loaded again")
	}
	b.picture("last-calls")

	// A transferred call whose answer is missing.
	c := fake.Generator{Seed: 99}.Of(fake.InboundBridged, 4, time.Now().Add(-3*time.Minute))
	first := c.Legs[0]
	late := func(one fake.Delivery) bool { return one.Type == "call.cost" || one.Type == "call.recording.saved" }
	d.send(c.Deliveries, func(one fake.Delivery) bool {
		return !late(one) && (one.LegID != first.Ref.Leg || one.Type != "call.answered")
	})
	session := string(c.Session)
	b.open(d.console + "/calls/" + session)
	b.shows("initiated")
	legatotest.Eventually(t, "its first revisions are published", func() error {
		b.open(d.console + "/calls/" + session)
		if text := value[string](b, "document.body.innerText"); !strings.Contains(text, "▶ session r1") {
			return fmt.Errorf("%.400s", text)
		}
		return nil
	})
	d.send(c.Deliveries, late)
	legatotest.Eventually(t, "a second revision is published", func() error {
		b.open(d.console + "/calls/" + session)
		if text := value[string](b, "document.body.innerText"); !strings.Contains(text, "▶ r2") {
			return fmt.Errorf("%.400s", text)
		}
		return nil
	})
	b.shows("✗ answered is missing")
	b.shows("● bridged")
	if text := value[string](b, "document.body.innerText"); !strings.Contains(text, "+1202555····") || strings.Contains(text, first.From) {
		t.Errorf("its number is not masked: %s", text)
	}
	value[bool](b, "[...document.querySelectorAll('a.i.k-published')].find((a) => a.textContent.startsWith('▶ r2')).id = 'second', true")
	b.click("#second")
	b.shows("Revision 2 of the leg")
	legatotest.Eventually(t, "what it changed is shown", func() error {
		if n := value[int](b, "document.querySelectorAll('.diff dt').length"); n == 0 {
			return fmt.Errorf("nothing is")
		}
		return nil
	})
	b.picture("call")
	b.timed("a call of "+fmt.Sprint(value[int](b, "document.querySelectorAll('a.i').length"))+" things", d.console+"/calls/"+session, 3*time.Second)

	// The same call by its number.
	b.open(d.console + "/find")
	b.do(chromedp.SendKeys(chromedp.CSS("#q"), first.From))
	b.click(".find button")
	b.shows(session[:13])
	if at := value[string](b, "location.href"); strings.Contains(at, strings.TrimPrefix(first.From, "+")) {
		t.Errorf("the number stands in the address: %s", at)
	}
	b.picture("find")

	d.putBack(b)

	// A leg that has only begun is live.
	ringing := fake.Generator{Seed: 99}.Of(fake.InboundBridged, 5, time.Now())
	d.send(ringing.Deliveries[:1], func(fake.Delivery) bool { return true })
	b.open(d.console + "/live")
	b.shows(string(ringing.Deliveries[0].LegID[:13]))
	b.shows("status attempt 1")
	b.picture("live")
	b.open(d.console + "/health")
	b.shows("Ready")
	// What was put back came by no webhook.
	legatotest.Eventually(t, "the sums balance", func() error {
		b.open(d.console + "/health")
		if text := value[string](b, "document.body.innerText"); strings.Contains(text, "differs") {
			return fmt.Errorf("%.800s", text)
		}
		return nil
	})
	b.picture("health")
	b.open(d.console + "/webhooks")
	b.shows("stored")
	b.picture("webhooks")

	// Plots are drawn.
	b.open(d.console + "/outcomes")
	legatotest.Eventually(t, "the plots are drawn", func() error {
		drawn := value[[]bool](b, `[...document.querySelectorAll(".plot canvas")].map((c) => c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((v) => v !== 0))`)
		if len(drawn) != 5 || slices.Contains(drawn, false) {
			return fmt.Errorf("%v", drawn)
		}
		return nil
	})
	b.picture("outcomes")
	b.clean()

	// Another origin posts in vain.
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<form id="f" method="post" action="%s/parked/retry"><input name="seq" value="1"><input name="sure" value="1"><button>go</button></form>`, d.console)
	}))
	defer evil.Close()
	b.open(evil.URL)
	b.click("#f button")
	b.shows("cross-origin")
}

// putBack parks what would be an event, and puts it back after a dry run.
func (d *demonstration) putBack(b *browser) {
	d.t.Helper()
	body := []byte(`{"data":{"record_type":"event","id":"put-back","event_type":"call.initiated","occurred_at":"` + time.Now().UTC().Format(time.RFC3339Nano) +
		`","payload":{"call_control_id":"v3:put-back","call_leg_id":"put-back-leg","call_session_id":"put-back-session","from":"+12025550111"}}}`)
	timestamp, signature := sign(time.Now(), body)
	layout, err := natsd.NewLayout(natsd.DefaultPrefix)
	if err != nil {
		d.t.Fatal(err)
	}
	store := parked.New(legatotest.Dial(d.t, d.nats), layout)
	if err := store.Park(d.t.Context(), call.Parked{Reason: "no_type", Signature: signature, Timestamp: timestamp, Data: body}); err != nil {
		d.t.Fatal(err)
	}
	b.open(d.console + "/parked")
	b.shows("no_type")
	b.picture("parked")
	b.click("input[name=seq]")
	value[bool](b, "[...document.querySelectorAll('button')].find((x) => x.textContent.includes('what is chosen')).id = 'dry', true")
	b.click("#dry")
	b.shows("would be stored as event.call.initiated")
	b.click("#putback")
	b.shows("What became of 1 message")
	b.shows("stored as event.call.initiated")
	b.open(d.console + "/parked")
	b.shows("Nothing is parked")
	b.open(d.console + "/calls/put-back-session")
	b.shows("initiated")
}

// TestALoginIsAskedForInABrowser looks at a console that is not open.
func TestALoginIsAskedForInABrowser(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	b := newBrowser(t)
	world := legatotest.NewTelnyx(t)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) }))
	defer app.Close()
	s := legatotest.Serve(t, append(world.Env(), "LEGATO_CONSOLE_PASSWORD=correct horse"), append(legatotest.EmbeddedFlags(t.TempDir()),
		"--console-listen=127.0.0.1:0", "--console-user=ada", "--console-test-call", "--forward=app="+app.URL)...)
	at, _ := s.Logged("console")["url"].(string)
	address, err := url.Parse(at)
	if err != nil || address.Host == "" {
		t.Fatalf("the console is at %q: %v", at, err)
	}
	as := func(user, password string) string {
		with := *address
		with.User = url.UserPassword(user, password)
		return with.String()
	}
	ctx, cancel := context.WithTimeout(b.ctx, legatotest.Patience)
	defer cancel()
	// A page that is nothing but a refusal is an error of navigation for the browser, or a text.
	for _, wrong := range []string{at, as("ada", "wrong horse")} {
		if err := chromedp.Do(ctx, chromedp.Navigate(wrong)); err == nil && !strings.Contains(value[string](b, "document.body.innerText"), "Who are you?") {
			t.Errorf("%s is let in", wrong)
		}
	}
	b.open(as("ada", "correct horse"))
	b.shows("Last calls")
	b.shows("Signed in as ada")

	// A test call comes in, and its summaries after it.
	b.open(at + "webhooks")
	value[bool](b, "[...document.querySelectorAll('button')].find((x) => x.textContent.includes('test call')).id = 'test', true")
	b.click("#test")
	b.shows("The test call came in")
	b.shows("stored")
	b.picture("test-call")
	b.click(".good a")
	b.shows("● hangup")

	// The application took none of its events. Those that it refused are tried once more together; what commands is stale.
	legatotest.Eventually(t, "what was refused is listed", func() error {
		b.open(at + "forward") // attempts are recorded a moment later
		if is := value[string](b, "document.body.innerText"); !strings.Contains(is, "× refused 400") {
			return fmt.Errorf("%.600s", is)
		}
		return nil
	})
	b.picture("forward")
	b.click(`article[aria-label="app refused"] form:not(.inline) button`)
	b.shows("would be tried once more")
	b.picture("forward-dry-run")
	b.click("main form button")
	b.shows("Asked for one more attempt at app")
	legatotest.StopsCleanly(t, s)
}

// hostile is what a caller or a sender may put wherever text is.
const hostile = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>"'` + "`" + `{{.}}javascript:window.pwned=1`

// TestWhatOthersWroteIsTextInABrowser puts markup into every field that Telnyx or a caller decides about.
func TestWhatOthersWroteIsTextInABrowser(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	b := newBrowser(t)
	d := newDemonstration(t)
	event := func(id, typ string, payload map[string]any) {
		t.Helper()
		all := map[string]any{
			"call_control_id": "v3:hostile", "call_leg_id": "hostile-leg", "call_session_id": "hostile-session", "connection_id": "1700000000000000001",
			"from": hostile, "to": hostile, "tags": []string{hostile}, "client_state": base64.StdEncoding.EncodeToString([]byte(hostile)),
			"custom_headers": []map[string]any{{"name": "X-" + hostile, "value": hostile}}, "sip_headers": []map[string]any{{"name": "User-to-User", "value": hostile}},
		}
		maps.Copy(all, payload)
		body, err := json.Marshal(map[string]any{"data": map[string]any{
			"record_type": "event", "id": id, "event_type": typ, "occurred_at": time.Now().UTC().Format(time.RFC3339Nano), "payload": all,
		}})
		if err != nil {
			t.Fatal(err)
		}
		d.post(body)
	}
	event("h1", "call.initiated", map[string]any{"direction": hostile, "caller_id_name": hostile, "state": hostile})
	event("h2", "call.answered", nil)
	event("h3", "call.recording.saved", map[string]any{
		"recording_id": hostile, "recording_urls": map[string]any{"mp3": "javascript:window.pwned=1"}, "public_recording_urls": map[string]any{hostile: "https://x.example/" + hostile},
	})
	event("h4", "call.playback.ended", map[string]any{"media_name": hostile, "media_url": hostile, "status": hostile, "status_detail": hostile})
	event("h5", "call.hangup", map[string]any{"hangup_cause": hostile, "hangup_source": hostile, "sip_hangup_cause": hostile, "telnyx_error": map[string]any{"code": hostile, "title": hostile, "detail": hostile}})
	d.post([]byte(`{"data":{"event_type":"` + strings.ReplaceAll(hostile, `"`, `\"`) + `","id":"h6","payload":{}}}`))

	untouched := func(page string) {
		t.Helper()
		if value[bool](b, "window.pwned !== undefined") {
			t.Errorf("%s ran what somebody wrote", page)
		}
		if n := value[int](b, `document.querySelectorAll("main script, main img, main iframe, main [onerror], main [style]:not(.plot *), main a[href^='javascript:' i]").length`); n != 0 {
			t.Errorf("%s has %d elements that somebody wrote: %s", page, n, value[string](b, "document.querySelector('main').innerHTML"))
		}
	}
	legatotest.Eventually(t, "its summary is published", func() error {
		b.open(d.console + "/calls/hostile-session")
		if text := value[string](b, "document.body.innerText"); !strings.Contains(text, "▶ session r1") {
			return fmt.Errorf("%.400s", text)
		}
		return nil
	})
	untouched("the call")
	b.click("button.reveal")
	b.shows("Nothing is masked")
	b.shows(hostile)
	untouched("the call, revealed")
	// All at once: the page takes in what is new meanwhile.
	for _, line := range value[[]string](b, "[...document.querySelectorAll('a.i')].map(a => a.getAttribute('href'))") {
		value[bool](b, fmt.Sprintf("htmx.ajax('GET', %q, '#detail').then(() => true)", line))
		untouched("a body")
		if value[bool](b, "document.querySelector('#detail button.reveal') !== null") {
			// Not by a click: until htmx has taken the form it would lead to a page of its own.
			value[bool](b, "htmx.ajax('POST', document.querySelector('#detail form').getAttribute('action'), {target: '#detail', values: {reveal: '1'}}).then(() => true)")
			b.shows("It has been logged that you see it")
			untouched("a body, revealed")
		}
	}
	for _, page := range []string{"/", "/live", "/parked", "/parked/1", "/outcomes", "/webhooks", "/health", "/forward"} {
		b.open(d.console + page)
		untouched(page)
	}
	b.clean()
}

// TestAccessibilityInABrowser has axe look at each page.
func TestAccessibilityInABrowser(t *testing.T) {
	t.Parallel()
	axe := axeCore(t)
	b := newBrowser(t)
	d := newDemonstration(t)
	b.open(d.console)
	b.shows("confirmed")
	session := value[string](b, "document.querySelector('#calls a').getAttribute('href')")
	for _, page := range []string{"/", session, "/find", "/live", "/outcomes", "/webhooks", "/forward", "/parked", "/health", "/calls/nobody"} {
		b.open(d.console + page)
		if _, err := chromedp.Run(b.ctx, chromedp.Evaluate[any](axe+";true")); err != nil {
			t.Fatal(err)
		}
		faults := value[[]string](b, `axe.run().then((r) => r.violations.filter((v) => ["serious", "critical"].includes(v.impact)).map((v) => v.id + ": " + v.help + ": " + v.nodes.map((n) => n.html).slice(0, 3).join(" | ")))`)
		for _, f := range faults {
			t.Errorf("%s: %s", page, f)
		}
		if title := value[string](b, "document.title"); !strings.HasSuffix(title, "· Legato") || len(title) < 12 {
			t.Errorf("%s has the title %q", page, title)
		}
		if n := value[int](b, `["header", "nav", "main", "footer"].filter((x) => document.querySelectorAll(x).length === 1).length`); n != 4 {
			t.Errorf("%s has %d of 4 landmarks", page, n)
		}
	}
	// The keyboard: the first stop leads past the menu, and whatever has the focus is seen to have it.
	b.open(d.console)
	b.do(chromedp.KeyEvent("\t"))
	if first := value[string](b, "document.activeElement.textContent"); first != "Skip to the page" {
		t.Errorf("the first stop of the keyboard is %q", first)
	}
	b.do(chromedp.KeyEvent("\t"))
	if outline := value[string](b, "getComputedStyle(document.activeElement).outlineStyle"); outline != "solid" {
		t.Errorf("the focus is not seen: %s", outline)
	}
}

// long sends the webhooks of a call of one leg that does not end, so many.
func (d *demonstration) long(id string, events int) {
	d.t.Helper()
	began := time.Now().Add(-time.Hour)
	var all []fake.Delivery
	types := []string{"call.dtmf.received", "call.speak.started", "call.speak.ended"}
	for i := range events {
		typ := types[i%len(types)]
		if i == 0 {
			typ = "call.initiated"
		}
		at, event := began.Add(time.Duration(i)*100*time.Millisecond), fmt.Sprintf("%s-%d", id, i)
		body, err := json.Marshal(map[string]any{
			"record_type": "event", "id": event, "event_type": typ, "occurred_at": at.UTC().Format(time.RFC3339Nano),
			"payload": map[string]any{"call_control_id": "v3:" + id, "call_leg_id": id + "-leg", "call_session_id": id + "-session", "from": "+12025550111", "to": "+12025550122"},
		})
		if err != nil {
			d.t.Fatal(err)
		}
		all = append(all, fake.Delivery{Type: typ, LegID: call.LegID(id + "-leg"), EventID: event, OccurredAt: at, Data: body, Attempt: 1})
	}
	var wg sync.WaitGroup
	for part := range slices.Chunk(all, events/8+1) {
		wg.Go(func() { d.send(part, func(fake.Delivery) bool { return true }) })
	}
	wg.Wait()
}

// TestACallOf5000EventsIsSmoothInABrowser opens a call that is as long as any that is shown whole.
func TestACallOf5000EventsIsSmoothInABrowser(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("sends 5,000 webhooks, which -short leaves out")
	}
	b := newBrowser(t)
	d := newDemonstration(t)
	const events = 4990
	d.long("long", events)
	b.open(d.console + "/calls/long-session")
	if n := value[int](b, "document.querySelectorAll('a.i').length"); n < events {
		t.Errorf("%d of %d events are shown", n, events)
	}
	b.timed("a call of 5,000 events", d.console+"/calls/long-session", 10*time.Second)
	b.picture("long-call")
}

// TestACallInALongLogIsShownAtOnceInABrowser opens a call after which the log went on for long.
func TestACallInALongLogIsShownAtOnceInABrowser(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("sends 8,000 webhooks, which -short leaves out")
	}
	b := newBrowser(t)
	d := newDemonstration(t)
	const events = 30
	d.long("early", events)
	d.long("busy", 8_000)
	address := d.console + "/calls/early-session"
	b.timed("a call of 30 events in a log of 8,000", address, 10*time.Second)
	// Before it is whole: memory. Beside much else the log may not be read in a page's time, and the next page has it.
	legatotest.Eventually(t, "the page shows the whole log", func() error {
		b.open(address)
		if !value[bool](b, fmt.Sprintf(`new Promise((done) => {
			const until = Date.now() + 20000;
			const look = () => document.body.innerText.includes("Log: whole, %d entries") ? done(true) : Date.now() > until ? done(false) : setTimeout(look, 50);
			look();
		})`, events)) {
			return fmt.Errorf("it does not")
		}
		return nil
	})
	b.clean()
}
