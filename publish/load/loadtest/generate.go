// Package loadtest makes a stream of summaries to be loaded, and says what a warehouse must hold afterwards.
package loadtest

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/tidwall/gjson"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/publish"
)

// Began is when the first call of every stream starts.
var Began = time.Date(2026, 3, 14, 6, 0, 0, 535_897_000, time.UTC)

// Plan says what to make. The same plan makes the same messages.
type Plan struct {
	// Legs is how many legs there are; two make a session.
	Legs int
	// Every is the time between the starts of two sessions. Zero: a second.
	Every time.Duration
	// Disorder lets revisions come in any order and some of them twice.
	Disorder bool
	Seed     uint64
}

// Message is a summary to be published.
type Message struct {
	Subject string
	Body    []byte
}

// Msg is a message as Legato publishes it, without the conditions on which it does. Of a body that does not say its revision the
// headers say the first that its subject has.
func (m Message) Msg() *nats.Msg {
	of, _ := publish.ParseSubject(m.Subject)
	revision := int64(1)
	if !of.Completed {
		revision = max(2, gjson.GetBytes(m.Body, "revision").Int())
	}
	ids := of.Key.Session
	if of.Key.Leg != "" {
		ids += "/" + of.Key.Leg
	}
	return &nats.Msg{Subject: m.Subject, Data: m.Body, Header: nats.Header{
		publish.HeaderRevision: {strconv.FormatInt(revision, 10)},
		publish.HeaderPosition: {"1"},
		publish.HeaderLog:      {"loadtest"},
		"ce-id":                {fmt.Sprintf("%s/%s/%d", of.Key.Kind, ids, revision)},
		"ce-time":              {Began.Format(time.RFC3339Nano)},
	}}
}

// window is within how many messages disorder moves one.
const window = 4000

