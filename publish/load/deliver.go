package load

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// load hands a batch to the target and acknowledges it. A batch that has been begun is finished when ctx ends.
func (l *Loader) load(ctx context.Context, b *batch) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ctx, cancel := finishing(ctx)
	defer cancel()
	began := time.Now()
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
	for _, m := range b.messages {
		// One that is lost makes the message come again, without effect.
		if err := m.Ack(); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
	}
	l.state.loaded(b, applied, len(rejected), time.Since(began))
	return nil
}

// finishing is ctx with some time more: what is being written shall last.
func finishing(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(finishWithin, cancel) })
	return longer, func() { stop(); cancel() }
}

// store loads rows. While the target refuses something in them they are halved, until a row that is refused stands alone.
func (l *Loader) store(ctx context.Context, rows []Row) (applied int, refused []Rejected, err error) {
	if len(rows) == 0 {
		return 0, nil, nil
	}
	applied, err = l.cfg.Target.Load(ctx, rows)
	var refusal *Refusal
	if err == nil || !errors.As(err, &refusal) {
		return applied, nil, err
	}
	if len(rows) == 1 {
		return 0, []Rejected{{Origin: rows[0].Origin, Reason: refusal.Reason, Body: []byte(rows[0].Body)}}, nil
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
