package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/story"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/parked"
)

// Asker collects what is known about one call.
type Asker struct {
	Log    *journal.Reader
	Calls  *publish.Publisher
	Parked *parked.Store
	Rules  session.Rules
	Decode func(call.Entry) (call.Event, error)
	// table is the live table of a running service, which is asked first. Nil outside of one.
	table *session.Table
}

// Question is what somebody wants to know.
type Question struct {
	// id is of a session, of a leg, or a control id.
	ID string
	// since bounds the search for a call of which no summary is stored, and of its parked messages.
	Since time.Time
	// search tells that log and summaries may be looked through for an id that nobody knows at once.
	Search bool
	// mostScanned bounds the entries of the log that are looked at, scanWithin the time; 0: all of them.
	mostScanned int
	scanWithin  time.Duration
	// seen is told how many entries, or summaries, were looked at; nil: nobody is.
	Seen func(what string, n int)
}

var (
	// ErrUnknownCall says that nothing of it was found where it was looked for.
	ErrUnknownCall = errors.New("no such call")
	// errBadID: it can be no id.
	errBadID = errors.New("an id is 1 to 512 printable ASCII characters without spaces")
)

const (
	// mostEntries bounds what is read of one call: a busy call of four hours has some thousand.
	mostEntries = 5000
	// earlier allows for an entry that arrived before the one that the summary names as the first.
	earlier = time.Minute
)

// Ask answers. It fails with errBadID, errUnknownCall, the error of ctx, or one of infrastructure.
func (a *Asker) Ask(ctx context.Context, q Question) (story.Story, error) {
	if q.ID == "" || !call.ValidControl(q.ID) {
		return story.Story{}, errBadID
	}
	k := story.Known{ID: q.ID, At: time.Now()}
	remembered := a.remember(&k)
	if err := a.summaries(ctx, &k, remembered); err != nil {
		return story.Story{}, err
	}
	if err := a.entries(ctx, &k, q, remembered); err != nil {
		return story.Story{}, err
	}
	if k.Session == "" && q.Search && len(k.Entries) == 0 {
		if err := a.byControl(ctx, &k, q); err != nil {
			return story.Story{}, err
		}
	}
	if k.Session == "" && len(k.Entries) == 0 {
		return story.Story{}, ErrUnknownCall
	}
	a.parked(ctx, &k, q)
	return story.Compose(k), nil
}

// remember takes what the live table knows, and reports whether it does.
func (a *Asker) remember(k *story.Known) bool {
	if a.table == nil {
		return false
	}
	id := call.SessionID(k.ID)
	view, ok := a.table.View(id)
	for _, ref := range []call.Ref{{Leg: call.LegID(k.ID)}, {Control: call.ControlID(k.ID)}} {
		if ok {
			break
		}
		if id = a.table.Place(ref).Session; id != "" {
			view, ok = a.table.View(id)
		}
	}
	if ok {
		k.Session, k.View, k.Plan = id, view, a.table.Plan(id)
	}
	return ok
}

// summaries reads the stored revisions, through which the session may become known.
func (a *Asker) summaries(ctx context.Context, k *story.Known, remembered bool) (err error) {
	if k.Session == "" && !call.ValidToken(k.ID) {
		return nil // a control id that no subject has
	}
	of := string(k.Session)
	if of == "" {
		of = k.ID
	}
	if k.Summaries, err = a.Calls.Revisions(ctx, of); err != nil {
		if remembered {
			k.Remarks, k.Summaries = append(k.Remarks, "the summaries could not be read"), nil
			return nil
		}
		return err
	}
	switch {
	case len(k.Summaries) > 0:
		k.Session = call.SessionID(of)
	case k.Session == "":
		found, ok, err := a.Calls.SessionOf(ctx, k.ID)
		if err != nil || !ok {
			return err
		}
		k.Session = call.SessionID(found)
		k.Summaries, err = a.Calls.Revisions(ctx, found)
		return err
	}
	return nil
}

// errEnough ends a scan that has looked at as much as it may.
var errEnough = errors.New("enough")

