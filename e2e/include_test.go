package e2e_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/fake"

	"github.com/google/go-cmp/cmp"
)

func TestDigitsAreShownOnlyWhereTheyAreIncluded(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{nil, {"--include=dtmf"}} {
		world := legatotest.NewTelnyx(t)
		s := legatotest.Serve(t, world.Env(), append(legatotest.EmbeddedFlags(t.TempDir()), flags...)...)
		sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign})
		if err != nil {
			t.Fatal(err)
		}
		defer sender.Close()
		c := fake.Generator{Seed: 9}.Of(fake.IVR, 1, time.Now().UTC().Add(-10*time.Minute))
		world.Know(c)
		var want []string
		for _, d := range c.Deliveries {
			if out := sender.Send(t.Context(), d); !out.Accepted {
				t.Fatalf("%s was not accepted: %+v", d.Type, out)
			}
			var data struct {
				Payload struct{ Digit string }
			}
			if err := json.Unmarshal(d.Data, &data); err != nil {
				t.Fatal(err)
			}
			if data.Payload.Digit != "" {
				want = append(want, data.Payload.Digit)
			}
		}
		m := legatotest.Completed(t, s.NATS, "calls.leg.completed.*."+string(c.Session)+"."+string(c.Legs[0].Ref.Leg))
		var got struct {
			DTMF    summary.DTMF
			Gathers []struct {
				Digits *string
				Count  int `json:"digit_count"`
			}
		}
		if err := json.Unmarshal(m.Data, &got); err != nil {
			t.Fatal(err)
		}
		if len(want) == 0 || len(got.Gathers) == 0 {
			t.Fatalf("a call without digits: %s", m.Data)
		}
		if got.DTMF.Count != len(want) {
			t.Errorf("%d of %d keys are counted", got.DTMF.Count, len(want))
		}
		if flags == nil {
			want = nil
		}
		var shown []string
		for _, d := range got.DTMF.Digits {
			shown = append(shown, d.Digit)
		}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("digits with %v (-want +got):\n%s", flags, diff)
		}
		for _, g := range got.Gathers {
			if (g.Digits != nil) != (flags != nil) || g.Digits != nil && len(*g.Digits) != g.Count {
				t.Errorf("a gather with %v: %s", flags, m.Data)
			}
		}
		legatotest.StopsCleanly(t, s)
	}
}
