package story

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/forward"
	"github.com/legato-calls/legato/publish/parked"
)

// Sources are where what is known about a call is read. They are safe for concurrent use.
type Sources struct {
	Log       *stream.Reader
	Summaries *publish.Publisher
	Parked    *parked.Store
	// Forwarding knows the attempts to hand events on. Nil: they are not told.
	Forwarding *forward.Desk
	// Rules and Decode fold the log's entries where no table has folded them.
	Rules  session.Rules
	Decode func(call.Entry) (call.Event, error)
	// Table is the live table of a running service, which is asked first. Nil outside of one.
	Table *session.Table
}

// Query is a question about one call.
type Query struct {
	// ID is of a session, of a leg, or a control id.
	ID string
	// Since bounds the search for a call of which no summary is stored, and of its parked messages.
	Since time.Time
	// Search allows looking through log and summaries for an id that neither the table nor a subject names.
	Search bool
	// MaxScanned bounds the entries of the log that are looked at, MaxScan the time; 0: all of them.
	MaxScanned int
	MaxScan    time.Duration
	// Progress is called with how many entries, or summaries, were looked at so far; nil: it is not wanted.
	Progress func(what string, n int)
}

var (
	// ErrUnknownCall means that nothing of the call was found where it was looked for.
	ErrUnknownCall = errors.New("no such call")
	// ErrInvalidID means that the text of a query cannot be an id.
	ErrInvalidID = errors.New("an id is 1 to 512 printable ASCII characters without spaces")
)

const (
	// maxEntries bounds what is read of one call: a busy call of four hours has some thousand.
	maxEntries = 5000
	// earlier allows for an entry that arrived before the one that the summary names as the first.
	earlier = time.Minute
)

// Story answers a query. It fails with ErrInvalidID, ErrUnknownCall, the error of ctx, or one of infrastructure.
func (s *Sources) Story(ctx context.Context, q Query) (Story, error) {
	if q.ID == "" || !call.ValidControl(q.ID) {
		return Story{}, ErrInvalidID
	}
	if q.Progress == nil {
		q.Progress = func(string, int) {}
	}
	l := &lookup{Sources: s, Query: q, known: Known{ID: q.ID, At: time.Now()}, heads: make(map[uint64]call.Entry)}
	l.table()
	if err := l.summaries(ctx); err != nil {
		return Story{}, err
	}
	if err := l.entries(ctx); err != nil {
		return Story{}, err
	}
	if err := l.control(ctx); err != nil {
		return Story{}, err
	}
	if l.known.Session == "" && len(l.known.Entries) == 0 {
		return Story{}, ErrUnknownCall
	}
	l.parked(ctx)
	told := Compose(l.known)
	s.forwarded(ctx, &told)
	return told, nil
}

// lookup answers one query.
type lookup struct {
	*Sources
	Query
	known Known
	// inTable: the live table knows the call.
	inTable bool
	// heads are entries that the scan has seen and that name the session, without their bodies, where the table knows it.
	heads map[uint64]call.Entry
}

// table takes what the live table knows.
func (l *lookup) table() {
	if l.Table == nil {
		return
	}
	for _, ref := range []call.Ref{{Session: call.SessionID(l.ID)}, {Leg: call.LegID(l.ID)}, {Control: call.ControlID(l.ID)}} {
		id := l.Table.Place(ref).Session
		if view, ok := l.Table.View(id); ok {
			l.inTable, l.known.Session, l.known.View, l.known.Schedule = true, id, view, l.Table.Schedule(id)
			return
		}
	}
}

// summaries reads the stored revisions. They may be what names the session.
func (l *lookup) summaries(ctx context.Context) error {
	k := &l.known
	if k.Session == "" && !call.ValidToken(k.ID) {
		return nil // a control id that no subject has
	}
	id := cmp.Or(string(k.Session), k.ID)
	var err error
	k.Summaries, err = l.Summaries.Revisions(ctx, id)
	switch {
	case err != nil && l.inTable:
		k.Remarks, k.Summaries = append(k.Remarks, "the summaries could not be read"), nil
	case err != nil:
		return err
	case len(k.Summaries) > 0:
		k.Session = call.SessionID(id)
	case k.Session == "":
		found, ok, err := l.Summaries.SessionOf(ctx, k.ID)
		return l.found(ctx, found, ok, err)
	}
	return nil
}

// found takes the session that a search among the summaries has found, and reads its summaries.
func (l *lookup) found(ctx context.Context, id string, ok bool, err error) error {
	if err != nil || !ok {
		return err
	}
	l.known.Session = call.SessionID(id)
	l.known.Summaries, err = l.Summaries.Revisions(ctx, id)
	return err
}

