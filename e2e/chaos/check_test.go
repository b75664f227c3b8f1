package chaos_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/schema/schematest"
	"github.com/legato-calls/legato/internal/fake"
)

// told is what was published in the whole run: the newest revisions.
type told struct {
	legs     map[string]*summary.Leg
	sessions map[string]*summary.Session
	// again are the sessions of which something was published once more, after the stream had lost it; before are the
	// revisions of their legs that were.
	again  map[string]bool
	before map[string][]*summary.Leg
}

// check holds what was published against what was answered and what was played.
func (c *chaos) check() {
	c.t.Helper()
	c.ledger.mu.Lock()
	defer c.ledger.mu.Unlock()
	for status, n := range c.ledger.posts {
		c.result.Deliveries += n
		switch status {
		case http.StatusOK:
			c.result.Answered += n
		case http.StatusServiceUnavailable:
			c.result.Refused += n
		case 0:
			c.result.Unanswered += n
		}
	}
	c.result.Calls, c.result.StatusAsks = len(c.world.Calls), int(c.api.requests.Load())
	published := c.read()
	c.readStrayed()
	c.checkEvents(published)
	c.checkPhantoms(published)
	for _, played := range c.world.Calls {
		c.result.Legs += len(played.Legs)
		if published.again[string(played.Session)] || c.cutOff(played) || c.cameBack(string(played.Session)) {
			continue
		}
		for _, l := range played.Legs {
			c.checkLeg(played.Scenario, l, published)
		}
		c.checkSession(played, published)
	}
	c.checkParked()
	c.checkMetrics()
}

// read reads every summary and holds the revisions of each against each other.
func (c *chaos) read() told {
	c.t.Helper()
	published := told{
		legs: make(map[string]*summary.Leg), sessions: make(map[string]*summary.Session),
		again: make(map[string]bool), before: make(map[string][]*summary.Leg),
	}
	revisions, messages := make(map[string]int), make(map[string]bool)
	lost := c.ops.removed > 0 || len(c.ops.rolledBack) > 0
	for _, m := range append(c.ops.kept, legatotest.Stored(c.t, c.js, "CALLS")...) {
		if strings.HasPrefix(string(m.Data()), foreign) {
			continue
		}
		var head struct {
			Kind     string `json:"kind"`
			Revision int    `json:"revision"`
			Session  string `json:"call_session_id"`
			Leg      string `json:"call_leg_id"`
		}
		if err := json.Unmarshal(m.Data(), &head); err != nil {
			c.find("wrong", "%s: %v", m.Subject(), err)
			continue
		}
		if err := schematest.Validate(head.Kind, m.Data()); err != nil {
			c.find("wrong", "%v", err)
		}
		key := head.Kind + " " + head.Session + " " + head.Leg
		id := m.Headers().Get(jetstream.MsgIDHeader)
		switch before := revisions[key]; {
		case lost && (head.Revision <= before || messages[id]):
			// The stream had lost it, or what came before it.
			c.result.Again++
			published.again[head.Session] = true
			if old := published.legs[head.Leg]; old != nil && head.Leg != "" {
				published.before[head.Leg] = append(published.before[head.Leg], old)
			}
		case lost && head.Revision > before+1:
			published.again[head.Session] = true
		case head.Revision <= before, messages[id]:
			c.find("doubled", "revision %d of %s follows %d, as %s", head.Revision, key, before, id)
		case head.Revision > before+1:
			c.find("wrong", "revision %d of %s follows %d", head.Revision, key, before)
		}
		first := strings.Contains(m.Subject(), ".completed.")
		if first != (head.Revision == 1) {
			c.find("wrong", "revision %d of %s stands on %s", head.Revision, key, m.Subject())
		}
		if first {
			c.result.Completed++
		} else {
			c.result.Amended++
		}
		revisions[key], messages[id] = head.Revision, true
		var err error
		if head.Kind == summary.KindLeg {
			leg := new(summary.Leg)
			err, published.legs[head.Leg] = json.Unmarshal(m.Data(), leg), leg
		} else {
			session := new(summary.Session)
			err, published.sessions[head.Session] = json.Unmarshal(m.Data(), session), session
		}
		if err != nil {
			c.find("wrong", "%s: %v", key, err)
		}
	}
	return published
}

// span is when the events that name a leg or a session were answered.
type span struct{ first, last time.Time }

