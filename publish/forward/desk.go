package forward

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

// Metadata of a target's consumers, by which whoever has only NATS knows the targets.
const (
	metaTarget = "legato.target"
	metaURL    = "legato.url"
	metaMode   = "legato.mode"
)

func metadata(t Target) map[string]string {
	return map[string]string{metaTarget: t.Name, metaURL: t.Where(), metaMode: string(t.Mode)}
}

// Desk looks at forwarding from outside, over NATS alone: the service need not be the same process, nor run.
type Desk struct {
	cfg *setup
}

// NewDesk returns the desk of a deployment. entry is that of Config.
func NewDesk(js jetstream.JetStream, layout natsd.Layout, entry func(string, nats.Header) call.Entry) *Desk {
	return &Desk{cfg: &setup{Config: Config{JetStream: js, Layout: layout, Entry: entry}}}
}

// State is how far a target is.
type State struct {
	// Name, URL (without what may be secret in it) and Mode are those of the target, as the service last ran.
	Name string `json:"name"`
	URL  string `json:"url"`
	Mode Mode   `json:"mode"`
	// Floor is the sequence up to which every event is through, but for what is set aside. In proxy mode there is none.
	Floor uint64 `json:"floor,omitempty"`
	// Waiting events are not handed out yet, Held ones are and are not through. SetAside counts messages of up to
	// 256 events that are tried later.
	Waiting  uint64 `json:"waiting"`
	Held     uint64 `json:"held"`
	SetAside uint64 `json:"set_aside"`
	// Oldest is when the first event above the floor was received. Nil: nothing waits.
	Oldest *time.Time `json:"oldest,omitempty"`
	// Dead tells that the target did not answer when an attempt was last recorded.
	Dead bool `json:"dead"`
	// Last are the attempts recorded last, newest first, at most ten.
	Last []Attempt `json:"last,omitempty"`
}

// maxLast bounds State.Last.
const maxLast = 10

// List returns the state of every target that ever was, by name. It fails when the streams cannot be read.
func (d *Desk) List(ctx context.Context) ([]State, error) {
	stream, err := d.cfg.JetStream.Stream(ctx, d.cfg.Layout.Forward)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil // nothing was ever forwarded
	}
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", d.cfg.Layout.Forward, err)
	}
	states := make(map[string]*State)
	lister := stream.ListConsumers(ctx)
	for info := range lister.Info() {
		m := info.Config.Metadata
		name := m[metaTarget]
		if name == "" {
			continue
		}
		s := states[name]
		if s == nil {
			s = &State{Name: name}
			states[name] = s
		}
		s.URL, s.Mode = m[metaURL], Mode(m[metaMode])
		s.SetAside += info.NumPending + uint64(max(info.NumAckPending, 0))
	}
	if err := lister.Err(); err != nil {
		return nil, fmt.Errorf("list the targets: %w", err)
	}
	all := make([]State, 0, len(states))
	for _, s := range states {
		if err := d.complete(ctx, stream, s); err != nil {
			return nil, err
		}
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b State) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func (d *Desk) complete(ctx context.Context, forward jetstream.Stream, s *State) error {
	m, err := forward.GetLastMsgForSubject(ctx, attemptsSubject(d.cfg.Layout.Prefix, s.Name))
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
	case err != nil:
		return fmt.Errorf("read the last attempts at %s: %w", s.Name, err)
	default:
		var r record
		if err := json.Unmarshal(m.Data, &r); err != nil {
			return fmt.Errorf("read the last attempts at %s: %w", s.Name, err)
		}
		s.Dead = r.Dead
		slices.Reverse(r.Attempts)
		s.Last = r.Attempts[:min(len(r.Attempts), maxLast)]
	}
	consumer, err := d.cfg.JetStream.Consumer(ctx, d.cfg.Layout.Events, consumerName(s.Name))
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil // in proxy mode from the first
	}
	if err != nil {
		return fmt.Errorf("look at the place of %s: %w", s.Name, err)
	}
	info := consumer.CachedInfo()
	s.Floor, s.Waiting, s.Held = info.AckFloor.Stream, info.NumPending, uint64(max(info.NumAckPending, 0))
	if s.Waiting+s.Held > 0 {
		return d.oldest(ctx, s)
	}
	return nil
}

