package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nuid"
	"golang.org/x/time/rate"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

const (
	// beatEvery is how often a replica says in the log what its settings are and what time it has.
	beatEvery = time.Minute
	// metWithin is how long ago another replica may have said so to count as running.
	metWithin = 3 * beatEvery
	// clockOff is how far the log's clock may be from this machine's: appends take up to some seconds.
	clockOff = 30 * time.Second
)

// beat is the body of a heartbeat.
type beat struct {
	// Replica names a process.
	Replica string `json:"replica"`
	// At is when it was appended, by the replica's own clock.
	At time.Time `json:"at"`
	// Settings are digests of those that must be the same on all replicas, by flag. Empty: they were said lately.
	Settings map[string]string `json:"settings,omitempty"`
}

// peers learns from the heartbeats in the log what other replicas are set to, and whether the log's clock is right.
type peers struct {
	self     string
	settings map[string]string
	log      *slog.Logger
	// live reports whether the log has been read to its end: what is read before is of replicas that may have ended.
	live func() bool

	mu      sync.Mutex
	differs map[string]difference
	said    map[string]bool // sets of settings that were warned of
	strange bool            // a replica came that was not known, and wants to know the settings of this one
	skew    time.Duration
	skewAt  time.Time
	skewed  rate.Sometimes
}

// difference is how another replica is set otherwise, and when it last said so.
type difference struct {
	settings []string
	at       time.Time
}

func newPeers(settings map[string]string, live func() bool, log *slog.Logger) *peers {
	return &peers{
		self: nuid.Next(), settings: settings, live: live, log: log, differs: make(map[string]difference), said: make(map[string]bool),
		skewed: rate.Sometimes{Interval: sayEvery},
	}
}

// entry is a heartbeat of this replica, with its settings or without.
func (p *peers) entry(settings bool) call.Entry {
	b := beat{Replica: p.self, At: time.Now().UTC()}
	if settings {
		b.Settings = p.settings
		p.mu.Lock()
		p.strange = false
		p.mu.Unlock()
	}
	body, err := json.Marshal(b)
	if err != nil {
		body = nil // texts and a time always marshal
	}
	return call.Entry{Topic: call.TopicHeartbeat, Data: body}
}

// wanted reports whether another replica came that has not heard the settings of this one.
func (p *peers) wanted() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.strange
}

// note takes an entry of the log.
func (p *peers) note(e *call.Entry) {
	if e.Topic != call.TopicHeartbeat || len(e.Data) == 0 || !p.live() {
		return
	}
	var b beat
	if json.Unmarshal(e.Data, &b) != nil {
		return // of a version that says it otherwise
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case b.Replica == p.self:
		p.noteClock(e.ReceivedAt.Sub(b.At))
	case len(b.Settings) > 0:
		p.compare(&b)
	}
}

// noteClock takes how far the log's clock is ahead of this machine's.
func (p *peers) noteClock(ahead time.Duration) {
	p.skew, p.skewAt = ahead, time.Now()
	if ahead.Abs() >= clockOff {
		p.skewed.Do(func() {
			p.log.Warn("the log's clock differs from this machine's; check the clocks of the NATS servers and of this machine",
				"ahead", ahead.Round(time.Second).String())
		})
	}
}

// compare holds the settings of another replica against those of this one. Names are told, and never values.
func (p *peers) compare(b *beat) {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(p.settings)) {
		// What another version does not know it does not state.
		if other, stated := b.Settings[name]; stated && other != p.settings[name] {
			names = append(names, name)
		}
	}
	_, known := p.differs[b.Replica]
	p.strange = p.strange || !known
	p.differs[b.Replica] = difference{names, time.Now()}
	maps.DeleteFunc(p.differs, func(_ string, d difference) bool { return time.Since(d.at) > metWithin })
	if key := strings.Join(names, " "); len(names) > 0 && !p.said[key] {
		p.said[key] = true
		p.log.Warn("another replica has other settings; they must be the same, or replicas revise each other's work", "settings", names)
	}
}

// warnings are what is wrong at present.
func (p *peers) warnings() (found []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	names := make(map[string]bool)
	for _, d := range p.differs {
		for _, name := range d.settings {
			if time.Since(d.at) < metWithin {
				names[name] = true
			}
		}
	}
	if len(names) > 0 {
		found = append(found, "replicas have different settings: "+strings.Join(slices.Sorted(maps.Keys(names)), ", "))
	}
	if p.skew.Abs() >= clockOff && time.Since(p.skewAt) < metWithin {
		side := "ahead of"
		if p.skew < 0 {
			side = "behind"
		}
		found = append(found, fmt.Sprintf("the log's clock is %v %s this machine's", p.skew.Abs().Round(time.Second), side))
	}
	return found
}

// observed is a table that follows the log, beside which heartbeats are read.
type observed struct {
	*session.Table
	peers *peers
}

// Fold implements journal.Follower.
func (o observed) Fold(e call.Entry) {
	o.Table.Fold(e)
	o.peers.note(&e)
}

// FoldAll implements journal.BatchFollower.
func (o observed) FoldAll(entries []*call.Entry) {
	o.Table.FoldAll(entries)
	for _, e := range entries {
		o.peers.note(e)
	}
}

// follow folds the log until ctx ends.
func (s *Service) follow(ctx context.Context) error {
	return ended(s.journal.Follow(ctx, observed{s.worker.Table(), s.peers}))
}

// digests are what replicas compare: those of the settings that must be the same on all of them. They are short: who
// reads the log learns from them whether two are equal, and no value.
func (s *Settings) digests() map[string]string {
	all := map[string]any{
		"--include": slices.Sorted(slices.Values(s.Include)), "--telnyx-base-url": s.TelnyxBaseURL,
		"--settle": s.Settle, "--session-settle": s.SessionSettle, "--status-deadline": s.StatusDeadline,
		"--status-window": s.StatusWindow, "--sweep-after": s.SweepAfter, "--amend-window": s.AmendWindow,
		"--gap-repair": s.GapRepair, "--gap-repair-after": s.GapRepairAfter,
		"--events-max-age": s.EventsMaxAge, "--events-max-bytes": s.EventsMaxBytes,
		"--calls-max-age": s.CallsMaxAge, "--calls-max-bytes": s.CallsMaxBytes, "--nats-replicas": s.NATSReplicas,
		"--forward": slices.Sorted(slices.Values(s.Forward)), "--forward-mode": slices.Sorted(slices.Values(s.ForwardMode)),
		"--forward-only": slices.Sorted(slices.Values(s.ForwardOnly)), "--forward-for": s.ForwardFor,
		"--forward-reports-for": s.ForwardReportsFor, "--forward-backfill": s.ForwardBackfill,
	}
	found := make(map[string]string, len(all))
	for name, value := range all {
		sum := sha256.Sum256(fmt.Append(nil, name, "\x00", value))
		found[name] = hex.EncodeToString(sum[:3])
	}
	return found
}
