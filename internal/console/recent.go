package console

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/publish"
)

const (
	// recentMessages are read of the stream of summaries when somebody first looks, and recentCalls are kept.
	recentMessages = 10_000
	recentCalls    = 2000
	// recentShown is the longest list.
	recentShown = 50
	// recentEvery is how often a list is drawn while it is looked at.
	recentEvery = 2 * time.Second
	// recentIdle is how long nobody looks before reading ends.
	recentIdle = time.Minute
	// recentPatience bounds the wait of a page for the first reading.
	recentPatience = 3 * time.Second
	// streamWrite bounds the writing of a page, and of one part of a stream: a reader that is slower is gone.
	streamWrite = 10 * time.Second
)

// recent are the last calls, read from the stream of summaries while anybody looks. All who look share one reading.
type recent struct {
	*reading
	drawing sync.Mutex // held while a list is drawn, so that each is drawn once, and one after another
	calls   map[string]*callRow
	legs    map[string]map[string]*callRow // by session
	drawn   map[filter]drawn
}

// drawn is a list that was drawn for a filter, so that a second reader of it costs nothing.
type drawn struct {
	version uint64
	at      time.Time
	html    []byte
}

func (c *Console) newRecent() *recent {
	f := &recent{}
	f.reading = &reading{
		follower: c.follower, most: recentMessages, idle: recentIdle, take: f.take, after: f.bound,
		reset: func() {
			f.calls, f.legs, f.drawn = make(map[string]*callRow), make(map[string]map[string]*callRow), make(map[filter]drawn)
		},
	}
	return f
}

// take takes a summary. f.mu is held.
func (f *recent) take(m *jetstream.RawStreamMsg) {
	of, ok := publish.ParseSubject(m.Subject)
	if !ok {
		return
	}
	row := readRow(m.Sequence, m.Data)
	row.Connection = cmp.Or(row.Connection, of.Connection)
	id := of.Key.Session
	switch {
	case of.Key.Kind == summary.KindSession:
		f.calls[id] = &row
	case f.legs[id] == nil:
		f.legs[id] = map[string]*callRow{of.Key.Leg: &row}
	default:
		f.legs[id][of.Key.Leg] = &row
	}
}

// bound forgets the oldest of too many. f.mu is held.
func (f *recent) bound() {
	for session := range f.legs {
		if len(f.legs) <= 2*recentCalls {
			break
		}
		if f.calls[session] == nil {
			delete(f.legs, session)
		}
	}
	if len(f.calls) <= recentCalls+recentCalls/4 {
		return
	}
	for _, r := range newestFirst(f.calls)[recentCalls:] {
		delete(f.calls, r.Session)
		delete(f.legs, r.Session)
	}
}

func newestFirst(calls map[string]*callRow) []*callRow {
	all := make([]*callRow, 0, len(calls))
	for _, r := range calls {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *callRow) int { return cmp.Compare(b.Seq, a.Seq) })
	return all
}

// list returns the newest calls, or legs, that a filter wants, at most so many.
func (f *recent) list(which filter, most int) []callRow {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*callRow
	if which.Level != summary.KindLeg {
		all = newestFirst(f.calls)
	}
	if which.Level != "" && which.Level != summary.KindSession {
		for _, legs := range f.legs {
			all = slices.AppendSeq(all, maps.Values(legs))
		}
		slices.SortFunc(all, func(a, b *callRow) int { return cmp.Compare(b.Seq, a.Seq) })
	}
	rows := make([]callRow, 0, most)
	for _, r := range all {
		shown := *r
		if shown.Leg == "" {
			shown.LegDoubts = nil
			for _, leg := range f.legs[r.Session] {
				shown.LegDoubts = append(shown.LegDoubts, leg.LegDoubts...)
			}
		}
		if which.wants(&shown, now) {
			if rows = append(rows, shown); len(rows) == most {
				break
			}
		}
	}
	return rows
}

// recentPage are the last calls.
type recentPage struct {
	filter
	// SinceText is the filter's time as it was typed, Stream the address of what comes.
	SinceText, Stream string
	Rows              []callRow
	Now               time.Time
	// Words are all outcomes that there are.
	Words []summary.Outcome
}

// readFilter reads the filter of a page. What is in it is nobody's secret.
func readFilter(r *http.Request) (filter, string, error) { return filterOf(r.URL.Query()) }

// readForm is readFilter for a form, which guard has parsed.
func readForm(r *http.Request) (filter, string, error) { return filterOf(r.PostForm) }