func (d *Desk) oldest(ctx context.Context, s *State) error {
	stream, err := d.cfg.events(ctx)
	if err != nil {
		return err
	}
	m, err := stream.GetMsg(ctx, s.Floor+1, jetstream.WithGetMsgSubject(d.cfg.Layout.Prefix+".event.>"))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // it has come to an end meanwhile
	}
	if err != nil {
		return fmt.Errorf("read the oldest event that %s waits for: %w", s.Name, err)
	}
	at := m.Time.UTC()
	s.Oldest = &at
	return nil
}

// ErrNoTarget is the error of a look for a target that never was.
var ErrNoTarget = errors.New("no such target")

// Retry asks for one more attempt at each of the events, at a target, or at the only one where target is empty.
// It is made at once by whatever replica runs, whatever the time, but not when the application would command a leg
// that is over. It fails with ErrNoTarget, with ErrNoEvent, and when NATS cannot be asked; then none is made.
func (d *Desk) Retry(ctx context.Context, target string, seqs ...uint64) error {
	states, err := d.List(ctx)
	if err != nil {
		return err
	}
	if target == "" {
		if len(states) != 1 {
			return fmt.Errorf("%w: there are %d; name one", ErrNoTarget, len(states))
		}
		target = states[0].Name
	}
	if !slices.ContainsFunc(states, func(s State) bool { return s.Name == target }) {
		return fmt.Errorf("%w: %.40q", ErrNoTarget, target)
	}
	var r refs
	for _, seq := range seqs {
		e, err := readEntry(ctx, d.cfg, seq)
		if err != nil {
			return err
		}
		r.Refs = append(r.Refs, ref{Seq: seq, At: e.ReceivedAt.UnixMilli()})
	}
	for chunk := range slices.Chunk(r.Refs, maxRefs) {
		if err := putLater(ctx, d.cfg, target, handClass, refs{chunk}); err != nil {
			return err
		}
	}
	return nil
}

// History is what is recorded of an event, by target.
type History map[string][]Attempt

// Attempts reads the attempts at an event since it was received, oldest first. Records are stored up to some
// 250 ms after their attempts. It reads until ctx ends, or all is read; then complete is true.
func (d *Desk) Attempts(ctx context.Context, seq uint64, since time.Time) (found History, complete bool, err error) {
	consumer, err := d.cfg.JetStream.OrderedConsumer(ctx, d.cfg.Layout.Forward, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{attemptsSubject(d.cfg.Layout.Prefix, "*")},
		DeliverPolicy:  jetstream.DeliverByStartTimePolicy, OptStartTime: &since,
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the attempts at event %d: %w", seq, err)
	}
	found = make(History)
	mark := []byte(`"seq":` + strconv.FormatUint(seq, 10) + ",")
	prefix := attemptsSubject(d.cfg.Layout.Prefix, "")
	for {
		batch, err := consumer.FetchNoWait(prefetch)
		if err != nil {
			return found, false, fmt.Errorf("read the attempts at event %d: %w", seq, err)
		}
		more := false
		for m := range batch.Messages() {
			more = true
			if !bytes.Contains(m.Data(), mark) {
				continue // decoding each would take as long as reading ten
			}
			var r record
			if err := json.Unmarshal(m.Data(), &r); err != nil {
				continue // never written by us
			}
			for _, a := range r.Attempts {
				if a.Seq == seq {
					target := strings.TrimPrefix(m.Subject(), prefix)
					found[target] = append(found[target], a)
				}
			}
		}
		switch {
		case ctx.Err() != nil:
			return found, false, nil //nolint:nilerr // the caller's time is over; what is found so far is the answer
		case batch.Error() != nil && !errors.Is(batch.Error(), nats.ErrTimeout):
			return found, false, fmt.Errorf("read the attempts at event %d: %w", seq, batch.Error())
		case !more:
			return found, true, nil
		}
	}
}
