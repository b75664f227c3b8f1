package session

import (
	"time"

	"github.com/legato-calls/legato/internal/call"
)

const (
	// The legs that lived through an outage are checked one after the other, 50 a second, and all within four
	// minutes: those that ended meanwhile can be asked about for ten.
	outageStep   = 20 * time.Millisecond
	outageWithin = 4 * time.Minute
	// outageUnanswered is how long such a check may stay without an answer: one more, or two, still find a status
	// that is kept for ten minutes.
	outageUnanswered = 2 * time.Minute
)

// noteOutage finds out whether nobody wrote the log for a while before an entry: whoever runs appends a heartbeat when
// nothing else comes. Events of the legs that were open then may be missing: they are to be checked. It reports
// whether there are any.
func (f *fold) noteOutage(e *call.Entry) bool {
	before := f.previous
	// Taken as it is: a pause after a leader's clock stepped back must be seen as well. A step forward looks like a
	// pause, which costs a request for each open leg.
	f.previous = e.ReceivedAt
	if f.rules.Outage <= 0 || before.IsZero() || e.ReceivedAt.Sub(before) <= f.rules.Outage {
		return false
	}
	var open []*leg
	for s := range f.ids.all() {
		for _, l := range s.legs {
			if l.open() {
				open = append(open, l)
			}
		}
	}
	for i, l := range open {
		step := min(outageStep, outageWithin/time.Duration(len(open)))
		l.record.outage, l.record.outageSeq = e.ReceivedAt.Add(time.Duration(i)*step), e.Seq
	}
	return len(open) > 0
}