// Each makes the messages of a plan, in the order in which they are to be published. Each leg and each session has two
// revisions, some have three.
func (p Plan) Each(do func(Message) error) error {
	if p.Every == 0 {
		p.Every = time.Second
	}
	rng := rand.New(rand.NewPCG(p.Seed, 16))
	var waiting []Message
	flush := func() error {
		if p.Disorder {
			for i, n := 0, len(waiting); i < n/20; i++ {
				waiting = append(waiting, waiting[rng.IntN(n)])
			}
			rng.Shuffle(len(waiting), func(i, j int) { waiting[i], waiting[j] = waiting[j], waiting[i] })
		}
		for _, m := range waiting {
			if err := do(m); err != nil {
				return err
			}
		}
		waiting = waiting[:0]
		return nil
	}
	for n := 0; n < p.Legs; n += 2 {
		messages, err := p.call(n, rng)
		if err != nil {
			return err
		}
		if waiting = append(waiting, messages...); len(waiting) >= window {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// call makes the messages of one session: its legs as they end, the session, and what came later.
func (p Plan) call(n int, rng *rand.Rand) ([]Message, error) {
	c := call{n: n, began: Began.Add(time.Duration(n/2) * p.Every), rng: rng, legs: min(2, p.Legs-n)}
	c.draw()
	var all []Message
	for revision := 1; revision <= 2+btoi(n%50 == 0); revision++ {
		for i := range c.legs {
			if err := c.add(&all, c.leg(i, revision)); err != nil {
				return nil, err
			}
		}
		if err := c.add(&all, c.session(revision)); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// call is what both legs and the session of a call agree on.
type call struct {
	n, legs  int
	began    time.Time
	rng      *rand.Rand
	answered bool
	ring     time.Duration
	talk     time.Duration
	amount   string
}

var amounts = []string{"0.0070", "0.015", "1234567.89", "0.000001", "12"}

func (c *call) draw() {
	c.answered = c.rng.IntN(4) > 0
	c.ring = time.Duration(c.rng.IntN(20_000)) * time.Millisecond
	c.talk = time.Duration(c.rng.IntN(600_000)) * time.Millisecond
	c.amount = amounts[c.rng.IntN(len(amounts))]
}

func (c *call) sessionID() string { return fmt.Sprintf("5f1c0a20-0000-11f1-9c00-%012d", c.n) }

func (c *call) legID(i int) string { return fmt.Sprintf("5f1c0a20-0a02-11f1-9c00-%012d", c.n+i) }

func (c *call) connection() string { return fmt.Sprintf("17000000000000000%02d", c.n/2%7) }

func (c *call) ended() time.Time {
	if c.answered {
		return c.began.Add(c.ring + c.talk)
	}
	return c.began.Add(c.ring)
}

func (c *call) add(to *[]Message, s any) error {
	body, err := summary.Encode(s)
	if err != nil {
		return err
	}
	subject := func(kind string, revision int, ids string) string {
		verb := "completed"
		if revision > 1 {
			verb = "amended"
		}
		return "calls." + kind + "." + verb + "." + c.connection() + "." + ids
	}
	switch s := s.(type) {
	case summary.Leg:
		*to = append(*to, Message{subject(s.Kind, s.Revision, s.CallSessionID+"."+s.CallLegID), body})
	case summary.Session:
		*to = append(*to, Message{subject(s.Kind, s.Revision, s.CallSessionID), body})
	}
	return nil
}

// names are texts that a format has to escape.
var names = []string{"Ada \"Countess\"", "tab\there\nline \\N \\", "{a,\"b\"}", "", "Zoë 🎵", "O'Hara; --"}

func (c *call) leg(i, revision int) summary.Leg {
	n := c.n + i
	at := func(after time.Duration) *summary.Time { return summary.At(c.began.Add(after)) }
	yes, rate, packets, mos := n%3 == 0, int64(8000), int64(3000+n), summary.Number(4.25)
	l := summary.Leg{
		Kind: summary.KindLeg, Schema: summary.Schema, Revision: revision,
		CallSessionID: c.sessionID(), CallLegID: c.legID(i), CallControlID: fmt.Sprintf("v3:5f1c0a04Nq1_notARealControlId-Legato%015d", n),
		ConnectionID: c.connection(), Direction: []string{"incoming", "outgoing"}[i], From: fmt.Sprintf("+1202555%04d", n%10_000), To: "+12025550199",
		CallerName: names[n%len(names)], STIRShaken: &summary.STIRShaken{Attestation: "A", Validated: &yes}, Codec: "PCMU", SamplingRate: &rate,
		Outcome: summary.OutcomeNoAnswer, FirstReceivedAt: *at(0), PublishedAt: *summary.At(c.ended().Add(time.Duration(revision) * time.Second)),
		StartedAt: at(0), EndedAt: summary.At(c.ended()), DurationSeconds: summary.Lasting(c.ended().Sub(c.began)), RingSeconds: summary.Lasting(c.ring),
		Sources: map[string]summary.Source{"started_at": summary.SourceWebhook, "ended_at": summary.SourceStatus},
		Hangup:  &summary.Hangup{Cause: "timeout", Source: "caller", SIPCode: "487", Party: summary.PartyLocal},
		EndedBy: summary.EndedByHangup,
		Status:  summary.Status{State: summary.StatusConfirmed, Final: true, StartTime: at(0), RecordType: "call", Attempts: 1, HTTPStatus: 200},
		Times:   &summary.Times{HangupReceivedAt: summary.At(c.ended().Add(time.Duration(n%50) * time.Millisecond)), EnrichedAt: summary.At(c.ended().Add(time.Duration(1000+n%977*10) * time.Millisecond))},
		Quality: &summary.Quality{Inbound: &summary.StreamQuality{MOS: &mos, Packets: &packets}},
	}
	types := []string{"call.initiated", "call.hangup"}
	if c.answered {
		l.Outcome, l.AnsweredAt, l.TalkSeconds = summary.OutcomeAnswered, at(c.ring), summary.Lasting(c.talk)
		l.Hangup = &summary.Hangup{Cause: "normal_clearing", Source: []string{"caller", "callee"}[n/2%2], SIPCode: "200", Party: summary.PartyRemote}
		types = []string{"call.initiated", "call.answered", "call.bridged", "call.hangup"}
	} else {
		l.TalkSeconds = summary.Lasting(0)
	}
	if n%10 == 0 {
		l.Notes = []summary.Note{summary.NoteRedelivered, summary.NoteClockSkew}
		l.Tags = []string{"spring", names[n/10%len(names)]}
	}
	if revision > 1 {
		l.Reasons, l.Changed = []summary.Reason{summary.ReasonCost}, []string{"/cost"}
		billed := int64(c.talk/time.Minute+1) * 60
		l.Cost = &summary.Cost{Status: "success", BilledSeconds: &billed, Parts: []summary.CostPart{{Part: "sip-trunking", Amount: c.amount, Currency: "USD", Rate: "0.0070"}}}
		l.Cost.Totals = []summary.Amount{{Currency: "USD", Amount: c.amount}}
		types = append(types, "call.cost")
	}
	if c.answered && n%5 == 0 {
		l.Recordings = []summary.Recording{{ID: fmt.Sprintf("rec-%d", n), Channels: "dual", Format: "mp3", StartedAt: at(c.ring), URLs: map[string]string{"mp3": "https://example.com/r.mp3"}}}
	}
	if c.answered && n%7 == 0 {
		l.Refers = []summary.Refer{
			{ID: fmt.Sprintf("5f1c0a04-ref0-4a00-8a00-%012d", n), At: at(c.ring + c.talk/2), State: "started"},
			{ID: fmt.Sprintf("5f1c0a04-ref1-4a00-8a00-%012d", n), At: at(c.ring + c.talk), State: "completed", SIPCode: "200"},
		}
	}
	for e, typ := range types {
		occurred := at(time.Duration(e) * time.Second)
		l.Events = append(l.Events, summary.Event{ID: fmt.Sprintf("5f1c0a04-e00%d-4a00-8a00-%012d", e, n), Type: typ, OccurredAt: occurred, ReceivedAt: *occurred, Attempt: 1})
	}
	return l
}

func (c *call) session(revision int) summary.Session {
	s := summary.Session{
		Kind: summary.KindSession, Schema: summary.Schema, Revision: revision, CallSessionID: c.sessionID(), ConnectionID: c.connection(),
		Direction: "incoming", From: fmt.Sprintf("+1202555%04d", c.n%10_000), To: "+12025550199", Outcome: summary.OutcomeNoAnswer,
		FirstReceivedAt: *summary.At(c.began), PublishedAt: *summary.At(c.ended().Add(time.Duration(5+revision) * time.Second)),
		StartedAt: summary.At(c.began), EndedAt: summary.At(c.ended()), DurationSeconds: summary.Lasting(c.ended().Sub(c.began)),
		TalkSeconds: summary.Lasting(0), LegCount: c.legs, StatusState: summary.StatusConfirmed,
	}
	if c.answered {
		s.Outcome, s.AnsweredLegs, s.AnsweredAt, s.TalkSeconds = summary.OutcomeAnswered, c.legs, summary.At(c.began.Add(c.ring)), summary.Lasting(c.talk)
		if c.legs == 2 {
			s.Bridges = []summary.Bridge{{At: *summary.At(c.began.Add(c.ring)), Legs: []string{c.legID(0), c.legID(1)}}}
		}
	}
	if revision > 1 {
		s.Reasons, s.Changed = []summary.Reason{summary.ReasonLegRevised}, []string{"/legs", "/cost"}
		s.Cost = &summary.SessionCost{LegsCosted: c.legs, LegsTotal: c.legs, Totals: []summary.Amount{{Currency: "USD", Amount: c.amount}}}
	}
	for i := range c.legs {
		l := c.leg(i, revision)
		s.Legs = append(s.Legs, summary.SessionLeg{
			CallLegID: l.CallLegID, CallControlID: l.CallControlID, ConnectionID: l.ConnectionID, Direction: l.Direction, From: l.From, To: l.To,
			Outcome: l.Outcome, StartedAt: l.StartedAt, AnsweredAt: l.AnsweredAt, EndedAt: l.EndedAt, DurationSeconds: l.DurationSeconds,
			TalkSeconds: l.TalkSeconds, EndedBy: l.EndedBy, StatusState: l.Status.State, Revision: revision,
		})
	}
	return s
}
