package forward

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/legato-calls/legato/internal/call"
)

const (
	// laterAckWait is how long a message of what was set aside waits for a replica that was killed.
	laterAckWait = 30 * time.Second
	// laterLook is how often the first message of a class is looked at: what was set aside while the target was dead
	// need not wait for its time when the target answers again.
	laterLook = 10 * time.Second
	// laterPull is how long one request for such a message stands.
	laterPull = 5 * time.Second
	// laterShare of the attempts under way may be such as were set aside: what commands has the others.
	laterShare = 4
)

func laterName(target, class string) string { return consumerName(target) + "_later_" + class }

// bringBack tries again what was set aside in one class, as it becomes due, until ctx ends.
func (r *runner) bringBack(ctx context.Context, class string, pause time.Duration) {
	for ctx.Err() == nil {
		err := r.bringClass(ctx, class, pause)
		if ctx.Err() != nil {
			return
		}
		r.log.Warn("what was set aside cannot be read; trying again", "error", err)
		sleep(ctx, retryMost)
	}
}

func (r *runner) bringClass(ctx context.Context, class string, pause time.Duration) error {
	consumer, err := ensure(ctx, r.cfg.JetStream, r.cfg.Layout.Forward, jetstream.ConsumerConfig{
		Durable: laterName(r.target.Name, class), Description: "what the application " + r.target.Name + " gets later",
		Metadata:      metadata(r.target),
		FilterSubject: laterSubject(r.cfg.Layout.Prefix, r.target.Name, class),
		AckPolicy:     jetstream.AckExplicitPolicy, AckWait: laterAckWait, MaxDeliver: -1,
		MaxAckPending: 1, // the first one, and nothing before it is due
	})
	if err != nil {
		return fmt.Errorf("make the place of what %s gets later: %w", r.target.Name, err)
	}
	for ctx.Err() == nil {
		if r.standsBy() {
			sleep(ctx, upkeepEvery)
			continue
		}
		m, err := fetch(ctx, consumer)
		if err != nil {
			return fmt.Errorf("read what %s gets later: %w", r.target.Name, err)
		}
		if m == nil {
			continue
		}
		r.bring(ctx, class, pause, m)
	}
	return ctx.Err()
}

// fetch returns the next message of a consumer, nil when none comes for a while.
func fetch(ctx context.Context, consumer jetstream.Consumer) (jetstream.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, laterPull)
	defer cancel()
	batch, err := consumer.Fetch(1, jetstream.FetchContext(ctx))
	if err != nil {
		return nil, err
	}
	if m := <-batch.Messages(); m != nil { // it is closed with ctx
		return m, nil
	}
	if err := batch.Error(); err != nil && ctx.Err() == nil && !errors.Is(err, jetstream.ErrNoHeartbeat) {
		return nil, err
	}
	return nil, nil
}

// bring tries one message of events again, or puts it off until it is due.
func (r *runner) bring(ctx context.Context, class string, pause time.Duration, m jetstream.Msg) {
	meta, err := m.Metadata()
	if err != nil {
		r.log.Error("what was set aside came without its place", "error", err)
		return
	}
	if wait := time.Until(meta.Timestamp.Add(pause)); wait > 0 && !r.recoveredSince(meta.Timestamp) {
		if err := m.NakWithDelay(min(wait, laterLook)); err != nil {
			r.log.Debug("what was set aside could not be put off", "error", err)
		}
		return
	}
	var batch refs
	if err := json.Unmarshal(m.Data(), &batch); err != nil {
		r.log.Error("what was set aside cannot be read and is left out", "seq", meta.Sequence.Stream, "error", err)
		ack(r.log, m)
		return
	}
	left := r.retryAll(ctx, class, batch.Refs, m)
	if len(left) == 0 {
		ack(r.log, m)
		return
	}
	r.putBack(ctx, class, left, m)
}

// putBack sets aside again what is left of a message. Until that is stored, or ctx ends, the message stays held: if it
// came again, what has been tried would be tried twice.
func (r *runner) putBack(ctx context.Context, class string, left []ref, m jetstream.Msg) {
	id := nuid.Next() // what is stored, and whose answer gets lost, is not stored twice
	for waited := false; ; waited = true {
		stopping := ctx.Err() != nil // then this is for what comes after it
		err := putLater(context.WithoutCancel(ctx), r.cfg, r.target.Name, class, refs{left}, jetstream.WithMsgID(id))
		switch {
		case err == nil:
			ack(r.log, m)
			if !waited {
				sleep(ctx, retryMost) // else it would come again at once
			}
			return
		case stopping:
			if err := m.Nak(); err != nil {
				r.log.Debug("what was set aside could not be given back", "error", err)
			}
			return
		}
		r.log.Warn("what was set aside cannot be put back; trying again", "error", err)
		r.inProgress(m)
		sleep(ctx, retryMost)
	}
}

// inProgress tells the server that a message is still worked on.
func (r *runner) inProgress(m jetstream.Msg) {
	if err := m.InProgress(); err != nil {
		r.log.Debug("the server could not be told that work goes on", "error", err)
	}
}

// recoveredSince reports whether the target was dead when something was set aside that is stored since a time, and has
// answered again.
func (r *runner) recoveredSince(at time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.breaker.open && at.After(r.died) && at.Before(r.recovered.Add(4*recordEvery)) // it is stored a moment later
}

