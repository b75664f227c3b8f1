package console

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// CountAtMost lowers how many calls the outcomes count, and returns what undoes that.
func CountAtMost(n int) (undo func()) {
	was := outcomesCalls
	outcomesCalls = n
	return func() { outcomesCalls = was }
}

// DownloadAtMost lowers how large a file may be, and returns what undoes that.
func DownloadAtMost(bytes int64) (undo func()) {
	was := downloadBytes
	downloadBytes = bytes
	return func() { downloadBytes = was }
}

// Reading is a reading of a stream that nobody but a test looks at.
type Reading struct{ r *reading }

// NewReading returns one that ends when nobody has looked for a time. Took has a value for each message.
func NewReading(ctx context.Context, js jetstream.JetStream, stream string, idle time.Duration, took chan<- uint64) Reading {
	f := &follower{life: ctx, js: js, stream: stream, log: slog.New(slog.DiscardHandler), now: make(chan struct{}, 1)}
	return Reading{&reading{
		follower: f, most: 100, idle: idle, reset: func() {}, after: func() {},
		take: func(m *jetstream.RawStreamMsg) { took <- m.Sequence },
	}}
}

// Look keeps it going.
func (r Reading) Look() <-chan struct{} { return r.r.look() }

// Wait returns when its context has ended and nothing of it runs.
func (r Reading) Wait() { r.r.wait() }