// entries reads those of the log, and folds them where no table has.
func (l *lookup) entries(ctx context.Context) error {
	k := &l.known
	if k.Session == "" && !l.Search {
		return nil
	}
	log, err := l.Log.Describe(ctx)
	if err != nil && !l.inTable {
		return err
	}
	finder := NewFinder(k.ID, k.Session)
	known := k.Session != ""
	err = l.scan(ctx, finder, l.beginning(l.inTable))
	if err == nil && !known && finder.Session() != "" {
		// Entries before the one that named the session may be about it as well: the log is read once more.
		if err = l.found(ctx, string(finder.Session()), true, nil); err == nil {
			err = l.scan(ctx, finder, l.beginning(false))
		}
	}
	k.Cut = errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
	if k.Read = err == nil; err != nil {
		if !l.inTable && len(k.Summaries) == 0 || ctx.Err() != nil && !l.inTable {
			return err
		}
		k.Remarks = append(k.Remarks, "the log was not read to its end: it is long, or could not be reached")
	}
	seqs := finder.Found()
	if l.inTable {
		// What came in since the table was read is not in the view.
		seqs = slices.DeleteFunc(seqs, func(seq uint64) bool { return seq > k.View.Position })
	}
	if len(seqs) > maxEntries {
		k.Read, seqs = false, seqs[:maxEntries]
		k.Remarks = append(k.Remarks, fmt.Sprintf("only the first %d entries of the log were read", maxEntries))
	}
	if k.Entries, err = l.read(ctx, seqs); err != nil {
		if !l.inTable && len(k.Summaries) == 0 {
			return err
		}
		k.Read = false
		k.Remarks = append(k.Remarks, "not all entries of the log could be read")
	}
	if !l.inTable {
		k.View, k.Schedule = Fold(log, k.Entries, k.Session, l.Rules, l.Decode)
		if k.Part = !k.Read; k.Part {
			k.Schedule = nil // what is to come by a part may have come
		}
	}
	return nil
}

