package chaos_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/fake"
)

// deed is what the harness did about an event.
type deed string

const (
	// deedPlayed: an event of a played call, delivered or dropped.
	deedPlayed deed = "played"
	// deedControl: it names nothing but the control id of a leg.
	deedControl deed = "control"
	// deedSession: it names nothing but a session.
	deedSession deed = "session"
	// deedForged: its signature is bad.
	deedForged deed = "forged"
	// deedParked: it is signed and of no use.
	deedParked deed = "parked"
)

// sent is an event that the harness has invented, and what became of it.
type sent struct {
	Deed         deed   `json:"deed"`
	ID           string `json:"id"`
	Type         string `json:"type"`
	Session      string `json:"session"`
	Leg          string `json:"leg,omitempty"`
	Control      string `json:"control,omitempty"`
	Posts        int    `json:"posts"`
	answers      int
	posted       time.Time // when the first answer came, or none
	First, Last  time.Time // of the answers 200
	words        map[string]int
	parkedBodies []string
	dropped      bool
	at           time.Time // when it occurred
}

// answered reports whether any post of the event was answered 200.
func (s *sent) answered() bool { return s.answers > 0 }

// ledger carries every post to one of the hosts that take webhooks, each to another
// than the one before, as a balancer does, and remembers what was answered.
type ledger struct {
	transport *http.Transport

	mu    sync.Mutex
	hosts []string
	next  int
	sent  map[string]*sent
	// played are the sessions and ids of the legs that were played, in order.
	played [][2]string
	// posts counts by status, 0 where there was no answer.
	posts map[int]int
	// byHost are the answers and the posts without one of a host since it began its life.
	byHost map[string]*tally
	file   *json.Encoder
}

// tally is what one life of a replica answered.
type tally struct {
	words   map[string]int
	unclear int
}

func newLedger(file *os.File) *ledger {
	return &ledger{
		transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 10 * time.Second},
		sent:      make(map[string]*sent), posts: make(map[int]int), byHost: make(map[string]*tally),
		file: json.NewEncoder(file),
	}
}

// invented enters an event before it is posted.
func (l *ledger) invented(s *sent) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.words = make(map[string]int)
	l.sent[s.ID] = s
}

// call enters the events of a call.
func (l *ledger) call(c fake.Call) {
	control := make(map[string]string)
	l.mu.Lock()
	for _, leg := range c.Legs {
		l.played = append(l.played, [2]string{string(c.Session), string(leg.Ref.Leg)})
	}
	l.mu.Unlock()
	for _, leg := range c.Legs {
		control[string(leg.Ref.Leg)] = string(leg.Ref.Control)
	}
	for _, d := range c.Deliveries {
		if !d.Duplicate {
			l.invented(&sent{
				Deed: deedPlayed, ID: d.EventID, Type: d.Type, Session: string(c.Session), Leg: string(d.LegID),
				Control: control[string(d.LegID)], dropped: d.Dropped, at: d.OccurredAt,
			})
		}
	}
}

// recalled finds the event that a row of the history tells of without its name.
func (l *ledger) recalled(leg string, shown summary.Event) *sent {
	for _, s := range l.sent {
		if s.Leg == leg && s.Type == shown.Type && s.at.Sub(shown.OccurredAt.Known()).Abs() < 2*time.Millisecond {
			return s
		}
	}
	return nil
}

// serve tells where webhooks can go.
func (l *ledger) serve(hosts []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = hosts
}

// born begins a new count for a host.
func (l *ledger) born(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.byHost[host] = &tally{words: make(map[string]int)}
}

// RoundTrip implements http.RoundTripper.
func (l *ledger) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	if len(l.hosts) == 0 {
		l.mu.Unlock()
		return nil, errors.New("no replica is there")
	}
	l.next++
	host := l.hosts[l.next%len(l.hosts)]
	life := l.byHost[host]
	l.mu.Unlock()
	r = r.Clone(r.Context())
	r.URL.Host, r.Host = host, host
	r.Body = io.NopCloser(bytes.NewReader(body))
	response, err := l.transport.RoundTrip(r)
	if err != nil {
		l.record(life, host, body, 0, "")
		return nil, err
	}
	answer, readErr := io.ReadAll(io.LimitReader(response.Body, 16<<10))
	_ = response.Body.Close()
	response.Body = io.NopCloser(bytes.NewReader(answer))
	var said struct {
		Status string `json:"status"`
	}
	if readErr != nil || response.StatusCode != http.StatusOK || json.Unmarshal(answer, &said) != nil {
		said.Status = ""
	}
	l.record(life, host, body, response.StatusCode, said.Status)
	return response, nil
}

