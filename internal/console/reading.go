package console

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
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
	// every is how often the stream is read for more, idle how long nobody looks before reading ends, and within bounds
	// the reading of what there is; zero: a minute.
	every, idle, within time.Duration
	// gently: it pauses for most of the time, as long as nobody waits for it.
	gently bool
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
	first   uint64        // the first one that the stream has
	made    time.Time     // when the stream was made that is read
	err     error         // of the last reading
	waiting atomic.Int64  // for it to reach the end
	now     chan struct{} // has an element when somebody waits; nil: nobody does
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
		case <-f.now:
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

const (
	// readingWithin bounds one reading where nothing else is said.
	readingWithin = time.Minute
	// Of a gentle reading, gentleShare is how much longer than it reads it pauses, each time that so many messages were
	// read, and gentleNap its longest pause: whoever begins to wait ends it.
	gentleShare, gentleMessages = 4, 500
	gentleNap                   = 100 * time.Millisecond
	// reachEvery is how often whoever waits is told how far it is.
	reachEvery = 200 * time.Millisecond
)

// reach waits until everything is read that the stream has when it is called. Its error is that of ctx, or of a reading
// that failed.
func (f *reading) reach(ctx context.Context, progress func(done, all uint64)) error {
	f.waiting.Add(1)
	defer f.waiting.Add(-1)
	f.look()
	stream, err := f.js.Stream(ctx, f.stream)
	if err != nil {
		return err
	}
	last := stream.CachedInfo().State.LastSeq
	for {
		f.mu.Lock()
		next, made, changed := f.next, f.made, f.changed
		progress(f.done, f.all)
		f.mu.Unlock()
		if next > last && made.Equal(stream.CachedInfo().Created) {
			return nil
		}
		select {
		case f.now <- struct{}{}:
		default:
		}
		select {
		case <-changed:
			f.mu.Lock()
			err := f.err
			f.mu.Unlock()
			if err != nil {
				return err
			}
		case <-time.After(reachEvery):
		case <-ctx.Done():
			return ctx.Err()
		case <-f.life.Done():
			return f.life.Err()
		}
	}
}

// read takes what the stream has beyond what is read.
func (f *reading) read() error {
	ctx, cancel := context.WithTimeout(f.life, cmp.Or(f.within, readingWithin))
	defer cancel()
	err := f.readOn(ctx)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err = err; err != nil {
		f.tell()
	}
	return err
}

// tell tells those who look that something has changed. f.mu is held.
func (f *reading) tell() {
	f.version++
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *reading) readOn(ctx context.Context) error {
	stream, err := f.js.Stream(ctx, f.stream)
	if err != nil {
		return err
	}
	began, last := f.begin(stream.CachedInfo())
	if began > last {
		return nil
	}
	scan := natsd.Scan{Stream: f.stream, Subjects: f.subjects, From: began, Last: last}
	pace := pace{ctx: ctx, reading: f, since: time.Now()}
	err = scan.Each(ctx, f.js, func(m *jetstream.RawStreamMsg) error {
		pace.step()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.take(m)
		f.next = m.Sequence + 1
		f.done, f.all = m.Sequence-began+1, last-began+1
		return nil
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		f.next = last + 1
	}
	f.after()
	f.tell()
	return err
}

// begin returns the first and the last sequence to read. A stream that was made anew is read from its beginning.
func (f *reading) begin(info *jetstream.StreamInfo) (began, last uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	state := info.State
	if f.next > state.LastSeq+1 || !f.made.Equal(info.Created) {
		if f.next > 0 {
			f.reset()
		}
		f.next = 0
	}
	f.made, f.first = info.Created, state.FirstSeq
	if f.next == 0 {
		f.next = max(state.FirstSeq, 1)
		if state.LastSeq > f.most {
			f.next = max(f.next, state.LastSeq-f.most+1)
		}
	}
	return f.next, state.LastSeq
}

// pace has a gentle reading pause now and then.
type pace struct {
	*reading
	ctx   context.Context //nolint:containedctx // that of one reading
	since time.Time
	n     int
}

// step is called for each message.
func (p *pace) step() {
	if p.n++; !p.gently || p.n%gentleMessages != 0 {
		return
	}
	for worked := time.Since(p.since); worked > 0 && p.waiting.Load() == 0; {
		nap := min(gentleShare*worked, gentleNap)
		select {
		case <-time.After(nap):
		case <-p.ctx.Done():
			return
		}
		worked -= nap / gentleShare
	}
	p.since = time.Now()
}
