package status

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/legato-calls/legato/internal/call"
	"github.com/prometheus/client_golang/prometheus"
)

// Request is what is to be asked once its turn has come.
type Request struct {
	// Ref is the leg it is about.
	Ref call.Ref
	// Place is where it stands among those that wait. Of the class Sweep, several of one connection can be answered by
	// one list of its active calls; that costs them no turn of their own.
	Place Place
	// Patient gives it the longer of the two timeouts: an answer was awaited in vain before.
	Patient bool
	// Begin is called when its turn has come, before anything is sent. False: it is not wanted any more, and the turn
	// is the next one's. It must not block. Nil: it is always wanted.
	Begin func() bool
}

// begin reports whether it is still wanted.
func (r *Request) begin(ctx context.Context) bool {
	return ctx.Err() == nil && (r.Begin == nil || r.Begin())
}

// Ask has a request about the status of a call wait for its turn, and returns at once. Once Begin has returned true,
// done is called, on a goroutine of its own, with what came of it; its error wraps that of ctx, which ended before there
// was an answer: that is no attempt. A request that is not wanted any more, or whose ctx has ended, leaves without a
// word. A request that waits costs some hundred bytes and no goroutine.
func (c *Client) Ask(ctx context.Context, r Request, done func(Answer, error)) {
	if r.Place.Class == Sweep && r.Ref.Leg != "" && r.Ref.Connection != "" {
		c.rolls.take(ctx, c, r, done)
		return
	}
	c.ask(ctx, r, done)
}

func (c *Client) ask(ctx context.Context, r Request, done func(Answer, error)) {
	c.turns.enter(r.Place, func() bool { return r.begin(ctx) }, func() {
		go func() {
			answer, err := c.fetch(ctx, r)
			c.turns.release()
			done(answer, err)
		}()
	})
}

// AskHistory is Ask for what Telnyx has on record of a leg: GET /call_events, page by page, each page in its turn.
//
// Telnyx ignores filters that it does not know: an answer that does not mention the
// leg at all is no answer (ProblemOtherCall), and is not read to its end.
func (c *Client) AskHistory(ctx context.Context, r Request, done func(Past, error)) {
	c.turns.enter(r.Place, func() bool { return r.begin(ctx) }, func() {
		go func() { done(c.history(ctx, r)) }()
	})
}

// Fetch waits for its turn as one of the first, asks once for the status of the call and returns what came of it. Its
// error wraps that of ctx, which ended before there was an answer: that is no attempt.
func (c *Client) Fetch(ctx context.Context, ref call.Ref) (Answer, error) {
	r := Request{Ref: ref, Place: Place{Class: First, Since: time.Now()}}
	if err := c.turns.await(ctx, r.Place); err != nil {
		return Answer{}, fmt.Errorf("status of leg %s: wait for a turn: %w", ref.Leg, err)
	}
	defer c.turns.release()
	return c.fetch(ctx, r)
}

// fetch asks, in a turn that has come.
func (c *Client) fetch(ctx context.Context, r Request) (Answer, error) {
	answer := Answer{Session: r.Ref.Session, Leg: r.Ref.Leg, Control: r.Ref.Control, Connection: r.Ref.Connection}
	if !validPath(r.Ref.Control) {
		answer.Result, answer.Problem = Unreachable, ProblemBadID
		c.finish(ctx, &answer, c.metrics.requests, nil, 0, nil)
		return answer, nil
	}
	// Unlike url.PathEscape this escapes '+' as well, which some servers take for a space.
	path := "/calls/" + url.QueryEscape(string(r.Ref.Control))
	e := exchange{path: path, limit: MaxBody, patient: r.Patient, counter: c.metrics.requests}
	if err := c.exchange(ctx, e, &answer, func(body []byte) { decode(body, &answer) }); err != nil {
		return Answer{}, fmt.Errorf("status of leg %s: %w", r.Ref.Leg, err)
	}
	return answer, nil
}

// exchange is one request and its answer.
type exchange struct {
	path string
	// limit bounds the body.
	limit   int64
	patient bool
	counter *prometheus.CounterVec
}

// exchange sends one request, in a turn that has come, and has the body of a 200 read. The answer says what came of
// it; the error is that of ctx, and then there was no request to speak of.
func (c *Client) exchange(ctx context.Context, e exchange, answer *Answer, read func(body []byte)) error {
	begun, key := time.Now(), c.key.Load()
	limited, cancel := context.WithTimeout(ctx, c.timeouts.of(e.patient))
	defer cancel()
	body, cause := c.get(limited, e.path, e.limit, key, answer)
	if cause != nil && ctx.Err() != nil {
		return fmt.Errorf("ask: %w", ctx.Err())
	}
	c.timeouts.note(answer, time.Since(begun))
	if body != nil {
		read(body)
	}
	c.finish(ctx, answer, e.counter, key, time.Since(begun), cause)
	return nil
}
