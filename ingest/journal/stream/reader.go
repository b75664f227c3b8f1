package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

// Reader reads a log from outside, for whoever wants to know what stands in it: it
// appends nothing, takes no work and sees nothing new. It is safe for concurrent use.
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

// readPatience bounds one request of a reader.
const readPatience = 5 * time.Second

// Describe asks the server for the log's state.
func (r *Reader) Describe(ctx context.Context) (call.Log, error) {
	stream, err := r.open(ctx)
	if err != nil {
		return call.Log{}, err
	}
	return journal.Describe(stream.CachedInfo()), nil
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

// Scan calls do, in order and without bodies, for every entry that the log holds when the scan begins, except what Legato
// did not write. The server does not even send the bodies. It returns do's error as it is, that of ctx when it ended
// first, and a wrapped infrastructure error otherwise.
func (r *Reader) Scan(ctx context.Context, from From, do func(call.Entry) error) error {
	scan := natsd.Scan{Stream: r.stream, From: from.Seq, Since: from.Since, HeadersOnly: true}
	return scan.Each(ctx, r.js, func(m *jetstream.RawStreamMsg) error {
		e := r.entry(m)
		if e.Foreign {
			return nil
		}
		return do(e)
	})
}

func (r *Reader) entry(m *jetstream.RawStreamMsg) call.Entry {
	return call.ReadPlaced(r.prefix, m.Subject, m.Header, m.Data, m.Sequence, m.Time)
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
		all = append(all, r.entry(m))
	}
	return all, nil
}

func (r *Reader) message(ctx context.Context, stream jetstream.Stream, seq uint64) (*jetstream.RawStreamMsg, error) {
	ctx, cancel := context.WithTimeout(ctx, readPatience)
	defer cancel()
	return stream.GetMsg(ctx, seq)
}
