package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
)

// TestAnUnchangedExpressApplicationAnswersEveryCall puts Legato before the application of the documents, with the check
// of Telnyx's SDK on, and kills the application for eight seconds.
func TestAnUnchangedExpressApplicationAnswersEveryCall(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	app := newExpress(t, x)
	running := app.start()
	// Where a machine does much else the application may answer late, and what is late is rightly sent again.
	flags := append(legatotest.EmbeddedFlags(t.TempDir()), "--forward="+app.url(), "--forward-timeout=10s")
	s := legatotest.Serve(t, x.telnyx.Env(), flags...)
	x.target = s.Target()

	const calls, rate, away = 200, 25, 8 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	var back atomic.Pointer[time.Time]
	var restarted sync.WaitGroup
	var killed time.Time
	for n := range calls {
		<-tick.C
		if n == calls/4 {
			killed = time.Now()
			running.Kill()
			restarted.Go(func() {
				<-time.After(away)
				app.start()
				back.Store(new(time.Now()))
			})
		}
		// Every third caller gives up after four seconds, the others wait for half a minute.
		patience := 30 * time.Second
		if n%3 == 0 {
			patience = 4 * time.Second
		}
		x.ring(ctx, n, patience)
	}
	x.wg.Wait()
	restarted.Wait()
	t.Logf("away from %v to %v", killed.Format(time.TimeOnly), back.Load().Format(time.TimeOnly))
	legatotest.Eventually(t, "nothing waits for the application", func() error {
		if m := legatotest.Scrape(t, s.Admin); m.Sum("legato_forward_waiting")+m.Sum("legato_forward_held")+m.Sum("legato_forward_set_aside") > 0 {
			return fmt.Errorf("events wait")
		}
		return nil
	})

	x.mu.Lock()
	defer x.mu.Unlock()
	var answered, gaveUp, twice, late int
	for _, c := range x.calls {
		switch {
		case len(c.answers) == 0 && c.number%3 == 0:
			gaveUp++
		case len(c.answers) == 0:
			t.Errorf("call %d waited for half a minute and was never answered", c.number)
		case len(c.answers) > 1:
			// It was under way when the application was killed.
			if twice++; c.answers[0].Before(killed.Add(-3*time.Second)) || c.answers[0].After(killed.Add(3*time.Second)) {
				t.Errorf("call %d was answered %d times, at %v", c.number, len(c.answers), c.answers)
			}
		}
		if len(c.answers) > 0 {
			answered++
			for _, at := range c.answers {
				// One that was with the application already when the hangup came is nobody's fault: just started, and on a
				// busy machine, that takes two seconds to answer. Those that gave up at once would be six late.
				if after := at.Sub(c.over); after > 3*time.Second {
					late++
					t.Errorf("call %d was commanded %v after its hangup was stored", c.number, after)
				}
			}
		}
	}
	m := legatotest.Scrape(t, s.Admin)
	t.Logf("%d calls: %d answered, %d gave up, %d answered twice around the kill, %d commands for calls that were over; %v stale",
		len(x.calls), answered, gaveUp, twice, late, m.Sum("legato_forward_events_total", "result", "stale"))
	if refused := m.Sum("legato_forward_events_total", "result", "refused"); refused > 0 {
		t.Errorf("%v events were refused: the SDK's check of the signature has failed", refused)
	}
	if gaveUp == 0 {
		t.Error("no caller gave up: the test saw no call that was over")
	}
	legatotest.StopsCleanly(t, s)
}

// TestInProxyModeTelnyxGetsTheApplicationsAnswer has an application that answers as no default would.
func TestInProxyModeTelnyxGetsTheApplicationsAnswer(t *testing.T) {
	t.Parallel()
	x := newExchange(t)
	var got atomic.Int64
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.Header.Get("Content-Type") == "application/x-www-form-urlencoded" {
			w.Header().Set("Content-Type", "text/xml")
			fmt.Fprintf(w, "<Response><Say>%d bytes</Say></Response>", len(body))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		fmt.Fprint(w, `{"dynamic_variables":{"name":"Ada"}}`)
	}))
	defer application.Close()
	flags := append(legatotest.EmbeddedFlags(t.TempDir()), "--forward="+application.URL, "--forward-mode=app=proxy", "--forward-timeout=1500ms")
	s := legatotest.Serve(t, x.telnyx.Env(), flags...)

	event := legatotest.Ringing(1)
	post := func(body []byte, media string) (int, string, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.Target(), strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		timestamp, signature := x.telnyx.Sign(time.Now(), body)
		r.Header = http.Header{"Content-Type": {media}, "Telnyx-Timestamp": {timestamp}, "Telnyx-Signature-Ed25519": {signature}}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		answer, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, response.Header.Get("Content-Type"), string(answer)
	}
	for range 2 { // and a repetition of what is stored arrives again
		if status, media, body := post(event, "application/json"); status != 202 || media != "application/json" || !strings.Contains(body, "Ada") {
			t.Errorf("answer: %d %s %s, want the application's", status, media, body)
		}
	}
	if status, media, body := post([]byte("CallSid=v3%3Aa&ConnectionId=1"), "application/x-www-form-urlencoded"); status != 200 ||
		media != "text/xml" || body != "<Response><Say>29 bytes</Say></Response>" {
		t.Errorf("answer to a form: %d %s %s, want the application's XML", status, media, body)
	}
	if n := got.Load(); n != 3 {
		t.Errorf("the application got %d webhooks, want 3", n)
	}
	application.Close()
	if status, _, _ := post(event, "application/json"); status != http.StatusGatewayTimeout {
		t.Errorf("answer while nobody is there: %d, want 504", status)
	}
	legatotest.Eventually(t, "the event is stored once, and the counters tell of it whatever was answered", func() error {
		m := legatotest.Scrape(t, s.Admin)
		if n := m.Sum("legato_log_appends_total", `kind="event"`, `result="stored"`); n != 1 {
			return fmt.Errorf("%v entries", n)
		}
		return m.Balance()
	})
	legatotest.StopsCleanly(t, s)
}

