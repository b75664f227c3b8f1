package ingest

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// hourMinutes and keptRefusals bound what is remembered of the last hour.
const hourMinutes, keptRefusals = 60, 50

// Refusal is a webhook that was refused.
type Refusal struct {
	At time.Time
	// Result is why, a label of legato_webhooks_total; Status is the answer's.
	Result string
	Status int
	// Do is what an operator can do about it, or what the sender was told.
	Do string
}

// LastHour is what became of the webhooks of the last hour.
type LastHour struct {
	// Since is when it began: an hour ago, or when the server was made.
	Since time.Time
	// Results counts webhooks by what became of them, Parked those of no use by the reason.
	Results, Parked map[string]int64
	// Refusals are the last ones, the newest first.
	Refusals []Refusal
}

// minute is what became of the webhooks of one minute.
type minute struct {
	at              int64 // Unix minutes
	results, parked map[string]int64
}

// hour remembers the last hour.
type hour struct {
	began time.Time

	mu       sync.Mutex
	minutes  [hourMinutes]minute
	refusals []Refusal // the oldest first
}

// count takes one request.
func (h *hour) count(o *observation, status int, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := now.Unix() / 60
	m := &h.minutes[at%hourMinutes]
	if m.at != at {
		*m = minute{at: at, results: make(map[string]int64), parked: make(map[string]int64)}
	}
	m.results[string(o.result)]++
	if o.parked != nil {
		m.parked[string(o.parked.Reason)]++
	}
	if o.refused == nil {
		return
	}
	how := refusals[o.refused.result]
	if len(h.refusals) == keptRefusals {
		h.refusals = slices.Delete(h.refusals, 0, 1)
	}
	h.refusals = append(h.refusals, Refusal{At: now.UTC(), Result: string(o.result), Status: status, Do: cmp.Or(how.notice, how.detail)})
}

// LastHour returns what became of the webhooks of the last hour, to a minute. What was received stands nowhere in it.
func (s *Server) LastHour() LastHour {
	h, now := &s.hour, s.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	last := LastHour{Since: h.began, Results: make(map[string]int64), Parked: make(map[string]int64), Refusals: slices.Clone(h.refusals)}
	if hourAgo := now.Add(-time.Hour); last.Since.Before(hourAgo) {
		last.Since = hourAgo
	}
	slices.Reverse(last.Refusals)
	for i := range h.minutes {
		if m := &h.minutes[i]; m.at > now.Unix()/60-hourMinutes {
			for word := range maps.Keys(m.results) {
				last.Results[word] += m.results[word]
			}
			for word := range maps.Keys(m.parked) {
				last.Parked[word] += m.parked[word]
			}
		}
	}
	return last
}
