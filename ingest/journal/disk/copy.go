package disk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

const (
	// maxCopied is how many entries are published for one acknowledgement.
	maxCopied = 512
	// copyGathers is how long the next entries are gathered by default where few came, fewCopied: an acknowledgement
	// costs the server as much as a message, and both sides a turn.
	copyGathers, fewCopied = time.Millisecond, 64
	// copyPatience bounds the wait for an acknowledgement.
	copyPatience = 5 * time.Second
	// copyAtClose is how long a stop waits for the copy; what is missing is copied after the next start.
	copyAtClose = 2 * time.Second
)

// ErrForeign is the error of a stream that is no copy of the log: somebody else has published into it.
var ErrForeign = errors.New("the stream has messages that are not the log's: nobody but Legato may publish there")

// ServerFails reports whether what keeps the log from being copied is a failure of the server. That there is no room,
// or that somebody else writes the copy, is none.
func ServerFails(err error) bool {
	return err != nil && !errors.Is(err, call.ErrFull) && !errors.Is(err, ErrForeign)
}

// copier is how far the copy is.
type copier struct {
	upto   atomic.Uint64
	health journal.Health
	// lacks is how many entries it lacks, as was said last; it is for the copying goroutine alone.
	lacks int
}

// Copying tells what keeps the log from being copied.
func (j *Journal) Copying() journal.Trouble { return j.copy.health.State() }

// Uncopied returns how many entries are not in the copy yet.
func (j *Journal) Uncopied() uint64 {
	_, last, _ := j.tail.bounds()
	return last - min(last, j.copy.upto.Load())
}

// awaitCopy waits for the copy to be complete, for a while.
func (j *Journal) awaitCopy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, copyAtClose)
	defer cancel()
	for j.Uncopied() > 0 && j.Copying().Err == nil && journal.Sleep(ctx, copyGathers) {
	}
	return nil
}

// keepCopying copies until ctx ends.
func (j *Journal) keepCopying(ctx context.Context) {
	defer close(j.copied)
	failures := journal.NewRetry()
	for {
		before := j.copy.upto.Load()
		err := j.copyOn(ctx)
		if ctx.Err() != nil {
			return
		}
		if j.copy.upto.Load() != before {
			failures.Succeeded()
		}
		if ServerFails(err) != ServerFails(j.Copying().Err) {
			j.copy.health.Clear() // one trouble is over, and another begins
		}
		j.copy.health.Note(err)
		if !failures.Wait(ctx, j.log, "copying the log", err) {
			return
		}
	}
}

// gathers is how long the next entries are gathered.
func (j *Journal) gathers() time.Duration {
	if j.cfg.Gather != nil {
		if wanted := j.cfg.Gather(); wanted > 0 {
			return wanted
		}
	}
	return copyGathers
}

// copyOn goes on where the stream ends, until something goes wrong or ctx ends.
func (j *Journal) copyOn(ctx context.Context) error {
	upto, err := j.resume(ctx)
	if err != nil {
		return err
	}
	j.copy.upto.Store(upto)
	if j.Uncopied() == 0 {
		j.copy.health.Clear() // what failed is there all the same, and nothing may come for a while that says so
	}
	// The first one goes alone, so that what it fails with is known to be its own.
	for limit := 1; ; limit = maxCopied {
		entries, err := j.read(ctx, copying, upto+1)
		if err != nil {
			return err
		}
		entries = entries[:min(len(entries), limit)]
		if err := j.publish(ctx, entries); err != nil {
			return err
		}
		upto = entries[len(entries)-1].Seq
		j.copy.upto.Store(upto)
		j.copy.health.Clear()
		if len(entries) < fewCopied && !journal.Sleep(ctx, j.gathers()) {
			return ctx.Err()
		}
	}
}