func filterOf(q url.Values) (filter, string, error) {
	f := filter{Level: q.Get("level"), Doubtful: q.Get("doubtful") != ""}
	if !slices.Contains([]string{"", levelAll, summary.KindLeg, summary.KindSession}, f.Level) {
		return f, "", problem{http.StatusBadRequest, "There is no such level."}
	}
	outcomes := wordsOf(q["outcome"])
	for _, o := range outcomes {
		if !slices.Contains(summary.Outcomes(), summary.Outcome(o)) {
			return f, "", problem{http.StatusBadRequest, "There is no such outcome."}
		}
	}
	connections := wordsOf(q["connection"])
	for _, id := range connections {
		if !call.ValidToken(id) {
			return f, "", problem{http.StatusBadRequest, "This cannot be the id of a connection."}
		}
	}
	f.Outcomes, f.Connections = strings.Join(outcomes, ","), strings.Join(connections, ",")
	var err error
	if f.Since, err = parseTime(q.Get("since"), time.Now()); err != nil {
		return f, "", problem{http.StatusBadRequest, err.Error()}
	}
	return f, q.Get("since"), nil
}

// levelAll means sessions and legs.
const levelAll = "all"

// wordsOf are the words in the values of a field, with commas or spaces between, each once.
func wordsOf(values []string) []string {
	all := strings.FieldsFunc(strings.Join(values, " "), func(r rune) bool { return r == ',' || r == ' ' })
	slices.Sort(all)
	return slices.Compact(all)
}

// parseTime reads a time of the past: so long ago as 2h, a day, or an instant; empty: the zero time.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d).UTC().Truncate(time.Second), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%.40q is neither a duration as 2h, nor a time as 2026-03-14T15:00 (UTC), nor a day as 2026-03-14", text)
}

func (c *Console) showRecent(r *http.Request) (view, error) {
	which, since, err := readFilter(r)
	if err != nil {
		return view{}, err
	}
	select {
	case <-c.recent.look():
	case <-time.After(recentPatience):
	case <-r.Context().Done():
		return view{}, r.Context().Err()
	}
	stream := "/stream/calls"
	if r.URL.RawQuery != "" {
		stream += "?" + r.URL.RawQuery
	}
	return view{template: "recent", Title: "Last calls", Place: "/", Data: &recentPage{
		filter: which, SinceText: since, Stream: stream, Rows: c.recent.list(which, recentShown), Now: time.Now(), Words: summary.Outcomes(),
	}}, nil
}

// streamRecent sends the list whenever it changes (server-sent events).
func (c *Console) streamRecent(w http.ResponseWriter, r *http.Request) {
	which, _, err := readFilter(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.stream(w, r, func(ctx context.Context, send func(event string, html []byte) error) error {
		var seen time.Time
		for {
			ready := c.recent.look()
			select {
			case <-ready:
			case <-ctx.Done():
				return ctx.Err()
			}
			rows, changed, err := c.recentRows(which)
			if err != nil {
				return err
			}
			if !rows.at.Equal(seen) {
				if err := send("calls", rows.html); err != nil {
					return err
				}
				seen = rows.at
			}
			select {
			case <-changed:
			case <-time.After(recentIdle / 2): // the ages of what is pending change too
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case <-time.After(time.Until(rows.at.Add(recentEvery))):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// recentRows draws the list of a filter, unless that was done lately, or there is nothing new. changed is closed when there
// is.
func (c *Console) recentRows(which filter) (rows drawn, changed <-chan struct{}, err error) {
	f := c.recent
	f.drawing.Lock()
	defer f.drawing.Unlock()
	f.mu.Lock()
	rows, changed = f.drawn[which], f.changed
	version := f.version
	f.mu.Unlock()
	switch age := time.Since(rows.at); {
	case age < recentEvery && rows.version != version: // it is seen to when it is older
		return rows, alreadyClosed, nil
	case age < recentIdle/2 && rows.version == version:
		return rows, changed, nil
	}
	rows = drawn{version: version, at: time.Now()}
	rows.html, err = c.draw("recent", "rows", &recentPage{filter: which, Rows: f.list(which, recentShown), Now: rows.at})
	if err != nil {
		return rows, nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.drawn) > maxStreams {
		clear(f.drawn)
	}
	f.drawn[which] = rows
	return rows, changed, nil
}

// alreadyClosed is a channel on which nobody waits.
var alreadyClosed = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// stream sends server-sent events until the reader is gone or the console stops.
func (c *Console) stream(w http.ResponseWriter, r *http.Request, run func(ctx context.Context, send func(event string, html []byte) error) error) {
	select {
	case c.streams <- struct{}{}:
		defer func() { <-c.streams }()
	default:
		http.Error(w, "Too many pages are kept up to date.", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(c.stopping, cancel)() //nolint:contextcheck // it ends with either
	out := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	if out.Flush() != nil { // at once: there may be nothing to send for long
		return
	}
	// What ends it is the reader's affair, or a log line that the read has written.
	_ = run(ctx, func(event string, html []byte) error {
		c.index.look()
		if err := out.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil {
			return err
		}
		var b bytes.Buffer
		b.WriteString("event: " + event + "\n")
		for line := range bytes.Lines(html) {
			b.WriteString("data: ")
			b.Write(bytes.TrimRight(line, "\r\n"))
			b.WriteByte('\n')
		}
		b.WriteByte('\n')
		if _, err := w.Write(b.Bytes()); err != nil {
			return err
		}
		return out.Flush()
	})
}
