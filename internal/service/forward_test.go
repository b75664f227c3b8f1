package service_test

import (
	"context"
	"testing"
	"testing/synctest"
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
	calls := service.CallsOf(table, func() call.Log { return call.Log{ID: "log", First: 1, Last: 3} })
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

// What a connection that was lost has kept from the fold may have ended the call.
func TestWhetherALegIsOverIsNotToldByAFoldThatHearsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ref := call.Ref{Session: "s", Leg: "l", Control: "c"}
		types := []string{call.TypeInitiated, call.TypeHangup}
		table := session.New(session.Config{
			Rules: session.Rules{AmendWindow: time.Hour, SessionSettle: time.Second},
			Decode: func(e call.Entry) (call.Event, error) {
				return call.Event{ID: e.ID, Type: types[e.Seq-1], Ref: ref, OccurredAt: e.ReceivedAt}, nil
			},
		})
		table.Restart(call.Log{ID: "log", First: 1})
		last, asked := uint64(0), 0
		calls := service.CallsOf(table, func() call.Log { asked++; return call.Log{ID: "log", First: 1, Last: last} })
		fold := func(seq uint64, at time.Time) {
			table.Fold(call.Entry{Seq: seq, ReceivedAt: at, Topic: call.TopicEvent + types[seq-1], ID: types[seq-1], Ref: ref})
		}
		over := func() (bool, error) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			return calls.Over(ctx, ref, 1)
		}
		last = 1
		fold(1, time.Now())
		if got, err := over(); err != nil || got {
			t.Errorf("the call goes on: over %v, %v", got, err)
		}
		last = 2
		hungUp := time.Now()
		if got, err := over(); err != nil || got || asked != 1 {
			t.Errorf("the fold has just heard of it: over %v, %v, and the log was asked %d times", got, err, asked)
		}
		time.Sleep(2 * time.Second)
		if got, err := over(); err == nil {
			t.Errorf("the fold has heard nothing for two seconds, and it is told that the leg is over: %v", got)
		}
		fold(2, hungUp)
		if got, err := over(); err != nil || !got {
			t.Errorf("all is folded: over %v, %v", got, err)
		}
	})
}
