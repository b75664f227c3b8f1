package e2e_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
)

// Marks are texts that occur nowhere else: who finds one has found the secret,
// or the person, that it stands for. Encoded forms of them count too.
const (
	markSecret = "hunter2-MARK-secret"
	markFrom   = "12025550142777001"
	markTo     = "12025550142777002"
	markName   = "Marquetta Markovna"
	markState  = "mark-of-the-application"
	markDigits = "9042077319"
	markSpoken = "my password is marzipan"
)

// marked reports which marks stand in a text.
func marked(text string) []string {
	var found []string
	for _, mark := range []string{markSecret, markFrom, markTo, markName, markState, markDigits, markSpoken} {
		for _, form := range []string{mark, base64.StdEncoding.EncodeToString([]byte(mark)), strings.ReplaceAll(mark, " ", "%20")} {
			if strings.Contains(text, form) {
				found = append(found, form)
			}
		}
	}
	return found
}

func wantUnmarked(t *testing.T, where, text string) {
	t.Helper()
	for _, mark := range marked(text) {
		at := strings.Index(text, mark)
		t.Errorf("%s shows %q: …%s…", where, mark, text[max(0, at-200):min(len(text), at+200)])
	}
}

// markedEvents are the webhooks of a call in which everything personal is marked.
func markedEvents(session, leg string, at time.Time) []string {
	common := fmt.Sprintf(`"call_control_id":"v3:%s","call_leg_id":"%s","call_session_id":"%s","connection_id":"1234567890","client_state":"%s","from":"+%s","to":"+%s","caller_id_name":"%s"`,
		leg, leg, session, base64.StdEncoding.EncodeToString([]byte(markState)), markFrom, markTo, markName)
	event := func(i int, kind, more string) string {
		return fmt.Sprintf(`{"data":{"record_type":"event","event_type":"%s","id":"%s-%d","occurred_at":"%s","payload":{%s%s}},"meta":{"attempt":1}}`,
			kind, leg, i, at.Add(time.Duration(i)*time.Second).Format(time.RFC3339Nano), common, more)
	}
	return []string{
		event(0, "call.initiated", `,"direction":"incoming","state":"parked","start_time":"`+at.Format(time.RFC3339Nano)+`"`),
		event(1, "call.answered", `,"custom_headers":[{"name":"X-Name","value":"`+markName+`"}]`),
		event(2, "call.dtmf.received", `,"digit":"`+markDigits+`"`),
		event(3, "call.gather.ended", `,"digits":"`+markDigits+`","status":"valid"`),
		event(4, "call.transcription", `,"transcription_data":{"confidence":0.9,"is_final":true,"transcript":"`+markSpoken+`"}`),
		event(5, "call.playback.ended", `,"media_name":"`+markName+`","status":"completed"`),
		event(6, "call.custom.unheard_of", `,"anything":{"from":"`+markName+`"}`),
		event(7, "call.hangup", `,"hangup_cause":"normal_clearing","hangup_source":"caller","sip_hangup_cause":"200","end_time":"`+at.Add(7*time.Second).Format(time.RFC3339Nano)+`"`),
	}
}

// markedUnusable are bodies that are signed and no events, each with marks where an id or a type belongs.
func markedUnusable() []string {
	return []string{
		`no JSON: ` + markName + ` +` + markFrom,
		`{"data":{"event_type":"call.initiated","id":"x","payload":{"call_session_id":"+` + markFrom + `","call_leg_id":"` + markName + `"}}}`,
		`{"data":{"event_type":"call.` + markName + `","id":"x","payload":{"call_session_id":"s","call_leg_id":"l"}}}`,
		`{"data":{"event_type":"call.initiated","id":"+` + markFrom + `","payload":{"call_session_id":"s1","call_leg_id":"` + markName + `"}}}`,
		`{"data":{"event_type":"call.hangup","id":"y","occurred_at":"` + markName + `","payload":{"call_session_id":"s2","call_leg_id":"l2","from":{"` + markFrom + `":1},"hangup_cause":["` + markName + `"]}}}`,
		`{"from":"+` + markFrom + `","to":"+` + markTo + `","text":"` + markSpoken + `"}`,
		`{"data":{"event_type":"message.received","id":"z","payload":{"from":{"phone_number":"+` + markFrom + `"},"text":"` + markName + `"}}}`,
		`{"data":"` + markName + `"}`, `"` + markName + `"`, `{"` + markName + `":`,
	}
}

