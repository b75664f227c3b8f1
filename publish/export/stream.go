package export

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
)

// source is the stream of summaries, as one export reads it.
type source struct {
	js      jetstream.JetStream
	stream  string
	subject string
}

func newSource(js jetstream.JetStream, layout natsd.Layout, level string) *source {
	return &source{js: js, stream: layout.Calls, subject: layout.Prefix + "." + level + ".>"}
}

// message is what an export reads of a message.
type message struct {
	seq     uint64
	at      time.Time
	subject string
	data    []byte
}

const (
	// headersAtOnce and bodiesAtOnce are how many messages are under way at most: of
	// bodies that is usually half a megabyte, and 128 MiB if each were as large as one may be.
	headersAtOnce = 2000
	bodiesAtOnce  = 256
	// silence is how long nothing comes before the server is asked whether there is more.
	silence = 2 * time.Second
	// resets is how often the consumer is made anew before an interruption is given up.
	resets = 5
)

// errEnough ends a reading early.
var errEnough = errors.New("enough")

// read hands the messages from a place on to do, in order and up to last, until
// do returns errEnough or there are no more. It has an ephemeral consumer of its own, which the library makes
// anew where it was interrupted.
func (s *source) read(ctx context.Context, cfg jetstream.OrderedConsumerConfig, last uint64, do func(message) error) error {
	cfg.FilterSubjects, cfg.MaxResetAttempts, cfg.InactiveThreshold = []string{s.subject}, resets, time.Minute
	consumer, err := s.js.OrderedConsumer(ctx, s.stream, cfg)
	if err != nil {
		return fmt.Errorf("read %s: %w", s.stream, err)
	}
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	atOnce := bodiesAtOnce
	if cfg.HeadersOnly {
		atOnce = headersAtOnce
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(atOnce))
	if err != nil {
		return fmt.Errorf("read %s: %w", s.stream, err)
	}
	defer messages.Stop()
	silent := false // the server said that there is no more
	for {
		m, err := messages.Next(jetstream.NextMaxWait(silence))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, nats.ErrTimeout):
			// It is slow, or what was still to come has aged out. The answer comes behind whatever
			// the server had sent before it, so that a second silence is the end.
			if silent {
				return nil
			}
			info, err := consumer.Info(ctx)
			if err != nil {
				return fmt.Errorf("read %s: %w", s.stream, err)
			}
			silent = info.NumPending == 0
			continue
		case err != nil:
			return fmt.Errorf("read %s: %w", s.stream, err)
		}
		silent = false
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read %s: %w", s.stream, err)
		}
		if meta.Sequence.Stream > last {
			return nil
		}
		err = do(message{seq: meta.Sequence.Stream, at: meta.Timestamp, subject: m.Subject(), data: m.Data()})
		switch {
		case errors.Is(err, errEnough):
			return nil
		case err != nil:
			return err
		case meta.Sequence.Stream == last || meta.NumPending == 0:
			return nil
		}
	}
}

// from is where an export begins to read, or goes on.
func (s state) from() jetstream.OrderedConsumerConfig {
	switch {
	case s.Seq > 0:
		return jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.Seq + 1}
	case !s.Since.At.IsZero():
		return jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &s.Since.At}
	default:
		return jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverAllPolicy}
	}
}

// survey returns the sequences of the messages that the export still has to
// fetch, in order: of each leg or session the newest within the snapshot. Every revision is stored on
// condition of the one before, so the last is the newest.
func (s *source) survey(ctx context.Context, from state, seen func(done int64)) ([]uint64, error) {
	newest := make(map[[16]byte]uint64)
	cfg := from.from()
	cfg.HeadersOnly = true
	var done int64
	err := s.read(ctx, cfg, from.Last, func(m message) error {
		if done++; done%reportEvery == 0 {
			seen(done)
		}
		if from.Since.At.After(m.at) || !from.Until.At.IsZero() && !m.at.Before(from.Until.At) {
			return nil
		}
		key, err := keyOf(m.subject)
		if err != nil {
			return err
		}
		newest[key] = m.seq
		return nil
	})
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Values(newest)), nil
}

// idTokens is the place in a subject of the tokens that name a leg or a session, after
// prefix, level, verb and connection.
const idTokens = 4

// keyOf makes of the ids in a subject a key of fixed size: there may be millions.
func keyOf(subject string) (key [16]byte, err error) {
	rest := subject
	for range idTokens {
		var found bool
		if _, rest, found = strings.Cut(rest, "."); !found {
			return key, fmt.Errorf("subject %.128q is none of a summary", subject)
		}
	}
	sum := sha256.Sum256([]byte(rest))
	return [16]byte(sum[:16]), nil
}