// TestADeadApplicationHarmsNobody is an hour without the application, with the times compressed some hundred times.
func TestADeadApplicationHarmsNobody(t *testing.T) {
	t.Parallel()
	legatotest.Long(t)
	legatotest.Busy(t)
	x := newExchange(t)
	addr := legatotest.FreeAddr(t)
	flags := append(legatotest.EmbeddedFlags(t.TempDir()), "--forward=http://"+addr, "--forward-for=2s", "--forward-reports-for=40s")
	s := legatotest.Serve(t, x.telnyx.Env(), flags...)
	x.target = s.Target()
	// The same webhooks go to a service that has nobody to forward to.
	control := legatotest.Serve(t, x.telnyx.Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	x.control = control.Target()
	memory := func(s *legatotest.Server) float64 {
		return legatotest.Scrape(t, s.Admin).Sum("process_resident_memory_bytes") / (1 << 20)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const calls = 3000
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := range calls {
		<-tick.C
		x.ring(ctx, n, time.Second)
	}
	x.wg.Wait()
	got, want := memory(s), memory(control)
	t.Logf("memory after %d calls: %.0f MiB, without a target %.0f MiB", calls, got, want)
	if got > 1.25*want+32 {
		t.Errorf("memory is %.0f MiB, without a target %.0f MiB", got, want)
	}
	if text := s.Get(t, "/readyz"); !strings.Contains(text, "the application app at http://"+addr+"/ has not answered since") {
		t.Errorf("readyz says %q", text)
	}
	m := legatotest.Scrape(t, s.Admin)
	if m.Sum("legato_forward_breaker_open") != 1 || m.Sum("legato_forward_set_aside") == 0 {
		t.Errorf("metrics do not say it: breaker %v, set aside %v", m.Sum("legato_forward_breaker_open"), m.Sum("legato_forward_set_aside"))
	}
	if n := m.Sum("legato_forward_attempts_total"); n > 200 {
		t.Errorf("%v attempts at an application that is dead: that hammers", n)
	}

	var commands, reports atomic.Int64
	application := &http.Server{Addr: addr, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch {
		case err != nil:
		case strings.Contains(string(body), `"call.hangup"`):
			reports.Add(1)
		default:
			commands.Add(1)
		}
	})}
	served := make(chan error, 1)
	go func() { served <- application.ListenAndServe() }()
	defer func() {
		_ = application.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the application: %v", err)
		}
	}()
	// Every hangup of the last 40 s is still worth telling; each is one that was set aside for 10 s or a minute.
	legatotest.Eventually(t, "the application has caught up", func() error {
		m := legatotest.Scrape(t, s.Admin)
		if left := m.Sum("legato_forward_waiting") + m.Sum("legato_forward_held") + m.Sum("legato_forward_set_aside"); left > 0 {
			return fmt.Errorf("%v wait", left)
		}
		return nil
	})
	m = legatotest.Scrape(t, s.Admin)
	t.Logf("%d reports and %d commands came; %v stale, %v expired", reports.Load(), commands.Load(),
		m.Sum("legato_forward_events_total", "result", "stale"), m.Sum("legato_forward_events_total", "result", "expired"))
	if commands.Load() > 0 {
		t.Errorf("%d commands came for calls that were over", commands.Load())
	}
	if reports.Load() == 0 {
		t.Error("no report came: hangups of the last 40 s are still worth telling")
	}
	if got, want := float64(reports.Load())+m.Sum("legato_forward_events_total", "result", "expired"), float64(calls); got < want {
		t.Errorf("of %v hangups only %v are accounted for", want, got)
	}
	legatotest.StopsCleanly(t, s)
}

