// Package disk is the log on the local disk, for the one process with an embedded NATS: a write-ahead log in which
// appends that come together share one sync. What it promises is in package journal.
//
// Entries reach the fold and the queue from memory as soon as they are durable; none passes through NATS on its way to a
// summary. Positions are the log's own: contiguous, from 1, and they never go back.
//
// The stream of events is a copy of the log for readers: the entry at a position stands in it at the same sequence. It is
// made by publications in order, each on condition of the one before, goes on after a restart where the stream ends, and
// holds back trimming, never an append. Neither the copy nor the summaries are synced one by one: the log keeps what they
// come from until NATS has synced them, and after a start the queue hands out again what may have been lost with the power.
package disk

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/internal/call"
)

// ErrNewer is the error of a directory that was written by a later release.
var ErrNewer = errors.New("it was written by a later release of Legato; run that one, or give another --data-dir")

// Config says where the log is.
type Config struct {
	journal.Config
	// Dir is the log's own directory; it is made where it is not there.
	Dir string
	// SyncedAfter is how long after its acknowledgement NATS has surely synced a message.
	SyncedAfter time.Duration
	// Gather says how long an entry may wait to be copied together with others. Nil, and zero: a millisecond.
	Gather func() time.Duration
	// Queue is the name of the consumer that an earlier release has worked the log with: what it had left to do is done.
	Queue string
}

// surveyEvery is how often the copy of the log is looked at.
const surveyEvery = 2 * time.Second

// Journal is the log: it appends to it, follows it and hands out its work.
type Journal struct {
	*journal.Appender
	cfg   Config
	js    jetstream.JetStream
	log   *slog.Logger
	store *store
	id    string
	tail  *tail
	queue *Queue
	copy  copier
	// floors is for the survey alone; summaries is the life of the stream that they are said of.
	floors    floors
	summaries string
	buf       []byte // of the one write under way

	stopCopy context.CancelFunc
	copied   chan struct{} // closed when nothing is copied any more
	closed   func() error
}

// Open opens the log, takes over what an earlier release has left in the stream where there is none, and begins to take
// appends and to copy. It fails with ErrNewer, and when the directory or the stream cannot be read. Close must be called.
func Open(ctx context.Context, cfg Config) (_ *Journal, err error) {
	s, err := openStore(cfg.Dir, cfg.Logger)
	if err != nil {
		return nil, err
	}
	j := &Journal{Appender: journal.NewAppender(cfg.Config), cfg: cfg, js: cfg.JetStream, log: cfg.Logger, store: s, copied: make(chan struct{})}
	j.closed = sync.OnceValue(s.close)
	if err := j.open(ctx); err != nil {
		return nil, errors.Join(err, j.closed())
	}
	j.Metrics.Restarts.WithLabelValues("start")
	if err := j.Run(ctx, journal.Form{Store: j.write, Refuse: j.refuse, Surveyed: j.surveyed, Every: surveyEvery}); err != nil {
		return nil, errors.Join(err, j.closed())
	}
	copying, stop := context.WithCancel(context.WithoutCancel(ctx))
	j.stopCopy = stop
	go j.keepCopying(copying)
	return j, nil
}

// open reads what stands in the directory.
func (j *Journal) open(ctx context.Context) error {
	version, err := j.store.number(noteFormat, format)
	if err != nil {
		return err
	}
	if version > format {
		return fmt.Errorf("open the log in %s: %w", j.cfg.Dir, ErrNewer)
	}
	if j.id, err = j.store.noted(noteID); err != nil {
		return err
	}
	if j.id == "" {
		if err := j.begin(ctx); err != nil {
			return err
		}
	}
	first, last, err := j.store.bounds()
	if err != nil {
		return err
	}
	if last, err = j.heal(ctx, last); err != nil {
		return err
	}
	j.recall()
	floor, err := j.floor(ctx, first, last)
	if err != nil {
		return err
	}
	j.tail = newTail(first, last)
	j.queue = newQueue(j, floor)
	return nil
}

// recall makes known what was stored lately: among the first webhooks is what came before a crash and was not answered, and
// a long log has not been followed to its end by then. An entry takes 2.5 µs, so that this takes little more than a second at
// the most. At what cannot be read it ends, which following the log says.
func (j *Journal) recall() {
	left, since := journal.MaxRecent, time.Now().Add(-journal.RecentTurn)
	_ = j.store.newest(func(e *call.Entry) bool {
		if e.ReceivedAt.Before(since) {
			return false
		}
		if !e.Foreign {
			j.Known.Seen(e)
		}
		left--
		return left > 0
	})
}

