package stream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

const (
	// watchEvery is how often the log is looked at from outside: nothing in JetStream tells
	// a follower that the stream was trimmed past it or made anew, or a writer that it is nearly full.
	watchEvery = 2 * time.Second
	// stateTimeout bounds one such look.
	stateTimeout = 2 * time.Second
	// followPrefetch: a replay is bound by decoding, so a few thousand entries on the way keep it busy.
	followPrefetch = 4000
	// followerForgotten is when the server drops the consumer of a follower that is gone.
	followerForgotten = time.Minute
)

// cause says why the log must be read again from its beginning.
type cause string

const (
	causeStart     cause = "start"
	causeGap       cause = "gap"       // the stream was trimmed past the cursor
	causeRecreated cause = "recreated" // another life of the stream
	causeShrunk    cause = "shrunk"    // the stream ends before the cursor
	causeRewritten cause = "rewritten" // at the cursor the stream has another entry than the one that was read
)

func (c cause) Error() string { return "the log must be replayed: " + string(c) }

// What makes a follower ask for its next entry again, with a new consumer.
var (
	errReconnected = errors.New("the connection is a new one: what was on its way is lost")
	errMissed      = errors.New("an entry was lost on its way")
	errStalled     = errors.New("the log has entries that do not arrive")
	errClosed      = errors.New("the consumer was closed")
)

// Follow hands every entry of the log to f, the first one first, and goes on
// with what is appended until ctx ends, whose error it returns. Where the log
// turns out not to be the one that was read, it calls Restart and begins again.
func (j *Journal) Follow(ctx context.Context, f journal.Follower) error {
	r := &reading{j: j, f: f}
	why := causeStart
	failures := journal.NewRetry()
	for {
		position := r.position.Load()
		var err error
		if why != "" {
			if err = r.restart(ctx, why); err == nil {
				why = ""
			}
		}
		if err == nil {
			err = r.follow(ctx)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.As(err, &why) {
			continue
		}
		if r.position.Load() != position {
			failures.Succeeded()
		}
		j.Follows.Note(err)
		if !failures.Wait(ctx, j.log, "following the log", err) {
			return ctx.Err()
		}
	}
}

// reading is what a follower has read of one life of the log.
type reading struct {
	j        *Journal
	f        journal.Follower
	log      string // the life's id
	position atomic.Uint64
	// lastID and lastAt are of the entry at the position; a zero lastAt: none was read.
	lastID string
	lastAt time.Time

	// delivered is how many entries the consumer says it has sent.
	delivered uint64
}

// restart begins at the first entry that the log has now.
func (r *reading) restart(ctx context.Context, why cause) error {
	log, err := r.j.look(ctx)
	if err != nil {
		return err
	}
	r.j.Metrics.Restarts.WithLabelValues(string(why)).Inc()
	if why != causeStart {
		r.j.log.Warn("the log is not as it was read; replaying it", "cause", string(why), "first_seq", log.First, "last_seq", log.Last)
	}
	if why == causeRecreated || why == causeShrunk || why == causeRewritten {
		// What was stored may be stored no more.
		r.j.Known.Forget()
	}
	if why == causeShrunk || why == causeRewritten {
		r.j.renewQueue(ctx)
	}
	r.f.Restart(log)
	r.lastID, r.lastAt = "", time.Time{}
	r.log = log.ID
	r.position.Store(log.First - 1)
	r.j.followed.Store(log.First - 1)
	return nil
}

// follow reads on from the position until something ends it: a cause, an error or ctx.
//
// It is not nats.go's ordered consumer, which makes itself anew without telling: on a stream that was made anew
// that goes on with the entries of the new log as if they were the next ones, and it can be stopped only between
// its attempts. The log's sequences are contiguous: they are all the order that is needed.
func (r *reading) follow(ctx context.Context) error {
	status := r.j.js.Conn().StatusChanged(nats.CONNECTED)
	defer r.j.js.Conn().RemoveStatusListener(status)
	connection := r.j.connection()
	consumer, err := r.j.js.CreateConsumer(ctx, r.j.cfg.Stream, jetstream.ConsumerConfig{
		Description:       "a follower of Legato's log",
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.position.Load() + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: followerForgotten,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return fmt.Errorf("follow log %s: %w", r.j.cfg.Stream, err)
	}
	defer r.release(ctx, consumer)
	// A consumer dies with its stream. This one was made before this look, so if
	// the log is the same now, all that the consumer delivers is of the same log.
	if _, err := r.compare(ctx); err != nil {
		return err
	}
	if err := r.recognize(ctx); err != nil {
		return err
	}
	r.j.confirm(connection)
	r.delivered = 0
	c, err := natsd.Consume(consumer, followPrefetch, func(m jetstream.Msg) error { return r.take(ctx, m) })
	if err != nil {
		return fmt.Errorf("follow log %s: %w", r.j.cfg.Stream, err)
	}
	// Nothing may be folded once this returns: Restart comes from this goroutine.
	defer c.Stop()
	closed := c.Closed()
	watch := time.NewTicker(r.j.cfg.pace.watch)
	defer watch.Stop()
	var waiting uint64 // the position at the last look when the log had more than that, plus one
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-c.Ended():
			return err
		case <-closed:
			return errClosed
		case <-status:
			return errReconnected
		case <-watch.C:
			more, err := r.compare(ctx)
			next := r.position.Load() + 1
			switch {
			case isOutOfReach(err):
			case err != nil:
				return err
			case !more:
				waiting = 0
				r.j.Follows.Clear()
			case waiting == next:
				return errStalled
			default:
				if waiting > 0 {
					r.j.Follows.Clear() // it moves on
				}
				waiting = next
			}
		}
	}
}