func (s *span) add(e *sent) {
	if s.first.IsZero() || e.First.Before(s.first) {
		s.first = e.First
	}
	if e.Last.After(s.last) {
		s.last = e.Last
	}
}

// spans are those of every leg and session that a whole event named.
func (c *chaos) spans() map[string]*span {
	spans := make(map[string]*span)
	for _, e := range c.ledger.sent {
		if e.Deed != deedPlayed || !e.answered() {
			continue
		}
		for _, id := range []string{e.Leg, e.Session} {
			if spans[id] == nil {
				spans[id] = new(span)
			}
			spans[id].add(e)
		}
	}
	return spans
}

// near reports whether an event without a leg's id came while its call could be known.
func (c *chaos) near(s *span, e *sent) bool {
	const slack = 3 * time.Second
	earliest := e.First
	if e.words["stored"] == 0 {
		earliest = e.posted // it was stored by a post that got no answer
	}
	return s != nil && earliest.After(s.first.Add(slack-c.tempo.amend)) && e.First.Before(s.last.Add(c.tempo.amend-slack))
}

// checkEvents looks for every answered event in the newest revision of its leg.
func (c *chaos) checkEvents(published told) {
	c.t.Helper()
	log := c.log()
	where := func(e *sent) string {
		if log[e.ID] {
			return "in the log"
		}
		return "not in the log, or trimmed"
	}
	spans := c.spans()
	inSession := make(map[string]struct{ least, most int })
	removed := c.ops.removedSessions()
	// What names a session alone is told of with its legs. Where their summaries were removed, or they went with the end of
	// a log, it may stay without them.
	alone := func(session string) bool { return removed[session] || c.cutOff(c.callOf(session)) }
	for _, e := range c.sentInOrder() {
		switch {
		case e.Deed == "unknown", e.Deed == deedForged && e.answered():
			c.find("phantom", "%s %s was answered 200", e.Deed, e.ID)
		case e.Deed == deedSession:
			n := inSession[e.Session]
			if e.answered() && c.near(spans[e.Session], e) && !c.mayBeLost(e) && !published.again[e.Session] && !alone(e.Session) {
				n.least++
			} else if e.answered() {
				c.result.Orphans++
			}
			n.most += min(e.Posts, 1)
			inSession[e.Session] = n
		case !e.answered() || e.Deed == deedParked || e.Deed == deedForged:
		case e.words["parked"] > 0:
			c.find("wrong", "%s %s was parked", e.Type, e.ID)
		case c.has(published.legs[e.Leg], e), slices.ContainsFunc(published.before[e.Leg], func(l *summary.Leg) bool { return c.has(l, e) }):
		case c.mayBeLost(e), c.strayed[e.ID]:
			c.result.RolledBack++
		case c.cameBack(e.Session):
			c.result.Orphans++
		case e.Deed == deedControl && (!c.near(spans[e.Leg], e) || c.cutOff(c.callOf(e.Session))):
			// Nobody knows any more, or what told it went with the end of a log, whose control id that was.
			c.result.Orphans++
		case published.legs[e.Leg] == nil:
			c.find("lost", "%s %s of leg %s, which has no summary (%s)", e.Type, e.ID, e.Leg, where(e))
		default:
			c.find("lost", "%s %s (%s, answered %s) is not in revision %d of leg %s (%s)", e.Type, e.ID, e.Deed,
				e.First.Format(time.TimeOnly), published.legs[e.Leg].Revision, e.Leg, where(e))
		}
	}
	for id, want := range inSession {
		got := 0
		if s := published.sessions[id]; s != nil {
			got = s.EventCount
		} else if want.least > 0 {
			c.find("lost", "session %s has %d events of its own and no summary", id, want.least)
			continue
		}
		if got < want.least {
			c.find("lost", "session %s counts %d events of its own, %d were answered", id, got, want.least)
		}
		if got > want.most {
			c.find("phantom", "session %s counts %d events of its own, %d were sent", id, got, want.most)
		}
	}
}

func (c *chaos) sentInOrder() []*sent {
	return slices.SortedFunc(maps.Values(c.ledger.sent), func(a, b *sent) int {
		if o := a.First.Compare(b.First); o != 0 {
			return o
		}
		return strings.Compare(a.ID, b.ID)
	})
}

// has reports whether a summary shows an event, or left out so many that it may be among them.
func (c *chaos) has(l *summary.Leg, e *sent) bool {
	return l != nil && (l.EventsOmitted > 0 || slices.ContainsFunc(l.Events, func(shown summary.Event) bool {
		return shown.ID == e.ID && shown.Type == e.Type
	}))
}

