package journal

import (
	"time"

	"github.com/legato-calls/legato/internal/call"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Paced returns the config of a journal that looks at its log as often as watch says,
// and whose queue waits for ackWait; zero leaves what is usual.
func (c Config) Paced(watch, ackWait time.Duration) Config {
	c.pace = pace{watch: watch, ackWait: ackWait}
	return c
}

// Message builds the message of an entry.
func (j *Journal) Message(e *call.Entry) *nats.Msg { return j.message(e) }

// ReadEntry reads an entry back.
func (j *Journal) ReadEntry(m jetstream.Msg, meta *jetstream.MsgMetadata) call.Entry {
	return j.entry(m, meta)
}

// MessageSize is what an entry is taken to measure before it is sent.
func MessageSize(e *call.Entry) int64 { return messageSize(e) }

// Recent is the memory for ids that were stored.
type Recent struct{ *recent }

// NewRecent returns an empty one.
func NewRecent() Recent { return Recent{newRecent()} }

// Stored remembers an id.
func (r Recent) Stored(id string, seq uint64) { r.stored(id, seq) }

// Seen remembers an entry of the log.
func (r Recent) Seen(e *call.Entry) { r.seen(e) }

// Seq returns where an id is stored.
func (r Recent) Seq(id string) (uint64, bool) { return r.seq(id) }

// Forget forgets all.
func (r Recent) Forget() { r.forget() }

// Pending returns how many entries wait for the batch in flight.
func (j *Journal) Pending() int { return len(j.pending) }
