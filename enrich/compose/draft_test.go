package compose_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/summary"
)

func TestBookkeepingIsNoContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := legs.Draw(t, "leg")
		other := l
		other.Revision++
		other.Changed, other.Reasons = []string{"/x"}, []summary.Reason{summary.ReasonCost}
		other.PublishedAt = times.Draw(t, "other")
		other.Times = &summary.Times{EnrichedAt: at(0)}
		other.Status.Attempts, other.Status.HTTPStatus, other.Status.FetchedAt = 7, 503, at(1)
		if a, b := contentOf(t, l), contentOf(t, other); a != b {
			t.Fatalf("bookkeeping changed the content:\n%s\n%s", a, b)
		}
		if other.Revision != l.Revision+1 || other.Times == nil || other.Status.Attempts != 7 {
			t.Fatal("the summary itself was changed")
		}
	})
	s := summary.Session{CallSessionID: "s", Legs: []summary.SessionLeg{{CallLegID: "l", Revision: 1}}}
	before, _ := compose.SessionContent(s)
	s.Revision, s.Changed, s.Reasons, s.PublishedAt = 4, []string{"/x"}, []summary.Reason{"x"}, *at(5)
	if after, _ := compose.SessionContent(s); string(before) != string(after) {
		t.Error("bookkeeping changed the content of a session")
	}
	s.Legs[0].Revision = 2
	if after, _ := compose.SessionContent(s); string(before) == string(after) {
		t.Error("the revision of a leg is content of its session")
	}
}

func TestWhatIsSaidAboutTheCallIsContent(t *testing.T) {
	l := summary.Leg{Status: summary.Status{State: summary.StatusPending}}
	before := contentOf(t, l)
	for name, change := range map[string]func(l *summary.Leg){
		"status.state":      func(l *summary.Leg) { l.Status.State = summary.StatusConfirmed },
		"status.final":      func(l *summary.Leg) { l.Status.Final = true },
		"first_received_at": func(l *summary.Leg) { l.FirstReceivedAt = *at(1) },
		"events":            func(l *summary.Leg) { l.Events = []summary.Event{{ID: "1"}} },
		"outcome":           func(l *summary.Leg) { l.Outcome = summary.OutcomeBusy },
	} {
		changed := l
		change(&changed)
		if contentOf(t, changed) == before {
			t.Errorf("%s is no content", name)
		}
	}
}

func TestNothingIsEverNull(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := legs.Draw(t, "leg")
		for _, v := range []any{
			l, compose.MergeLeg(l, legs.Draw(t, "news")),
			summary.Leg{},
			summary.Session{},
			summary.Session{Legs: []summary.SessionLeg{{CallLegID: "l", StartedAt: l.StartedAt}}, StartedAt: l.StartedAt},
		} {
			b, err := summary.Encode(v)
			if err != nil {
				t.Fatal(err)
			}
			var decoded any
			if err := json.Unmarshal(b, &decoded); err != nil {
				t.Fatal(err)
			}
			noNull(t, "", decoded)
		}
	})
}

func noNull(t *rapid.T, at string, v any) {
	switch v := v.(type) {
	case nil:
		t.Fatalf("%s is null", at)
	case map[string]any:
		for name, field := range v {
			noNull(t, at+"/"+name, field)
		}
	case []any:
		for _, item := range v {
			noNull(t, at+"/-", item)
		}
	}
}

func TestASummaryIsReadBackAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := legs.Draw(t, "leg")
		b, err := summary.Encode(l)
		if err != nil {
			t.Fatal(err)
		}
		var back summary.Leg
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		again, err := summary.Encode(back)
		if err != nil || !bytes.Equal(b, again) {
			t.Fatalf("written %s\nagain   %s (%v)", b, again, err)
		}
		if strings.HasSuffix(string(b), "\n") || strings.Contains(string(b), `\u003c`) {
			t.Fatalf("written %s", b)
		}
	})
}