// release spares the server a consumer that nobody asks any more.
func (r *reading) release(ctx context.Context, consumer jetstream.Consumer) {
	if !r.j.js.Conn().IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stateTimeout/4)
	defer cancel()
	if err := r.j.js.DeleteConsumer(ctx, r.j.cfg.Stream, consumer.CachedInfo().Name); err != nil {
		r.j.log.Debug("a follower's consumer is left to the server", "error", err)
	}
}

// take folds one message when it is the next one.
func (r *reading) take(ctx context.Context, m jetstream.Msg) error {
	meta, err := m.Metadata()
	if err != nil {
		return fmt.Errorf("read the metadata of a log entry: %w", err)
	}
	if meta.Sequence.Consumer != r.delivered+1 {
		return errMissed
	}
	r.delivered++
	seq, position := meta.Sequence.Stream, r.position.Load()
	if seq <= position {
		return nil
	}
	if seq > position+1 {
		if err := r.skip(ctx, seq); err != nil {
			return err
		}
	}
	e := r.j.entry(m, meta)
	r.f.Fold(e)
	r.lastID, r.lastAt = e.ID, e.ReceivedAt
	r.position.Store(seq)
	r.j.followed.Store(seq)
	if e.Foreign {
		r.j.MetForeign(&e)
		return nil
	}
	r.j.Known.Seen(&e)
	return nil
}

// skip decides about entries between the position and seq that the log did not deliver.
func (r *reading) skip(ctx context.Context, seq uint64) error {
	// The leader may for a moment not know of a trimming that another node has done.
	for _, pause := range []time.Duration{0, r.j.cfg.pace.watch / 2} {
		if !journal.Sleep(ctx, pause) {
			return ctx.Err()
		}
		if _, err := r.compare(ctx); err != nil {
			return err
		}
	}
	// The log goes back to the position and has no such entries: they were deleted one
	// by one or the disk has lost them. Reading from the beginning would end here again.
	lost := seq - r.position.Load() - 1
	r.j.Metrics.Lost.Add(float64(lost))
	r.j.log.Error("the log has lost entries; going on without them", "before_seq", seq, "entries", lost)
	return nil
}

// compare holds the cursor against the log as it is now, and reports whether the
// log has more. Its error is a cause, or that the log could not be looked at.
func (r *reading) compare(ctx context.Context) (more bool, err error) {
	// Read first: the log looked at later can only have grown beyond it.
	position := r.position.Load()
	log, err := r.j.look(ctx)
	switch {
	case err != nil:
		return false, err
	case log.ID != r.log:
		return false, causeRecreated
	case log.Last < position && r.short(ctx, position):
		return false, causeShrunk
	case log.First > r.position.Load()+1:
		return false, causeGap
	}
	return log.Last > position, nil
}

// recognize makes sure that the entry at the position is the one that was read. A server that comes back with an older
// disk has a shorter log, and others may have made it longer again before this replica looks: then the numbers are
// the same, and the entries are others.
func (r *reading) recognize(ctx context.Context) error {
	if r.lastAt.IsZero() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	stream, err := r.j.js.Stream(ctx, r.j.cfg.Stream)
	if err != nil {
		return fmt.Errorf("look at log %s: %w", r.j.cfg.Stream, err)
	}
	m, err := stream.GetMsg(ctx, r.position.Load())
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil // it was trimmed, and nothing that was read is left to compare with
	case err != nil:
		return fmt.Errorf("read the last entry again: %w", err)
	}
	e := call.ReadEntry(r.j.cfg.Prefix, m.Subject, m.Header)
	if e.ID != r.lastID || !m.Time.Equal(r.lastAt) {
		return causeRewritten
	}
	return nil
}

// isOutOfReach reports whether a comparison failed for want of an answer, so
// that nothing is known to be wrong with the log.
func isOutOfReach(err error) bool {
	var c cause
	return err != nil && !errors.As(err, &c) && !errors.Is(err, jetstream.ErrStreamNotFound)
}

// short looks again whether the log ends below a position that was read: a new
// leader may for a moment know less than the replica that delivered.
func (r *reading) short(ctx context.Context, position uint64) bool {
	if !journal.Sleep(ctx, r.j.cfg.pace.watch/2) {
		return false
	}
	log, err := r.j.look(ctx)
	return err == nil && log.ID == r.log && log.Last < position
}
