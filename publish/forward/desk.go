package forward

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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

// NewDesk returns the desk of a deployment.
func NewDesk(js jetstream.JetStream, layout natsd.Layout) *Desk {
	return &Desk{cfg: &setup{Config: Config{JetStream: js, Layout: layout}}}
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
	if s.Waiting+s.Held == 0 {
		return nil
	}
	at, err := d.cfg.firstAbove(ctx, filters(info.Config), s.Floor)
	if err != nil {
		return fmt.Errorf("read the oldest event that %s waits for: %w", s.Name, err)
	}
	if !at.IsZero() { // else it has come to an end meanwhile
		s.Oldest = &at
	}
	return nil
}

// ErrNoTarget is the error of a look for a target that never was.
var ErrNoTarget = errors.New("no such target")

// Retry asks for one more attempt at each of the events, at a target, or at the only one where target is empty.
// It is made at once by whatever replica runs, whatever the time, but not when the application would command a leg
// that is over. It fails with ErrNoTarget and with ErrNoEvent, and then none is made; and when NATS cannot be asked, with
// how many are asked for all the same.
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
	asked := 0
	for chunk := range slices.Chunk(r.Refs, maxRefs) {
		if err := putLater(ctx, d.cfg, target, handClass, refs{chunk}); err != nil {
			return fmt.Errorf("%d of %d events are asked for: %w", asked, len(seqs), err)
		}
		asked += len(chunk)
	}
	return nil
}

// History is what is recorded of events: of each by its sequence, and of that by target.
type History map[uint64]map[string][]Attempt

// settled reports whether every event of which something is recorded has come to its end.
func (h History) settled() bool {
	for _, targets := range h {
		for _, attempts := range targets {
			if !slices.ContainsFunc(attempts, func(a Attempt) bool { return a.Result.Final() }) {
				return false
			}
		}
	}
	return true
}

// records are what was recorded since a time.
func (d *Desk) records(since time.Time, suffixes ...string) natsd.Scan {
	s := natsd.Scan{Stream: d.cfg.Layout.Forward, Since: since}
	for _, suffix := range suffixes {
		s.Subjects = append(s.Subjects, attemptsSubject(d.cfg.Layout.Prefix, "*")+suffix)
	}
	return s
}

// errSettled ends a look at what was recorded early: every event that was asked for has come to its end.
var errSettled = errors.New("settled")

// each hands what was recorded since a time, by target and with when it was stored, to do. What lacks is told of a
// record may be left out. complete is false where ctx ended first.
func (d *Desk) each(
	ctx context.Context, since time.Time, suffix string, lacks func(data []byte) bool, do func(target string, stored time.Time, all []Attempt) error,
) (complete bool, err error) {
	prefix := attemptsSubject(d.cfg.Layout.Prefix, "")
	err = d.records(since, suffix).Each(ctx, d.cfg.JetStream, func(m *jetstream.RawStreamMsg) error {
		var r record
		if lacks == nil || !lacks(m.Data) {
			_ = json.Unmarshal(m.Data, &r) // what cannot be read was never written by us
		}
		return do(strings.TrimSuffix(strings.TrimPrefix(m.Subject, prefix), suffix), m.Time, r.Attempts)
	})
	switch {
	case err == nil, errors.Is(err, errSettled), errors.Is(err, jetstream.ErrStreamNotFound):
		return true, nil
	case ctx.Err() != nil:
		return false, nil //nolint:nilerr // the caller's time is over; what is found so far is the answer
	default:
		return false, fmt.Errorf("read the attempts: %w", err)
	}
}

// Attempts reads the attempts at events, oldest first, from what was recorded since a time. Records are stored up to
// some 250 ms after their attempts. It reads to the end, or, where until is not zero, until then and as much longer
// as an event that was tried has not come to its end. complete is false where ctx ended first.
func (d *Desk) Attempts(ctx context.Context, since, until time.Time, events ...uint64) (found History, complete bool, err error) {
	found = make(History)
	wanted, marks := make(map[uint64]bool, len(events)), make([][]byte, len(events))
	for i, seq := range events {
		wanted[seq], marks[i] = true, []byte(`"seq":`+strconv.FormatUint(seq, 10)+",")
	}
	lacks := func(data []byte) bool { // decoding each would take as long as reading ten
		return len(marks) < 16 && !slices.ContainsFunc(marks, func(mark []byte) bool { return bytes.Contains(data, mark) })
	}
	take := func(target string, stored time.Time, all []Attempt) error {
		for _, a := range all {
			if !wanted[a.Seq] {
				continue
			}
			if found[a.Seq] == nil {
				found[a.Seq] = make(map[string][]Attempt)
			}
			found[a.Seq][target] = append(found[a.Seq][target], a)
		}
		if !until.IsZero() && stored.After(until) && found.settled() {
			return errSettled
		}
		return nil
	}
	// What is left of an old record is stored at any time later.
	complete, err = d.each(ctx, since, restSuffix, lacks, func(target string, _ time.Time, all []Attempt) error {
		return take(target, time.Time{}, all)
	})
	if complete {
		complete, err = d.each(ctx, since, "", lacks, take)
	}
	for _, targets := range found {
		for _, attempts := range targets {
			slices.SortStableFunc(attempts, func(a, b Attempt) int { return a.At.Compare(b.At) })
		}
	}
	return found, complete, err
}

