package console

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
)

// reading reads the stream of summaries as long as anybody looks, and forgets it when nobody does any more. All who look
// share it. What is there it reads by itself; of what is new a follower hands it its share.
type reading struct {
	*follower
	// subjects are the filters; none: everything.
	subjects []string
	// most bounds the messages that are read at first: the newest.
	most uint64
	// idle is how long nobody looks before reading ends, and within bounds the reading of what there is; zero: a minute.
	idle, within time.Duration
	// gently: what is there it reads with pauses for most of the time, as long as nobody waits for it.
	gently bool
	// reset forgets, take takes a message, after follows each time that something was read; mu is held.
	reset func()
	take  func(*jetstream.RawStreamMsg)
	after func()

	mu      sync.Mutex
	running bool
	ready   chan struct{} // closed when the first reading is through
	looked  time.Time     // when somebody last looked
	version uint64        // counts the changes
	changed chan struct{} // closed with the next
	next    uint64        // the first message that is not read yet
	first   uint64        // the first one that the stream has
	made    time.Time     // when the stream was made that is read
	took    bool          // something since it was last through
	err     error         // of the last reading
	waiting atomic.Int64  // for it to reach the end
	// done and all are how far the first reading is.
	done, all uint64
}

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

// run reads what there is, and leaves what comes to the follower.
func (f *reading) run() {
	defer f.follow(f)
	for first := true; ; first = false {
		err := f.read()
		if first {
			close(f.ready)
		}
		f.mu.Lock()
		unseen := f.unseen()
		f.mu.Unlock()
		if err == nil || unseen { // the follower ends it
			return
		}
		f.log.Debug("the stream of summaries could not be read for the console", "error", err)
		select {
		case <-time.After(followEvery):
		case <-f.life.Done():
		}
	}
}

// unseen reports whether nobody looks any more. f.mu is held.
func (f *reading) unseen() bool {
	return f.life.Err() != nil || time.Since(f.looked) > f.idle
}

// ends ends the reading when nobody looks any more.
func (f *reading) ends() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.unseen() {
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
	// followEvery is how often the stream is read for more. More seldom would be cheaper, and keep the processor from
	// webhooks for longer each time.
	followEvery = 200 * time.Millisecond
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
	stream, err := f.js.Stream(ctx, f.stream)
	if err != nil {
		f.through(0, err)
		return err
	}
	began, last := f.begin(stream.CachedInfo())
	if began <= last {
		pace := pace{ctx: ctx, reading: f, since: time.Now()}
		scan := natsd.Scan{Stream: f.stream, Subjects: f.subjects, From: began, Last: last}
		err = scan.Each(ctx, f.js, func(m *jetstream.RawStreamMsg) error {
			pace.step()
			f.hand(m, began, last)
			return nil
		})
	}
	f.through(last, err)
	return err
}

// hand hands it a message, unless it has it.
func (f *reading) hand(m *jetstream.RawStreamMsg, began, last uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.Sequence < f.next {
		return
	}
	f.take(m)
	f.took, f.next = true, m.Sequence+1
	f.done, f.all = m.Sequence-began+1, last-began+1
}

// through tells it that the stream was read to a place, or why it was not.
func (f *reading) through(last uint64, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err = err; err == nil {
		f.next = max(f.next, last+1)
	}
	if f.took {
		f.after()
		f.version++
	}
	f.took = false
	close(f.changed) // those who wait for the end look whether it is reached
	f.changed = make(chan struct{})
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

// follower reads what is new in the stream of summaries, once for all readings.
type follower struct {
	life   context.Context //nolint:containedctx // the console's, which it must not outlive
	js     jetstream.JetStream
	stream string
	log    *slog.Logger
	now    chan struct{} // has an element when somebody waits
	wg     sync.WaitGroup

	following sync.Mutex
	readings  []*reading

	// tail, the stream that it is of, and missed are followAll's: missed is the end of what did not come though the stream
	// has it.
	tail   natsd.Tail
	of     jetstream.Stream
	missed uint64
}

func (f *follower) wait() { f.wg.Wait() }

// follow takes in a reading that has read what there is.
func (f *follower) follow(r *reading) {
	f.following.Lock()
	defer f.following.Unlock()
	f.readings = append(f.readings, r)
	if len(f.readings) == 1 {
		f.wg.Go(f.followAll)
	}
}

// followAll reads until nobody looks any more.
func (f *follower) followAll() {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-f.now:
		case <-f.life.Done():
		}
		readings := f.wanted()
		if len(readings) == 0 {
			return
		}
		if err := f.readFor(readings); err != nil && f.life.Err() == nil {
			f.log.Debug("the stream of summaries could not be read for the console", "error", err)
		}
	}
}

// wanted are the readings that somebody looks at. Where there is none it has let go of the stream: the next reading
// begins to follow anew.
func (f *follower) wanted() []*reading {
	f.following.Lock()
	defer f.following.Unlock()
	f.readings = slices.DeleteFunc(f.readings, (*reading).ends)
	if len(f.readings) == 0 && f.of != nil {
		f.tail.End(f.life, f.of)
	}
	return slices.Clone(f.readings)
}

// readFor reads what is new for any of some readings.
func (f *follower) readFor(readings []*reading) error {
	ctx, cancel := context.WithTimeout(f.life, readingWithin)
	defer cancel()
	reached, err := f.readOn(ctx, readings)
	for _, r := range readings {
		r.through(reached, err)
	}
	return err
}

// readOn returns the last sequence to which everything is read.
func (f *follower) readOn(ctx context.Context, readings []*reading) (reached uint64, err error) {
	stream, err := f.js.Stream(ctx, f.stream)
	if err != nil {
		return 0, err
	}
	f.of = stream
	from, last := uint64(math.MaxUint64), uint64(0)
	for _, r := range readings {
		var began uint64
		began, last = r.begin(stream.CachedInfo())
		from = min(from, began)
	}
	if from > last {
		return last, nil
	}
	next, err := f.tail.Read(ctx, stream, from, last, func(m *jetstream.RawStreamMsg) {
		for _, r := range readings {
			r.hand(m, from, last)
		}
	})
	// What the stream has said that it has, and then does not bring, has been removed, or a server that is behind does not
	// have it yet. It is asked for once more.
	if err == nil && next <= last && f.missed != last {
		f.missed, last = last, next-1
	}
	return last, err
}
