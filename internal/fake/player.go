package fake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Defaults of a Player.
const (
	// DefaultConcurrency bounds the calls that are under way at once.
	DefaultConcurrency = 1000
	// DefaultMaxEvents bounds the events that a ledger remembers one by one: some 150 MB.
	DefaultMaxEvents = 1 << 20
)

// PlayerConfig says what to play. Zero values stand for defaults.
type PlayerConfig struct {
	// Generator invents the calls, numbered from 0.
	Generator Generator
	// Scenario plays only calls of this kind. Empty: the generator's mix.
	Scenario Scenario
	// Disorder is applied to each call, by the generator's seed.
	Disorder Disorder
	// Sender says where to and how deliveries are posted.
	Sender SenderConfig
	// Calls is how many calls are played. Zero: until the context ends.
	Calls int
	// Rate bounds the calls that begin in a second. Zero: as many as Concurrency allows.
	Rate float64
	// Concurrency bounds the calls that are under way at once. Default DefaultConcurrency.
	Concurrency int
	// Speed compresses the time from a call's start to its last hangup: at 20, a call of 40 s is played in 2 s. Its
	// times stay those of a call of 40 s, and lie in the past so far that the hangup occurs when it is posted:
	// nothing is ever posted before it occurred. What follows the hangup keeps its real distance. Default 1.
	Speed float64
	// OnCall is called with each call before its first delivery, one call at a time, so
	// that a fake status API can know the truth. Optional.
	OnCall func(Call)
	// MaxEvents bounds the events that the ledger remembers one by one. Default DefaultMaxEvents.
	MaxEvents int
}

// Player posts the webhooks of calls at their time.
type Player struct {
	config PlayerConfig
	sender *Sender
	ledger *Ledger
}

// NewPlayer returns a player. It fails when the config cannot work.
func NewPlayer(config PlayerConfig) (*Player, error) {
	for _, share := range []float64{config.Disorder.Duplicates, config.Disorder.Reorder, config.Disorder.Late, config.Disorder.Drop} {
		if !(share >= 0 && share <= 1) {
			return nil, fmt.Errorf("fake Telnyx: a share of %v is not between 0 and 1", share)
		}
	}
	if sum := config.Disorder.Reorder + config.Disorder.Late + config.Disorder.Drop; sum > 1 {
		return nil, fmt.Errorf("fake Telnyx: the shares of reordered, late and dropped add up to %v, more than 1", sum)
	}
	if config.Calls < 0 || !(config.Rate >= 0) || !(config.Speed >= 0) || math.IsInf(config.Speed, 1) {
		return nil, errors.New("fake Telnyx: calls, rate and speed must not be negative, and speed must be finite")
	}
	sender, err := NewSender(config.Sender)
	if err != nil {
		return nil, err
	}
	config.Concurrency = orDefault(config.Concurrency, DefaultConcurrency)
	config.MaxEvents = orDefault(config.MaxEvents, DefaultMaxEvents)
	config.Speed = orDefault(config.Speed, 1)
	return &Player{config: config, sender: sender, ledger: newLedger(config.MaxEvents)}, nil
}

// Ledger returns the record of the play.
func (p *Player) Ledger() *Ledger { return p.ledger }

// Run plays until the last delivery of the last call is over, and returns nil; or until the context ends, and
// returns an error that wraps the context's. It leaves no goroutine behind. A player runs once.
func (p *Player) Run(ctx context.Context) error {
	defer p.sender.Close()
	var calls sync.WaitGroup
	defer calls.Wait()
	slots := make(chan struct{}, p.config.Concurrency)
	due := time.Now()
	for n := 0; p.config.Calls == 0 || n < p.config.Calls; n++ {
		if err := sleep(ctx, time.Until(due)); err != nil {
			return fmt.Errorf("play call %d: %w", n, err)
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("play call %d: %w", n, ctx.Err())
		}
		begun := time.Now()
		due = p.next(due, begun)
		c := p.invent(uint64(n), begun)
		p.ledger.begin(c)
		if p.config.OnCall != nil {
			p.config.OnCall(c)
		}
		calls.Go(func() {
			defer func() { <-slots }()
			p.play(ctx, c, begun)
		})
	}
	calls.Wait()
	if err := ctx.Err(); err != nil && p.ledger.Totals().Abandoned > 0 {
		return fmt.Errorf("play: %w", err)
	}
	return nil
}

