package session

import (
	"fmt"
	"strings"

	// In less than half the time of encoding/json, by the same rules; ingest/telnyx decodes with it too.
	json "github.com/go-json-experiment/json/v1"
	"github.com/legato-calls/legato/internal/call"
)

// opened is what an entry holds; at most one is set.
type opened struct {
	event  *call.Event
	answer *Answer
	check  *Check
	repair *Repair
}

// open decodes an entry outside the lock.
func (t *Table) open(e *call.Entry) (what opened, err error) {
	// One malformed entry must not stop the fold of all others.
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decode entry %d: panic: %v", e.Seq, p)
		}
	}()
	switch {
	case strings.HasPrefix(e.Topic, call.TopicEvent):
		ev, err := t.cfg.Decode(*e)
		if err != nil {
			return opened{}, fmt.Errorf("decode event %d: %w", e.Seq, err)
		}
		return opened{event: &ev}, nil
	case e.Topic == call.TopicStatus:
		what.answer = new(Answer)
		return what, read(e, what.answer, "status answer")
	case e.Topic == call.TopicCheck:
		what.check = new(Check)
		return what, read(e, what.check, "check")
	case e.Topic == call.TopicRepair:
		what.repair = new(Repair)
		return what, read(e, what.repair, "repair")
	}
	return opened{}, nil // a probe, or an entry of a newer version that asks nothing of this one
}

// read decodes an entry of Legato's own.
func read(e *call.Entry, into any, noun string) error {
	if err := json.Unmarshal(e.Data, into); err != nil {
		return fmt.Errorf("decode %s %d: %w", noun, e.Seq, err)
	}
	return nil
}
