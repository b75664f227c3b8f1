package status

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
)

// maxHistoryPages bounds what is read of one leg's history: 2,000 rows.
const maxHistoryPages = 8

// Past is what one attempt to read the provider's history of a leg came to.
type Past struct {
	// Answer says what came of the asking; of what a status states it has nothing.
	Answer
	// Rows are the rows that mention the leg, as they came. Whether they are about it, and
	// what they say, is for the webhook wire to say.
	Rows []json.RawMessage
	// Truncated: there was more than is read.
	Truncated bool
}

// history reads the history of a leg, in a turn that has come.
func (c *Client) history(ctx context.Context, r Request) (Past, error) {
	ref := r.Ref
	past := Past{Answer: Answer{Session: ref.Session, Leg: ref.Leg, Control: ref.Control, Connection: ref.Connection}}
	leg := []byte(`"` + string(ref.Leg) + `"`)
	query := url.Values{"filter[leg_id]": {string(ref.Leg)}, "page[size]": {strconv.Itoa(pageSize)}}
	ignored := false
	l := list{path: "/call_events", query: query, maxPages: maxHistoryPages, place: r.Place, counter: c.metrics.history}
	truncated, err := c.pages(ctx, l, &past.Answer, func(rows []json.RawMessage) bool {
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
	past.Truncated = truncated
	if past.Result == Answered && ignored {
		past.Result, past.Problem = Unreachable, ProblemOtherCall
	}
	if past.Result != Answered {
		// Half a history would look like a whole one.
		past.Rows = nil
	}
	return past, nil
}
