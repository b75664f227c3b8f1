package journal

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

// Names of the limits that room is kept against: labels of legato_storage_fill_ratio, and in errors.
const (
	limitLogBytes        = "log_bytes"
	limitLogMessages     = "log_messages"
	limitSummaryBytes    = "summaries_bytes"
	limitSummaryMessages = "summaries_messages"
	limitAccount         = "account"
	limitDisk            = "disk"
)

var limitNames = []string{limitLogBytes, limitLogMessages, limitSummaryBytes, limitSummaryMessages, limitAccount, limitDisk}

const (
	// reservedPart of the log's size, one eighth at least, is kept for the calls that are on their way.
	reservedPart = 8
	// messageBytes is what a message counts where a limit is one of messages: less than any takes, so that what is
	// taken between two looks is counted on the safe side.
	messageBytes = 512
	// legMessages are the messages of a leg that begins: its later webhooks and Legato's own entries in the log, and
	// two revisions of its summary and its session's.
	legMessages, legSummaries = 8, 4
	// legBytes is what a leg that begins still takes of the log and of the summaries: measured, 2.2 KB of webhooks and
	// 1.7 KB of Legato's own entries in the one; in the other two revisions of the leg and of its session.
	legBytes, legSummaryBytes = 4 << 10, 16 << 10
	// leastDisk of the disk stays free: nats-server does not write again after it has run full.
	leastDisk = 64 << 20
	// storageEvery is how often the account's storage is asked for where the server does not tell it: a user without
	// the permission to ask gets no answer, and an error at each try.
	storageEvery = 10 * time.Minute
)

// precedence is who may use what part of the reserve. Each share is what is kept of it.
type precedence struct{ kept float64 }

var (
	// firstRefused begins what must be finished, or can wait: calls, repairs, heartbeats, sweeps.
	firstRefused = precedence{1}
	// later webhooks of calls that are on their way.
	laterEvents = precedence{0.75}
	// answers about legs that are over: the fold learns them without the log.
	answers = precedence{0.5}
	// hangups end calls, so that they are finished and leave the log, and Telnyx repeats them for a minute only.
	hangups = precedence{0.25}
	// settling and expiry let a session be finished and forgotten.
	finishing = precedence{0}
)

// precedenceOf tells what part of the reserve an entry may use.
func precedenceOf(e *call.Entry) precedence {
	switch {
	case e.Backfill, e.Sweep, e.Topic == call.TopicHeartbeat, e.Topic == call.TopicBackfill:
		return firstRefused
	case e.Topic == call.TopicStatus:
		return answers
	case e.Topic == call.TopicCheck:
		return checkPrecedence(e.ID)
	case e.EventType() == call.TypeInitiated:
		return firstRefused
	case e.EventType() == call.TypeHangup:
		return hangups
	}
	return laterEvents
}

// checkPrecedence goes by the id of a check, which begins with its kind: its body is not this package's business.
func checkPrecedence(id string) precedence {
	switch {
	case strings.HasPrefix(id, "check/settle/"), strings.HasPrefix(id, "check/expire/"), strings.HasPrefix(id, "check/close/"):
		return finishing
	case strings.HasPrefix(id, "check/repair/"):
		return firstRefused
	}
	return answers
}

// limit is one bound of the storage when it was last looked at, in bytes of one copy.
type limit struct {
	name      string
	used, max int64
	// least is kept free whatever is needed, need is what the calls that are not finished take of it.
	least int64
	need  func(call.Need) int64
	// perLeg is what a leg that begins adds to the need.
	perLeg int64
}

func (l *limit) fill() float64 { return float64(l.used) / float64(max(l.max, 1)) }

// What calls need of a limit.
func needLog(n call.Need) int64             { return n.Log }
func needSummaries(n call.Need) int64       { return n.Summaries }
func needBoth(n call.Need) int64            { return n.Log + n.Summaries }
func needLogMessages(n call.Need) int64     { return n.Legs * legMessages * messageBytes }
func needSummaryMessages(n call.Need) int64 { return n.Legs * legSummaries * messageBytes }

// room is how much the storage still takes.
type room struct {
	mu     sync.Mutex // guards limits and need
	limits []limit
	need   call.Need

	// taken are the bytes that were stored since the last look, begun the legs since the need was last said.
	taken, begun atomic.Int64
	// refused holds back what the server has just refused for want of room, though all limits that are known have
	// some: a client cannot read a server's own limit.
	refused natsd.Breaker
	// scarce: what begins a call is refused.
	scarce atomic.Bool
	// lacked is the limit for which something was refused since the last look. Nil: nothing was.
	lacked atomic.Pointer[string]

	storageAt time.Time // when the account's storage may be asked for again
	// since is when what begins a call was first refused, said when that was last told.
	since, said time.Time
}

// admit refuses what the rest of the tightest limit is not kept for.
func (r *room) admit(e *call.Entry) error {
	if name := r.lacks(precedenceOf(e)); name != "" {
		r.lacked.Store(&name)
		return fmt.Errorf("%w: the rest (%s) is kept for calls that are on their way", ErrFull, name)
	}
	return r.refused.Allow()
}

// lacks returns the name of a limit that has no room for what has a precedence, empty when all have.
func (r *room) lacks(p precedence) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken, begun := r.taken.Load(), r.begun.Load()
	for i := range r.limits {
		l := &r.limits[i]
		kept := int64(p.kept * float64(max(l.need(r.need)+begun*l.perLeg, l.least)))
		if l.max-l.used-taken-kept <= 0 {
			return l.name
		}
	}
	return ""
}

// take counts what was stored since the last look.
func (r *room) take(e *call.Entry) {
	r.taken.Add(MessageSize(e))
	if e.EventType() == call.TypeInitiated {
		r.begun.Add(1)
	}
}

