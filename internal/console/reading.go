package console

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
)

// reading reads a stream as long as anybody looks, and forgets it when nobody does any more. All who look share it.
type reading struct {
	life   context.Context //nolint:containedctx // the console's, which a reading must not outlive
	js     jetstream.JetStream
	stream string
	// subjects are the filters; none: everything.
	subjects []string
	log      *slog.Logger
	// most bounds the messages that are read at first: the newest.
	most uint64
	// every is how often the stream is read for more, idle how long nobody looks before reading ends.
	every, idle time.Duration
	// reset forgets, take takes a message, after follows each time that something was read; mu is held.
	reset func()
	take  func(*jetstream.RawStreamMsg)
	after func()
	wg    sync.WaitGroup

	mu      sync.Mutex
	running bool
	ready   chan struct{} // closed when the first reading is through
	looked  time.Time     // when somebody last looked
	version uint64        // counts the changes
	changed chan struct{} // closed with the next
	next    uint64        // the first message that is not read yet
	// done and all are how far the first reading is.
	done, all uint64
}

func (f *reading) wait() { f.wg.Wait() }

// look starts the reading, or keeps it going, and returns a channel that is closed when there is something to see.
func (f *reading) look() (ready <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked = time.Now()
	if !f.running && f.life.Err() == nil {
		f.running, f.ready, f.changed, f.next, f.done, f.all = true, make(chan struct{}), make(chan struct{}), 0, 0, 0
		f.reset()
		f.wg.Go(f.run)
	}
	return f.ready
}

// run reads until nobody looks any more.
func (f *reading) run() {
	tick := time.NewTicker(f.every)
	defer tick.Stop()
	for first := true; ; first = false {
		if err := f.read(); err != nil && f.life.Err() == nil {
			f.log.Debug("the stream of summaries could not be read for the console", "error", err)
		}
		if first {
			close(f.ready)
		}
		select {
		case <-tick.C:
		case <-f.life.Done():
		}
		if f.ends() {
			return
		}
	}
}

// ends ends the reading when nobody looks any more.
func (f *reading) ends() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.life.Err() == nil && time.Since(f.looked) <= f.idle {
		return false
	}
	f.running = false
	f.reset()
	close(f.changed)
	f.changed = make(chan struct{})
	return true
}

// firstWithin bounds one reading.
const firstWithin = time.Minute

// read takes what the stream has beyond what is read.
func (f *reading) read() error {
	ctx, cancel := context.WithTimeout(f.life, firstWithin)
	defer cancel()
	stream, err := f.js.Stream(ctx, f.stream)
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	if f.next > state.LastSeq+1 || f.next == 0 { // the first time, or the stream was made anew
		f.next = max(state.FirstSeq, 1)
		if state.LastSeq > f.most {
			f.next = max(f.next, state.LastSeq-f.most+1)
		}
	}
	if f.next > state.LastSeq {
		return nil
	}
	began := f.next
	scan := natsd.Scan{Stream: f.stream, Subjects: f.subjects, From: began, Last: state.LastSeq}
	err = scan.Each(ctx, f.js, func(m *jetstream.RawStreamMsg) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.take(m)
		f.next = m.Sequence + 1
		f.done, f.all = m.Sequence-began+1, state.LastSeq-began+1
		return nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.next = state.LastSeq + 1
	}
	f.after()
	f.version++
	close(f.changed)
	f.changed = make(chan struct{})
	return err
}
