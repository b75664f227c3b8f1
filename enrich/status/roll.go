package status

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

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
	_, err := c.pages(ctx, l, &answer, func(rows []json.RawMessage) bool {
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
