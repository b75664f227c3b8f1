package journal

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/legato-calls/legato/ingest/call"
	"github.com/nats-io/nats.go/jetstream"
)

// Follower receives the log in order. Its methods are called from one goroutine
// at a time.
type Follower interface {
	// Restart says that all that was folded is void: what follows starts with
	// the first entry of the log described.
	Restart(log call.Log)
	// Fold takes the next entry. Its sequence is one above that of the last.
	Fold(e call.Entry)
}

const (
	// followWatch is how often the follower compares its cursor with the stream:
	// nothing in JetStream tells it that the stream was trimmed past it or made anew.
	followWatch = 2 * time.Second
	// followRetry is the pause before the log is followed again after a failure.
	followRetry = time.Second
	// followPrefetch: a replay is bound by decoding, so a few thousand entries on the way keep it busy.
	followPrefetch = 4000
)

// cause says why the log must be read again from its beginning.
type cause string

const (
	causeStart     cause = "start"
	causeGap       cause = "gap"       // the stream was trimmed past the cursor
	causeRecreated cause = "recreated" // another life of the stream
	causeShrunk    cause = "shrunk"    // the stream ends before the cursor
)

func (c cause) Error() string { return "the log must be replayed: " + string(c) }

// Follow hands every entry of the log to f, the first one first, and goes on
// with what is appended until ctx ends, whose error it returns. Where the log
// turns out not to be the one that was read, it calls Restart and begins again.
func (j *Journal) Follow(ctx context.Context, f Follower) error {
	var why cause = causeStart
	var run *following
	for {
		if why != "" {
			log, err := j.State(ctx)
			if err != nil {
				if !j.pause(ctx, err) {
					return ctx.Err()
				}
				continue
			}
			j.metrics.restarts.WithLabelValues(string(why)).Inc()
			if why != causeStart {
				j.log.Warn("the log is not as it was read; replaying it", "cause", string(why), "first_seq", log.First, "last_seq", log.Last)
			}
			if why == causeRecreated {
				j.known.forget()
			}
			f.Restart(log)
			run = &following{j: j, f: f, log: log.ID}
			run.position.Store(log.First - 1)
			why = ""
		}
		err := run.follow(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.As(err, &why) && !j.pause(ctx, err) {
			return ctx.Err()
		}
	}
}

// pause logs the failure and waits a moment; it reports whether to go on.
func (j *Journal) pause(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return false
	}
	j.log.Warn("following the log failed; trying again", "error", err)
	select {
	case <-time.After(followRetry):
		return true
	case <-ctx.Done():
		return false
	}
}

// following is the reading of one life of the log.
type following struct {
	j        *Journal
	f        Follower
	log      string
	position atomic.Uint64
}

// follow reads on from the position until something ends it: a cause, an error or ctx.
func (r *following) follow(ctx context.Context) error {
	consumer, err := r.j.js.OrderedConsumer(ctx, r.j.cfg.Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   r.position.Load() + 1,
	})
	if err != nil {
		return fmt.Errorf("follow log %s: %w", r.j.cfg.Stream, err)
	}
	ended := make(chan error, 1)
	end := func(err error) {
		select {
		case ended <- err:
		default:
		}
	}
	broken := false
	cc, err := consumer.Consume(func(m jetstream.Msg) {
		if broken {
			return
		}
		if err := r.take(m); err != nil {
			broken = true
			end(err)
		}
	}, jetstream.PullMaxMessages(followPrefetch), jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
		// The ordered consumer makes itself anew after what comes here; it is worth a line, not an end.
		r.j.log.Debug("following the log was disturbed", "error", err)
	}))
	if err != nil {
		return fmt.Errorf("follow log %s: %w", r.j.cfg.Stream, err)
	}
	// Nothing may be folded once this returns: Restart comes from this goroutine.
	defer func() {
		cc.Stop()
		<-cc.Closed()
	}()
	watch := time.NewTicker(followWatch)
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-ended:
			return err
		case <-cc.Closed():
			return errors.New("the consumer of the log was closed")
		case <-watch.C:
			if err := r.compare(ctx); err != nil {
				return err
			}
		}
	}
}

// take folds one message when it is the next one.
func (r *following) take(m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read the metadata of a log entry: %w", err)
	}
	seq, position := meta.Sequence.Stream, r.position.Load()
	switch {
	case seq <= position:
		return nil // a consumer that was made anew may repeat
	case seq > position+1:
		return causeGap
	}
	r.f.Fold(r.j.entry(m, meta))
	r.position.Store(seq)
	return nil
}

// compare holds the cursor against the stream as it is now.
func (r *following) compare(ctx context.Context) error {
	// Read first: the stream asked for later can only have grown beyond it.
	position := r.position.Load()
	log, err := r.j.State(ctx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	if err != nil {
		return nil //nolint:nilerr // the server is out of reach: nothing is known to be wrong with the log
	}
	switch {
	case log.ID != r.log:
		return causeRecreated
	case log.Last < position:
		return causeShrunk
	case log.First > r.position.Load()+1:
		return causeGap
	}
	return nil
}