// Reserve says what the calls that are not finished will still take, and reports whether what begins a call is
// refused to keep that free.
func (a *Appender) Reserve(n call.Need) (scarce bool) {
	a.room.mu.Lock()
	a.room.need = n
	a.room.begun.Store(0)
	a.room.mu.Unlock()
	return a.room.scarce.Load()
}

// Refuses tells which limit keeps the log from taking what begins a call, and whether it takes no webhook at all any
// more. Empty: none does.
func (a *Appender) Refuses() (limit string, all bool) {
	if limit = a.room.lacks(firstRefused); limit != "" {
		return limit, a.room.lacks(hangups) != ""
	}
	if a.room.refused.Open() != nil {
		return "unknown to Legato", true
	}
	return "", false
}

// Fill returns how full each limit that is known was when it was last looked at, from 0 to 1, by the name that
// legato_storage_fill_ratio has for it.
func (a *Appender) Fill() map[string]float64 {
	a.room.mu.Lock()
	defer a.room.mu.Unlock()
	fill := make(map[string]float64, len(a.room.limits))
	for i := range a.room.limits {
		fill[a.room.limits[i].name] = a.room.limits[i].fill()
	}
	return fill
}

// measure looks at every limit that bounds what can be stored. info is that of the log, and counted what was taken before
// it was asked for: what was stored since then may stand in no figure.
func (a *Appender) measure(ctx context.Context, info *jetstream.StreamInfo, counted int64) {
	r := &a.room
	var limits []limit
	add := func(l limit) {
		if l.max > 0 {
			limits = append(limits, l)
		}
	}
	log := info.Config
	add(limit{limitLogBytes, int64(info.State.Bytes), log.MaxBytes, log.MaxBytes / reservedPart, needLog, legBytes})
	add(limit{
		limitLogMessages, int64(info.State.Msgs) * messageBytes, log.MaxMsgs * messageBytes, log.MaxMsgs * messageBytes / reservedPart,
		needLogMessages, legMessages * messageBytes,
	})
	if calls, err := a.summaries(ctx); err == nil && calls != nil {
		c := calls.Config
		add(limit{limitSummaryBytes, int64(calls.State.Bytes), c.MaxBytes, 0, needSummaries, legSummaryBytes})
		add(limit{
			limitSummaryMessages, int64(calls.State.Msgs) * messageBytes, c.MaxMsgs * messageBytes, 0,
			needSummaryMessages, legSummaries * messageBytes,
		})
	}
	if s, ok := a.storage(ctx, log.Replicas); ok {
		maximum := s.Max / int64(max(log.Replicas, 1))
		add(limit{limitAccount, s.Used / int64(max(log.Replicas, 1)), maximum, maximum / reservedPart, needBoth, legBytes + legSummaryBytes})
	}
	if a.cfg.Disk != nil {
		if free, err := a.cfg.Disk(); err == nil {
			// What the streams have taken is theirs: the limit is what is left.
			used := int64(info.State.Bytes)
			limits = append(limits, limit{limitDisk, used, used + max(free-leastDisk, 0), 0, needBoth, legBytes + legSummaryBytes})
		}
	}
	r.mu.Lock()
	r.limits = limits
	r.taken.Add(-counted)
	r.mu.Unlock()
	a.tellRoom(limits)
}

// summaries looks at the stream of summaries; nil where there is none.
func (a *Appender) summaries(ctx context.Context) (*jetstream.StreamInfo, error) {
	if a.cfg.Summaries == "" {
		return nil, nil
	}
	stream, err := a.js.Stream(ctx, a.cfg.Summaries)
	if err != nil {
		return nil, fmt.Errorf("look at stream %s: %w", a.cfg.Summaries, err)
	}
	return stream.CachedInfo(), nil
}

// storage looks at the account's storage; false where it has no limit or the server does not tell.
func (a *Appender) storage(ctx context.Context, copies int) (natsd.AccountStorage, bool) {
	if time.Now().Before(a.room.storageAt) {
		return natsd.AccountStorage{}, false
	}
	s, err := natsd.LookUpStorage(ctx, a.js, copies)
	switch {
	case err != nil && a.js.Conn().IsConnected():
		a.room.storageAt = time.Now().Add(storageEvery)
		a.log.Warn("the account's storage cannot be asked for: its limit is not known until it is reached", "error", err)
		return s, false
	case err != nil:
		return s, false
	}
	return s, s.Max > 0
}

// tellRoom tells metrics and operators how much room there is.
func (a *Appender) tellRoom(limits []limit) {
	for _, name := range limitNames {
		fill := 0.0
		for i := range limits {
			if limits[i].name == name {
				fill = limits[i].fill()
			}
		}
		a.Metrics.storage.WithLabelValues(name).Set(fill)
	}
	name, all := a.Refuses()
	if lacked := a.room.lacked.Swap(nil); name == "" && lacked != nil {
		name = *lacked // by the estimate between two looks, which this look does not bear out
	}
	scarce, now := name != "", time.Now()
	refusing := 0.0
	if scarce {
		refusing = 1
	}
	a.Metrics.refusing.Set(refusing)
	was := a.room.scarce.Swap(scarce)
	if scarce && !was {
		a.room.since, a.room.said = now, time.Time{}
	}
	switch {
	case scarce && now.Sub(a.room.said) >= sayEvery:
		a.room.said = now
		a.log.Error("there is hardly any room left: webhooks that begin a call are refused",
			"limit", name, "refuses_all", all)
	case was && !scarce:
		a.log.Info("there is room again: the log takes all webhooks", "after", now.Sub(a.room.since).Round(time.Second).String())
	}
}
