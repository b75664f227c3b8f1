package stream

import (
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/call"
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
