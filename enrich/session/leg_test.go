package session_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/call"
)

func TestEndings(t *testing.T) {
	r := ref(0)
	hangup := func(tp *tape) { tp.says(call.TypeHangup, r) }
	answer := func(a func(int) session.Answer, attempt int) func(*tape) {
		return func(tp *tape) { tp.answer(r, a(attempt)) }
	}
	end := func(attempt int) func(*tape) {
		return func(tp *tape) { tp.answer(r, ended(attempt)) }
	}
	gone := func(proven bool) func(*tape) {
		return func(tp *tape) { tp.answer(r, notFound(9, proven)) }
	}
	bridged := func(tp *tape) { tp.says(call.TypeBridged, r) }
	cost := func(tp *tape) { tp.says(call.TypeCost, r) }
	expire := func(tp *tape) {
		tp.check(session.Check{Kind: session.CheckExpire, Session: "s", Leg: r.Leg, Upto: tp.last()})
	}
	for name, tc := range map[string]struct {
		then []func(*tape)
		want session.Ending
		// final: asking cannot change the state any more.
		final, confirmed bool
	}{
		"a leg of which nothing more was heard lives": {
			nil, session.NotOver, false, false,
		},
		"a hangup ends it":              {[]func(*tape){hangup}, session.ByHangup, false, false},
		"an answer with an end ends it": {[]func(*tape){end(1)}, session.ByStatus, true, true},
		"not alive without an end says nothing about a leg that is dialled": {
			[]func(*tape){answer(dead, 1)}, session.NotOver, false, false,
		},
		"not alive counts about a leg that was seen alive": {
			[]func(*tape){answer(alive, 1), answer(dead, 2)}, session.ByStatus, true, true,
		},
		"not alive does not count when it was seen alive only afterwards": {
			[]func(*tape){answer(dead, 1), answer(alive, 2)}, session.NotOver, false, false,
		},
		"not alive counts after a hangup": {
			[]func(*tape){hangup, answer(dead, 1)}, session.ByHangup, true, true,
		},
		"not alive counts just before a late hangup": {
			[]func(*tape){answer(dead, 1), hangup}, session.ByHangup, true, true,
		},
		"not alive while it was dialled does not confirm a hangup much later": {
			[]func(*tape){answer(dead, 1), func(*tape) { pass(5 * time.Minute) }, hangup}, session.ByHangup, false, false,
		},
		"still alive after a hangup is not yet an answer": {
			[]func(*tape){hangup, answer(alive, 1)}, session.ByHangup, false, false,
		},
		"not found ends it where the connection is proven":   {[]func(*tape){gone(true)}, session.Gone, true, false},
		"not found says nothing where the connection is not": {[]func(*tape){gone(false)}, session.NotOver, false, false},
		"no answer says nothing":                             {[]func(*tape){answer(unreachable, 1)}, session.NotOver, false, false},
		"a check for expiry ends it":                         {[]func(*tape){expire}, session.Expired, true, false},
		"an event takes the expiry back":                     {[]func(*tape){expire, bridged}, session.NotOver, false, false},
		"an answer alive takes the expiry back":              {[]func(*tape){expire, answer(alive, 1)}, session.NotOver, false, false},
		"no answer does not take the expiry back":            {[]func(*tape){expire, answer(unreachable, 1)}, session.Expired, true, false},
		"a redelivery does not take the expiry back":         {[]func(*tape){expire, redeliver}, session.Expired, true, false},
		"an event takes back that it was not found":          {[]func(*tape){gone(true), bridged}, session.NotOver, false, false},
		"an answer alive takes back that it was not found":   {[]func(*tape){gone(true), answer(alive, 2)}, session.NotOver, false, false},
		"a redelivery does not take back that it is gone":    {[]func(*tape){gone(true), redeliver}, session.Gone, true, false},
		"a cost does not take back that it is gone":          {[]func(*tape){gone(true), cost}, session.Gone, true, false},
		"not found again after an event ends it":             {[]func(*tape){gone(true), bridged, gone(true)}, session.Gone, true, false},
		"not found before an event leaves a hangup to be asked about": {
			[]func(*tape){gone(true), bridged, hangup}, session.ByHangup, false, false,
		},
		"a hangup stands before an answer":                    {[]func(*tape){end(1), hangup}, session.ByHangup, true, true},
		"a hangup stands before not found, which stays final": {[]func(*tape){gone(true), hangup}, session.ByHangup, true, false},
		"an answer stands before not found":                   {[]func(*tape){gone(true), end(10)}, session.ByStatus, true, true},
		"not found stands before expiry":                      {[]func(*tape){expire, gone(true)}, session.Gone, true, false},
		"the answer of another leg says nothing": {
			[]func(*tape){func(tp *tape) { tp.answer(ref(1), ended(1)) }}, session.NotOver, false, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newTape(t)
				tp.says(call.TypeInitiated, r)
				for _, do := range tc.then {
					pass(time.Second)
					do(tp)
				}
				l := tp.leg(r)
				if l.Ending != tc.want || l.Final != tc.final || (l.Confirmed != nil) != tc.confirmed {
					t.Errorf("ending %d, final %t, confirmed %t; want %d, %t, %t",
						l.Ending, l.Final, l.Confirmed != nil, tc.want, tc.final, tc.confirmed)
				}
				if l.Since.IsZero() != (l.Ending == session.NotOver) {
					t.Errorf("over since %v with ending %d", l.Since, l.Ending)
				}
			})
		})
	}
}

// redeliver records the first entry of the log once more.
func redeliver(tp *tape) { tp.fold(tp.log[0]) }

func TestALegWithoutControlIDIsNeverAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tp := newTape(t)
		r := ref(0)
		r.Control = ""
		start := time.Now()
		tp.says(call.TypeAnswered, r)
		tp.probe()
		all := tp.run(start.Add(legLife-time.Second), nil)
		if len(all) != 0 {
			t.Errorf("checks of a leg that cannot be asked about: %v", all)
		}
		all = tp.run(start.Add(legLife+time.Minute), nil)
		if len(all) != 2 || all[0].Kind != session.CheckExpire || all[1].Kind != session.CheckSettle || all[0].at.Sub(start) != legLife {
			t.Errorf("checks %v; want its expiry after %v and then the session's settling", all, legLife)
		}
		if l := tp.leg(r); l.Ending != session.Expired || !l.Final || !tp.view("s").Over {
			t.Errorf("ending %d, final %t, session over %t", l.Ending, l.Final, tp.view("s").Over)
		}
	})
}

func TestALegOfWhichOnlyRefusalsAreHeardExpires(t *testing.T) {
	for name, answer := range map[string]func(int) session.Answer{
		"unreachable":               unreachable,
		"not found, not proven":     func(n int) session.Answer { return notFound(n, false) },
		"not alive, without an end": dead,
		"nothing at all":            nil,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tp := newTape(t)
				start := time.Now()
				tp.says(call.TypeInitiated, ref(0))
				tp.probe()
				all := tp.run(start.Add(legLife+time.Minute), func(c session.Check) {
					if c.Kind == session.CheckStatus && answer != nil {
						tp.answer(c.Ref(), answer(c.Attempt))
					}
				})
				n := len(all)
				if n < 2 || all[n-2].Kind != session.CheckExpire || all[n-1].Kind != session.CheckSettle {
					t.Fatalf("after %d checks no expiry and settling", n)
				}
				if got := all[n-2].at.Sub(start); got != legLife {
					t.Errorf("expired after %v; want %v", got, legLife)
				}
				if n > 60 {
					t.Errorf("%d checks; want no more than one every five minutes", n)
				}
			})
		})
	}
}
