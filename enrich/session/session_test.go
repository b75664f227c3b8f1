package session_test

import (
	"encoding/json"
	"slices"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rules are the defaults of the service.
var rules = session.Rules{
	SessionSettle: 5 * time.Second,
	StatusWindow:  10 * time.Minute,
	SweepAfter:    5 * time.Minute,
	AmendWindow:   15 * time.Minute,
}

const (
	// legLife is how long after its last sign of life a leg is given up.
	legLife = 4*time.Hour + 15*time.Minute
	// lastAttempt is when asking ends, counted from the end of a leg.
	lastAttempt = 11 * time.Minute
)

// tape is a log and the table that follows it. Entries are stamped with the
// time at which they are recorded, so inside a bubble of synctest time is free.
type tape struct {
	tb      failer
	table   *session.Table
	log     []call.Entry
	before  uint64 // entries that were recorded and are not in log any more
	events  []call.Event
	changed []call.SessionID
	bad     []error
	// ahead is how far the log's clock is before this machine's.
	ahead time.Duration
	// rules are those of the service, less what only some tests want: outages and backfills.
	rules session.Rules
}

func newTape(tb testing.TB) *tape {
	tb.Helper()
	return newTapeOf(tb)
}

// failer is what tests, benchmarks and properties have in common.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func newTapeOf(tb failer) *tape {
	tp := &tape{tb: tb, rules: rules}
	tp.table = tp.newTable()
	tp.table.Restart(call.Log{ID: "first epoch", First: 1})
	return tp
}

// newTable returns another table for the same log, not following it yet.
func (tp *tape) newTable() *session.Table { return session.New(tp.config()) }

func (tp *tape) config() session.Config {
	return session.Config{
		Rules: tp.rules,
		// The wire format does not matter here: a body is the number of an event.
		Decode: func(e call.Entry) (call.Event, error) {
			i, err := strconv.Atoi(string(e.Data))
			if err != nil {
				return call.Event{}, err
			}
			return tp.events[i], nil
		},
		Changed:  func(id call.SessionID) { tp.changed = append(tp.changed, id) },
		Unusable: func(_ call.Entry, err error) { tp.bad = append(tp.bad, err) },
		Read:     tp.read,
		Unreadable: func(err error) {
			tp.tb.Fatalf("a packed session: %v", err)
		},
	}
}

// read returns entries of the log, as those who open a packed session want them.
func (tp *tape) read(seqs []uint64) (entries []*call.Entry, err error) {
	for _, seq := range seqs {
		e := tp.log[seq-tp.before-1]
		entries = append(entries, &e)
	}
	return entries, nil
}

// replay returns a table that was started now and has read the whole log.
func (tp *tape) replay() *session.Table {
	table := tp.newTable()
	tp.follow(table)
	return table
}

// follow hands the whole log to a table.
func (tp *tape) follow(table *session.Table) {
	table.Restart(call.Log{ID: "first epoch", First: 1, Last: uint64(len(tp.log))})
	var all []*call.Entry
	for i := range tp.log {
		all = append(all, &tp.log[i])
	}
	table.Skim(all)
	wants := table.Skimmed()
	table.FoldAll(slices.DeleteFunc(all, func(e *call.Entry) bool { return wants != nil && !wants(e.Seq) }))
}

// last is the sequence of the last entry.
func (tp *tape) last() uint64 { return tp.before + uint64(len(tp.log)) }

func (tp *tape) fold(e call.Entry) uint64 {
	tp.log = append(tp.log, e)
	e.Seq, e.ReceivedAt = tp.last(), time.Now().Add(tp.ahead).UTC()
	tp.log[len(tp.log)-1] = e
	tp.table.Fold(e)
	return e.Seq
}

// event records a webhook.
func (tp *tape) event(ev call.Event) uint64 {
	tp.events = append(tp.events, ev)
	if ev.ID == "" {
		tp.events[len(tp.events)-1].ID = "event-" + strconv.Itoa(len(tp.events))
	}
	return tp.fold(call.Entry{
		Topic: call.TopicEvent + ev.Type, Ref: ev.Ref, Attempt: ev.Attempt,
		Data: []byte(strconv.Itoa(len(tp.events) - 1)),
	})
}

// says records a webhook of a type that occurs now.
func (tp *tape) says(typ string, ref call.Ref) uint64 {
	return tp.event(call.Event{Type: typ, Ref: ref, OccurredAt: time.Now().UTC()})
}