// post sends a body with such headers and returns the status and the answer.
func post(t *testing.T, target string, header http.Header, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = header
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(answer)
}

func signed(w *legatotest.Telnyx, body string) http.Header {
	timestamp, signature := w.Sign(time.Now(), []byte(body))
	return http.Header{
		"Content-Type":             {"application/json; note=" + markFrom},
		"User-Agent":               {markName},
		"X-Forwarded-For":          {markFrom},
		"Telnyx-Timestamp":         {timestamp},
		"Telnyx-Signature-Ed25519": {signature},
	}
}

// TestSecretsAndPersonsAreNowhere runs the service at log level debug with a marked
// secret wherever one can be given, plays calls in which all that is personal is
// marked, and looks for the marks in all that it says beside message bodies.
func TestSecretsAndPersonsAreNowhere(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	world.API = fake.NewAPI(fake.APIConfig{APIKey: markSecret})
	api := httptest.NewServer(world.API)
	defer api.Close()
	world.URL = api.URL + "/v2"
	world.API.Register(fake.APICall{
		Ref:       call.Ref{Session: "sess-mark", Leg: "leg-mark", Control: "v3:leg-mark"},
		StartTime: time.Now().Add(-time.Minute), EndTime: time.Now().Add(-50 * time.Second), Duration: 7,
		ClientState: base64.StdEncoding.EncodeToString([]byte(markState)),
	})
	// An application that throws back what it gets, and has secrets of its own in its URL and a header.
	application := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && r.Header.Get("X-Secret") == markSecret {
			http.Error(w, string(body), http.StatusBadRequest)
		}
	}))
	defer application.Close()
	env := append(world.Env(), "TELNYX_API_KEY="+markSecret, "LEGATO_LOG_LEVEL=debug",
		"LEGATO_FORWARD="+strings.Replace(application.URL, "//", "//legato:"+markSecret+"@", 1)+"/?token="+markSecret,
		"LEGATO_FORWARD_HEADER=app=X-Secret: "+markSecret, "LEGATO_NATS_USER=legato", "LEGATO_NATS_PASSWORD="+markSecret)
	s := legatotest.Serve(t, env, legatotest.EmbeddedFlags(t.TempDir())...)
	inside := strings.Replace(s.NATS, "//", "//legato:"+markSecret+"@", 1)

	var answers strings.Builder
	for _, body := range append(markedEvents("sess-mark", "leg-mark", time.Now().Add(-time.Minute)), markedUnusable()...) {
		status, answer := post(t, s.Target(), signed(world, body), body)
		if status != http.StatusOK {
			t.Errorf("%.80s… is answered %d %s", body, status, answer)
		}
		answers.WriteString(answer)
		for _, header := range []http.Header{{"Content-Type": {"application/json"}}, {
			"Content-Type":     {"application/json"},
			"Telnyx-Timestamp": {markFrom}, "Telnyx-Signature-Ed25519": {markName},
		}, {"Content-Type": {"text/" + markFrom}}} {
			_, answer := post(t, s.Target(), header, body)
			answers.WriteString(answer)
		}
		_, answer = post(t, s.Target()+"/"+markFrom+"?name="+markState, http.Header{"Authorization": {markSecret}}, body)
		answers.WriteString(answer)
	}
	legatotest.Completed(t, inside, "calls.session.completed.*.sess-mark")
	wantUnmarked(t, "an answer", answers.String())
	legatotest.Eventually(t, "the application has refused events", func() error {
		if legatotest.Scrape(t, s.Admin).Sum("legato_forward_events_total", "result", "refused") == 0 {
			return errors.New("none")
		}
		return nil
	})
	wantUnmarked(t, "/metrics", s.Get(t, "/metrics"))
	wantUnmarked(t, "/readyz", s.Get(t, "/readyz"))
	bodies := wantUnmarkedMessages(t, inside)
	// The marks went in, or to find none would prove nothing.
	if found := marked(bodies); len(found) < 6 {
		t.Errorf("only %q came as far as the bodies of messages", found)
	}
	if text := s.Text(); !strings.Contains(text, `"session":"sess-mark"`) {
		t.Error("the log has no debug line of the call")
	}
	if out, err := command(t, nil, "tail", "--nats-url="+strings.Replace(s.NATS, "//", "//legato:wrong-"+markSecret+"@", 1)); err == nil {
		t.Errorf("tail with a wrong password: %s", out)
	} else {
		wantUnmarked(t, "tail", out)
	}
	legatotest.StopsCleanly(t, s)
	wantUnmarked(t, "the log", s.Text())
}

