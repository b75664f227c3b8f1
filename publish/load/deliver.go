package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary/flat"
)

// commit is what is acknowledged together: batches that the target was handed.
type commit struct {
	replies           []string
	applied, rejected int
	took              time.Duration
	began             time.Time
	last              *batch
}

// load hands batches to the target and acknowledges them, until there are no more. What has been begun is finished when ctx ends. Each
// commit is told to progressed.
func (l *Loader) load(ctx context.Context, batches <-chan *batch, progressed func()) (err error) {
	var c commit
	defer func() {
		if err != nil {
			l.nak(c.replies...)
		}
	}()
	for {
		b, more := l.next(batches, &c)
		if b != nil && ctx.Err() == nil {
			c.replies = append(c.replies, b.replies...)
			if err := l.hand(ctx, b, &c); err != nil {
				return err
			}
			if b.full && !b.caughtUp && len(c.replies) < l.batches.Commit {
				continue
			}
		} else if b != nil {
			l.nak(b.replies...)
		}
		if len(c.replies) > 0 {
			if err := l.commit(ctx, &c); err != nil {
				return err
			}
			progressed()
			c = commit{}
		}
		if !more {
			return nil
		}
	}
}

// next returns the next batch; none when what was handed to the target is to be committed without it, and more is false when there will
// be no other.
func (l *Loader) next(batches <-chan *batch, c *commit) (b *batch, more bool) {
	if len(c.replies) == 0 {
		b, more = <-batches
		return b, more
	}
	due := time.NewTimer(l.batches.Linger - time.Since(c.began))
	defer due.Stop()
	select {
	case b, more = <-batches:
		return b, more
	case <-due.C:
		return nil, true
	}
}

// hand hands a batch to the target.
func (l *Loader) hand(ctx context.Context, b *batch, c *commit) error {
	ctx, cancel := finishing(ctx)
	defer cancel()
	l.state.took()
	began := time.Now()
	if c.began.IsZero() {
		c.began = began
	}
	rows := b.rows()
	applied, refused, err := l.store(ctx, rows)
	if err != nil {
		return fmt.Errorf("load %d rows: %w", len(rows), err)
	}
	rejected := append(b.rejected, refused...)
	if len(rejected) > 0 {
		if err := l.cfg.Target.Reject(ctx, rejected); err != nil {
			return fmt.Errorf("set %d messages aside: %w", len(rejected), err)
		}
		for _, r := range rejected {
			l.cfg.Logger.Error("a message was set aside", "stream", r.Stream, "seq", r.Seq, "reason", r.Reason)
		}
	}
	c.applied, c.rejected, c.took, c.last = c.applied+applied, c.rejected+len(rejected), c.took+time.Since(began), b
	b.newest, b.every, b.rejected = nil, nil, nil
	return nil
}

// commit makes last what the target was handed, and acknowledges it.
func (l *Loader) commit(ctx context.Context, c *commit) error {
	ctx, cancel := finishing(ctx)
	defer cancel()
	began := time.Now()
	if t, ok := l.cfg.Target.(Committing); ok {
		if err := t.Commit(ctx); err != nil {
			return fmt.Errorf("commit %d messages: %w", len(c.replies), err)
		}
	}
	// One that is lost makes the message come again, without effect.
	if err := l.answer(c.replies, acknowledged); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	c.took += time.Since(began)
	l.state.loaded(c)
	return nil
}

// The answers to a message, as the protocol of JetStream has them. A message of the client's would keep its body in memory.
var acknowledged, givenBack = []byte("+ACK"), []byte("-NAK")

// answer sends an answer to messages, by their reply subjects.
func (l *Loader) answer(replies []string, answer []byte) error {
	nc := l.cfg.JetStream.Conn()
	for _, reply := range replies {
		if err := nc.Publish(reply, answer); err != nil {
			return err
		}
	}
	return nil
}

// nak gives messages back. One that cannot be given back is delivered again when its time is over.
func (l *Loader) nak(replies ...string) { _ = l.answer(replies, givenBack) }

