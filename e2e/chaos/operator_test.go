package chaos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/fake"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish"
)

const (
	// accountRoom is what the account may store, of one copy: some times what a run does.
	accountRoom = 64 << 20
	// fillWith is the size of a message that takes up room.
	fillWith = 900 << 10
	// foreign is how everything begins that the harness publishes in the service's place.
	foreign = "foreign "
	// deedWithin bounds one exchange of an operator with NATS.
	deedWithin = 5 * time.Second
)

// operators do what people do to a NATS server beside the service: each deed lasts for a while and is undone. A lone
// server also comes back with an older disk.
type operators struct {
	// kept are the messages of streams of summaries that were removed, in order.
	kept []jetstream.Msg
	// rolledBack are the times whose entries the log has lost.
	rolledBack []interval
	// removed counts how often the summaries were.
	removed int
	// going are the messages of one that is being removed.
	going []jetstream.Msg
	// disk is a copy of the lone server's; next is when the next step is due.
	disk  string
	taken time.Time
	next  time.Time
}

// interval is from when to when.
type interval struct{ from, to time.Time }

func (i interval) has(t time.Time) bool { return !t.Before(i.from) && !t.After(i.to) }

// intervention is something that an operator does.
type intervention struct {
	name string
	do   func(context.Context, *rand.Rand) error
	undo func(context.Context) error
}

// operate lets operators loose until the faults are over. What they cannot do, since the server is away, they leave.
func (c *chaos) operate() {
	rng := c.source(4, 0)
	deeds := c.deeds()
	for c.wait(c.soon(rng, time.Now()).Add(c.tempo.every)) {
		d := deeds[rng.IntN(len(deeds))]
		ctx, cancel := context.WithTimeout(c.t.Context(), deedWithin)
		err := d.do(ctx, rng)
		cancel()
		if err == nil {
			c.count("operator " + d.name)
		}
		if d.undo == nil {
			continue
		}
		c.wait(time.Now().Add(c.tempo.every/2 + within(rng, c.tempo.every)))
		c.insist(d.undo)
	}
	// An older disk may have brought back what was undone.
	for _, d := range deeds {
		if d.undo != nil {
			c.insist(d.undo)
		}
	}
}

// insist undoes something, and tries again while the server is away.
func (c *chaos) insist(undo func(context.Context) error) {
	for c.t.Context().Err() == nil {
		ctx, cancel := context.WithTimeout(c.t.Context(), deedWithin)
		err := undo(ctx)
		cancel()
		if err == nil {
			return
		}
		<-time.After(100 * time.Millisecond)
	}
}

func (c *chaos) deeds() []intervention {
	deeds := []intervention{
		{name: "publishes in its place", do: c.publishForeign},
		{name: "removes the summaries", do: c.removeSummaries, undo: c.remakeSummaries},
	}
	if len(c.nats) > 0 { // else the log and its queue are on the service's own disk
		deeds = append(deeds,
			intervention{name: "pauses the queue", do: c.pauseQueue, undo: c.resumeQueue},
			intervention{name: "fills the account", do: c.fillAccount, undo: c.emptyAccount})
	}
	return deeds
}

func (c *chaos) pauseQueue(ctx context.Context, _ *rand.Rand) error {
	_, err := c.js.PauseConsumer(ctx, "CALL_EVENTS", "legato", time.Now().Add(time.Minute))
	return err
}

func (c *chaos) resumeQueue(ctx context.Context) error {
	_, err := c.js.ResumeConsumer(ctx, "CALL_EVENTS", "legato")
	return err
}

// publishForeign publishes what is no message of Legato's, under the subjects of a call that goes on and as an event.
func (c *chaos) publishForeign(ctx context.Context, rng *rand.Rand) error {
	leg := c.ledger.someLeg(rng)
	subjects := []string{"calls.leg.completed._." + leg[0] + "." + leg[1], "calls.session.completed._." + leg[0]}
	if len(c.nats) > 0 { // else the server inside lets nobody
		subjects = append(subjects, "calls.event._.call.hangup", "calls.internal.check")
	}
	for _, subject := range subjects {
		if _, err := c.js.Publish(ctx, subject, []byte(foreign+subject)); err != nil {
			return err
		}
	}
	return nil
}

// someLeg is the session and the id of a leg that was played, drawn.
func (l *ledger) someLeg(rng *rand.Rand) [2]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.played) == 0 {
		return [2]string{"nobody", "nothing"}
	}
	return l.played[max(0, len(l.played)-1-rng.IntN(8))]
}

// removeSummaries seals the stream of the summaries, so that what it has can be read whole, and removes it.
func (c *chaos) removeSummaries(ctx context.Context, _ *rand.Rand) error {
	stream, err := c.js.Stream(ctx, "CALLS")
	if err != nil {
		return err
	}
	config := stream.CachedInfo().Config
	config.Sealed = true
	if _, err := c.js.UpdateStream(ctx, config); err != nil {
		return err
	}
	return c.takeAway(ctx)
}

// takeAway reads a sealed stream of summaries to its end and removes it.
func (c *chaos) takeAway(ctx context.Context) error {
	all, err := readAll(ctx, c.js, "CALLS")
	if err != nil {
		return err
	}
	c.ops.going = all
	if err := c.js.DeleteStream(ctx, "CALLS"); err != nil {
		return err // it may be removed all the same
	}
	c.tookAway()
	return nil
}

// tookAway keeps what was read of a stream that is removed.
func (c *chaos) tookAway() {
	c.ops.kept, c.ops.removed, c.ops.going = append(c.ops.kept, c.ops.going...), c.ops.removed+1, nil
}

