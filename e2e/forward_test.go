package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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
	x := newExchange(t)
	app := newExpress(t, x)
	running := app.start()
	flags := append(legatotest.EmbeddedFlags(t.TempDir()), "--forward="+app.url())
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
			if twice++; c.answers[0].Before(killed.Add(-time.Second)) || c.answers[0].After(killed.Add(time.Second)) {
				t.Errorf("call %d was answered %d times, at %v", c.number, len(c.answers), c.answers)
			}
		}
		if len(c.answers) > 0 {
			answered++
			for _, at := range c.answers {
				// One that was with the application already when the hangup came is nobody's fault.
				if after := at.Sub(c.over); after > 200*time.Millisecond {
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
	flags := append(legatotest.EmbeddedFlags(t.TempDir()), "--forward="+application.URL, "--forward-mode=app=proxy", "--forward-timeout=500ms")
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
	legatotest.Eventually(t, "the event is stored once", func() error {
		if n := legatotest.Scrape(t, s.Admin).Sum("legato_log_appends_total", "kind", "event", "result", "stored"); n != 1 {
			return fmt.Errorf("%v entries", n)
		}
		return nil
	})
	legatotest.StopsCleanly(t, s)
}

// TestADeadApplicationHarmsNobody is an hour without the application, with the times compressed some hundred times.
func TestADeadApplicationHarmsNobody(t *testing.T) {
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
