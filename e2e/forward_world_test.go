package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
)

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
	if testing.Short() {
		t.Skip("installs packages of npm, which -short leaves out")
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not at hand: %v", program, err)
		}
	}
	a := &express{t: t, dir: t.TempDir()}
	for _, name := range []string{"package.json", "app.mjs"} {
		text := legatotest.ReadText(t, "docs", "applications", "express", name)
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), legatotest.Patience)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", "--fetch-retries=1", "--loglevel=error")
	npm.Dir = a.dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Skipf("npm cannot install the application: %v\n%s", err, out)
	}
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
