package session

import (
	"fmt"
	"strings"

	// In less than half the time of encoding/json, by the same rules; ingest/telnyx decodes with it too.
	json "github.com/go-json-experiment/json/v1"
	"github.com/legato-calls/legato/internal/call"
)

// content is what an entry holds: one of these, or nothing that is folded.
type content struct {
	event    *call.Event
	answer   *Answer
	check    *Check
	backfill *Backfill
	// err is why it could not be decoded.
	err error
}

// decode reads an entry. One that is malformed must not stop the fold of all others.
func decode(e *call.Entry, event func(call.Entry) (call.Event, error)) (c content) {
	defer func() {
		if p := recover(); p != nil {
			c.err = fmt.Errorf("decode entry %d: panic: %v", e.Seq, p)
		}
	}()
	noun, into := "", any(nil)
	switch {
	case strings.HasPrefix(e.Topic, call.TopicEvent):
		ev, err := event(*e)
		if err != nil {
			return content{err: fmt.Errorf("decode event %d: %w", e.Seq, err)}
		}
		return content{event: &ev}
	case e.Topic == call.TopicStatus:
		c.answer = new(Answer)
		noun, into = "status answer", c.answer
	case e.Topic == call.TopicCheck:
		c.check = new(Check)
		noun, into = "check", c.check
	case e.Topic == call.TopicBackfill:
		c.backfill = new(Backfill)
		noun, into = "repair", c.backfill
	default:
		return content{} // a heartbeat, or an entry of a newer version that asks nothing of this one
	}
	if err := json.Unmarshal(e.Data, into); err != nil {
		c.err = fmt.Errorf("decode %s %d: %w", noun, e.Seq, err)
	}
	return c
}