// log returns the ids of what is still in the log, to tell where an event was lost.
func (c *chaos) log() map[string]bool {
	c.t.Helper()
	ids := make(map[string]bool)
	for _, m := range legatotest.Stored(c.t, c.js, "CALL_EVENTS") {
		if id := identity(m.Data()); id != "" {
			ids[id] = true
		}
	}
	return ids
}

// checkPhantoms looks for what nobody has sent.
func (c *chaos) checkPhantoms(published told) {
	c.t.Helper()
	for id, l := range published.legs {
		seen := make(map[[2]string]bool)
		for _, shown := range l.Events {
			identity := [2]string{shown.ID, shown.Type}
			if seen[identity] {
				c.find("doubled", "leg %s shows %s %s twice", id, shown.Type, shown.ID)
			}
			seen[identity] = true
			e := c.ledger.sent[shown.ID]
			if e == nil && shown.Backfill {
				if e = c.ledger.recalled(id, shown); e != nil && c.has(l, e) && !c.cameBack(l.CallSessionID) {
					c.find("doubled", "leg %s shows %s %s, and its webhook %s as well", id, shown.Type, shown.ID, e.ID)
				}
			}
			switch {
			case e == nil:
				c.find("phantom", "leg %s shows %s %s, which was never invented", id, shown.Type, shown.ID)
			case e.Leg != id || e.Session != l.CallSessionID || e.Type != shown.Type:
				c.find("phantom", "leg %s shows %s %s of leg %s", id, shown.Type, shown.ID, e.Leg)
			case e.Deed != deedPlayed && e.Deed != deedControl:
				c.find("phantom", "leg %s shows %s %s, which is %s", id, shown.Type, shown.ID, e.Deed)
			case e.Posts == 0 && !shown.Backfill:
				c.find("phantom", "leg %s shows %s %s, which was never delivered", id, shown.Type, shown.ID)
			}
		}
	}
	played := make(map[string]bool)
	for _, call := range c.world.Calls {
		played[string(call.Session)] = true
	}
	for id, s := range published.sessions {
		if !played[id] {
			c.find("phantom", "session %s was never played", id)
		}
		for _, l := range s.Legs {
			if (published.legs[l.CallLegID] == nil || published.legs[l.CallLegID].CallSessionID != id) && !c.cutOff(c.callOf(id)) {
				c.find("phantom", "session %s shows leg %s, which has no summary in it", id, l.CallLegID)
			}
		}
	}
}

// readStrayed finds what came late for calls of which the log, or the summaries, had lost all: it is parked.
func (c *chaos) readStrayed() {
	c.t.Helper()
	c.strayed = make(map[string]bool)
	if c.ops.removed == 0 && len(c.ops.rolledBack) == 0 {
		return
	}
	for _, m := range legatotest.Stored(c.t, c.js, "CALL_PARKED") {
		if !strings.HasSuffix(m.Subject(), ".unknown_call") {
			continue
		}
		id := identity(m.Data())
		// What the history says of such a call is nobody's delivery.
		if e := c.ledger.sent[id]; e != nil && e.Deed == deedPlayed || c.recalled(m.Data()) {
			c.strayed[id] = true
		}
	}
}

// recalled reports whether a body was made of a row of the history of a call that was played.
func (c *chaos) recalled(body []byte) bool {
	var e struct {
		Data struct {
			ID      string `json:"id"`
			Payload struct {
				Session string `json:"call_session_id"`
			} `json:"payload"`
		} `json:"data"`
	}
	if json.Unmarshal(body, &e) != nil || !strings.HasPrefix(e.Data.ID, "recalled:") {
		return false
	}
	return len(c.callOf(e.Data.Payload.Session).Legs) > 0
}

// checkParked looks for every parked body, byte for byte, and for others.
func (c *chaos) checkParked() {
	c.t.Helper()
	parked := make(map[string]bool)
	for _, m := range legatotest.Stored(c.t, c.js, "CALL_PARKED") {
		if strings.HasPrefix(string(m.Data()), foreign) || c.strayed[identity(m.Data())] {
			continue
		}
		parked[string(m.Data())] = true
		if e := c.ledger.sent[identity(m.Data())]; e == nil || e.Deed != deedParked {
			c.find("wrong", "on %s: %.200s", m.Subject(), m.Data())
		}
	}
	c.result.Parked = len(parked)
	for _, e := range c.ledger.sent {
		for _, body := range e.parkedBodies {
			if !parked[body] && !c.mayBeLost(e) {
				c.find("lost", "%s was answered 200 and is not parked", e.ID)
			}
		}
	}
}

