package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/legato-calls/legato/internal/call"
	"github.com/nats-io/nats.go/jetstream"
)

// Reader reads a log from outside, for whoever wants to know what stands in it: it
// appends nothing, takes no work and is told of nothing new. It is safe for concurrent use.
type Reader struct {
	js             jetstream.JetStream
	stream, prefix string
}

// NewReader returns a reader of the log in a stream whose subjects begin with prefix.
func NewReader(js jetstream.JetStream, stream, prefix string) *Reader {
	return &Reader{js: js, stream: stream, prefix: prefix}
}

// From says where a scan begins. The zero value is the first entry.
type From struct {
	// Seq is the first entry that is wanted; 0: Since decides.
	Seq uint64
	// Since is when the first that is wanted was received; zero: whenever.
	Since time.Time
}

const (
	// readPatience bounds one request of a reader.
	readPatience = 5 * time.Second
	// scanStalled is how long nothing may come of what is still to come.
	scanStalled = 10 * time.Second
)

// Describe asks the server for the log's state.
func (r *Reader) Describe(ctx context.Context) (call.Log, error) {
	stream, err := r.open(ctx)
	if err != nil {
		return call.Log{}, err
	}
	info := stream.CachedInfo()
	return call.Log{
		ID: strconv.FormatInt(info.Created.UnixNano(), 36), First: max(info.State.FirstSeq, 1), Last: info.State.LastSeq,
	}, nil
}

func (r *Reader) open(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	stream, err := r.js.Stream(ctx, r.stream)
	if err != nil {
		return nil, fmt.Errorf("read log %s: %w", r.stream, err)
	}
	return stream, nil
}

// Scan hands every entry that the log has now to do, in order and without its body, which the
// server does not even send. It returns do's error as it is, that of ctx when it
// ended first, and a wrapped infrastructure error otherwise.
func (r *Reader) Scan(ctx context.Context, from From, do func(call.Entry) error) error {
	cfg := jetstream.ConsumerConfig{
		Description: "somebody who looks for a call in Legato's log",
		AckPolicy:   jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: followerForgotten,
	}
	switch {
	case from.Seq > 0:
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from.Seq
	case !from.Since.IsZero():
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &from.Since
	}
	create, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	consumer, err := r.js.CreateConsumer(create, r.stream, cfg)
	if err != nil {
		return fmt.Errorf("scan log %s: %w", r.stream, err)
	}
	// Whoever cannot delete it leaves that to the server.
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stateTimeout)
		defer cancel()
		_ = r.js.DeleteConsumer(ctx, r.stream, consumer.CachedInfo().Name)
	}()
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	return r.scan(ctx, consumer, consumer.CachedInfo().NumPending, do)
}

// errScanned ends a scan that is through.
var errScanned = errors.New("all that was there is read")

func (r *Reader) scan(ctx context.Context, consumer jetstream.Consumer, pending uint64, do func(call.Entry) error) error {
	var came uint64
	progress := make(chan struct{}, 1)
	c, err := consume(consumer, followPrefetch, func(m jetstream.Msg) error {
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read the metadata of a log entry: %w", err)
		}
		// Nothing is acknowledged, so nothing is sent twice: what a broken connection swallows is missed.
		if came++; meta.Sequence.Consumer != came {
			return fmt.Errorf("scan log %s before entry %d: %w", r.stream, meta.Sequence.Stream, errMissed)
		}
		select {
		case progress <- struct{}{}:
		default:
		}
		e := entryOf(r.prefix, m.Subject(), m.Headers())
		e.Seq, e.ReceivedAt = meta.Sequence.Stream, meta.Timestamp.UTC()
		if err := do(e); err != nil {
			return err
		}
		// What is appended meanwhile is left out, or a busy log would never end.
		if came == pending || meta.NumPending == 0 {
			return errScanned
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("scan log %s: %w", r.stream, err)
	}
	defer c.stop()
	stalled := time.NewTimer(scanStalled)
	defer stalled.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("scan log %s: %w", r.stream, ctx.Err())
		case err := <-c.ended:
			if errors.Is(err, errScanned) {
				return nil
			}
			return err
		case <-c.closed():
			return fmt.Errorf("scan log %s: %w", r.stream, errClosed)
		case <-progress:
			stalled.Reset(scanStalled)
		case <-stalled.C:
			if r.trimmed(ctx, consumer) {
				return nil
			}
			return fmt.Errorf("scan log %s: %w", r.stream, errStalled)
		}
	}
}

// trimmed reports whether what was still to come has been removed meanwhile.
func (r *Reader) trimmed(ctx context.Context, consumer jetstream.Consumer) bool {
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	info, err := consumer.Info(ctx)
	return err == nil && info.NumPending == 0
}

// Entries returns the entries at these places, whole, but for those that the log does not have (any more).
func (r *Reader) Entries(ctx context.Context, seqs []uint64) ([]call.Entry, error) {
	stream, err := r.open(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]call.Entry, 0, len(seqs))
	for _, seq := range seqs {
		m, err := r.message(ctx, stream, seq)
		switch {
		case errors.Is(err, jetstream.ErrMsgNotFound):
			continue
		case err != nil:
			return all, fmt.Errorf("read entry %d of log %s: %w", seq, r.stream, err)
		}
		e := entryOf(r.prefix, m.Subject, m.Header)
		e.Seq, e.ReceivedAt, e.Data = m.Sequence, m.Time.UTC(), m.Data
		all = append(all, e)
	}
	return all, nil
}

func (r *Reader) message(ctx context.Context, stream jetstream.Stream, seq uint64) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	return stream.GetMsg(ctx, seq)
}