func TestChangedPointsAtWhatDiffers(t *testing.T) {
	for name, c := range map[string]struct {
		before, after string
		want          []string
	}{
		"nothing":                           {`{"a":1}`, `{"a":1}`, nil},
		"a scalar":                          {`{"a":1,"b":2}`, `{"a":1,"b":3}`, []string{"/b"}},
		"an addition":                       {`{}`, `{"a":{"b":1}}`, []string{"/a"}},
		"a removal":                         {`{"a":1,"b":2}`, `{"b":2}`, []string{"/a"}},
		"objects are descended into":        {`{"a":{"b":1,"c":2}}`, `{"a":{"b":1,"c":3,"d":4}}`, []string{"/a/c", "/a/d"}},
		"arrays stand as a whole":           {`{"a":[1,{"b":1}]}`, `{"a":[1,{"b":2}]}`, []string{"/a"}},
		"an object that becomes a scalar":   {`{"a":{"b":1}}`, `{"a":1}`, []string{"/a"}},
		"names are escaped, ~ before /":     {`{}`, `{"a/b":1,"m~n":2,"~1":3}`, []string{"/a~1b", "/m~0n", "/~01"}},
		"the empty name":                    {`{}`, `{"":1}`, []string{"/"}},
		"numbers are compared as written":   {`{"a":4.03}`, `{"a":4.030}`, []string{"/a"}},
		"large numbers are not rounded":     {`{"a":9007199254740993}`, `{"a":9007199254740992}`, []string{"/a"}},
		"order of names does not matter":    {`{"a":1,"b":2}`, `{"b":2,"a":1}`, nil},
		"pointers are in order":             {`{"b":1,"a":1,"c":1}`, `{"b":2,"a":2,"c":2}`, []string{"/a", "/b", "/c"}},
		"null is not the same as nothing":   {`{"a":null}`, `{}`, []string{"/a"}},
		"order within arrays does matter":   {`{"a":[1,2]}`, `{"a":[2,1]}`, []string{"/a"}},
		"nested additions name the new one": {`{"s":{}}`, `{"s":{"x":{"y":1}}}`, []string{"/s/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := compose.Changed([]byte(c.before), []byte(c.after))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, bad := range []string{``, `1`, `{"a"`} {
		if _, err := compose.Changed([]byte(bad), []byte(`{}`)); err == nil {
			t.Errorf("%q was compared", bad)
		}
	}
}

func TestContentsDifferWhereSomethingChanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := contentOf(t, legs.Draw(t, "a")), contentOf(t, legs.Draw(t, "b"))
		changed, err := compose.Changed([]byte(a), []byte(b))
		if err != nil {
			t.Fatal(err)
		}
		if (len(changed) == 0) != (a == b) {
			t.Fatalf("changed %v:\n%s\n%s", changed, a, b)
		}
		for _, p := range changed {
			if first := strings.Split(p, "/")[1]; !strings.Contains(a+b, `"`+first+`":`) {
				t.Fatalf("%s points at nothing", p)
			}
		}
	})
}

func TestLegReasons(t *testing.T) {
	status := func(s summary.StatusState, final bool) summary.Status { return summary.Status{State: s, Final: final} }
	events := func(types ...string) []summary.Event {
		var list []summary.Event
		for _, typ := range types {
			e := summary.Event{ID: typ, Type: typ}
			if typ == "backfilled" {
				e.Backfill = true
			}
			list = append(list, e)
		}
		return list
	}
	pending := status(summary.StatusPending, false)
	for name, c := range map[string]struct {
		before, after summary.Leg
		want          []summary.Reason
	}{
		"confirmed":              {summary.Leg{Status: pending}, summary.Leg{Status: status(summary.StatusConfirmed, true)}, []summary.Reason{"status_confirmed"}},
		"failed":                 {summary.Leg{Status: pending}, summary.Leg{Status: status(summary.StatusNotFound, true)}, []summary.Reason{"status_failed"}},
		"still pending, finally": {summary.Leg{Status: pending}, summary.Leg{Status: status(summary.StatusPending, true)}, []summary.Reason{"status_failed"}},
		"recording":              {summary.Leg{}, summary.Leg{Events: events("call.recording.saved")}, []summary.Reason{"recording"}},
		"cost":                   {summary.Leg{}, summary.Leg{Events: events("call.cost")}, []summary.Reason{"cost"}},
		"conference recording":   {summary.Leg{}, summary.Leg{Events: events("conference.recording.saved")}, []summary.Reason{"recording"}},
		"transcription":          {summary.Leg{}, summary.Leg{Events: events("call.recording.transcription.saved")}, []summary.Reason{"transcription"}},
		"insights":               {summary.Leg{}, summary.Leg{Events: events("call.conversation_insights.generated")}, []summary.Reason{"insights"}},
		"late event":             {summary.Leg{}, summary.Leg{Events: events("call.bridged")}, []summary.Reason{"late_event"}},
		"backfill":               {summary.Leg{}, summary.Leg{Events: events("backfilled")}, []summary.Reason{"backfill"}},
		"each once, in one order": {
			summary.Leg{Status: pending, Events: events("call.hangup")},
			summary.Leg{Status: status(summary.StatusConfirmed, true), Events: events("call.hangup", "call.cost", "call.bridged", "call.hold", "call.recording.saved", "backfilled")},
			[]summary.Reason{"status_confirmed", "backfill", "recording", "cost", "late_event"},
		},
		"never none": {summary.Leg{}, summary.Leg{From: "a"}, []summary.Reason{"late_event"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, compose.LegReasons(&c.before, &c.after)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestSessionReasons(t *testing.T) {
	of := func(legs ...summary.SessionLeg) summary.Session { return summary.Session{Legs: legs} }
	a1, a2, b1 := summary.SessionLeg{CallLegID: "a", Revision: 1}, summary.SessionLeg{CallLegID: "a", Revision: 2}, summary.SessionLeg{CallLegID: "b", Revision: 1}
	for name, c := range map[string]struct {
		before, after summary.Session
		want          []summary.Reason
	}{
		"a leg joined":      {of(a1), of(a1, b1), []summary.Reason{"leg_added"}},
		"a leg was revised": {of(a1, b1), of(a2, b1), []summary.Reason{"leg_revised"}},
		"both":              {of(a1), of(a2, b1), []summary.Reason{"leg_added", "leg_revised"}},
		"a leg is listed that was left out": {
			summary.Session{LegCount: 2, LegsOmitted: 1, Legs: []summary.SessionLeg{b1}},
			summary.Session{LegCount: 2, Legs: []summary.SessionLeg{a2, b1}},
			[]summary.Reason{"leg_revised"},
		},
		"an event of the session": {of(a1), of(a1), []summary.Reason{"late_event"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, compose.SessionReasons(&c.before, &c.after)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