// entries reads those of the log, and folds them where no table has.
func (a *Asker) entries(ctx context.Context, k *story.Known, q Question, remembered bool) error {
	if k.Session == "" && !q.Search {
		return nil
	}
	log, err := a.Log.Describe(ctx)
	if err != nil && !remembered {
		return err
	}
	finder := story.NewFinder(k.ID, k.Session)
	known := k.Session != ""
	err = a.scan(ctx, finder, beginning(k, q, remembered), q)
	if err == nil && !known && finder.Session() != "" {
		k.Session = finder.Session()
		// Now it is known which entries to look for, also those before that told it.
		if k.Summaries, err = a.Calls.Revisions(ctx, string(k.Session)); err == nil {
			err = a.scan(ctx, finder, beginning(k, q, false), q)
		}
	}
	if k.Read = err == nil; err != nil {
		if !remembered && len(k.Summaries) == 0 || ctx.Err() != nil && !remembered {
			return err
		}
		k.Remarks = append(k.Remarks, "the log was not read to its end: it is long, or could not be reached")
	}
	seqs := finder.Found()
	if remembered {
		// What came in since the table was looked at is not in the view.
		seqs = slices.DeleteFunc(seqs, func(seq uint64) bool { return seq > k.View.Position })
	}
	if len(seqs) > mostEntries {
		k.Read, seqs = false, seqs[:mostEntries]
		k.Remarks = append(k.Remarks, fmt.Sprintf("only the first %d entries of the log were read", mostEntries))
	}
	if k.Entries, err = a.Log.Entries(ctx, seqs); err != nil {
		if !remembered && len(k.Summaries) == 0 {
			return err
		}
		k.Read = false
		k.Remarks = append(k.Remarks, "not all entries of the log could be read")
	}
	if !remembered {
		k.View, k.Plan = story.Fold(log, k.Entries, k.Session, a.Rules, a.Decode)
	}
	return nil
}

// beginning is where the entries of a call begin, as far as is known.
func beginning(k *story.Known, q Question, remembered bool) journal.From {
	if remembered {
		first := k.View.Life
		for _, leg := range k.View.Legs {
			for _, e := range leg.Events {
				first = min(first, e.Seq)
			}
		}
		return journal.From{Seq: first}
	}
	since := time.Time{}
	for _, s := range k.Summaries {
		if at := firstReceived(s); !at.IsZero() && (since.IsZero() || at.Before(since)) {
			since = at.Add(-earlier)
		}
	}
	if since.IsZero() {
		since = q.Since
	}
	return journal.From{Since: since}
}

// scan lets the finder look at the log, within the bounds of the question.
func (a *Asker) scan(ctx context.Context, finder *story.Finder, from journal.From, q Question) error {
	if q.scanWithin > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.scanWithin)
		defer cancel()
	}
	n := 0
	err := a.Log.Scan(ctx, from, func(e call.Entry) error {
		if n++; q.Seen != nil {
			q.Seen("entries of the log", n)
		}
		if finder.Take(e) {
			return errEnough
		}
		if q.mostScanned > 0 && n == q.mostScanned {
			return fmt.Errorf("%d entries of the log were looked at", n)
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// byControl looks through the summaries for a control id whose entries have left the log.
func (a *Asker) byControl(ctx context.Context, k *story.Known, q Question) error {
	found, ok, err := a.Calls.SessionByControl(ctx, k.ID, q.Since, func(n int) {
		if q.Seen != nil {
			q.Seen("summaries", n)
		}
	})
	if err != nil || !ok {
		return err
	}
	k.Session = call.SessionID(found)
	k.Summaries, err = a.Calls.Revisions(ctx, found)
	return err
}

// parked takes what can be told to be about the call: input that was in the log. Of a webhook that could not be
// used nobody knows whose it is.
func (a *Asker) parked(ctx context.Context, k *story.Known, q Question) {
	about := func(r call.Ref) bool {
		if k.Session != "" && r.Session == k.Session {
			return true
		}
		for i := range k.View.Legs {
			leg := &k.View.Legs[i]
			if r.Leg != "" && r.Leg == leg.ID || r.Leg == "" && r.Control != "" && r.Control == leg.Control {
				return true
			}
		}
		return false
	}
	err := a.Parked.List(ctx, parked.Filter{Since: q.Since}, func(kept parked.Message) error {
		if about(kept.Ref) {
			k.Parked = append(k.Parked, story.Parked{
				Seq: kept.Seq, At: kept.At, Reason: kept.Reason, Topic: kept.Topic, LogSeq: kept.Parked.Seq,
			})
		}
		return nil
	})
	if err != nil {
		k.Remarks = append(k.Remarks, "what is parked could not be looked through")
	}
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