// retryAll tries events again, a few at a time, and returns those of which nothing came: it had to stop, or what it takes
// was away.
func (r *runner) retryAll(ctx context.Context, class string, batch []ref, m jetstream.Msg) (left []ref) {
	type outcome struct {
		ref     ref
		through bool
	}
	outcomes := make(chan outcome, len(batch)) // buffered for all, so that ended never blocks
	room := max(1, r.cfg.Concurrency/laterShare)
	alive := time.NewTicker(laterAckWait / 3)
	defer alive.Stop()
	begun, open := 0, 0
	for begun < len(batch) || open > 0 {
		if begun < len(batch) && open < room && ctx.Err() == nil {
			e := batch[begun]
			begun++
			open++
			r.retry(ctx, class, e, func(through bool) { outcomes <- outcome{e, through} })
			continue
		}
		if ctx.Err() != nil && open == 0 {
			break
		}
		select {
		case o := <-outcomes:
			if open--; !o.through {
				left = append(left, o.ref)
			}
		case <-alive.C:
			r.inProgress(m)
		}
	}
	return append(left, batch[begun:]...)
}

// retry tries one event again, or sets it aside once more while the target is dead. ended is called once, sooner or later.
func (r *runner) retry(ctx context.Context, class string, e ref, ended func(through bool)) {
	at := time.UnixMilli(e.At).UTC()
	it := &item{
		entry: call.Entry{Seq: e.Seq, ReceivedAt: at}, reports: true,
		attempts: e.Attempts, rounds: e.Rounds, ended: ended,
	}
	byHand := class == handClass
	r.mu.Lock()
	switch {
	case r.stopped:
		r.drop(it)
	case !byHand && r.heldTwice(it):
	case !byHand && !time.Now().Before(r.endsAt(it)):
		r.end(it, answer{result: Expired})
	case !byHand && r.breaker.open && (r.breaker.probing || time.Now().Before(r.breaker.probeAt)):
		r.held[it.heldKey()] = it
		r.setAside(it, 0) // without reading it
	default:
		r.mu.Unlock()
		r.retryRead(ctx, it, byHand)
		return
	}
	r.mu.Unlock()
}

// heldTwice reports whether an event that was set aside is here already, and is then done with the second one: it stood in two
// places, since a replica was killed between setting it aside anew and acknowledging where it had stood. What becomes of it
// is the first one's matter. r.mu is held.
func (r *runner) heldTwice(it *item) bool {
	if r.held[it.heldKey()] == nil {
		return false
	}
	it.ended(true)
	return true
}

// retryRead reads an event that was set aside, and hands it to its lane.
func (r *runner) retryRead(ctx context.Context, it *item, byHand bool) {
	e, err := readEntry(ctx, r.cfg, it.entry.Seq)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stopped:
		r.drop(it)
	case !byHand && r.heldTwice(it):
	case errors.Is(err, ErrNoEvent):
		r.end(it, answer{result: Expired})
	case err != nil:
		r.log.Warn("an event that was set aside could not be read", "seq", it.entry.Seq, "error", err)
		if byHand {
			r.drop(it) // it was asked for, and is asked for again
			return
		}
		r.held[it.heldKey()] = it
		r.setAside(it, 0)
	default:
		fresh := r.newItem(e)
		fresh.attempts, fresh.rounds, fresh.ended = it.attempts, it.rounds, it.ended
		if byHand {
			r.wg.Go(func() { r.tryByHand(fresh) }) //nolint:contextcheck // an attempt is let finish, and has a time limit of its own
			return
		}
		r.admit(fresh)
		r.dispatch() //nolint:contextcheck // an attempt is let finish, and has a time limit of its own
	}
}

// tryByHand makes the one attempt that somebody asked for: whatever the time, the breaker and the filter say, but
// never at a command for a leg that is over. While nobody can tell that, it is still asked for.
func (r *runner) tryByHand(it *item) {
	ctx, cancel := context.WithTimeout(r.detached(), foldPatience+r.cfg.Timeout)
	defer cancel()
	a := answer{}
	if !it.reports {
		a.result = r.stale(ctx, it)
	}
	if a.result == notFolded {
		it.ended(false)
		return
	}
	if a.result == "" {
		it.attempts++
		a = r.client.post(ctx, &it.entry, it.attempts, answerKept, false)
		r.meter.attempt(&it.entry, a)
	}
	r.ledger.note(it, a)
	if a.result != Done {
		r.report(it, a)
	}
	it.ended(true)
}

// ErrNoEvent is the error of a look for an event that the log does not hold, or not any more.
var ErrNoEvent = errors.New("the log holds no such event")

// readEntry reads an event of the stream. It fails with ErrNoEvent when there is none at seq.
func readEntry(ctx context.Context, cfg *setup, seq uint64) (call.Entry, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	stream, err := cfg.events(ctx)
	if err != nil {
		return call.Entry{}, err
	}
	m, err := stream.GetMsg(ctx, seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return call.Entry{}, fmt.Errorf("%w: %d", ErrNoEvent, seq)
	}
	if err != nil {
		return call.Entry{}, fmt.Errorf("read event %d: %w", seq, err)
	}
	e := call.ReadPlaced(cfg.Layout.Prefix, m.Subject, m.Header, m.Data, m.Sequence, m.Time)
	switch {
	case e.Foreign:
		return call.Entry{}, fmt.Errorf("%w: Legato did not write %d", ErrNoEvent, seq)
	case e.EventType() == "":
		return call.Entry{}, fmt.Errorf("%w: %d is one of Legato's own", ErrNoEvent, seq)
	}
	return e, nil
}