// Undelivered is an event that has come to its end at a target without success, or has not come to it, by what is
// recorded of it.
type Undelivered struct {
	Target string
	// Attempt is the last one.
	Attempt
}

// Undelivered reads what was recorded since a time, and returns the events that no target has taken by the last that
// was recorded of them, oldest attempt first. complete is false where ctx ended first, or where there are more than
// most: then the oldest are left out.
func (d *Desk) Undelivered(ctx context.Context, since time.Time, most int) (all []Undelivered, complete bool, err error) {
	type place struct {
		target string
		seq    uint64
	}
	last, cut := make(map[place]Attempt), false
	newest := make(map[place]time.Time) // of what is left of records, which is stored behind what followed it
	take := func(target string, _ time.Time, attempts []Attempt) error {
		for _, a := range attempts {
			p := place{target, a.Seq}
			switch {
			case a.At.Before(newest[p]):
			case a.Result == Done:
				delete(last, p)
			default:
				last[p] = a
			}
			if len(last) <= 2*most {
				continue
			}
			cut = true
			for p, old := range last {
				if old.At.Before(a.At.Add(-time.Second)) && len(last) > most {
					delete(last, p)
				}
			}
		}
		return nil
	}
	complete, err = d.each(ctx, since, restSuffix, nil, func(target string, stored time.Time, attempts []Attempt) error {
		// What came after an older one may have been recorded before the time, and is not read then.
		attempts = slices.DeleteFunc(attempts, func(a Attempt) bool { return a.At.Before(since) || a.At.Before(newest[place{target, a.Seq}]) })
		for _, a := range attempts {
			newest[place{target, a.Seq}] = a.At
		}
		return take(target, stored, attempts)
	})
	if complete {
		complete, err = d.each(ctx, since, "", nil, take)
	}
	if err != nil {
		return nil, false, err
	}
	complete = complete && !cut
	for p, a := range last {
		all = append(all, Undelivered{p.target, a})
	}
	slices.SortFunc(all, func(a, b Undelivered) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Seq, b.Seq), strings.Compare(a.Target, b.Target))
	})
	if n := len(all) - most; n > 0 {
		all, complete = all[n:], false
	}
	return all, complete, nil
}

// restSuffix ends the subjects of what is left of records that Erase took something out of. Under the subject of the
// record itself it would look like what was recorded last.
const restSuffix = ".rest"

// Erase takes the attempts at events out of what is recorded, answers of applications with them, overwrites them where
// they are stored, and returns how many records had some; what else these tell is recorded anew. A dry run only counts.
func (d *Desk) Erase(ctx context.Context, events []uint64, dryRun bool) (int, error) {
	if len(events) == 0 {
		return 0, nil
	}
	return natsd.Erase(ctx, d.cfg.JetStream, d.records(time.Time{}, "", restSuffix), dryRun, func(m *jetstream.RawStreamMsg) (bool, error) {
		var r record
		if err := json.Unmarshal(m.Data, &r); err != nil {
			return false, nil //nolint:nilerr // never written by us
		}
		n := len(r.Attempts)
		r.Attempts = slices.DeleteFunc(r.Attempts, func(a Attempt) bool { return slices.Contains(events, a.Seq) })
		if len(r.Attempts) == n {
			return false, nil
		}
		if dryRun || len(r.Attempts) == 0 {
			return true, nil
		}
		body, err := json.Marshal(r)
		if err != nil {
			return false, fmt.Errorf("encode the rest of a record: %w", err)
		}
		_, err = d.cfg.JetStream.Publish(ctx, strings.TrimSuffix(m.Subject, restSuffix)+restSuffix, body)
		return err == nil, err
	})
}

// Event returns an event of the log, by the sequence that applications get as Legato-Event-Seq. It fails with ErrNoEvent
// when there is none, and when NATS cannot be asked.
func (d *Desk) Event(ctx context.Context, seq uint64) (call.Entry, error) {
	return readEntry(ctx, d.cfg, seq)
}
