package natsd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
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

// Each hands the messages to do, in order, each once. An interrupted scan goes on where it was. It returns do's error
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
	pauses := backoff.ExponentialBackOff{
		InitialInterval: 50 * time.Millisecond, MaxInterval: scanSilence, Multiplier: 2, RandomizationFactor: 0.5,
	}
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
