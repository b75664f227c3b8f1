// Package journal is the log: every accepted webhook and everything that Legato learns or decides about a call is one
// entry in it. It has two forms, in folders of their own: on JetStream, for replicas, and on the local disk, for the one
// process with an embedded NATS. Here is what both promise, and what both do alike.
//
// In go entries to append; out come the same entries, in order and complete to whoever follows the log, and one by one
// to whoever works its queue.
//
// What it guarantees:
//   - Append returns a receipt only when the entry is stored, and returns within two seconds.
//   - An id is stored once while it is remembered, however often it is appended.
//   - A log that is nearly full refuses events, and still takes what Legato
//     itself appends, without which it could not be trimmed.
//   - A follower is told to start anew rather than shown a log with a hole or the
//     entries of another log, unless the log itself has lost entries.
//   - A task of the queue comes again until it is acknowledged.
//   - Follow and Work go on by themselves after a disturbance, and when they have returned they call nobody any more.
//
// It does not know what the entries mean.
package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/internal/call"
)

// Errors of Append. All mean that the entry may come again later, but for one that is longer than the server takes
// (nats.ErrMaxPayload); none says that it was not stored.
var (
	// ErrFull: a limit of the storage is reached, or nearly so, and the entry is not what the rest is kept for. It is
	// a [call.ErrFull].
	ErrFull = fmt.Errorf("the log is full: %w", call.ErrFull)
	// ErrUnavailable: the entry was not stored in time, or was refused.
	ErrUnavailable = errors.New("the log cannot be written")
	// ErrClosed: the journal is stopping.
	ErrClosed = errors.New("the journal is closed")
)

// Config is what both forms of the log need to know.
type Config struct {
	// JetStream is the connection's JetStream context.
	JetStream jetstream.JetStream
	// Stream is the name of the stream that is the log or its copy, which must exist.
	Stream string
	// Summaries is the name of the stream that takes what comes of the log: what it has no room for keeps the log from
	// being trimmed. Empty: there is none.
	Summaries string
	// Disk asks how many bytes are free on the disk of the streams. Nil: it is not known.
	Disk func() (int64, error)
	// Prefix is the first token of every subject.
	Prefix string
	// Logger receives what an operator should know.
	Logger *slog.Logger
	// Registerer receives the metrics; nil registers none.
	Registerer prometheus.Registerer
	// Tracer makes a span of each append that is part of a trace; nil: none is made.
	Tracer trace.Tracer
}

// Follower receives the log in order. Its methods are called from one goroutine at a time.
type Follower interface {
	// Restart says that all that was folded is void: what follows starts with the first entry of the log described.
	Restart(log call.Log)
	// Fold takes the next entry. Its sequence is one above that of the last,
	// unless the log itself has lost entries, which reading it again would not bring back.
	Fold(e call.Entry)
}

// BatchFollower is a follower that is quicker with many entries at once, as a replay has them.
type BatchFollower interface {
	Follower
	// FoldAll is Fold of one after the other. It keeps neither the slice nor the entries.
	FoldAll(entries []*call.Entry)
}

// SkimmingFollower is a follower that need not be handed all that stands in a log when it begins to follow it. It looks at
// everything first, and then says what it wants.
type SkimmingFollower interface {
	BatchFollower
	// Skim takes the next entries that stand in the log, before any is handed on. It keeps nothing of them.
	Skim(entries []*call.Entry)
	// Skimmed says that there are no more, and returns which of them are to be handed on; nil: all are. The last one is
	// always wanted. That the others are not handed on is no hole.
	Skimmed() (wants func(seq uint64) bool)
}

// Describe returns the identity and the extent of a log whose entries are the messages of a stream.
func Describe(info *jetstream.StreamInfo) call.Log {
	return call.Log{
		ID: strconv.FormatInt(info.Created.UnixNano(), 36),
		// A stream that never held a message says 0.
		First: max(info.State.FirstSeq, 1),
		Last:  info.State.LastSeq,
	}
}
