package publish_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish"
)

func TestAllRevisionsOfACallAreFound(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	if got, err := p.Revisions(t.Context(), sessionKey.Session); err != nil || got != nil {
		t.Errorf("of a call of which nothing is stored: %v, %v", got, err)
	}
	other := summary.Key{Kind: summary.KindLeg, Session: "another", Leg: "7a1e"}
	var want []summary.Stored
	prev := mustPublish(t, p, draft(legKey, "", 1), summary.Stored{})
	want = append(want, prev, mustPublish(t, p, draft(sessionKey, "c1", 1), summary.Stored{}))
	mustPublish(t, p, draft(other, "c1", 1), summary.Stored{})
	mustPublish(t, p, draft(summary.Key{Kind: summary.KindSession, Session: "another"}, "c1", 1), summary.Stored{})
	// More than are asked for at a time.
	for revision := 2; revision <= 40; revision++ {
		prev = mustPublish(t, p, draft(legKey, "", revision), prev)
		want = append(want, prev)
	}
	// What somebody else has put there is passed over.
	if _, err := s.JS.Publish(t.Context(), "calls.leg.amended.c1.7a1c.7a1f", []byte("not Legato's")); err != nil {
		t.Fatal(err)
	}
	got, err := p.Revisions(t.Context(), sessionKey.Session)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := p.Revisions(t.Context(), "a b"); !errors.Is(err, publish.ErrInvalid) {
		t.Errorf("of an id that is no token: %v", err)
	}
	if _, err := p.Revisions(t.Context(), "*"); !errors.Is(err, publish.ErrInvalid) {
		t.Errorf("of a wildcard: %v", err)
	}
	for leg, want := range map[string]string{legKey.Leg: legKey.Session, other.Leg: "another", "nobody": ""} {
		if got, ok, err := p.SessionOf(t.Context(), leg); err != nil || got != want || ok != (want != "") {
			t.Errorf("the session of leg %s: %q, %v, %v", leg, got, ok, err)
		}
	}
	if _, _, err := p.SessionOf(t.Context(), ">"); !errors.Is(err, publish.ErrInvalid) {
		t.Errorf("the session of a wildcard: %v", err)
	}
}

func TestACallIsFoundByTheControlIDInItsSummaries(t *testing.T) {
	s := natsdtest.Run(t)
	p := newPublisher(t, s.JS, s.Layout)
	for n := range 70 {
		d := draft(summary.Key{Kind: summary.KindLeg, Session: fmt.Sprintf("s%d", n), Leg: fmt.Sprintf("l%d", n)}, "c1", 1)
		// Another names it in passing.
		d.Body = fmt.Appendf(nil, `{"call_session_id":"s%d","call_control_id":"v3:%d","tags":["v3:%d"]}`, n, n, n+1)
		mustPublish(t, p, d, summary.Stored{})
	}
	looked := 0
	got, ok, err := p.SessionByControl(t.Context(), "v3:50", time.Now().Add(-time.Hour), func(n int) { looked = n })
	if err != nil || !ok || got != "s50" || looked != 51 {
		t.Errorf("found %q, %v, %v after %d", got, ok, err, looked)
	}
	if got, ok, err := p.SessionByControl(t.Context(), "v3:5", time.Now().Add(time.Hour), nil); err != nil || ok {
		t.Errorf("of a time that is to come: %q, %v", got, err)
	}
	if got, ok, err := p.SessionByControl(t.Context(), "v3:", time.Now().Add(-time.Hour), nil); err != nil || ok {
		t.Errorf("by the beginning of an id: %q, %v", got, err)
	}
}
