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
	mu sync.Mutex
	by map[call.ConnectionID]*roll
}

// roll is one list of active calls, or one that is being gathered for.
type roll struct {
	// wanted counts the legs that are gathered; until the list is there it is guarded by the lock.
	wanted int
	// ready is closed when the rest is set.
	ready chan struct{}
	// alive are the calls on the list; nil when there is none.
	alive map[call.LegID]Answer
	// good is when it is too old to be used.
	good time.Time
}

// Sweep is Fetch for a leg that is believed to be alive: where several of one
// connection are asked about at once, one list of its active calls shows which of them need no request
// of their own. A leg that is on it is alive. One that is not is asked about: a list proves no end.
func (c *Client) Sweep(ctx context.Context, ref call.Ref) (Answer, error) {
	if ref.Leg != "" && ref.Connection != "" {
		if listed, ok := c.rolls.of(ctx, c, ref.Connection)[ref.Leg]; ok {
			c.metrics.listed.Inc()
			listed.Session, listed.Control = ref.Session, ref.Control
			return listed, nil
		}
	}
	return c.Fetch(ctx, ref)
}

// of returns the active calls of a connection, nil when no list is to be had or worth it.
func (r *rolls) of(ctx context.Context, c *Client, connection call.ConnectionID) map[call.LegID]Answer {
	r.mu.Lock()
	mine, gathering := r.by[connection], false
	if mine == nil || mine.stale() {
		r.forget()
		mine, gathering = &roll{ready: make(chan struct{})}, true
		r.by[connection] = mine
	}
	mine.wanted++
	r.mu.Unlock()
	if gathering {
		r.call(ctx, c, connection, mine)
	}
	select {
	case <-mine.ready:
		return mine.alive
	case <-ctx.Done():
		return nil
	}
}

// stale reports whether a roll is to be used no more.
func (l *roll) stale() bool {
	select {
	case <-l.ready:
		return !time.Now().Before(l.good)
	default:
		return false
	}
}

// forget drops the rolls that are to be used no more. The lock is held.
func (r *rolls) forget() {
	for connection, l := range r.by {
		if l.stale() {
			delete(r.by, connection)
		}
	}
}

// call gathers and then gets the list, if enough want it.
func (r *rolls) call(ctx context.Context, c *Client, connection call.ConnectionID, l *roll) {
	err := sleep(ctx, rollGather)
	r.mu.Lock()
	enough := err == nil && l.wanted >= rollFrom
	if !enough {
		// Whoever comes now gathers anew.
		delete(r.by, connection)
	}
	r.mu.Unlock()
	if enough {
		l.alive = c.activeCalls(ctx, connection)
		l.good = time.Now().Add(rollFresh)
		if l.alive == nil {
			l.good = time.Now().Add(rollFailed)
		}
	}
	close(l.ready)
}

// activeCalls reads GET /connections/{connection_id}/active_calls; nil when it cannot be read.
// A list of which only the beginning is read is as good as any: it proves life only.
func (c *Client) activeCalls(ctx context.Context, connection call.ConnectionID) map[call.LegID]Answer {
	alive := make(map[call.LegID]Answer)
	answer := Answer{Connection: connection}
	path := "/connections/" + url.PathEscape(string(connection)) + "/active_calls"
	query := url.Values{"page[limit]": {strconv.Itoa(pageSize)}}
	_, err := c.pages(ctx, path, query, maxRollPages, c.metrics.rolls, &answer, func(rows []json.RawMessage) bool {
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