// checkMetrics balances what each replica counts in its present life.
func (c *chaos) checkMetrics() {
	c.t.Helper()
	for _, h := range c.serves {
		m, err := c.metrics(h)
		if err != nil {
			c.find("wrong", "metrics of %s: %v", h.name, err)
			continue
		}
		life := c.ledger.byHost[h.webhooks]
		for _, word := range []string{"stored", "duplicate", "parked"} {
			// What was answered and did not arrive is known to the replica alone.
			counted, answered := int(sum(m, "legato_webhooks_total", `result="`+word+`"`)), life.words[word]
			if counted < answered || counted > answered+life.unclear {
				c.find("wrong", "%s counts %d webhooks %s, %d were answered and %d got no answer", h.name, counted, word, answered, life.unclear)
			}
		}
		c.checkBalance(h, m)
	}
}

// checkBalance holds the counters of a replica at rest against each other. What it does not count is not asked for.
func (c *chaos) checkBalance(h *host, m map[string]float64) {
	c.t.Helper()
	accepted := sum(m, "legato_webhooks_total", `result="stored"`) + sum(m, "legato_webhooks_total", `result="duplicate"`)
	parked := sum(m, "legato_webhooks_total", `result="parked"`)
	if _, ok := m[`legato_webhook_answers_total{code="200"}`]; ok {
		answers := sum(m, "legato_webhook_answers_total", `code="200"`)
		logged := sum(m, "legato_log_appends_total", `kind="event"`, `result="stored"`)
		duplicates := sum(m, "legato_log_appends_total", `kind="event"`, `result="duplicate"`)
		if answers != logged+duplicates+parked {
			c.find("wrong", "%s: 200 was answered %v times, not for %v logged, %v duplicates and %v parked", h.name, answers, logged, duplicates, parked)
		}
	}
	if appends := sum(m, "legato_log_appends_total", `result="stored"`) + sum(m, "legato_log_appends_total", `result="duplicate"`); accepted > appends {
		c.find("wrong", "%s accepted %v webhooks and handed %v entries to the log", h.name, accepted, appends)
	}
	// Whose summary was removed, or lost with the end of the log, is not known to be completed by who starts afterwards.
	if over, ok := m["legato_legs_over_total"]; ok && c.ops.removed == 0 && len(c.ops.rolledBack) == 0 {
		completed, pending := m["legato_legs_completed_total"], m["legato_legs_pending"]
		if over != completed+pending || pending != 0 {
			c.find("wrong", "%s: of %v legs that were over %v are completed and %v pending", h.name, over, completed, pending)
		}
	}
}

// sum adds up the series of a metric that have all of some labels.
func sum(m map[string]float64, name string, labels ...string) (total float64) {
	for series, value := range m {
		if !strings.HasPrefix(series, name+"{") {
			continue
		}
		if !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(series, l) }) {
			total += value
		}
	}
	return total
}

// whole reports whether every webhook of a leg was answered.
func (c *chaos) whole(id string, deliveries []fake.Delivery) bool {
	for _, d := range deliveries {
		if string(d.LegID) == id && !c.ledger.sent[d.EventID].answered() {
			return false
		}
	}
	return true
}

// cutOff reports whether some of what was answered of a call may be lost with the end of a log.
func (c *chaos) cutOff(played fake.Call) bool {
	return slices.ContainsFunc(played.Deliveries, func(d fake.Delivery) bool { return c.mayBeLost(c.ledger.sent[d.EventID]) })
}

