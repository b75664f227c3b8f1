package console

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/story"
)

const (
	// callScan and callScanned bound the search of the log for the entries of a call, quickScan that for a page that is
	// shown at once: what memory and summaries do not have is put in when it is found.
	callScan    = 2 * time.Second
	callScanned = 500_000
	quickScan   = 60 * time.Millisecond
	// callPart are the rows of the ladder that are laid out together; the style sheet knows their height.
	callPart = 100
	// callSince bounds the search for what is parked of it.
	callSince = 24 * time.Hour
)

// callPage is one call.
type callPage struct {
	*story.Story
	// Of is its newest summary, LegsOf those of its legs by id. Nil, none: none is stored.
	Of     *summary.Session
	LegsOf map[string]*summary.Leg
	// Parts are the rows of the ladder, so many each: a browser lays out those only that are seen.
	Parts iter.Seq[[]story.Row]
	// Trace is the id of the trace of its last entry, and TraceURL where it is to be seen. Empty: it was not traced, or
	// that is not known.
	Trace, TraceURL string
	// Rest is where the same is to be had with what the log has, if it was not looked through. Empty: it was.
	Rest string
	// Revealed: nothing is masked.
	Revealed bool
	Doubts   []doubt
}

// doubt is a reason not to believe a summary as it stands.
type doubt struct {
	// Leg is the letter of the leg. Empty: the session.
	Leg, Text string
}

// showCall shows one call, by the id of its session, of a leg, or a control id.
func (c *Console) showCall(r *http.Request) (view, error) {
	id, within := r.PathValue("session"), callScan
	if r.Method == http.MethodGet && !r.URL.Query().Has(wholeWord) {
		within = c.cfg.Quick
	}
	told, err := c.cfg.Sources.Story(r.Context(), story.Query{
		ID: id, Since: time.Now().Add(-callSince), MaxScan: within, MaxScanned: callScanned,
	})
	if err != nil {
		return view{}, unknown(err)
	}
	if told.CallSessionID != "" && told.CallSessionID != id && r.Method == http.MethodGet {
		return view{}, redirect("/calls/" + told.CallSessionID)
	}
	p := callPage{Story: &told, LegsOf: make(map[string]*summary.Leg)}
	if told.Cut && within < callScan {
		p.Rest = "/calls/" + url.PathEscape(id) + "?" + wholeWord + "=1"
	}
	if p.Revealed, err = c.revealed(r, "a call", slog.String("session", told.CallSessionID)); err != nil {
		return view{}, err
	}
	if err := c.newest(r.Context(), &p); err != nil {
		return view{}, err
	}
	p.doubts()
	if !p.Revealed {
		told.Mask()
		p.mask()
	}
	p.Parts = slices.Chunk(told.Rows(), callPart)
	trace := c.cfg.Sources.Table.Place(call.Ref{Session: call.SessionID(told.CallSessionID)}).Trace
	if parts := strings.Split(trace, "-"); len(parts) == 4 {
		p.Trace, p.TraceURL = parts[1], strings.ReplaceAll(c.cfg.TraceURL, traceMark, url.PathEscape(parts[1]))
	}
	return view{template: "call", Title: "Call " + shortened(told.CallSessionID), Data: &p}, nil
}

// wholeWord asks for a call with all that the log has of it.
const wholeWord = "whole"

// traceMark stands for the id of a trace.
const traceMark = "{trace}"

// CheckTraceURL fails when an address of traces cannot be one: it is of the web, and has {trace} in it. Empty: there is
// none.
func CheckTraceURL(address string) error {
	if address == "" {
		return nil
	}
	at, err := url.Parse(strings.ReplaceAll(address, traceMark, "0"))
	if err != nil || at.Scheme != "http" && at.Scheme != "https" || at.Host == "" || !strings.Contains(address, traceMark) {
		return errors.New("it must be an address of the web with {trace} in it, as https://traces.example.com/trace/{trace}")
	}
	return nil
}

// unknown makes of what a look for a call fails with what a reader is told.
func unknown(err error) error {
	switch {
	case errors.Is(err, story.ErrUnknownCall):
		return problem{http.StatusNotFound, "Nothing is known of a call of this id: neither a live call nor a stored summary has it. Find looks through log and summaries for a control id."}
	case errors.Is(err, story.ErrInvalidID):
		return problem{http.StatusBadRequest, "This cannot be an id: " + story.ErrInvalidID.Error() + "."}
	}
	return err
}

