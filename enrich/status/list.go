package status

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/internal/call"
)

const (
	// MaxPage bounds a page in bytes: 250 rows of some 3 KB, and room.
	MaxPage = 8 << 20
	// pageSize is the maximum that Telnyx gives at once.
	pageSize = 250
)

// page is one page of a list. What is of a wrong type counts as not stated.
type page struct {
	rows []json.RawMessage
	// after is the cursor of the next page, number and pages count them; zero: not stated.
	after         string
	number, pages int
}

// readPage reads a 200's body; the problem says why it is none.
func readPage(body []byte) (page, Problem) {
	if len(body) > MaxPage {
		return page{}, ProblemTooLarge
	}
	if !json.Valid(body) {
		return page{}, ProblemNotJSON
	}
	var wire struct {
		Data json.RawMessage `json:"data"`
		Meta struct {
			PageNumber json.RawMessage `json:"page_number"`
			TotalPages json.RawMessage `json:"total_pages"`
			Cursors    struct {
				After json.RawMessage `json:"after"`
			} `json:"cursors"`
		} `json:"meta"`
	}
	// A meta of another type leaves the rows readable.
	_ = json.Unmarshal(body, &wire)
	var p page
	if !bytes.HasPrefix(wire.Data, []byte("[")) || json.Unmarshal(wire.Data, &p.rows) != nil {
		return page{}, ProblemNoData
	}
	p.after = text(wire.Meta.Cursors.After, 4<<10)
	p.number, _ = strconv.Atoi(scalar(wire.Meta.PageNumber))
	p.pages, _ = strconv.Atoi(scalar(wire.Meta.TotalPages))
	return p, ""
}

// list is a list that comes in pages.
type list struct {
	path     string
	query    url.Values
	maxPages int
	// place is where each page but the first stands in line.
	place   Place
	counter *prometheus.CounterVec
}

// pages reads the pages of a list until each returns false, there are no more, or
// the maximum is read. The turn for the first page has come, and is given
// back; the others wait for theirs. The answer says what came of the last request; the error is that of ctx, and then
// there was no request to speak of.
func (c *Client) pages(ctx context.Context, l list, answer *Answer, each func(rows []json.RawMessage) (more bool)) error {
	var before []byte
	for n := 1; ; n++ {
		if n > 1 {
			if err := c.turns.await(ctx, l.place); err != nil {
				return fmt.Errorf("wait for a turn: %w", err)
			}
		}
		got, err := c.page(ctx, l, answer)
		c.turns.release()
		if err != nil || answer.Result != Answered {
			return err
		}
		// A server that does not know the parameters gives the same page for ever.
		if len(got.rows) == 0 || n > 1 && bytes.Equal(got.rows[0], before) {
			return nil
		}
		before = got.rows[0]
		if !each(got.rows) || n >= l.maxPages {
			return nil
		}
		switch {
		case got.after != "":
			l.query.Set("page[after]", got.after)
		case got.pages > n, got.pages == 0 && len(got.rows) >= pageSize:
			l.query.Set("page[number]", strconv.Itoa(n+1))
		default:
			return nil
		}
	}
}

// page asks for one page.
func (c *Client) page(ctx context.Context, l list, answer *Answer) (got page, err error) {
	*answer = About(answer.Ref())
	e := exchange{path: l.path + "?" + l.query.Encode(), limit: MaxPage, counter: l.counter}
	err = c.exchange(ctx, e, answer, func(body []byte) {
		answer.Result = Answered
		if got, answer.Problem = readPage(body); answer.Problem != "" {
			answer.Result = Unreachable
		}
	})
	return got, err
}

// maxHistoryPages bounds what is read of one leg's history: 2,000 rows.
const maxHistoryPages = 8

// Past is what one attempt to read the provider's history of a leg came to.
type Past struct {
	// Answer says what came of the asking; of what a status states it has nothing.
	Answer
	// Rows are the rows that mention the leg, as they came. Whether they are about it, and
	// what they say, is for the webhook wire to say.
	Rows []json.RawMessage
}

// history reads the history of a leg, in a turn that has come.
func (c *Client) history(ctx context.Context, r Request) (Past, error) {
	ref := r.Ref
	past := Past{Answer: About(ref)}
	leg := []byte(`"` + string(ref.Leg) + `"`)
	query := url.Values{"filter[leg_id]": {string(ref.Leg)}, "page[size]": {strconv.Itoa(pageSize)}}
	ignored := false
	l := list{path: "/call_events", query: query, maxPages: maxHistoryPages, place: r.Place, counter: c.metrics.history}
	err := c.pages(ctx, l, &past.Answer, func(rows []json.RawMessage) bool {
		known := len(past.Rows)
		for _, row := range rows {
			if bytes.Contains(row, leg) {
				past.Rows = append(past.Rows, row)
			}
		}
		ignored = len(past.Rows) == known
		return !ignored
	})
	if err != nil {
		return Past{}, fmt.Errorf("history of leg %s: %w", ref.Leg, err)
	}
	if past.Result == Answered && ignored {
		past.Result, past.Problem = Unreachable, ProblemOtherCall
	}
	if past.Result != Answered {
		// Half a history would look like a whole one.
		past.Rows = nil
	}
	return past, nil
}