// finishing is ctx with some time more: what is being written shall last.
func finishing(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(finishWithin, cancel) })
	return longer, func() { stop(); cancel() }
}

// store loads rows. While the target refuses something in them and does not say which they are, they are halved, until a row that is
// refused stands alone.
func (l *Loader) store(ctx context.Context, rows []Row) (applied int, refused []Rejected, err error) {
	if len(rows) == 0 {
		return 0, nil, nil
	}
	applied, err = l.cfg.Target.Load(ctx, rows)
	var refusal *Refusal
	if err == nil || !errors.As(err, &refusal) {
		return applied, nil, err
	}
	if len(rows) == 1 && len(refusal.Rows) == 0 {
		refusal.Rows = map[int]string{0: refusal.Reason}
	}
	if len(refusal.Rows) > 0 {
		for _, i := range slices.Sorted(maps.Keys(refusal.Rows)) {
			refused = append(refused, Rejected{Origin: rows[i].Origin, Reason: refusal.Rows[i], Body: rows[i].data})
		}
		return applied, refused, nil
	}
	half := len(rows) / 2
	for _, part := range [][]Row{rows[:half], rows[half:]} {
		n, bad, err := l.store(ctx, part)
		if err != nil {
			return applied, refused, err
		}
		applied, refused = applied+n, append(refused, bad...)
	}
	return applied, refused, nil
}

// batch is what is loaded and acknowledged together.
type batch struct {
	// replies are the subjects on which the messages are answered.
	replies []string
	bytes   int
	began   time.Time
	// full tells that it ended because it was: more messages come at once.
	full bool
	// caughtUp tells that it ends where the stream does, for the first time since the loader began: there is nothing
	// to wait for.
	caughtUp bool
	// newest are the rows by kind and ID: an older revision of the same batch is acknowledged with the newer one.
	newest map[[2]string]Row
	// every has all rows instead, unread, where the target wants them.
	every    []Row
	wantsAll bool
	rejected []Rejected
	// pending is how many messages the consumer had not delivered after the last one; stored is when that was stored.
	pending uint64
	stored  time.Time
}

func newBatch(of Batches) *batch {
	b := &batch{replies: make([]string, 0, of.Messages), wantsAll: of.Every}
	if b.wantsAll {
		b.every = make([]Row, 0, of.Messages)
	} else {
		b.newest = make(map[[2]string]Row)
	}
	return b
}

// add takes a message in.
func (b *batch) add(m jetstream.Msg, meta *jetstream.MsgMetadata, origin Origin, read *Reader) {
	if len(b.replies) == 0 {
		b.began = time.Now()
	}
	b.replies = append(b.replies, m.Reply())
	b.bytes += len(m.Data())
	b.pending, b.stored = meta.NumPending, meta.Timestamp
	row, err := rowOf(origin, m.Headers(), m.Data())
	if err == nil && b.wantsAll {
		b.every = append(b.every, row)
		return
	}
	if err == nil {
		err = read.Read(&row, make([]flat.Value, len(read.Columns(row.Key.Kind))))
	}
	if err != nil {
		b.rejected = append(b.rejected, Rejected{Origin: origin, Reason: err.Error(), Body: m.Data()})
		return
	}
	id := [2]string{row.Key.Kind, row.ID()}
	if have, ok := b.newest[id]; !ok || have.Revision <= row.Revision {
		b.newest[id] = row
	}
}

// rows returns all rows as they came where the target wants them, else the newest revisions, in an order that all loaders
// share: two that lock rows in the same order do not wait for each other in a circle.
func (b *batch) rows() []Row {
	if b.wantsAll {
		return b.every
	}
	return slices.SortedFunc(maps.Values(b.newest), func(a, b Row) int {
		return cmp.Or(strings.Compare(a.Key.Kind, b.Key.Kind), strings.Compare(a.ID(), b.ID()))
	})
}