// exchange is a Telnyx on which an application's commands have effect: a call that is answered goes on, and one that
// nobody answers is hung up by the caller.
type exchange struct {
	t      *testing.T
	telnyx *legatotest.Telnyx
	server *httptest.Server
	target string // where webhooks go
	// control is where each webhook goes too. Empty: nowhere.
	control string

	mu    sync.Mutex
	calls map[string]*ringing // by control id
	wg    sync.WaitGroup
}

// ringing is one call of an exchange.
type ringing struct {
	number   int
	began    time.Time
	answers  []time.Time // when the application commanded it to be answered
	over     time.Time   // when its hangup was accepted; zero: it lives
	answered chan struct{}
}

func newExchange(t *testing.T) *exchange {
	t.Helper()
	x := &exchange{t: t, telnyx: legatotest.NewTelnyx(t), calls: make(map[string]*ringing)}
	x.server = httptest.NewServer(http.HandlerFunc(x.command))
	t.Cleanup(x.server.Close)
	return x
}

// command takes what an application commands: POST /v2/calls/{id}/actions/answer.
func (x *exchange) command(w http.ResponseWriter, r *http.Request) {
	id, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/v2/calls/"), "/actions/answer")
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.calls[id]
	if !ok || c == nil {
		http.Error(w, "{}", http.StatusNotFound)
		return
	}
	if c.answers = append(c.answers, time.Now()); len(c.answers) == 1 {
		close(c.answered)
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"data":{"result":"ok"}}`)
}

// ring plays a call whose caller waits for so long, and talks for two seconds when it is answered.
func (x *exchange) ring(ctx context.Context, number int, patience time.Duration) {
	id := fmt.Sprintf("v3:call-%d", number)
	c := &ringing{number: number, began: time.Now(), answered: make(chan struct{})}
	x.mu.Lock()
	x.calls[id] = c
	x.mu.Unlock()
	x.wg.Go(func() {
		x.say(number, "call.initiated")
		select {
		case <-c.answered:
			x.say(number, "call.answered")
			select {
			case <-time.After(2 * time.Second):
			case <-ctx.Done():
			}
		case <-time.After(patience):
		case <-ctx.Done():
		}
		x.say(number, "call.hangup")
		x.mu.Lock()
		c.over = time.Now()
		x.mu.Unlock()
	})
}

// say posts one signed webhook, and fails the test when Legato does not take it.
func (x *exchange) say(number int, typ string) {
	body, err := json.Marshal(map[string]any{"data": map[string]any{
		"record_type": "event", "id": fmt.Sprintf("%d-%s", number, typ), "event_type": typ, "occurred_at": time.Now().UTC().Format(time.RFC3339Nano),
		"payload": map[string]any{
			"call_control_id": fmt.Sprintf("v3:call-%d", number), "call_leg_id": fmt.Sprintf("leg-%d", number),
			"call_session_id": fmt.Sprintf("session-%d", number), "connection_id": "1700000000000000001", "direction": "incoming",
			"from": "+12025550101", "to": "+12025550102", "hangup_cause": "normal_clearing", "hangup_source": "caller",
		},
	}})
	if err != nil {
		x.t.Error(err)
		return
	}
	for _, target := range []string{x.target, x.control} {
		if target == "" {
			continue
		}
		// What a loaded machine refuses comes again, as Telnyx sends it.
		legatotest.Eventually(x.t, fmt.Sprintf("%s of call %d is taken", typ, number), func() error {
			a, err := x.telnyx.TryPost(x.t, target, time.Now(), body)
			if err == nil && a.Status != http.StatusOK {
				err = fmt.Errorf("it was answered %+v", a)
			}
			return err
		})
	}
}

// express is the application of the documents, on Telnyx's own SDK.
type express struct {
	t    *testing.T
	dir  string
	env  []string
	port string
}

// newExpress installs the application, or skips the test where that cannot be.
func newExpress(t *testing.T, x *exchange) *express {
	t.Helper()
	a := &express{t: t, dir: t.TempDir()}
	for _, name := range []string{"package.json", "app.mjs"} {
		text := legatotest.ReadText(t, "docs", "applications", "express", name)
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	legatotest.InstallNode(t, a.dir)
	_, port, _ := strings.Cut(legatotest.FreeAddr(t), ":")
	a.port = port
	a.env = append(x.telnyx.Env(), "TELNYX_BASE_URL="+x.server.URL+"/v2", "PORT="+port)
	return a
}

func (a *express) url() string { return "http://127.0.0.1:" + a.port + "/webhooks" }

// start runs the application; it is up when it answers.
func (a *express) start() *legatotest.Process {
	a.t.Helper()
	cmd := legatotest.Command(a.env, "node", "app.mjs")
	cmd.Dir = a.dir
	p := legatotest.LaunchCmd(a.t, cmd)
	legatotest.Eventually(a.t, "the application is up", func() error {
		response, err := http.Post(a.url(), "application/json", strings.NewReader("{}"))
		if err != nil {
			return err
		}
		return response.Body.Close()
	})
	return p
}