const (
	// rollGather is how long the legs of a connection that are to be asked about
	// are gathered; rollFrom of them are worth a list.
	rollGather = 250 * time.Millisecond
	rollFrom   = 4
	// rollFresh is how long a list answers for those who come after it.
	rollFresh = 5 * time.Second
	// rollFailed is how long a connection whose list could not be read is not asked for one again.
	rollFailed = time.Minute
	// maxRollPages bounds a list: 5,000 calls.
	maxRollPages = 20
)

// rolls are the lists of active calls, by connection.
type rolls struct {
	mu sync.Mutex // guards all lists
	by map[call.ConnectionID]*roll
}

// roll is one list of active calls, or one that is being gathered for.
type roll struct {
	// gathered are those who wait for it.
	gathered []sweep
	// ready: the rest is set.
	ready bool
	// alive are the calls on the list; nil when there is none.
	alive map[call.LegID]Answer
	// good is when it is too old to be used.
	good time.Time
}

// sweep is a request about a leg that is believed to be alive: where several of one
// connection are asked about at once, one list of its active calls shows which of them need no request
// of their own. A leg that is on it is alive. One that is not is asked about: a list proves no end.
type sweep struct {
	place Place
	// settle answers by the list, or asks.
	settle func(alive map[call.LegID]Answer)
}

// take answers by the list of the connection where there is one, or has the request wait for it.
func (r *rolls) take(ctx context.Context, c *Client, request Request, done func(Answer, error)) {
	connection := request.Ref.Connection
	s := sweep{request.Place, func(alive map[call.LegID]Answer) { c.settle(ctx, alive, request, done) }}
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.by[connection]
	switch {
	case l != nil && l.ready && time.Now().Before(l.good):
		// Beside the lock: it may call back.
		go s.settle(l.alive)
		return
	case l == nil || l.ready:
		r.forget()
		l = &roll{}
		r.by[connection] = l
		time.AfterFunc(rollGather, func() { r.call(ctx, c, connection, l) })
	}
	l.gathered = append(l.gathered, s)
}

// forget drops the rolls that are to be used no more. The lock is held.
func (r *rolls) forget() {
	now := time.Now()
	for connection, l := range r.by {
		if l.ready && !now.Before(l.good) {
			delete(r.by, connection)
		}
	}
}

// call gets the list, if enough want it, and answers those who waited.
func (r *rolls) call(ctx context.Context, c *Client, connection call.ConnectionID, l *roll) {
	r.mu.Lock()
	enough, place := len(l.gathered) >= rollFrom, l.gathered[0].place
	if !enough {
		// Whoever comes from here on gathers anew.
		delete(r.by, connection)
	}
	r.mu.Unlock()
	var alive map[call.LegID]Answer
	if enough {
		alive = c.activeCalls(ctx, connection, place)
	}
	r.mu.Lock()
	l.ready, l.alive = true, alive
	l.good = time.Now().Add(rollFresh)
	if alive == nil {
		l.good = time.Now().Add(rollFailed)
	}
	gathered := l.gathered
	l.gathered = nil
	r.mu.Unlock()
	for _, s := range gathered {
		s.settle(alive)
	}
}

// settle answers by a list, or asks.
func (c *Client) settle(ctx context.Context, alive map[call.LegID]Answer, r Request, done func(Answer, error)) {
	listed, ok := alive[r.Ref.Leg]
	if !ok {
		c.ask(ctx, r, done)
		return
	}
	if !r.begin(ctx) {
		return
	}
	c.metrics.listed.Inc()
	listed.Session, listed.Control = r.Ref.Session, r.Ref.Control
	go done(listed, nil)
}

// activeCalls reads GET /connections/{connection_id}/active_calls; nil when it cannot be read.
// A list of which only the beginning is read is as good as any: it proves life only.
func (c *Client) activeCalls(ctx context.Context, connection call.ConnectionID, place Place) map[call.LegID]Answer {
	if c.turns.await(ctx, place) != nil {
		return nil
	}
	alive := make(map[call.LegID]Answer)
	answer := Answer{Connection: connection}
	path := "/connections/" + url.PathEscape(string(connection)) + "/active_calls"
	query := url.Values{"page[limit]": {strconv.Itoa(pageSize)}}
	l := list{path: path, query: query, maxPages: maxRollPages, place: place, counter: c.metrics.rolls}
	err := c.pages(ctx, l, &answer, func(rows []json.RawMessage) bool {
		at := c.now().UTC().Truncate(time.Microsecond)
		for _, row := range rows {
			var data wireStatus
			if json.Unmarshal(row, &data) != nil || string(data.IsAlive) == "false" || len(data.EndTime) > 0 && string(data.EndTime) != "null" {
				continue
			}
			leg := call.LegID(text(data.Leg, call.MaxTokenLength))
			if leg == "" {
				continue
			}
			alive[leg] = Answer{
				Leg: leg, Connection: connection, FetchedAt: at, Result: Answered, HTTPStatus: answer.HTTPStatus,
				IsAlive: new(true), CallDuration: seconds(data.CallDuration),
				ClientState: text(data.ClientState, maxClientState), RecordType: text(data.RecordType, maxWord),
			}
		}
		return true
	})
	if err != nil || answer.Result != Answered && len(alive) == 0 {
		return nil
	}
	return alive
}