// answer records a status answer about a leg.
func (tp *tape) answer(ref call.Ref, a session.Answer) uint64 {
	a.Session, a.Leg, a.Control, a.Connection = ref.Session, ref.Leg, ref.Control, ref.Connection
	if a.FetchedAt.IsZero() {
		a.FetchedAt = time.Now().UTC()
	}
	return tp.fold(call.Entry{Topic: call.TopicStatus, ID: a.ID(), Ref: ref, Data: encode(tp.tb, a)})
}

// check records a check.
func (tp *tape) check(c session.Check) uint64 {
	return tp.fold(call.Entry{Topic: call.TopicCheck, ID: c.ID(), Ref: c.Ref(), Data: encode(tp.tb, c)})
}

// backfilled records what came of an attempt to complete a leg.
func (tp *tape) backfilled(ref call.Ref, r session.Backfill) uint64 {
	r.Session, r.Leg = ref.Session, ref.Leg
	return tp.fold(call.Entry{Topic: call.TopicBackfill, ID: r.ID(), Ref: ref, Data: encode(tp.tb, r)})
}

// probe records an entry that says nothing but the time.
func (tp *tape) probe() uint64 { return tp.fold(call.Entry{Topic: call.TopicHeartbeat}) }

// due returns what is due now, without recording it.
func (tp *tape) due() []session.Check {
	checks, _, _ := tp.table.Due(100)
	return checks
}

// dueAt is a check and when it became due.
type dueAt struct {
	session.Check
	at time.Time
}

// run records what becomes due, at once, until a time; do, if any, is called after each.
func (tp *tape) run(until time.Time, do func(session.Check)) []dueAt {
	var all []dueAt
	for {
		checks, wait, _ := tp.table.Due(100)
		for _, c := range checks {
			all = append(all, dueAt{c, time.Now()})
			tp.check(c)
			if do != nil {
				do(c)
			}
		}
		if len(checks) > 0 {
			continue
		}
		left := time.Until(until)
		if left <= 0 {
			return all
		}
		pass(min(max(wait, time.Millisecond), left))
	}
}

func (tp *tape) view(id call.SessionID) session.View {
	tp.tb.Helper()
	v, ok := tp.table.View(id)
	if !ok {
		tp.tb.Fatalf("session %s is not known", id)
	}
	return v
}

func (tp *tape) leg(ref call.Ref) session.LegView {
	tp.tb.Helper()
	v := tp.view(ref.Session)
	l, ok := v.Leg(ref.Leg)
	if !ok {
		tp.tb.Fatalf("leg %s is not known", ref.Leg)
	}
	return *l
}

func encode(tb failer, body any) []byte {
	tb.Helper()
	data, err := json.Marshal(body)
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

// ref names leg n of session "s".
func ref(n int) call.Ref {
	i := strconv.Itoa(n)
	return call.Ref{Session: "s", Leg: call.LegID("leg-" + i), Control: call.ControlID("v3:" + i), Connection: "1494404757140276705"}
}

// Answers of the status API.

func alive(attempt int) session.Answer {
	return session.Answer{Answer: status.Answer{Attempt: attempt, Result: status.Answered, IsAlive: new(true)}}
}

// dead is an answer "not alive" that states no end.
func dead(attempt int) session.Answer {
	return session.Answer{Answer: status.Answer{Attempt: attempt, Result: status.Answered, IsAlive: new(false)}}
}

func ended(attempt int) session.Answer {
	a := dead(attempt)
	a.EndTime = time.Now().UTC()
	return a
}

func notFound(attempt int, proven bool) session.Answer {
	return session.Answer{Answer: status.Answer{Attempt: attempt, Result: status.NotFound, HTTPStatus: 404}, Proven: proven}
}

func unreachable(attempt int) session.Answer {
	return session.Answer{Answer: status.Answer{Attempt: attempt, Result: status.Unreachable, Problem: status.ProblemTimeout}}
}

// kinds are the kinds of checks, in order.
func kinds(checks []session.Check) []session.CheckKind {
	var all []session.CheckKind
	for _, c := range checks {
		all = append(all, c.Kind)
	}
	return all
}

func encodeJSON(body any) ([]byte, error) { return json.Marshal(body) }

// pass lets virtual time pass: every test that calls it runs in a bubble of synctest.
func pass(d time.Duration) { <-time.After(d) }
