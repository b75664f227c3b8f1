package e2e_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
)

// TestWhatIsToldWhileTheServiceIsDownIsFoundAfterwards stops the service in the
// middle of calls and lets their other webhooks go into the void. After a start the legs
// are found over at once, and the history completes them.
func TestWhatIsToldWhileTheServiceIsDownIsFoundAfterwards(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	world := legatotest.NewTelnyx(t)
	flags := append(legatotest.EmbeddedFlags(t.TempDir()), "--gap-repair-after=1s")
	s := legatotest.Serve(t, world.Env(), flags...)
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	ends := time.Now().UTC().Truncate(time.Microsecond).Add(-time.Second)
	for i := range 6 {
		c := fake.Generator{Seed: 31}.Of(fake.InboundBridged, uint64(i), ends)
		c = fake.Generator{Seed: 31}.Of(fake.InboundBridged, uint64(i), ends.Add(-c.Length))
		world.Know(c)
		for _, d := range c.Deliveries {
			// Of each leg the beginning is told; of every other one its answer is lost as well.
			if d.Type == call.TypeInitiated || d.Type == call.TypeAnswered && i%2 == 0 {
				if out := sender.Send(t.Context(), d); !out.Accepted {
					t.Fatalf("%s was not accepted: %+v", d.Type, out)
				}
			}
		}
	}
	legatotest.StopsCleanly(t, s)
	down := time.Now()
	legatotest.Eventually(t, "the service has been down for longer than it ever is silent", func() error {
		if since := time.Since(down); since < 21*time.Second {
			return fmt.Errorf("only for %v", since)
		}
		return nil
	})
	s = legatotest.Serve(t, world.Env(), legatotest.Again(flags, s)...)
	back := time.Now()
	legatotest.Eventually(t, "every leg is completed, and then complete", func() error {
		found := legatotest.Summaries(t, s.NATS)
		for _, c := range world.Calls {
			for _, l := range c.Legs {
				if err := complete(t, s.NATS, found[string(c.Session)+"/"+string(l.Ref.Leg)], &l); err != nil {
					return err
				}
			}
			if len(found[string(c.Session)+"/"]) == 0 {
				return fmt.Errorf("no summary of session %s", c.Session)
			}
		}
		return nil
	})
	t.Logf("%d legs were found over and completed %v after the start", len(world.Calls)*2, time.Since(back).Round(time.Millisecond))
	for id, revisions := range legatotest.Summaries(t, s.NATS) {
		for i, p := range revisions {
			if p.Revision != i+1 || strings.Contains(p.Subject, ".completed.") != (i == 0) {
				t.Errorf("%s: message %d is revision %d on %s", id, i+1, p.Revision, p.Subject)
			}
		}
	}
	for _, c := range world.Calls {
		for _, l := range c.Legs {
			// A list of active calls may have been asked for before; it is no request about the leg.
			if n := world.API.Requests(l.Ref.Control); n != 1 {
				t.Errorf("the status of a leg was asked for %d times", n)
			}
			if n := world.API.HistoryRequests(l.Ref.Leg); n != 1 {
				t.Errorf("the history of a leg was asked for %d times", n)
			}
		}
	}
	wantNoSecrets(t, world, s)
	legatotest.StopsCleanly(t, s)
}

// complete reports what the newest summary of a leg lacks.
func complete(t *testing.T, url string, revisions []legatotest.Published, l *fake.Leg) error {
	t.Helper()
	if len(revisions) == 0 {
		return fmt.Errorf("no summary of leg %s", l.Ref.Leg)
	}
	m := legatotest.Completed(t, url, revisions[len(revisions)-1].Subject)
	var got summary.Leg
	if err := json.Unmarshal(m.Data, &got); err != nil {
		t.Fatal(err)
	}
	switch {
	case len(got.Notes) > 0:
		return fmt.Errorf("leg %s: %v", got.CallLegID, got.Notes)
	case got.EndedBy != summary.EndedByHangup || got.Hangup == nil || got.Hangup.Cause != l.Cause:
		return fmt.Errorf("leg %s ended by %s, hangup %+v", got.CallLegID, got.EndedBy, got.Hangup)
	case got.Revision > 1 && !slices.Contains(got.Reasons, summary.ReasonBackfill):
		return fmt.Errorf("leg %s: reasons %v", got.CallLegID, got.Reasons)
	case got.EndedAt.Known().Sub(l.End).Abs() > time.Second || got.AnsweredAt.Known().Sub(l.AnsweredAt).Abs() > time.Second:
		return fmt.Errorf("leg %s: answered %v, ended %v", got.CallLegID, got.AnsweredAt, got.EndedAt)
	}
	for _, e := range got.Events {
		if e.Type == call.TypeHangup && !e.Backfill {
			return fmt.Errorf("leg %s: its hangup is said to have been delivered", got.CallLegID)
		}
	}
	return nil
}

func TestWithoutGapRepairTheHistoryIsNotAsked(t *testing.T) {
	t.Parallel()
	world := legatotest.NewTelnyx(t)
	s := legatotest.Serve(t, world.Env(), append(legatotest.EmbeddedFlags(t.TempDir()), "--gap-repair=off", "--gap-repair-after=1ms")...)
	sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign})
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	c := fake.Generator{Seed: 32}.Of(fake.IVR, 0, time.Now().UTC().Truncate(time.Microsecond).Add(-5*time.Minute))
	world.Know(c)
	for _, d := range c.Deliveries {
		if d.Type != call.TypeAnswered {
			sender.Send(t.Context(), d)
		}
	}
	legatotest.Completed(t, s.NATS, "calls.session.completed.*."+string(c.Session))
	if n := world.API.HistoryRequests(c.Legs[0].Ref.Leg); n != 0 {
		t.Errorf("the history was asked for %d times", n)
	}
	legatotest.StopsCleanly(t, s)
}