// checkLeg holds the summary of a leg against the truth.
func (c *chaos) checkLeg(scenario fake.Scenario, truth fake.Leg, published told) {
	c.t.Helper()
	id := string(truth.Ref.Leg)
	l := published.legs[id]
	if l == nil {
		return // What was answered of it counts as lost.
	}
	if l.Status.State != summary.StatusConfirmed {
		c.find("wrong", "leg %s is %s after %d attempts, http %d", id, l.Status.State, l.Status.Attempts, l.Status.HTTPStatus)
	}
	want, got := legatotest.TruthOf(scenario, truth), legatotest.LegFacts(l)
	want.Status = got.Status
	if c.whole(id, c.callOf(l.CallSessionID).Deliveries) {
		if diff := cmp.Diff(want, got); diff != "" {
			c.find("wrong", "leg %s of a call %s (-want +got):\n%s", id, scenario, diff)
		}
		c.checkSeconds(id, truth, l)
		return
	}
	// Of a leg with holes nothing may be known; what is known must be true.
	for _, f := range []struct{ name, want, got string }{
		{"direction", want.Direction, got.Direction},
		{"from", want.From, got.From},
		{"to", want.To, got.To},
		{"control id", want.Control, got.Control},
		{"connection", want.Connection, got.Connection},
		{"cause", want.Cause, got.Cause},
		{"source", want.Source, got.Source},
		{"SIP code", want.SIPCode, got.SIPCode},
	} {
		if f.got != "" && f.got != f.want {
			c.find("phantom", "leg %s has %s %q, want %q", id, f.name, f.got, f.want)
		}
	}
	if got.Outcome != want.Outcome && got.Outcome != summary.OutcomeUnknown {
		c.find("wrong", "leg %s of a call %s is %s", id, scenario, got.Outcome)
	}
	for name, at := range map[string][2]time.Time{
		"start": {want.Start, got.Start}, "answer": {want.Answer, got.Answer}, "end": {want.End, got.End},
	} {
		if !at[1].IsZero() && at[1].Sub(at[0]).Abs() > time.Second {
			c.find("phantom", "leg %s has %s %v, want %v", id, name, at[1], at[0])
		}
	}
}

// checkSeconds holds the durations of a leg that is known whole against the truth.
func (c *chaos) checkSeconds(id string, truth fake.Leg, l *summary.Leg) {
	c.t.Helper()
	ring, talk := truth.End.Sub(truth.Start), time.Duration(0)
	if truth.Answered() {
		ring, talk = truth.AnsweredAt.Sub(truth.Start), truth.End.Sub(truth.AnsweredAt)
	}
	for name, s := range map[string]struct {
		want time.Duration
		got  *summary.Seconds
	}{
		"duration": {truth.End.Sub(truth.Start), l.DurationSeconds}, "ring": {ring, l.RingSeconds}, "talk": {talk, l.TalkSeconds},
	} {
		want := summary.Lasting(s.want)
		if s.got == nil || *s.got != *want {
			c.find("wrong", "leg %s has %s_seconds %v, want %v", id, name, s.got, *want)
		}
	}
}

func (c *chaos) callOf(session string) fake.Call {
	i := slices.IndexFunc(c.world.Calls, func(played fake.Call) bool { return string(played.Session) == session })
	if i < 0 {
		return fake.Call{}
	}
	return c.world.Calls[i]
}

// checkSession holds a session against the newest revisions of its legs.
func (c *chaos) checkSession(played fake.Call, published told) {
	c.t.Helper()
	s, legs, whole := published.sessions[string(played.Session)], 0, true
	for _, l := range played.Legs {
		leg := published.legs[string(l.Ref.Leg)]
		whole = whole && leg != nil && c.whole(string(l.Ref.Leg), played.Deliveries)
		if leg == nil {
			continue
		}
		legs++
		if s == nil {
			continue
		}
		i := slices.IndexFunc(s.Legs, func(in summary.SessionLeg) bool { return in.CallLegID == string(l.Ref.Leg) })
		if i < 0 {
			c.find("lost", "revision %d of session %s does not show leg %s", s.Revision, played.Session, l.Ref.Leg)
		} else if s.Legs[i].Revision != leg.Revision {
			c.find("wrong", "revision %d of session %s shows revision %d of leg %s, which is at %d",
				s.Revision, played.Session, s.Legs[i].Revision, l.Ref.Leg, leg.Revision)
		}
	}
	if s == nil {
		if legs > 0 {
			c.find("lost", "session %s has %d summaries of legs and none of its own", played.Session, legs)
		}
		return
	}
	if s.LegCount != legs {
		c.find("wrong", "session %s counts %d legs, %d have summaries", played.Session, s.LegCount, legs)
	}
	first := played.Legs[0]
	if whole && (s.From != first.From || s.To != first.To || s.Direction != first.Direction || s.Outcome != legatotest.WantOutcome[played.Scenario]) {
		c.find("wrong", "session %s of a call %s is %s from %s, %s", played.Session, played.Scenario, s.Direction, s.From, s.Outcome)
	}
}
