package legatotest

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/fake"
)

// Know takes a call that begins, so that the API can tell of it.
func (w *Telnyx) Know(c fake.Call) {
	for _, l := range c.Legs {
		known := StatusCall(l)
		known.Events = HistoryOf(c, l)
		w.API.Register(known)
	}
	w.Calls = append(w.Calls, c)
}

// HistoryOf is what Telnyx has on record of a leg of a call.
func HistoryOf(c fake.Call, l fake.Leg) (events []fake.HistoryEvent) {
	for _, d := range c.Deliveries {
		if d.LegID == l.Ref.Leg && !d.Duplicate {
			events = append(events, fake.HistoryEvent{ID: d.EventID, Type: d.Type, OccurredAt: d.OccurredAt, Data: d.Data})
		}
	}
	return events
}

// StatusCall is what the API knows of a leg.
func StatusCall(l fake.Leg) fake.APICall {
	return fake.APICall{Ref: l.Ref, StartTime: l.Start, EndTime: l.End, Duration: l.Duration, ClientState: l.ClientState}
}

// Answer is what a webhook was answered.
type Answer struct {
	Status     int
	RetryAfter string
	Reason     string
	Took       time.Duration
}

// Post sends one webhook, once, signed as at a time.
func (w *Telnyx) Post(t *testing.T, target string, signedAt time.Time, body []byte) Answer {
	t.Helper()
	a, err := w.TryPost(t, target, signedAt, body)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// Deliver sends a webhook until it is accepted, as Telnyx does: what the service cannot store in time, for a disk or a
// server that is busy with much else, it refuses with when to come again.
func (w *Telnyx) Deliver(t *testing.T, target string, body []byte) {
	t.Helper()
	Eventually(t, "a webhook is accepted", func() error {
		switch a := w.Post(t, target, time.Now(), body); {
		case a.Status == http.StatusOK:
			return nil
		case a.Status == http.StatusServiceUnavailable && a.RetryAfter != "":
			return fmt.Errorf("it was answered %+v", a)
		default:
			t.Fatalf("a webhook was answered %+v", a)
			return nil
		}
	})
}

// TryPost is Post that returns what keeps it from an answer.
func (w *Telnyx) TryPost(t *testing.T, target string, signedAt time.Time, body []byte) (Answer, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	timestamp, signature := w.Sign(signedAt, body)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Telnyx-Timestamp", timestamp)
	request.Header.Set("Telnyx-Signature-Ed25519", signature)
	begun := time.Now()
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	a := Answer{Status: response.StatusCode, RetryAfter: response.Header.Get("Retry-After"), Took: time.Since(begun)}
	var problem struct {
		Reason string `json:"reason"`
	}
	if err := json.NewDecoder(response.Body).Decode(&problem); err != nil {
		return Answer{}, err
	}
	a.Reason = problem.Reason
	return a, nil
}

// Ringing is the first webhook of some call that goes no further.
func Ringing(n uint64) []byte {
	c := fake.Generator{Seed: 77}.Of(fake.Busy, n, time.Now().UTC())
	return c.Deliveries[0].Body(1, "http://127.0.0.1/")
}

// Telnyx is a fake Telnyx: a key, a status API, and the truth about every call that was played.
type Telnyx struct {
	key   ed25519.PrivateKey
	API   *fake.API
	URL   string
	Calls []fake.Call // written by the player before its first delivery, read after the play
}

// NewTelnyx starts a fake Telnyx with a new key, for one test.
func NewTelnyx(t *testing.T) *Telnyx {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w := &Telnyx{key: key, API: fake.NewAPI(fake.APIConfig{APIKey: "KEY-of-a-test"})}
	server := httptest.NewServer(w.API)
	t.Cleanup(server.Close)
	w.URL = server.URL + "/v2"
	return w
}

// Env are the variables that make a service believe in it.
func (w *Telnyx) Env() []string {
	return []string{
		"TELNYX_PUBLIC_KEY=" + base64.StdEncoding.EncodeToString(w.key.Public().(ed25519.PublicKey)),
		"TELNYX_API_KEY=KEY-of-a-test",
		"TELNYX_BASE_URL=" + w.URL,
		"LEGATO_LOG_FORMAT=json",
	}
}

// Sign signs a body as Telnyx does.
func (w *Telnyx) Sign(at time.Time, body []byte) (timestamp, signature string) {
	return telnyx.Sign(w.key, at, body)
}

// Player plays calls against a webhook URL and remembers the truth about them.
func (w *Telnyx) Player(t *testing.T, target string, calls int, seed uint64, options ...func(*fake.SenderConfig)) *fake.Player {
	t.Helper()
	sender := fake.SenderConfig{
		Target:   target,
		Sign:     w.Sign,
		Attempts: 8, // the outage of a restart is longer than what Telnyx's schedule is known to bridge
	}
	for _, option := range options {
		option(&sender)
	}
	p, err := fake.NewPlayer(fake.PlayerConfig{
		Generator: fake.Generator{Seed: seed},
		Disorder:  fake.Disorder{Duplicates: 0.2, Reorder: 0.2},
		Sender:    sender,
		Calls:     calls, Rate: 25, Speed: 40,
		OnCall: w.Know,
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// WantOnce checks that every call whose hangups were accepted has exactly one
// completed summary for each leg and its session, that revisions count up without a gap, and that
// nobody is summarised who was not played. A hangup that nobody accepted in time may be stored all the same.
func (w *Telnyx) WantOnce(t *testing.T, url string, ledgers ...*fake.Ledger) {
	t.Helper()
	fates := make(map[string]fake.Fate)
	for _, l := range ledgers {
		maps.Copy(fates, l.Fates())
	}
	want, may := make(map[string]bool), make(map[string]bool)
	for _, c := range w.Calls {
		whole := true
		for _, d := range c.Deliveries {
			if d.Type == "call.hangup" && !d.Duplicate {
				if fates[d.EventID].Accepted > 0 {
					want[string(c.Session)+"/"+string(d.LegID)] = true
				} else {
					whole = false
					f := fates[d.EventID]
					posted := f.Posts > 0 && (f.Status == 0 || f.Status >= http.StatusInternalServerError)
					may[string(c.Session)+"/"+string(d.LegID)] = posted
					may[string(c.Session)+"/"] = may[string(c.Session)+"/"] || posted
				}
			}
		}
		if whole {
			want[string(c.Session)+"/"] = true
		}
	}
	if len(want) < len(w.Calls) {
		t.Fatalf("only %d of the summaries of %d calls are due: the play itself failed", len(want), len(w.Calls))
	}
	Eventually(t, "every leg and session is completed", func() error {
		found := Summaries(t, url)
		for id := range want {
			if len(found[id]) == 0 {
				return fmt.Errorf("no summary of %s", id)
			}
		}
		return nil
	})
	for id, revisions := range Summaries(t, url) {
		if !want[id] && !may[id] {
			t.Errorf("a summary of %s, whose hangup was not played", id)
		}
		for i, p := range revisions {
			if p.Revision != i+1 {
				t.Errorf("%s: message %d has revision %d", id, i+1, p.Revision)
			}
			if got := strings.Contains(p.Subject, ".completed."); got != (i == 0) {
				t.Errorf("%s: revision %d stands on %s", id, p.Revision, p.Subject)
			}
		}
	}
}
