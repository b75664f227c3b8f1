package story

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/publish/forward"
)

// Forwarded is an attempt to hand an event on to an application, or its end without one. What the application answered
// is not here: it may name persons, and `legato forward show` has it.
type Forwarded struct {
	// Target is the application. Always.
	Target string `json:"target"`
	// At is when the result was there. Always.
	At time.Time `json:"at"`
	// Attempt counts from 1; absent: there was none.
	Attempt int `json:"attempt,omitempty"`
	// Result is done, refused, failed, timeout, unreachable, stale (its leg was over) or expired. Always.
	Result forward.Result `json:"result"`
	// HTTPStatus is the answer's; absent: there was none. Millis is how long it took.
	HTTPStatus int   `json:"http_status,omitempty"`
	Millis     int64 `json:"ms,omitempty"`
}

const (
	// forwardWithin bounds the search for attempts.
	forwardWithin = time.Second
	// forwardAfter is how long after the last event of a call attempts are looked for; one that has not come to its
	// end is looked for longer.
	forwardAfter = 5 * time.Second
)

// forwarded adds the attempts to hand a call's events on.
func (s *Sources) forwarded(ctx context.Context, told *Story) {
	if s.Forwarding == nil {
		return
	}
	bySeq := make(map[uint64]*Event)
	var first, last time.Time
	for _, i := range told.Timeline {
		if i.Kind != KindEvent || i.Seq == 0 {
			continue
		}
		bySeq[i.Seq] = i.Event
		if first.IsZero() || i.At.Before(first) {
			first = i.At
		}
		if i.At.After(last) {
			last = i.At
		}
	}
	if len(bySeq) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, forwardWithin)
	defer cancel()
	seqs := slices.Sorted(maps.Keys(bySeq))
	history, complete, err := s.Forwarding.Attempts(ctx, first.Add(-time.Second), last.Add(forwardAfter), seqs...)
	if err != nil || !complete {
		told.Remarks = append(told.Remarks, "not all attempts to forward its events could be read")
	}
	for seq, targets := range history {
		for _, target := range slices.Sorted(maps.Keys(targets)) {
			for _, a := range targets[target] {
				bySeq[seq].Forwarded = append(bySeq[seq].Forwarded, Forwarded{
					Target: target, At: a.At, Attempt: a.Number, Result: a.Result, HTTPStatus: a.Status, Millis: a.Millis,
				})
			}
		}
	}
}

// phraseForwarded says what is unusual about how an event was handed on: an application that took it at once is not
// worth a word.
func phraseForwarded(all []Forwarded) string {
	last := make(map[string]Forwarded)
	for _, f := range all {
		last[f.Target] = f
	}
	var said []string
	for _, target := range slices.Sorted(maps.Keys(last)) {
		switch f := last[target]; {
		case f.Result == forward.Done && f.Attempt > 1:
			said = append(said, fmt.Sprintf("→%s at attempt %d", target, f.Attempt))
		case f.Result != forward.Done:
			said = append(said, words("→"+target, string(f.Result), optional(f.HTTPStatus > 0, "%d", f.HTTPStatus)))
		}
	}
	return strings.Join(said, " ")
}