// next returns when the next call is due. A player that has fallen behind catches
// up on a tenth of a second and forgives itself the rest, lest a stall end in a burst.
func (p *Player) next(due, now time.Time) time.Time {
	if p.config.Rate == 0 {
		return now
	}
	due = due.Add(time.Duration(float64(time.Second) / p.config.Rate))
	if earliest := now.Add(-100 * time.Millisecond); due.Before(earliest) {
		return earliest
	}
	return due
}

// invent returns the n-th call, with times that fit a play that begins now.
func (p *Player) invent(n uint64, now time.Time) Call {
	at := func(start time.Time) Call {
		if p.config.Scenario != "" {
			return p.config.Generator.Of(p.config.Scenario, n, start)
		}
		return p.config.Generator.Call(n, start)
	}
	c := at(now)
	if saved := c.Length - p.compressed(c.Length); saved > 0 {
		c = at(now.Add(-saved))
	}
	// Another stream of the same seed, so that disorder changes no call.
	return p.config.Disorder.Apply(c, rand.New(rand.NewPCG(^p.config.Generator.Seed, n)))
}

func (p *Player) compressed(d time.Duration) time.Duration {
	return time.Duration(float64(d) / p.config.Speed)
}

// when returns how long after the play of a call began an offset's turn is.
func (p *Player) when(c Call, offset time.Duration) time.Duration {
	if offset <= c.Length {
		return p.compressed(offset)
	}
	return p.compressed(c.Length) + offset - c.Length
}

// play posts a call's deliveries, each at its time, whatever becomes of the others.
func (p *Player) play(ctx context.Context, c Call, begun time.Time) {
	var posts sync.WaitGroup
	for _, d := range c.Deliveries {
		if d.Dropped {
			p.ledger.dropped(d)
			continue
		}
		if err := sleep(ctx, time.Until(begun.Add(p.when(c, d.Offset)))); err != nil {
			p.ledger.abandoned(d)
			continue
		}
		posts.Go(func() {
			outcome := p.sender.Send(ctx, d)
			p.ledger.sent(d, outcome, outcome.Err != nil && ctx.Err() != nil)
		})
	}
	posts.Wait()
	p.ledger.finish(c)
}

// Disorder is how untidily webhooks arrive. Each share is a probability from 0
// to 1, for each delivery by itself; the zero value keeps everything in order.
type Disorder struct {
	// Duplicates is the share of events that are delivered a second time: the same data, another attempt.
	Duplicates float64
	// Reorder is the share that is held back until one of the next three was posted.
	Reorder float64
	// Late is the share that comes two to ten seconds after the call's last hangup.
	Late float64
	// Drop is the share that never arrives.
	Drop float64
}

// Bounds of the disorder.
const (
	minLate, maxLate = 2 * time.Second, 10 * time.Second
	maxTwice         = 3 * time.Second
	minHeld, maxHeld = time.Millisecond, 20 * time.Millisecond
	heldBehind       = 3
)

// Apply returns the call with its deliveries in disorder, as the source of
// chance decides. The truth stays, and the call that is given is not changed. Every
// event keeps exactly one delivery that is not a duplicate, dropped or not.
func (d Disorder) Apply(c Call, rng *rand.Rand) Call {
	tidy := c.Deliveries
	untidy := slices.Clone(tidy)
	for i := range tidy {
		// The same number of draws for each delivery: another share changes no other fate.
		fate, twice := rng.Float64(), rng.Float64()
		late := c.Length + within(rng, minLate, maxLate)
		behind := min(i+1+rng.IntN(heldBehind), len(tidy)-1)
		held := tidy[behind].Offset + within(rng, minHeld, maxHeld)
		again := within(rng, 0, maxTwice)
		switch {
		case fate < d.Drop:
			untidy[i].Dropped = true
		case fate < d.Drop+d.Late:
			untidy[i].Offset = max(late, tidy[i].Offset)
		case fate < d.Drop+d.Late+d.Reorder:
			untidy[i].Offset = held
		}
		if twice < d.Duplicates && !untidy[i].Dropped {
			second := untidy[i]
			second.Offset += again
			second.Attempt++
			second.Duplicate = true
			untidy = append(untidy, second)
		}
	}
	byOffset(untidy)
	c.Deliveries = untidy
	return c
}