// newID returns the id of a log that begins.
func newID() string { return strconv.FormatInt(time.Now().UnixNano(), 36) + "-" + rand.Text()[:8] }

// Close waits until what was handed to Append is written and copied, or ctx ends. A second Close waits as well.
func (j *Journal) Close(ctx context.Context) error {
	if err := j.Appender.Close(ctx); err != nil {
		return err
	}
	err := j.awaitCopy(ctx)
	j.stopCopy()
	select {
	case <-j.copied:
	case <-ctx.Done():
		return fmt.Errorf("close the journal: %w", ctx.Err())
	}
	return errors.Join(err, j.closed())
}

// refuse tells that the log cannot be written any more, and refuses what could not be copied.
func (j *Journal) refuse(e *call.Entry) error {
	if !slices.Contains(call.InternalTopics(), e.Topic) && !call.ValidType(e.EventType()) {
		return fmt.Errorf("the log has no topic %.64q", e.Topic)
	}
	return j.store.failure()
}

// write writes entries with one sync, whatever ctx says: what is half written is finished.
func (j *Journal) write(_ context.Context, batch []*call.Entry) []journal.Result {
	results := make([]journal.Result, len(batch))
	_, last, _ := j.tail.bounds()
	now := time.Now().UTC()
	for i, e := range batch {
		e.Seq, e.ReceivedAt = last+uint64(i)+1, now
	}
	if err := j.store.append(batch, &j.buf); err != nil {
		for i := range results {
			results[i].Err = fmt.Errorf("%w: %w", journal.ErrUnavailable, err)
		}
		return results
	}
	j.Metrics.Batch.Observe(float64(len(batch)))
	j.tail.add(batch)
	for i, e := range batch {
		results[i].Receipt.Seq = e.Seq
	}
	return results
}

// State tells the log's identity and extent.
func (j *Journal) State(context.Context) (call.Log, error) {
	first, last, _ := j.tail.bounds()
	return call.Log{ID: j.id, First: first, Last: last}, nil
}

// Trim removes the entries before seq from the log and from its copy, as far as they are copied and NATS has synced what
// came of them.
func (j *Journal) Trim(ctx context.Context, seq uint64) error {
	first, last, _ := j.tail.bounds()
	if seq = min(seq, j.store.passed().Floor+1, last); seq <= first { // the last one says where the log goes on
		return nil
	}
	if err := j.store.drop(ctx, seq); err != nil {
		return fmt.Errorf("trim the log below %d: %w", seq, err)
	}
	j.tail.trim(seq)
	stream, err := j.js.Stream(ctx, j.cfg.Stream)
	if err != nil {
		return fmt.Errorf("trim the copy of the log: %w", err)
	}
	if seq <= stream.CachedInfo().State.FirstSeq {
		return nil
	}
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(seq)); err != nil {
		return fmt.Errorf("trim the copy of the log below %d: %w", seq, err)
	}
	return nil
}

// surveyed notes how far NATS has synced what came of the log, and counts what waits to be copied as what stands in the
// copy already.
func (j *Journal) surveyed(info *jetstream.StreamInfo) error {
	err := j.noteFloor(time.Now())
	first, last, folded := j.tail.bounds()
	if waiting := last - min(last, info.State.LastSeq); waiting > 0 {
		each := uint64(typicalBytes)
		if info.State.Msgs > 0 {
			each = info.State.Bytes / info.State.Msgs
		}
		info.State.Bytes += waiting * each
		info.State.Msgs += waiting
	}
	j.Metrics.Size(info, last+1-first, last-min(last, folded))
	return err
}

// typicalBytes is what an entry takes where none is there to be measured.
const typicalBytes = 1200

// Follow hands every entry of the log to f, the first one first, and goes on with what is appended until ctx ends, whose
// error it returns.
func (j *Journal) Follow(ctx context.Context, f journal.Follower) error {
	log, _ := j.State(ctx) // it does not fail
	j.Metrics.Restarts.WithLabelValues("start").Inc()
	f.Restart(log)
	failures := journal.NewRetry()
	next, err := j.replay(ctx, f, log)
	for {
		if err == nil {
			j.Follows.Clear()
			failures.Succeeded()
		} else {
			j.Follows.Note(err)
			if !failures.Wait(ctx, j.log, "following the log", err) {
				return ctx.Err()
			}
		}
		var entries []*call.Entry
		entries, err = j.read(ctx, folding, next)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		next = j.hand(f, entries, next, log.Last)
	}
}