// newest reads the newest summaries of a call.
func (c *Console) newest(ctx context.Context, p *callPage) error {
	if !call.ValidToken(p.CallSessionID) {
		return nil
	}
	all, err := c.cfg.Sources.Summaries.Revisions(ctx, p.CallSessionID)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Key.Kind == summary.KindSession {
			p.Of = new(summary.Session)
			err = json.Unmarshal(s.Body, p.Of)
		} else {
			leg := new(summary.Leg)
			err = json.Unmarshal(s.Body, leg)
			p.LegsOf[s.Key.Leg] = leg
		}
		if err != nil {
			return fmt.Errorf("read summary %d: %w", s.Seq, err)
		}
	}
	return nil
}

// mask hides what the page shows of the summaries.
func (p *callPage) mask() {
	if p.Of != nil {
		p.Of.From, p.Of.To, p.Of.FinalTo = story.Masked(p.Of.From), story.Masked(p.Of.To), story.Masked(p.Of.FinalTo)
	}
	for _, l := range p.LegsOf {
		l.CallerName = story.Masked(l.CallerName)
		for i := range l.Tags {
			l.Tags[i] = hidden
		}
		l.Headers, l.ClientStateText = nil, ""
		for i := range l.Recordings {
			l.Recordings[i].URLs = nil
		}
	}
}

// doubts collects what is doubtful about the call.
func (p *callPage) doubts() {
	for i, l := range p.Legs {
		name := story.Name(i)
		for _, typ := range l.Lacks {
			p.Doubts = append(p.Doubts, doubt{name, strings.TrimPrefix(typ, "call.") + " is missing"})
		}
		of := p.LegsOf[l.CallLegID]
		if of == nil {
			continue
		}
		for _, n := range of.Notes {
			if !slices.Contains([]summary.Note{summary.NoteAnsweredMissing, summary.NoteHangupMissing, summary.NoteInitiatedMissing}, n) {
				p.Doubts = append(p.Doubts, doubt{name, strings.ReplaceAll(string(n), "_", " ")})
			}
		}
		for _, d := range of.Discrepancies {
			p.Doubts = append(p.Doubts, doubt{name, fmt.Sprintf("%s: the status says %+.1f s against the webhook", d.Field, float64(d.DifferenceSeconds))})
		}
		if state := of.Status.State; state != summary.StatusConfirmed {
			p.Doubts = append(p.Doubts, doubt{name, "status " + strings.ReplaceAll(string(state), "_", " ")})
		}
		if len(of.UnreadFields) > 0 {
			p.Doubts = append(p.Doubts, doubt{name, "not read: " + strings.Join(of.UnreadFields, ", ")})
		}
	}
}

// LetterOf is what the ladder calls a leg.
func (p *callPage) LetterOf(id string) string {
	if i := slices.IndexFunc(p.Legs, func(l story.Leg) bool { return l.CallLegID == id }); i >= 0 {
		return story.Name(i)
	}
	return "session"
}

// bodyPage is an entry of the log, or a revision, with its body.
type bodyPage struct {
	// Session is the call that it is of. Empty: it is of none that is known.
	Session string
	// Path is the page's own, for the form that reveals it.
	Path, Heading string
	Facts         [][2]string
	Body          string
	Cut, Revealed bool
	// Changes are those against the revision before. HasBefore: there is one.
	Changes   []change
	HasBefore bool
}

// showEntry shows an entry of the log with its body.
func (c *Console) showEntry(r *http.Request) (view, error) {
	session, seq, err := pathOf(r)
	if err != nil {
		return view{}, err
	}
	entries, err := c.cfg.Sources.Log.Entries(r.Context(), []uint64{seq})
	if err != nil {
		return view{}, err
	}
	// An entry of another call must not be seen under this one's name.
	if len(entries) == 0 || !c.isOf(entries[0].Ref, session) {
		return view{}, problem{http.StatusNotFound, "The log has no such entry of this call, or not any more. What is known of it stands in the summaries."}
	}
	e := entries[0]
	p := bodyPage{Session: session, Path: r.URL.Path, Heading: cmp.Or(e.EventType(), strings.TrimPrefix(e.Topic, "internal."))}
	if p.Revealed, err = c.revealed(r, "an entry of the log", slog.String("session", session), slog.Uint64("seq", seq)); err != nil {
		return view{}, err
	}
	p.Body, p.Cut = drawBody(e.Data, p.Revealed)
	p.Facts = facts(
		"place in the log", strconv.FormatUint(seq, 10), "received", e.ReceivedAt.Format(time.RFC3339Nano), "id", e.ID,
		"attempt", number(e.Attempt), "leg", string(e.Ref.Leg), "control id", string(e.Ref.Control), "connection", string(e.Ref.Connection),
		"signed at", e.Timestamp, "trace", e.Trace,
	)
	return view{template: "body", Title: p.Heading, Data: &p}, nil
}