func within(rng *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(rng.Int64N(int64(to-from)))
}

// Ledger is what became of the webhooks of a play. It can be read while the play
// runs, and is safe for concurrent use.
type Ledger struct {
	mu     sync.Mutex
	limit  int
	totals Totals
	fates  map[string]Fate
}

// Totals are the sums of a Ledger.
type Totals struct {
	// Calls and Legs count what was begun, Finished the calls whose deliveries are all over.
	Calls, Legs, Finished int
	// Events counts the distinct events of the calls begun, Accepted those of them that
	// were answered 2xx at least once.
	Events, Accepted int
	// Posts counts requests, Retries those of them that repeat a post without success.
	Posts, Retries int
	// Duplicates counts the deliveries that were accepted although their event had been accepted before.
	Duplicates int
	// Failed counts the deliveries that were given up: refused for good, or out of attempts.
	Failed int
	// Dropped counts the deliveries that were lost on purpose.
	Dropped int
	// Abandoned counts the deliveries that the end of the play cut off.
	Abandoned int
}

// Fate is what became of one event.
type Fate struct {
	// Type is the event's.
	Type string
	// Posts counts the requests, Accepted the deliveries that were answered 2xx.
	Posts, Accepted int
	// Failed, Dropped and Abandoned count deliveries, as in Totals.
	Failed, Dropped, Abandoned int
	// Status is that of the last answer. Zero: none.
	Status int
}

func newLedger(limit int) *Ledger { return &Ledger{limit: limit, fates: map[string]Fate{}} }

// Totals returns the sums so far.
func (l *Ledger) Totals() Totals {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.totals
}

// Fates returns what became of each event so far, by event id. A long play
// forgets the events of finished calls when there are too many (PlayerConfig.MaxEvents).
func (l *Ledger) Fates() map[string]Fate {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.fates)
}

func (l *Ledger) begin(c Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.totals.Calls++
	l.totals.Legs += len(c.Legs)
	for _, d := range c.Deliveries {
		if !d.Duplicate {
			l.totals.Events++
			l.fates[d.EventID] = Fate{Type: d.Type}
		}
	}
}

func (l *Ledger) finish(c Call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.totals.Finished++
	if len(l.fates) <= l.limit {
		return
	}
	for _, d := range c.Deliveries {
		delete(l.fates, d.EventID)
	}
}

// change records something about the fate of an event and in the totals.
func (l *Ledger) change(d Delivery, record func(*Fate, *Totals)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fate := l.fates[d.EventID]
	record(&fate, &l.totals)
	l.fates[d.EventID] = fate
}

func (l *Ledger) dropped(d Delivery) {
	l.change(d, func(f *Fate, t *Totals) { f.Dropped++; t.Dropped++ })
}

func (l *Ledger) abandoned(d Delivery) {
	l.change(d, func(f *Fate, t *Totals) { f.Abandoned++; t.Abandoned++ })
}

func (l *Ledger) sent(d Delivery, o Outcome, cutOff bool) {
	l.change(d, func(f *Fate, t *Totals) {
		f.Posts += o.Posts
		t.Posts += o.Posts
		t.Retries += max(0, o.Posts-1)
		if o.Status != 0 {
			f.Status = o.Status
		}
		switch {
		case o.Accepted && f.Accepted > 0:
			f.Accepted++
			t.Duplicates++
		case o.Accepted:
			f.Accepted++
			t.Accepted++
		case cutOff:
			f.Abandoned++
			t.Abandoned++
		default:
			f.Failed++
			t.Failed++
		}
	})
}