// wantUnmarkedMessages looks through subjects and headers of all messages and
// returns their bodies.
func wantUnmarkedMessages(t *testing.T, url string) string {
	t.Helper()
	js := legatotest.Dial(t, url)
	var bodies strings.Builder
	for _, stream := range []string{"CALL_EVENTS", "CALLS", "CALL_PARKED"} {
		info, err := js.Stream(t.Context(), stream)
		if err != nil {
			t.Fatal(err)
		}
		state := info.CachedInfo().State
		if state.Msgs == 0 {
			t.Errorf("%s is empty", stream)
		}
		for seq := state.FirstSeq; seq <= state.LastSeq; seq++ {
			m, err := info.GetMsg(t.Context(), seq)
			if err != nil {
				t.Fatal(err)
			}
			wantUnmarked(t, "a message of "+stream, m.Subject+fmt.Sprint(map[string][]string(m.Header)))
			bodies.Write(m.Data)
		}
	}
	return bodies.String()
}

// TestWrongSecretsAreNotRepeated gives each secret wrongly, in each way that it can be given.
func TestWrongSecretsAreNotRepeated(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	writeFile(t, file, markSecret)
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	writePair(t, cert, key)
	guarded := legatotest.ExternalNATS(t, "--user=legato", "--pass=right")
	inURL := strings.Replace(guarded, "//", "//legato:"+markSecret+"@", 1)
	for name, env := range map[string][]string{
		"a public key":                   {"TELNYX_PUBLIC_KEY=" + markSecret},
		"the file of a public key":       {"TELNYX_PUBLIC_KEY=", "TELNYX_PUBLIC_KEY_FILE=" + file},
		"an API key and its file":        {"TELNYX_API_KEY=" + markSecret, "TELNYX_API_KEY_FILE=" + file},
		"an API key of two lines":        {"TELNYX_API_KEY=" + markSecret + "\n" + markSecret},
		"a base URL":                     {"TELNYX_BASE_URL=http://user:" + markSecret + "@127.0.0.1:1/v2"},
		"a base URL that is none":        {"TELNYX_BASE_URL=http://user:" + markSecret + "%zz@127.0.0.1:1/v2"},
		"a password in the URL":          {"LEGATO_NATS_URL=" + inURL},
		"a URL that is none":             {"LEGATO_NATS_URL=nats://legato:" + markSecret + "%zz@127.0.0.1:1"},
		"a login beside one in a URL":    {"LEGATO_NATS_URL=" + inURL, "LEGATO_NATS_TOKEN=" + markSecret},
		"a password":                     {"LEGATO_NATS_URL=" + guarded, "LEGATO_NATS_USER=legato", "LEGATO_NATS_PASSWORD=" + markSecret},
		"the file of a password":         {"LEGATO_NATS_URL=" + guarded, "LEGATO_NATS_USER=legato", "LEGATO_NATS_PASSWORD_FILE=" + file},
		"a password and its file":        {"LEGATO_NATS_USER=legato", "LEGATO_NATS_PASSWORD=" + markSecret, "LEGATO_NATS_PASSWORD_FILE=" + file},
		"a password without a user":      {"LEGATO_NATS_PASSWORD=" + markSecret},
		"a token":                        {"LEGATO_NATS_URL=" + guarded, "LEGATO_NATS_TOKEN=" + markSecret},
		"the file of a token":            {"LEGATO_NATS_URL=" + guarded, "LEGATO_NATS_TOKEN_FILE=" + file},
		"a token beside a user":          {"LEGATO_NATS_USER=legato", "LEGATO_NATS_TOKEN=" + markSecret},
		"a credentials file":             {"LEGATO_NATS_URL=" + guarded, "LEGATO_NATS_CREDS=" + file},
		"an nkey":                        {"LEGATO_NATS_URL=" + guarded, "LEGATO_NATS_NKEY=" + file},
		"a CA":                           {"LEGATO_NATS_URL=" + guarded, "LEGATO_NATS_CA=" + file},
		"a client's key":                 {"LEGATO_NATS_URL=" + guarded, "LEGATO_NATS_CERT=" + cert, "LEGATO_NATS_KEY=" + file},
		"the webhook listener's key":     {"LEGATO_TLS_CERT=" + cert, "LEGATO_TLS_KEY=" + file},
		"a certificate in a key's place": {"LEGATO_TLS_CERT=" + file, "LEGATO_TLS_KEY=" + key},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := slices.Concat(world.Env(), []string{"LEGATO_LOG_LEVEL=debug"}, env)
			for _, args := range [][]string{
				{"serve", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-listen=", "--data-dir=" + t.TempDir()},
				{"serve", "--no-such-flag"},
				{"serve", "--nats-token=" + markSecret, "--nats-password=" + markSecret, "--telnyx-api-key=" + markSecret, "--settle=never"},
				{"serve", "--telnyx-public-key=" + markSecret, "--nats-password", markSecret, "--nats-user"},
				{"serve", "--help"},
				{"tail", "--help"},
			} {
				out, err := command(t, all, args...)
				if (err == nil) != (args[1] == "--help") {
					t.Errorf("legato %s: %v\n%s", args[0], err, out)
				}
				wantUnmarked(t, "legato "+args[0], out)
			}
		})
	}
}

// TestAWrongAPIKeyIsNotRepeated keeps the service running with a key that Telnyx refuses.
func TestAWrongAPIKeyIsNotRepeated(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, append(world.Env(), "TELNYX_API_KEY="+markSecret, "LEGATO_LOG_LEVEL=debug"), legatotest.EmbeddedFlags(t.TempDir())...)
	for _, body := range markedEvents("sess-mark", "leg-mark", time.Now().Add(-time.Minute)) {
		if status, answer := post(t, s.Target(), signed(world, body), body); status != http.StatusOK {
			t.Errorf("answered %d %s", status, answer)
		}
	}
	legatotest.Eventually(t, "the status API refuses the key", func() error {
		if n := world.API.Requests("v3:leg-mark"); n == 0 {
			return fmt.Errorf("it was not asked")
		}
		return nil
	})
	legatotest.Completed(t, s.NATS, "calls.session.completed.*.sess-mark")
	wantUnmarked(t, "/metrics", s.Get(t, "/metrics"))
	wantUnmarked(t, "/readyz", s.Get(t, "/readyz"))
	legatotest.StopsCleanly(t, s)
	wantUnmarked(t, "the log", s.Text())
}