// read returns the entries at these places. Of events that the table has folded the headers are enough, which the scan
// has seen: the body of each would cost a request.
func (l *lookup) read(ctx context.Context, seqs []uint64) ([]call.Entry, error) {
	entries := make([]call.Entry, 0, len(seqs))
	var whole []uint64
	for _, seq := range seqs {
		if head, ok := l.heads[seq]; ok && head.EventType() != "" {
			entries = append(entries, head)
		} else {
			whole = append(whole, seq)
		}
	}
	read, err := l.Log.Entries(ctx, whole)
	entries = append(entries, read...)
	slices.SortFunc(entries, func(a, b call.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	return entries, err
}

// beginning is where the entries of the call begin, as far as is known: by the view of the table, or by the summaries.
func (l *lookup) beginning(byView bool) stream.From {
	if byView {
		first := l.known.View.Epoch
		for _, leg := range l.known.View.Legs {
			for _, e := range leg.Events {
				first = min(first, e.Seq)
			}
		}
		return stream.From{Seq: first}
	}
	since := time.Time{}
	for _, s := range l.known.Summaries {
		if at := firstReceived(s); !at.IsZero() && (since.IsZero() || at.Before(since)) {
			since = at.Add(-earlier)
		}
	}
	if since.IsZero() {
		since = l.Since
	}
	return stream.From{Since: since}
}

// errEnough ends a scan before the end of the log.
var errEnough = errors.New("enough")

// scan passes the log's entries to the finder, within the bounds of the query.
func (l *lookup) scan(ctx context.Context, finder *Finder, from stream.From) error {
	if l.MaxScan > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, l.MaxScan)
		defer cancel()
	}
	n := 0
	err := l.Log.Scan(ctx, from, func(e call.Entry) error {
		n++
		l.Progress("entries of the log", n)
		if finder.Take(e) {
			return errEnough
		}
		if l.inTable && e.Ref.Session == l.known.Session && len(l.heads) < maxEntries {
			l.heads[e.Seq] = e
		}
		if l.MaxScanned > 0 && n == l.MaxScanned {
			return fmt.Errorf("%d entries of the log were looked at", n)
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// control looks through the summaries for a control id whose entries have left the log.
func (l *lookup) control(ctx context.Context) error {
	if !l.Search || l.known.Session != "" || len(l.known.Entries) > 0 {
		return nil
	}
	id, ok, err := l.Summaries.SessionByControl(ctx, l.ID, l.Since, func(n int) { l.Progress("summaries", n) })
	return l.found(ctx, id, ok, err)
}

// parked takes the parked messages about the call: those that were in the log. A webhook that could not be used names
// no call.
func (l *lookup) parked(ctx context.Context) {
	err := l.Parked.List(ctx, parked.Filter{Since: l.Since}, func(m parked.Message) error {
		if l.about(m.Ref) {
			l.known.Parked = append(l.known.Parked, Parked{
				Seq: m.Seq, At: m.At, Reason: m.Reason, Topic: m.Topic, LogSeq: m.Parked.Seq,
			})
		}
		return nil
	})
	if err != nil {
		l.known.Remarks = append(l.known.Remarks, "what is parked could not be looked through")
	}
}

// about reports whether a ref names the call.
func (l *lookup) about(r call.Ref) bool {
	if l.known.Session != "" && r.Session == l.known.Session {
		return true
	}
	return slices.ContainsFunc(l.known.View.Legs, func(leg session.LegView) bool {
		return r.Leg != "" && r.Leg == leg.ID || r.Leg == "" && r.Control != "" && r.Control == leg.Control
	})
}

// firstReceived is when the first event was received that a summary is made from; zero: it does not say.
func firstReceived(s summary.Stored) time.Time {
	var head struct {
		FirstReceivedAt *summary.Time `json:"first_received_at"`
	}
	if json.Unmarshal(s.Body, &head) != nil {
		return time.Time{}
	}
	return head.FirstReceivedAt.Known()
}

// Fold folds the entries of one call: it returns its view and what is due. The table gets no others, so what it
// decides from those (that nobody wrote the log for a while) is left out.
func Fold(log call.Log, entries []call.Entry, id call.SessionID, rules session.Rules, decode func(call.Entry) (call.Event, error)) (session.View, []session.Scheduled) {
	if len(entries) == 0 {
		return session.View{Log: log.ID, Position: log.Last}, nil
	}
	rules.Outage = 0 // between two entries of one call anything may lie
	table := session.New(session.Config{Rules: rules, Decode: decode})
	table.Restart(call.Log{ID: log.ID, First: entries[0].Seq, Last: entries[len(entries)-1].Seq})
	for _, e := range entries {
		table.Fold(e)
	}
	view, _ := table.View(id)
	view.Position = max(view.Position, log.Last)
	return view, table.Schedule(id)
}

// maxUnnamed bounds how many entries without a session are remembered in case their call is found: they are rare.
const maxUnnamed = 100_000

// Finder picks the entries of one call out of a log, by what their headers name. First, while the session is not
// known, it looks for an entry that names it (Session then returns it). Then the log must be read from its beginning
// again, and it collects.
type Finder struct {
	id      string
	session call.SessionID
	// legs and controls are those of the session; found are places in the log.
	legs     map[call.LegID]bool
	controls map[call.ControlID]bool
	found    []uint64
	unnamed  []unnamed
}

// unnamed is an entry that names no session.
type unnamed struct {
	seq uint64
	ref call.Ref
}

// NewFinder returns a finder for a call by the id of its session, of a leg, or a control id. Where the session is
// known the finder collects at once.
func NewFinder(id string, session call.SessionID) *Finder {
	return &Finder{
		id: id, session: session,
		legs: map[call.LegID]bool{}, controls: map[call.ControlID]bool{},
	}
}

// Session returns the session; empty: it is not known so far.
func (f *Finder) Session() call.SessionID { return f.session }

// Take takes the next entry, and reports whether it is the one that names the session.
func (f *Finder) Take(e call.Entry) (named bool) {
	switch {
	case f.session == "" && e.Ref.Session != "" && f.names(e.Ref):
		f.session = e.Ref.Session
		f.found, f.unnamed = nil, nil
		return true
	case f.session == "" && f.names(e.Ref):
		f.found = append(f.found, e.Seq)
	case f.session == "":
	case e.Ref.Session == f.session:
		f.found = append(f.found, e.Seq)
		if e.Ref.Leg != "" {
			f.legs[e.Ref.Leg] = true
		}
		if e.Ref.Control != "" {
			f.controls[e.Ref.Control] = true
		}
	case e.Ref.Session == "" && !e.Ref.Empty() && len(f.unnamed) < maxUnnamed:
		f.unnamed = append(f.unnamed, unnamed{e.Seq, e.Ref})
	}
	return false
}

func (f *Finder) names(r call.Ref) bool {
	return string(r.Session) == f.id || string(r.Leg) == f.id || string(r.Control) == f.id
}

// Found returns the places of the entries about the call, in order.
func (f *Finder) Found() []uint64 {
	found := slices.Clone(f.found)
	for _, u := range f.unnamed {
		// The most specific id that is stated decides, as in the fold.
		if u.ref.Leg != "" && f.legs[u.ref.Leg] || u.ref.Leg == "" && f.controls[u.ref.Control] {
			found = append(found, u.seq)
		}
	}
	slices.Sort(found)
	return found
}
