package service_test

import (
	"context"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/service"
)

// An event that the application would command on may wait while the process starts again: whether its leg is over is known
// only when all of the log is replayed, and what was stored meanwhile is folded, too.
func TestWhetherALegIsOverIsNotToldDuringAReplay(t *testing.T) {
	ref := call.Ref{Session: "s", Leg: "l", Control: "c"}
	types := []string{call.TypeInitiated, call.TypeAnswered, call.TypeHangup}
	table := session.New(session.Config{
		Rules: session.Rules{AmendWindow: time.Hour, SessionSettle: time.Second},
		Decode: func(e call.Entry) (call.Event, error) {
			return call.Event{ID: e.ID, Type: types[e.Seq-1], Ref: ref, OccurredAt: e.ReceivedAt}, nil
		},
	})
	table.Restart(call.Log{ID: "log", First: 1, Last: 2})
	fold := func(seq uint64) {
		table.Fold(call.Entry{Seq: seq, ReceivedAt: time.Now(), Topic: call.TopicEvent + types[seq-1], ID: types[seq-1], Ref: ref})
	}
	calls := service.CallsOf(table, call.Log{ID: "log", First: 1, Last: 3})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	fold(1)
	if over, err := calls.Over(ctx, ref, 1); err == nil {
		t.Errorf("half of the log is replayed, and it is told that its leg is over: %v", over)
	}
	fold(2)
	if over, err := calls.Over(ctx, ref, 1); err == nil {
		t.Errorf("what was stored during the replay is not folded yet, and it is told that its leg is over: %v", over)
	}
	fold(3)
	if over, err := calls.Over(t.Context(), ref, 1); err != nil || !over {
		t.Errorf("all of the log is replayed: over %v, %v", over, err)
	}
}