// isOf reports whether a ref is of a call, as far as it says.
func (c *Console) isOf(ref call.Ref, session string) bool {
	if ref.Session != "" {
		return string(ref.Session) == session
	}
	of := c.cfg.Sources.Table.Place(ref).Session
	return !ref.Empty() && (of == "" || string(of) == session)
}

// showRevision shows a revision: what it changed, and the whole.
func (c *Console) showRevision(r *http.Request) (view, error) {
	session, seq, err := pathOf(r)
	if err != nil {
		return view{}, err
	}
	all, err := c.cfg.Sources.Summaries.Revisions(r.Context(), session)
	if errors.Is(err, summary.ErrInvalid) {
		return view{}, problem{http.StatusBadRequest, "This cannot be the id of a session."}
	}
	if err != nil {
		return view{}, err
	}
	i := slices.IndexFunc(all, func(s summary.Stored) bool { return s.Seq == seq })
	if i < 0 {
		return view{}, problem{http.StatusNotFound, "There is no such revision of this call, or not any more."}
	}
	s := all[i]
	p := bodyPage{Session: session, Path: r.URL.Path, Heading: fmt.Sprintf("Revision %d of the %s", s.Revision, s.Key.Kind)}
	if p.Revealed, err = c.revealed(r, "a summary", slog.String("session", session), slog.Uint64("seq", seq)); err != nil {
		return view{}, err
	}
	p.Body, p.Cut = drawBody(s.Body, p.Revealed)
	p.Facts = facts(
		"published", s.PublishedAt.Format(time.RFC3339Nano), "leg", s.Key.Leg, "folded to", strconv.FormatUint(s.Position.Seq, 10),
		"place in the stream", strconv.FormatUint(s.Seq, 10),
	)
	for j := i - 1; j >= 0; j-- {
		if all[j].Key == s.Key {
			p.HasBefore, p.Changes = true, differences(all[j].Body, s.Body, p.Revealed)
			break
		}
	}
	return view{template: "body", Title: p.Heading, Data: &p}, nil
}

// facts pairs names with values, and leaves out those that are empty.
func facts(pairs ...string) (all [][2]string) {
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			all = append(all, [2]string{pairs[i], pairs[i+1]})
		}
	}
	return all
}

// number is a number that is worth saying.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// pathOf reads the ids in the path of an entry or a revision.
func pathOf(r *http.Request) (session string, seq uint64, err error) {
	seq, err = strconv.ParseUint(r.PathValue("seq"), 10, 64)
	if err != nil || seq == 0 {
		return "", 0, problem{http.StatusBadRequest, "A place is a number from 1."}
	}
	return r.PathValue("session"), seq, nil
}

// cell is a cell of the ladder with where its lines lead.
type cell struct {
	story.Cell
	session string
}

// CellOf is the cell of a row in a leg, -1: in the session. Nil: nothing happened there.
func (p *callPage) CellOf(r story.Row, leg int) *cell {
	for _, c := range r.Cells {
		if c.Leg == leg {
			return &cell{c, p.CallSessionID}
		}
	}
	return nil
}

// link is a line of a cell. Path is empty where there is nothing to see.
type link struct{ Path, Kind, Marks, Text string }

// Link says where a line leads, and what is to be seen of it at once.
func (c *cell) Link(i story.Item, text string) link {
	l := link{Kind: string(i.Kind), Text: text}
	switch {
	case i.Published != nil:
		l.Path = fmt.Sprintf("/calls/%s/revisions/%d", c.session, i.Published.Seq)
	case i.Seq > 0:
		l.Path = fmt.Sprintf("/calls/%s/entries/%d", c.session, i.Seq)
	}
	if e := i.Event; e != nil {
		if e.LateSeconds > 0 {
			l.Marks += " late"
		}
		if e.Backfill {
			l.Marks += " filled"
		}
	}
	return l
}
