package enrich

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// Log is the log of events, as far as this package writes it.
type Log interface {
	// Append stores an entry; an entry whose id is stored already is a success. It fails with call.ErrFull where
	// there is no room for it.
	Append(ctx context.Context, e call.Entry) (call.Receipt, error)
	// Trim removes the entries before seq.
	Trim(ctx context.Context, seq uint64) error
	// State asks for the log's identity and extent.
	State(ctx context.Context) (call.Log, error)
	// Reserve says what the calls that are not finished still take of the storage; scarce: to keep that free, what
	// begins a call is refused.
	Reserve(need call.Need) (scarce bool)
}

// Task is one entry that the queue has handed to this replica.
type Task interface {
	Entry() call.Entry
	// Again reports whether it was handed out before.
	Again() bool
	Ack() error
	Nak(delay time.Duration) error
	InProgress() error
	Term() error
}

// Queue hands out tasks.
type Queue interface {
	// Work hands tasks to do, one by one, until ctx ends.
	Work(ctx context.Context, do func(Task)) error
	// Depth returns what is left; folded is a position that the fold had reached before.
	Depth(ctx context.Context, folded uint64) (call.Depth, error)
}

// StatusSource asks Telnyx about a leg when its turn has come, as status.Client does. The error that done is called with
// is that of ctx; whatever else happens is an answer.
type StatusSource interface {
	Ask(ctx context.Context, r status.Request, done func(status.Answer, error))
}

// Sink takes summaries.
type Sink interface {
	// Last returns the newest stored summary of a key; false when there is none.
	Last(ctx context.Context, key summary.Key) (summary.Stored, bool, error)
	// Publish stores a draft if the key still stands at prev (the zero Stored:
	// nothing is stored), else it returns summary.ErrRefused.
	Publish(ctx context.Context, d summary.Draft, prev summary.Stored) (summary.Stored, error)
}

// Watch reports every revision of a leg that was stored since a time, whoever
// stored it, until ctx ends: its key, and the position that it was made from. Where this process publishes alone it
// returns nil once all is reported that was stored before.
type Watch func(ctx context.Context, since time.Time, seen func(k summary.Key, revision int, at summary.Position)) error

// Parking keeps what cannot be processed.
type Parking interface {
	Park(ctx context.Context, p call.Parked) error
}

// Config wires a Worker.
type Config struct {
	Log     Log
	Queue   Queue
	Status  StatusSource
	Sink    Sink
	Parking Parking
	// MaxBody returns the largest body that Sink takes, in bytes. Nil: summary.MaxBody.
	MaxBody func() int
	// Watch reports what all replicas publish, and this one did before its start. Nil: nobody else does, nor did it.
	Watch Watch
	// Decode reads the event of an entry.
	Decode func(call.Entry) (call.Event, error)
	// Read returns the entries at places in the log, which rise, for sessions that are packed as session.Config
	// says. Nil: none is.
	Read func(seqs []uint64) ([]*call.Entry, error)
	// History completes legs that have holes; nil: they stay as they are. ReadHistory reads a row
	// of it, which may be about no event or another leg than the one asked for: then false.
	History     HistorySource
	ReadHistory func(row []byte, leg call.Ref) (HistoryEvent, bool)
	// Needed returns the lowest sequence of the log that somebody else still needs; the log is not trimmed beyond it,
	// nor at all while it fails. Nil: nobody else reads the log.
	Needed func(ctx context.Context) (uint64, error)
	// Rules and Timing are the times by which it decides.
	Rules  session.Rules
	Timing Timing
	// Stagger spreads the checks of several replicas: each starts its own up to
	// this much later, so that mostly one appends them. Zero for a single replica.
	Stagger time.Duration
	Logger  *slog.Logger
	// Registerer receives the metrics; nil registers none.
	Registerer prometheus.Registerer
	// Tracer makes spans of the work on sessions; nil: none is made.
	Tracer trace.Tracer
}
