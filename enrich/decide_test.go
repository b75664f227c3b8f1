package enrich_test

import (
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/enrich/session"
)

func TestDecideFirst(t *testing.T) {
	at := func(d time.Duration) time.Time { return callStart.Add(d) }
	confirmed := &session.Received{}
	for name, c := range map[string]struct {
		view   session.LegView
		owner  bool
		after  time.Duration // since it is over
		reason string
		until  time.Duration // 0: acts, or nothing to wait for
	}{
		"a live leg":                            {session.LegView{}, true, time.Hour, "not_over", 0},
		"settling":                              {session.LegView{Ending: session.ByHangup, Confirmed: confirmed}, true, 999 * time.Millisecond, "settling", time.Second},
		"settled and confirmed":                 {session.LegView{Ending: session.ByHangup, Confirmed: confirmed}, true, time.Second, "confirmed", 0},
		"settled and final":                     {session.LegView{Ending: session.Gone, Final: true}, true, time.Second, "final", 0},
		"waiting for the status":                {session.LegView{Ending: session.ByHangup}, true, 9 * time.Second, "awaiting_status", 10 * time.Second},
		"at the deadline":                       {session.LegView{Ending: session.ByHangup}, true, 10 * time.Second, "deadline", 0},
		"another's leg settles longer":          {session.LegView{Ending: session.ByHangup, Confirmed: confirmed}, false, time.Second, "settling", 3 * time.Second},
		"another's leg, settled":                {session.LegView{Ending: session.ByHangup, Confirmed: confirmed}, false, 3 * time.Second, "confirmed", 0},
		"another's leg has a later deadline":    {session.LegView{Ending: session.ByHangup}, false, 11 * time.Second, "awaiting_status", 12 * time.Second},
		"another's leg, past the late deadline": {session.LegView{Ending: session.ByHangup}, false, 12 * time.Second, "deadline", 0},
	} {
		t.Run(name, func(t *testing.T) {
			v := c.view
			v.Since = callStart
			got := enrich.DecideFirst(&v, timing, c.owner, at(c.after))
			wantAct := c.until == 0 && c.view.Ending != session.NotOver
			if got.Reason() != c.reason || got.Act() != wantAct || c.until > 0 && !got.Until().Equal(at(c.until)) || c.until == 0 && !got.Until().IsZero() {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestADeadlineBeforeTheSettleTimeWaitsForIt(t *testing.T) {
	v := session.LegView{Ending: session.ByHangup, Since: callStart}
	short := enrich.Timing{Settle: 5 * time.Second, StatusDeadline: time.Second}
	if got := enrich.DecideFirst(&v, short, true, callStart.Add(2*time.Second)); got.Act() {
		t.Errorf("got %+v", got)
	}
	if got := enrich.DecideFirst(&v, short, true, callStart.Add(5*time.Second)); !got.Act() {
		t.Errorf("got %+v", got)
	}
}

func TestDecideAmend(t *testing.T) {
	if got := enrich.DecideAmend(callStart, callStart.Add(1999*time.Millisecond)); got.Act() || !got.Until().Equal(callStart.Add(2*time.Second)) {
		t.Errorf("collecting: %+v", got)
	}
	if got := enrich.DecideAmend(callStart, callStart.Add(2*time.Second)); !got.Act() {
		t.Errorf("collected: %+v", got)
	}
	if got := enrich.DecideAmend(time.Time{}, callStart); !got.Act() {
		t.Errorf("news of no time: %+v", got)
	}
}

func TestDecideAsk(t *testing.T) {
	over := session.LegView{Control: "c", Ending: session.ByHangup, Since: callStart}
	with := func(change func(v *session.LegView)) session.LegView { v := over; change(&v); return v }
	for name, c := range map[string]struct {
		view    session.LegView
		hangup  bool
		check   int
		after   time.Duration
		attempt int
		until   time.Duration
	}{
		"after the settle time":                       {over, true, 0, time.Second, 1, 0},
		"not before it":                               {over, true, 0, 500 * time.Millisecond, 0, time.Second},
		"the next after those of the sweep":           {with(func(v *session.LegView) { v.Asked = 3 }), true, 0, time.Second, 4, 0},
		"once":                                        {with(func(v *session.LegView) { v.Asked, v.AskedSince = 1, 1 }), true, 0, time.Second, 0, 0},
		"not when it is confirmed":                    {with(func(v *session.LegView) { v.Confirmed = &session.Received{} }), true, 5, time.Second, 0, 0},
		"not without a control id":                    {with(func(v *session.LegView) { v.Control = "" }), true, 5, time.Second, 0, 0},
		"what a check asks for, at once":              {over, false, 4, 0, 4, 0},
		"not what was asked already":                  {with(func(v *session.LegView) { v.Asked, v.AskedSince = 4, 1 }), false, 4, time.Hour, 0, 0},
		"with another task when nobody has":           {over, false, 0, 12 * time.Second, 1, 0},
		"with another task not before others may":     {over, false, 0, 11 * time.Second, 0, 12 * time.Second},
		"not about a leg that is over in another way": {with(func(v *session.LegView) { v.Ending = session.Gone }), true, 0, time.Hour, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			attempt, until := enrich.DecideAsk(&c.view, timing, c.hangup, c.check, callStart.Add(c.after))
			if attempt != c.attempt || c.until > 0 && !until.Equal(callStart.Add(c.until)) || c.until == 0 && !until.IsZero() {
				t.Errorf("got %d, %v", attempt, until)
			}
		})
	}
}

func TestNewsSince(t *testing.T) {
	at := func(s int) time.Time { return callStart.Add(time.Duration(s) * time.Second) }
	v := &session.LegView{
		Events:  []*session.Event{{Seq: 9, ReceivedAt: at(9)}, {Seq: 2, ReceivedAt: at(2)}, {Seq: 6, ReceivedAt: at(6)}},
		Answers: []*session.Received{{Seq: 3, At: at(3)}, {Seq: 11, At: at(11)}, {Seq: 10, At: at(10)}},
	}
	for position, want := range map[uint64]time.Time{0: at(2), 2: at(6), 6: at(9), 9: at(11), 10: at(11), 11: {}} {
		if got := enrich.NewsSince(v, position); !got.Equal(want) {
			t.Errorf("after %d: %v, want %v", position, got, want)
		}
	}
}