// identity reads which event a body is about; bodies that are not JSON carry it as text.
func identity(body []byte) string {
	var e struct {
		Data struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &e) == nil {
		return e.Data.ID
	}
	_, rest, _ := bytes.Cut(body, []byte("unusable-"))
	if len(rest) < 8 {
		return ""
	}
	return "unusable-" + string(rest[:8])
}

func (l *ledger) record(life *tally, host string, body []byte, status int, word string) {
	now, id := time.Now(), identity(body)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posts[status]++
	switch status {
	case http.StatusOK:
		life.words[word]++
	case 0:
		life.unclear++
	}
	s := l.sent[id]
	if s == nil {
		s = &sent{Deed: "unknown", ID: id, words: make(map[string]int)}
		l.sent[id] = s
	}
	if s.Posts++; s.posted.IsZero() {
		s.posted = now
	}
	if status == http.StatusOK {
		s.answers++
		s.words[word]++
		s.Last = now
		if s.First.IsZero() {
			s.First = now
		}
		if s.Deed == deedParked {
			s.parkedBodies = append(s.parkedBodies, string(body))
		}
	}
	_ = l.file.Encode(struct {
		At      time.Time `json:"at"`
		Host    string    `json:"host"`
		ID      string    `json:"id"`
		Type    string    `json:"type"`
		Session string    `json:"session"`
		Leg     string    `json:"leg,omitempty"`
		Status  int       `json:"status"`
		Word    string    `json:"word,omitempty"`
	}{now, host, id, s.Type, s.Session, s.Leg, status, word})
}

// extra invents what a call's own webhooks do not have, some of it by chance, and
// posts it at its time.
func (c *chaos) extra(played fake.Call) {
	rng := c.source(2, played.Number)
	length := time.Duration(float64(played.Length) / speed)
	leg := played.Legs[rng.IntN(len(played.Legs))]
	post := func(share float64, kind deed, after time.Duration, sender *fake.Sender, eventType, payload string) {
		if rng.Float64() >= share {
			return
		}
		s := &sent{
			Deed: kind, ID: fmt.Sprintf("%s-%d-%d", kind, played.Number, rng.IntN(1e6)), Type: eventType,
			Session: string(leg.Ref.Session), Leg: string(leg.Ref.Leg), Control: string(leg.Ref.Control),
		}
		at := time.Now().Add(after)
		c.later(sender, s, at, fmt.Appendf(nil, `{"event_type":%q,"id":%q,"occurred_at":%q,"payload":%s,"record_type":"event"}`,
			eventType, s.ID, at.UTC().Format(time.RFC3339Nano), payload))
	}
	during := time.Duration(rng.Int64N(int64(length + time.Second)))
	departed := length + c.tempo.amend + time.Duration(rng.Int64N(int64(c.tempo.amend)))
	whole := fmt.Sprintf(`{"call_session_id":%q,"call_leg_id":%q,"call_control_id":%q}`, leg.Ref.Session, leg.Ref.Leg, leg.Ref.Control)
	post(.15, deedControl, during, c.sender, "call.playback.started", fmt.Sprintf(`{"call_control_id":%q}`, leg.Ref.Control))
	post(.15, deedSession, during, c.sender, "conference.created", fmt.Sprintf(`{"creator_call_session_id":%q}`, leg.Ref.Session))
	post(.10, deedPlayed, departed, c.sender, "call.playback.started", whole)
	post(.10, deedForged, during, c.forger, "call.hangup", whole)
	post(.05, deedParked, during, c.sender, "message.received", `{"text":"of another product"}`)
	if rng.Float64() < .05 {
		s := &sent{Deed: deedParked, ID: fmt.Sprintf("unusable-%08d", played.Number)}
		c.later(c.sender, s, time.Now().Add(during), []byte(s.ID+" {"))
	}
	if d := played.Deliveries[0]; rng.Float64() < .1 && !d.Dropped {
		d.Attempt, d.Duplicate = 2, true
		c.extras.Go(func() {
			if c.wait(time.Now().Add(departed)) {
				c.sender.Send(c.t.Context(), d)
			}
		})
	}
}

// later posts an event at a time, unless faults are over by then.
func (c *chaos) later(sender *fake.Sender, s *sent, at time.Time, data []byte) {
	c.ledger.invented(s)
	c.extras.Go(func() {
		if c.wait(at) {
			sender.Send(c.t.Context(), fake.Delivery{EventID: s.ID, Type: s.Type, Data: data, Attempt: 1})
		}
	})
}

// wait waits for a time and reports whether it came before the faults ended.
func (c *chaos) wait(at time.Time) bool {
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.over:
		return false
	}
}