// resume returns up to which sequence the stream is a copy of the log.
func (j *Journal) resume(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, copyPatience)
	defer cancel()
	stream, err := j.js.Stream(ctx, j.cfg.Stream)
	if err != nil {
		return 0, fmt.Errorf("look at the copy of the log: %w", err)
	}
	first, last, _ := j.tail.bounds()
	upto := stream.CachedInfo().State.LastSeq
	switch {
	case upto < first-1:
		// The stream was made anew. It goes on at the log's own positions.
		if err := stream.Purge(ctx, jetstream.WithPurgeSequence(first)); err != nil {
			return 0, fmt.Errorf("begin the copy of the log at %d: %w", first, err)
		}
		return first - 1, nil
	case upto > last:
		return 0, fmt.Errorf("the copy of the log ends at %d, the log at %d: %w", upto, last, ErrForeign)
	case upto < first:
		return upto, nil
	}
	// The last message must be the log's.
	m, err := stream.GetMsg(ctx, upto)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return upto, j.tellLacking(ctx, stream, first) // it is lost, or all is trimmed
	}
	if err != nil {
		return 0, fmt.Errorf("read the end of the copy of the log: %w", err)
	}
	entries, err := j.store.read(upto)
	if err != nil {
		return 0, err
	}
	if e := call.ReadEntry(j.cfg.Prefix, m.Subject, m.Header); len(entries) == 0 || e.ID != entries[0].ID || e.Topic != entries[0].Topic {
		return 0, fmt.Errorf("at %d: %w", upto, ErrForeign)
	}
	return upto, j.tellLacking(ctx, stream, first)
}

// tellLacking tells which entries of the log, which begins at first, the copy has lost from between its own. NATS takes no
// message at an earlier sequence, so they stay away. What is missing before its first one was trimmed, or its age did it.
func (j *Journal) tellLacking(ctx context.Context, stream jetstream.Stream, first uint64) error {
	if stream.CachedInfo().State.NumDeleted == 0 {
		return nil
	}
	info, err := stream.Info(ctx, jetstream.WithDeletedDetails(true))
	if err != nil {
		return fmt.Errorf("look for what the copy of the log lacks: %w", err)
	}
	lacking := slices.DeleteFunc(info.State.Deleted, func(seq uint64) bool { return seq < first })
	if more := len(lacking) - j.copy.lacks; more > 0 {
		j.log.Error("the copy of the log has lost entries: who reads it does not get them, applications included",
			"from", lacking[0], "to", lacking[len(lacking)-1], "entries", len(lacking))
		j.Metrics.Lost.Add(float64(more))
	}
	j.copy.lacks = len(lacking)
	return nil
}

// publish copies entries in order. Each is stored only right after the one before, so the acknowledgement of the last
// one says that all are.
func (j *Journal) publish(ctx context.Context, entries []*call.Entry) error {
	ctx, cancel := context.WithTimeout(ctx, copyPatience)
	defer cancel()
	last := len(entries) - 1
	for i := range entries[:last] {
		if err := j.js.Conn().PublishMsg(j.chained(entries, i)); err != nil {
			return fmt.Errorf("copy entry %d of the log: %w", entries[i].Seq, err)
		}
	}
	e := entries[last]
	ack, err := j.js.PublishMsg(ctx, j.chained(entries, last))
	if err == nil && ack.Duplicate && ack.Sequence != e.Seq {
		ack, err = j.js.PublishMsg(ctx, j.message(e, true))
	}
	switch {
	case natsd.IsFull(err):
		return fmt.Errorf("copy entry %d of the log: %w: %w", e.Seq, call.ErrFull, err)
	case err != nil:
		return fmt.Errorf("copy entry %d of the log: %w", e.Seq, err)
	case ack.Sequence != e.Seq:
		return fmt.Errorf("copy entry %d of the log: it stands at %d", e.Seq, ack.Sequence)
	}
	return nil
}

// chained returns the message of an entry, which is stored only after that of the entry before it: were it said by its
// sequence alone, a message of somebody else could stand there.
func (j *Journal) chained(entries []*call.Entry, i int) *nats.Msg {
	m := j.message(entries[i], false)
	if i > 0 && entries[i-1].ID != "" {
		m.Header[jetstream.ExpectedLastMsgIDHeader] = []string{entries[i-1].ID}
	}
	return m
}

func (j *Journal) message(e *call.Entry, again bool) *nats.Msg {
	h := e.CopyHeader(again)
	h[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(e.Seq-1, 10)}
	return &nats.Msg{Subject: e.Subject(j.cfg.Prefix), Header: h, Data: e.Data}
}
