package publish_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish"
)

// strangers are messages that Legato did not write, on the subject of a revision of the leg.
func strangers(revision int) map[string]*nats.Msg {
	verb := "completed"
	if revision > 1 {
		verb = "amended"
	}
	message := func(body string, headers ...string) *nats.Msg {
		m := &nats.Msg{Subject: "calls.leg." + verb + ".43." + legKey.Session + "." + legKey.Leg, Data: []byte(body), Header: nats.Header{}}
		for i := 0; i < len(headers); i += 2 {
			m.Header[headers[i]] = []string{headers[i+1]}
		}
		return m
	}
	own := []string{
		"ce-id", fmt.Sprintf("leg/%s/%s/%d", legKey.Session, legKey.Leg, revision), "ce-time", "2026-03-14T15:09:26.535897Z",
		"Legato-Position", "1", "Legato-Log", "x", "Legato-Revision", fmt.Sprint(revision),
	}
	return map[string]*nats.Msg{
		"a text":                            message("not Legato's"),
		"a summary without its headers":     message(string(bodyOf(legKey, revision))),
		"the headers without a body":        message("", own...),
		"the headers and an array":          message("[]", own...),
		"the headers and another leg's":     message(string(bodyOf(summary.Key{Kind: summary.KindLeg, Session: "7a1c", Leg: "7a1e"}, revision)), own...),
		"the headers of the other revision": message(string(bodyOf(legKey, 3-revision)), append(own, "Legato-Revision", fmt.Sprint(3-revision))...),
	}
}

// What Legato did not write counts as not there, before a summary, after it and before its amendment: it is told of, and
// what is to be published is published on condition that nothing of Legato's came in between.
func TestWhatLegatoDidNotWriteIsOvertaken(t *testing.T) {
	t.Parallel()
	for revision := 1; revision <= 2; revision++ {
		for name, m := range strangers(revision) {
			t.Run(fmt.Sprintf("revision %d, %s", revision, name), func(t *testing.T) {
				t.Parallel()
				s := natsdtest.Run(t)
				registry, logged := prometheus.NewRegistry(), &strings.Builder{}
				p, err := publish.New(t.Context(), s.JS, s.Layout)
				if err != nil {
					t.Fatal(err)
				}
				p.Tell(slog.New(slog.NewTextHandler(logged, nil)), registry)
				put := func() {
					if _, err := s.JS.PublishMsg(t.Context(), m); err != nil {
						t.Fatal(err)
					}
				}
				var before summary.Stored
				if revision == 2 {
					before = mustPublish(t, p, draft(legKey, "42", 1), summary.Stored{})
				}
				put()
				put()
				got, found, err := p.Last(t.Context(), legKey)
				if err != nil || found != (revision == 2) {
					t.Fatalf("before: found %v, %v", found, err)
				}
				if diff := cmp.Diff(before, got); diff != "" {
					t.Errorf("what is said to be stored (-want +got):\n%s", diff)
				}
				stored := mustPublish(t, p, draft(legKey, "42", revision), before)
				put()
				if diff := cmp.Diff(stored, mustLast(t, p, legKey)); diff != "" {
					t.Errorf("after (-want +got):\n%s", diff)
				}
				// Once is once.
				if _, err := p.Publish(t.Context(), draft(legKey, "42", revision), before); !errors.Is(err, publish.ErrRefused) {
					t.Errorf("the same again: got error %v, want ErrRefused", err)
				}
				if next := mustPublish(t, p, draft(legKey, "42", revision+1), stored); next.Seq <= stored.Seq {
					t.Errorf("the next revision stands at %d", next.Seq)
				}
				families, err := registry.Gather()
				if err != nil || len(families) != 1 || families[0].GetMetric()[0].GetCounter().GetValue() < 4 {
					t.Errorf("the metrics: %v, %v", families, err)
				}
				if n := strings.Count(logged.String(), "did not write"); n != 1 {
					t.Errorf("it was logged %d times, want once a minute:\n%s", n, logged)
				}
			})
		}
	}
}

// Many that find the same strangers publish once.
func TestOfManyThatOvertakeOneWins(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	for n := range 20 {
		key := summary.Key{Kind: summary.KindSession, Session: fmt.Sprintf("s%d", n)}
		if _, err := s.JS.Publish(t.Context(), "calls.session.completed._."+key.Session, []byte("not Legato's")); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		won := 0
		for c := range 6 {
			p := newPublisher(t, s.JS, s.Layout)
			d := draft(key, fmt.Sprint(c), 1)
			d.Body = append(d.Body, strings.Repeat(" ", c)...) // of its own
			wg.Go(func() {
				_, err := p.Publish(t.Context(), d, summary.Stored{})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					won++
				case !errors.Is(err, publish.ErrRefused):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won != 1 {
			t.Fatalf("%d publishers of session %s have won", won, key.Session)
		}
	}
}
