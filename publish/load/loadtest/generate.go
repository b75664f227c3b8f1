// Package loadtest makes a stream of summaries to be loaded, and says what a warehouse must hold afterwards.
package loadtest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
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