// replay hands on what stands in the log at the start, and returns the sequence to go on with.
func (j *Journal) replay(ctx context.Context, f journal.Follower, log call.Log) (next uint64, err error) {
	next = log.First
	every := func(uint64) bool { return true }
	wants := every
	if s, ok := f.(journal.SkimmingFollower); ok {
		err := inOrder(ctx, log, j.store.glance, func(entries []*call.Entry) {
			s.Skim(entries)
			for _, e := range entries {
				if !e.Foreign && e.Seq <= log.Last {
					j.Known.Seen(e)
				}
			}
		})
		if err != nil || ctx.Err() != nil {
			return next, err
		}
		if wants = s.Skimmed(); wants == nil {
			wants = every
		}
	}
	read := func(from uint64) ([]*call.Entry, error) {
		var seqs []uint64
		for ; from <= log.Last && len(seqs) < most; from++ {
			if wants(from) {
				seqs = append(seqs, from)
			}
		}
		if len(seqs) == 0 {
			return nil, nil
		}
		return j.store.pick(seqs, mostBytes)
	}
	err = inOrder(ctx, log, read, func(entries []*call.Entry) { next = j.hand(f, entries, next, log.Last) })
	return next, err
}

// inOrder reads what stands in the log, and calls do with it. What comes next is read from the disk meanwhile.
func inOrder(ctx context.Context, log call.Log, read func(from uint64) ([]*call.Entry, error), do func([]*call.Entry)) error {
	type block struct {
		entries []*call.Entry
		err     error
	}
	ctx, cancel := context.WithCancel(ctx)
	blocks := make(chan block, 2)
	var reading sync.WaitGroup
	defer reading.Wait()
	defer cancel()
	reading.Go(func() {
		defer close(blocks)
		for from := log.First; from <= log.Last; {
			var b block
			if b.entries, b.err = read(from); b.err == nil && len(b.entries) == 0 {
				b.err = fmt.Errorf("the log lacks its entry %d", from)
			}
			select {
			case blocks <- b:
			case <-ctx.Done():
				return
			}
			if b.err != nil {
				return
			}
			from = b.entries[len(b.entries)-1].Seq + 1
		}
	})
	for b := range blocks {
		if b.err != nil || ctx.Err() != nil {
			return b.err
		}
		do(b.entries)
	}
	return nil
}

// hand hands entries on, of which those up to last were there at the start, and returns the sequence to go on with.
func (j *Journal) hand(f journal.Follower, entries []*call.Entry, next, last uint64) uint64 {
	if len(entries) == 0 {
		return next
	}
	if all, ok := f.(journal.BatchFollower); ok {
		all.FoldAll(entries)
	} else {
		for i := range entries {
			f.Fold(*entries[i])
		}
	}
	for _, e := range entries {
		if e.Foreign {
			j.MetForeign(e)
		} else if e.Seq <= last {
			j.Known.Seen(e)
		}
	}
	next = entries[len(entries)-1].Seq + 1
	j.tail.fold(next - 1)
	return next
}

// Read returns the entries at some sequences, which rise. It fails where one is not in the log, or cannot be read.
func (j *Journal) Read(seqs []uint64) ([]*call.Entry, error) { return j.store.pick(seqs, math.MaxInt) }

// read returns the entries from a sequence on, from memory or from the disk; it waits for them.
func (j *Journal) read(ctx context.Context, who int, from uint64) ([]*call.Entry, error) {
	var wake <-chan struct{}
	if who == working {
		wake = j.queue.wake
	}
	entries, err := j.tail.next(ctx, who, from, wake)
	if err != nil || len(entries) > 0 {
		return entries, err
	}
	if entries, err = j.store.read(from); err != nil {
		return nil, err
	}
	if len(entries) == 0 || entries[0].Seq != from {
		return nil, fmt.Errorf("the log lacks its entry %d", from)
	}
	if who != working {
		return entries, nil
	}
	// The queue hands out only what is folded.
	_, _, folded := j.tail.bounds()
	for i := range entries {
		if entries[i].Seq > folded {
			return entries[:i], nil
		}
	}
	return entries, nil
}
