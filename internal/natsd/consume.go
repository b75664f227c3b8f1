package natsd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// prefetchBytes bounds what waits in this process to be handled: nats.go drops
	// what exceeds 64 MiB, and a pull beyond the first doubles it.
	prefetchBytes = 16 << 20
	// pullHeartbeat: a consumer that is silent for twice as long is taken for lost.
	pullHeartbeat = 5 * time.Second
	// drainTimeout bounds the wait for what is already here to be handed over;
	// while the server is out of reach nats.go would wait for 10 s.
	drainTimeout = 2 * time.Second
)

var errClosed = errors.New("the consumer was closed")

// Consumption is one subscription to a consumer. nats.go lets a handler run on after it has declared the subscription
// closed; here Stop returns only when it does not run, and never will. Nothing in it waits for a server.
type Consumption struct {
	cc jetstream.ConsumeContext
	// ended receives the first thing that went wrong.
	ended chan error

	mu     sync.Mutex
	handle func(jetstream.Msg) error // nil when it is over
}

// Consume hands the messages of a consumer to handle, one after the other, until Stop, until handle returns an error,
// which Ended then delivers, or until something goes wrong. It does not make a lost consumer anew.
func Consume(consumer jetstream.Consumer, prefetch int, handle func(jetstream.Msg) error) (*Consumption, error) {
	return consume(consumer, prefetch, prefetchBytes, handle)
}

func consume(consumer jetstream.Consumer, messages, bytes int, handle func(jetstream.Msg) error) (*Consumption, error) {
	c := &Consumption{ended: make(chan error, 1), handle: handle}
	cc, err := consumer.Consume(c.take,
		jetstream.PullMaxMessagesWithBytesLimit(Batch(consumer, messages), bytes),
		jetstream.PullHeartbeat(pullHeartbeat),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { c.end(err) }))
	if err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	c.cc = cc
	return c, nil
}

func (c *Consumption) take(m jetstream.Msg) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handle == nil {
		return
	}
	if err := c.handle(m); err != nil {
		c.handle = nil
		c.end(err)
	}
}

func (c *Consumption) end(err error) {
	select {
	case c.ended <- err:
	default: // Only the first counts.
	}
}

// Wait returns what ended the consumption: the first thing that went wrong, or the error of ctx.
func (c *Consumption) Wait(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-c.ended:
		return err
	case <-c.cc.Closed():
		return errClosed
	}
}

// Ended delivers the first thing that went wrong, once.
func (c *Consumption) Ended() <-chan error { return c.ended }

// Closed is closed when nats.go has given up the subscription.
func (c *Consumption) Closed() <-chan struct{} { return c.cc.Closed() }

// Drain asks for no more, and returns when what is already here was handled, or after a while.
func (c *Consumption) Drain() {
	c.cc.Drain()
	select {
	case <-c.cc.Closed():
	case <-time.After(drainTimeout):
	}
	c.Stop()
}

// Stop ends it at once. It waits for the handler to return.
func (c *Consumption) Stop() {
	c.cc.Stop()
	c.mu.Lock()
	c.handle = nil
	c.mu.Unlock()
}

// handed is how many messages wait between the goroutine of nats.go and that of a reader: they take turns less often.
const handed = 64

// Receiver hands out the messages of a consumer one by one, and asks for more in time. It is not nats.go's iterator: that one has room
// for as many messages as it asks for, and none for the answers of the server that close a request. So it drops a message now and then
// when messages come faster than they are read.
type Receiver struct {
	consumption *Consumption
	messages    chan jetstream.Msg
	// over is closed when no more are wanted. Those that come then are handed to rest.
	over chan struct{}
	rest func(jetstream.Msg)
}

// Receive begins to read a consumer. messages and bytes bound what is requested ahead.
func Receive(consumer jetstream.Consumer, messages, bytes int) (*Receiver, error) {
	r := &Receiver{messages: make(chan jetstream.Msg, handed), over: make(chan struct{})}
	var err error
	r.consumption, err = consume(consumer, messages, bytes, func(m jetstream.Msg) error {
		select {
		case r.messages <- m:
		case <-r.over:
			r.rest(m)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Next returns the next message. It fails with nats.ErrTimeout when none comes in time, with the error of ctx, or with what ended
// the reading.
func (r *Receiver) Next(ctx context.Context, within time.Duration) (jetstream.Msg, error) {
	select {
	case m := <-r.messages:
		return m, nil
	default:
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case m := <-r.messages:
		return m, nil
	case err := <-r.consumption.Ended():
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, nats.ErrTimeout
	}
}

// Stop ends the reading, once. What was sent ahead is handed to rest, which may be nil.
func (r *Receiver) Stop(rest func(jetstream.Msg)) {
	wanted := rest != nil
	if !wanted {
		rest = func(jetstream.Msg) {}
	}
	r.rest = rest
	close(r.over)
	if !wanted {
		r.consumption.Stop()
		return
	}
	r.consumption.Drain()
	for {
		select {
		case m := <-r.messages:
			rest(m)
		default:
			return
		}
	}
}
