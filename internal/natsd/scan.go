package natsd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Scan reads a stream from a place to its end. The zero value of each field leaves the choice open.
type Scan struct {
	// Stream is the name of the stream. Required.
	Stream string
	// Subjects are the filters; none: everything.
	Subjects []string
	// From is the first sequence that is wanted; 0: Since decides.
	From uint64
	// Since is when the first message that is wanted was stored; zero: whenever.
	Since time.Time
	// Last is the last sequence that is wanted; 0: the last that the stream has when the scan begins, since
	// a busy stream would never end.
	Last uint64
	// HeadersOnly leaves the bodies with the server.
	HeadersOnly bool
}

const (
	// scanAhead and scanAheadBytes bound what is on its way or waits to be handled.
	scanAhead, scanAheadBytes = 4000, 16 << 20
	// scanSilence is how long nothing comes before the server is asked whether there is more.
	scanSilence = 2 * time.Second
	// scanSilences is how often it says that there is more before the consumer is given up.
	scanSilences = 2
	// scanTries is how many consumers in a row may bring nothing before the scan fails.
	scanTries = 5
	// scanForgotten is when the server drops the consumer of a scan that was killed.
	scanForgotten = time.Minute
)

// Each calls do once for each message, in order. An interrupted scan goes on where it was. It returns do's error
// as it is, and wraps all others: that of ctx when it ended first, and those of infrastructure.
//
// It is not nats.go's ordered consumer: driven with a time limit that one does not notice that its consumer is lost
// between two requests, since its watch for heartbeats begins anew at each call.
func (s Scan) Each(ctx context.Context, js jetstream.JetStream, do func(*jetstream.RawStreamMsg) error) error {
	fail := func(err error) error { return fmt.Errorf("read stream %s: %w", s.Stream, err) }
	stream, err := js.Stream(ctx, s.Stream)
	if err != nil {
		return fail(err)
	}
	if s.Last == 0 {
		s.Last = stream.CachedInfo().State.LastSeq
	}
	r := scanning{Scan: s, stream: stream, do: do}
	pauses := Pauses(50*time.Millisecond, scanSilence)
	for tries := 1; ; tries++ {
		before := r.From
		err := r.consume(ctx)
		switch {
		case err == nil:
			return nil
		case r.refused != nil:
			return r.refused
		case ctx.Err() != nil:
			return fail(ctx.Err())
		case r.From != before:
			tries = 0
			pauses.Reset()
		case tries == scanTries || !r.begun:
			return fail(err)
		}
		select {
		case <-time.After(pauses.NextBackOff()):
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
}

// What interrupts a scan.
var (
	errScanMissed  = errors.New("a message was lost on its way")
	errScanStalled = errors.New("there are messages that do not arrive")
)

// scanning is a scan on its way. From moves on with each message.
type scanning struct {
	Scan
	stream  jetstream.Stream
	do      func(*jetstream.RawStreamMsg) error
	begun   bool  // a consumer could be made
	refused error // do's
}

// consume reads with one consumer, to the end or until something interrupts it.
func (r *scanning) consume(ctx context.Context) error {
	consumer, err := r.stream.CreateConsumer(ctx, r.consumer())
	if err != nil {
		return err
	}
	r.begun = true
	// A consumer that cannot be deleted is left to the server.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), scanSilence)
		defer cancel()
		_ = r.stream.DeleteConsumer(ctx, consumer.CachedInfo().Name)
	}()
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	messages, err := Receive(consumer, scanAhead, scanAheadBytes)
	if err != nil {
		return err
	}
	defer messages.Stop(nil)
	var came uint64
	for silences := 0; ; {
		m, err := messages.Next(ctx, scanSilence)
		if errors.Is(err, nats.ErrTimeout) {
			silences++
			if done, err := r.silent(ctx, consumer, came, silences); done || err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		silences = 0
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		// Nothing is acknowledged, so nothing is sent twice: what a broken connection swallows is missed.
		if came++; meta.Sequence.Consumer != came {
			return errScanMissed
		}
		if meta.Sequence.Stream > r.Last {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if r.refused = r.do(r.message(m, meta)); r.refused != nil {
			return r.refused
		}
		r.From = meta.Sequence.Stream + 1
		if r.From > r.Last || meta.NumPending == 0 {
			return nil
		}
	}
}

// silent asks the server, when nothing came for a while, whether the scan is through: what was still to come can
// have been removed meanwhile.
func (r *scanning) silent(ctx context.Context, consumer jetstream.Consumer, came uint64, silences int) (done bool, err error) {
	info, err := consumer.Info(ctx)
	switch {
	case err != nil:
		return false, err
	case info.NumPending > 0 && silences > scanSilences:
		return false, errScanStalled
	case info.NumPending > 0:
		return false, nil // The server is slow.
	case info.Delivered.Consumer != came && silences > scanSilences:
		return false, errScanMissed
	}
	return info.Delivered.Consumer == came, nil
}

func (s Scan) consumer() jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		FilterSubjects: s.Subjects, HeadersOnly: s.HeadersOnly, AckPolicy: jetstream.AckNonePolicy,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: scanForgotten,
	}
	switch {
	case s.From > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.From
	case !s.Since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.Since
	}
	return cfg
}

func (s Scan) message(m jetstream.Msg, meta *jetstream.MsgMetadata) *jetstream.RawStreamMsg {
	raw := &jetstream.RawStreamMsg{Subject: m.Subject(), Sequence: meta.Sequence.Stream, Header: m.Headers(), Time: meta.Timestamp}
	if !s.HeadersOnly {
		raw.Data = m.Data()
	}
	return raw
}

// Tail reads what is new in a stream, again and again, with one consumer that it keeps between: making one costs more than
// reading a hundred messages. The zero value is ready. It is not safe for concurrent use.
type Tail struct {
	consumer jetstream.Consumer
	made     time.Time // when the stream was made that the consumer is of
	next     uint64    // the first sequence that it has not brought
	came     uint64    // how many messages it has brought
}

// tailBatch is how many messages come at once. Few, and a moment for others in between: else a busy stream would keep the
// processors from them for milliseconds.
const tailBatch = 32

// tailPause is that moment.
const tailPause = time.Millisecond

// Read hands the messages from a sequence to another to do, and returns the first sequence that it has not reached:
// to+1, or less where the server does not have the rest, or not yet. Whatever goes wrong, the next Read may go on there.
func (t *Tail) Read(ctx context.Context, stream jetstream.Stream, from, to uint64, do func(*jetstream.RawStreamMsg)) (next uint64, err error) {
	defer func() {
		if next = max(t.next, from); err != nil {
			t.End(ctx, stream)
		}
	}()
	t.next = max(t.next, from)
	if made := stream.CachedInfo().Created; t.consumer == nil || t.next != from || !made.Equal(t.made) {
		scan := Scan{From: from}
		if t.consumer, err = stream.CreateConsumer(ctx, scan.consumer()); err != nil {
			return 0, err
		}
		t.made, t.next, t.came = made, from, 0
	}
	for t.next <= to {
		switch n, err := t.fetch(int(min(tailBatch, to-t.next+1)), do); {
		case err != nil:
			return 0, err
		case n == 0:
			return 0, t.through(ctx)
		}
		if t.next <= to {
			select {
			case <-time.After(tailPause):
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
	}
	return 0, nil
}

// End removes the consumer. One that cannot be deleted is left to the server, which forgets it.
func (t *Tail) End(ctx context.Context, stream jetstream.Stream) {
	if t.consumer == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), scanSilence)
	defer cancel()
	_ = stream.DeleteConsumer(ctx, t.consumer.CachedInfo().Name)
	t.consumer = nil
}

// through fails unless the server confirms that it has nothing more: nothing also comes when a request is lost.
func (t *Tail) through(ctx context.Context) error {
	info, err := t.consumer.Info(ctx)
	if err == nil && info.NumPending > 0 {
		return errScanStalled
	}
	return err
}

// fetch hands at most so many messages to do, and returns how many there were.
func (t *Tail) fetch(most int, do func(*jetstream.RawStreamMsg)) (n int, err error) {
	batch, err := t.consumer.FetchNoWait(most)
	if err != nil {
		return 0, err
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return n, err
		}
		if t.came++; meta.Sequence.Consumer != t.came {
			return n, errScanMissed
		}
		n++
		do(Scan{}.message(m, meta))
		t.next = meta.Sequence.Stream + 1
	}
	return n, batch.Error()
}

// Erase deletes, and overwrites on disk, the scan's messages for which do returns true, and returns their number. A stream
// that does not exist has none. Nothing is changed where dryRun is set.
func Erase(ctx context.Context, js jetstream.JetStream, s Scan, dryRun bool, do func(*jetstream.RawStreamMsg) (bool, error)) (n int, err error) {
	stream, err := js.Stream(ctx, s.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("erase from stream %s: %w", s.Stream, err)
	}
	// Collected first: a scan that goes on while messages before it go would take them for lost.
	var seqs []uint64
	if err := s.Each(ctx, js, func(m *jetstream.RawStreamMsg) error {
		wanted, err := do(m)
		if wanted {
			seqs = append(seqs, m.Sequence)
		}
		return err
	}); err != nil || dryRun {
		return len(seqs), err
	}
	for _, seq := range seqs {
		if err := stream.SecureDeleteMsg(ctx, seq); err != nil {
			// The server has one code for a failed deletion, whatever failed: only a read tells.
			if _, get := stream.GetMsg(ctx, seq); errors.Is(get, jetstream.ErrMsgNotFound) {
				continue
			}
			return n, fmt.Errorf("erase message %d of stream %s: %w", seq, s.Stream, err)
		}
		n++
	}
	return n, nil
}