func (c *chaos) remakeSummaries(ctx context.Context) error {
	stream, err := c.js.Stream(ctx, "CALLS")
	switch {
	case err != nil && !errors.Is(err, jetstream.ErrStreamNotFound):
		return err
	case err == nil && stream.CachedInfo().Config.Sealed:
		if err := c.takeAway(ctx); err != nil {
			return err
		}
	case c.ops.going != nil:
		c.tookAway() // the server was killed before it said so
	}
	_, err = natsd.Manage(ctx, c.js, c.layout, natsd.Limits{Replicas: max(1, len(c.nats)), Forward: true})
	return err
}

// readAll reads all messages of a stream.
func readAll(ctx context.Context, js jetstream.JetStream, name string) ([]jetstream.Msg, error) {
	stream, err := js.Stream(ctx, name)
	if err != nil {
		return nil, err
	}
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return nil, nil
	}
	consumer, err := js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return nil, err
	}
	defer messages.Stop()
	var all []jetstream.Msg
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return nil, err
		}
		meta, err := m.Metadata()
		if err != nil {
			return nil, err
		}
		if all = append(all, m); meta.Sequence.Stream >= state.LastSeq {
			return all, nil
		}
	}
}

// fillAccount takes up the account's storage to its end.
func (c *chaos) fillAccount(ctx context.Context, _ *rand.Rand) error {
	if _, err := c.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "FILL", Subjects: []string{"fill"}}); err != nil {
		return err
	}
	body := bytes.Repeat([]byte("x"), fillWith)
	for {
		_, err := c.js.Publish(ctx, "fill", body)
		if natsd.IsFull(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *chaos) emptyAccount(ctx context.Context) error {
	err := c.js.DeleteStream(ctx, "FILL")
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	return err
}

// account writes the configuration of the NATS servers: one account with room for a while.
func (c *chaos) account() string {
	c.t.Helper()
	path := filepath.Join(c.dir, "nats.conf")
	err := os.WriteFile(path, fmt.Appendf(nil, "accounts { A { users: [ { user: u, password: p } ], jetstream { max_file: %d } } }\nno_auth_user: u\n",
		accountRoom*c.setup.nats), 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	return path
}

// rollBack lets a lone server come back with the disk that it had some seconds before, once in a while. The copy is
// taken, and put back, while it is down. A run of an odd seed keeps its disk: a place in the log that has meant two
// events cannot be held against what the targets got.
func (c *chaos) rollBack(rng *rand.Rand, now time.Time) {
	c.t.Helper()
	if len(c.nats) != 1 || c.tempo.rollBack == 0 || c.seed%2 == 1 || now.Before(c.ops.next) || c.nats[0].condition != hostUp {
		return
	}
	first := c.ops.next.IsZero()
	c.ops.next = now.Add(c.tempo.every + within(rng, 2*c.tempo.every))
	if first {
		return
	}
	h, data := c.nats[0], filepath.Join(c.dir, "nats-data-0")
	c.buried(h, h.crash(now, 0))
	var err error
	if c.ops.disk == "" {
		c.ops.disk, c.ops.taken = filepath.Join(c.dir, fmt.Sprintf("nats-disk-%d", len(c.ops.rolledBack))), time.Now()
		err = os.CopyFS(c.ops.disk, os.DirFS(data))
	} else {
		c.count("nats rolled back")
		// What was acknowledged just before is answered, and noted, a moment later.
		c.ops.rolledBack = append(c.ops.rolledBack, interval{c.ops.taken, time.Now().Add(time.Second)})
		if err = os.RemoveAll(data); err == nil {
			err = os.Rename(c.ops.disk, data)
		}
		c.ops.disk, c.ops.next = "", now.Add(c.tempo.rollBack)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// removedSessions are those of which a summary stood in a stream that was removed.
func (o *operators) removedSessions() map[string]bool {
	removed := make(map[string]bool)
	for _, m := range o.kept {
		if k, ok := publish.ParseSubject(m.Subject()); ok {
			removed[k.Key.Session] = true
		}
	}
	return removed
}

// cameBack reports whether summaries of a session were removed, and something of it came after replicas may have let it
// go. Then one has only what came late, another, which was started since, all that is in the log, and nothing that is
// stored tells them what the call was.
func (c *chaos) cameBack(session string) bool {
	if !c.ops.removedSessions()[session] {
		return false
	}
	var at []time.Time
	for _, e := range c.ledger.sent {
		if e.Session == session && e.answered() {
			at = append(at, e.First, e.Last)
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	for i := range at {
		if i > 0 && at[i].Sub(at[i-1]) > c.tempo.amend-3*time.Second {
			return true
		}
	}
	return false
}

// mayBeLost reports whether all that was answered about an event is an entry that the log has lost with its end. A
// replica that was frozen meanwhile answers by what the server had told it before, once it reads that.
func (c *chaos) mayBeLost(e *sent) bool {
	for _, i := range c.ops.rolledBack {
		if frozen := c.frozenBetween(i.to, e.Last); frozen > 0 {
			i.to = i.to.Add(frozen + inHand)
		}
		if i.has(e.Last) {
			return true
		}
	}
	return false
}

// limiting answers some requests a second with the truth, and the others with 429.
func (a *statusAPI) limiting(w http.ResponseWriter, r *http.Request) {
	if a.bucket.Allow() {
		a.well.ServeHTTP(w, r)
		return
	}
	a.ill[fake.ReplyRateLimited].ServeHTTP(w, r)
}
