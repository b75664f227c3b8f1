package fake_test

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/internal/fake"
)

func chance() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

func tidy() fake.Call { return fake.Generator{Seed: 9}.Of(fake.InboundBridged, 0, start) }

func inOrder(deliveries []fake.Delivery) bool {
	return slices.IsSortedFunc(deliveries, func(a, b fake.Delivery) int { return int(a.Offset - b.Offset) })
}

func TestNoDisorderChangesNothing(t *testing.T) {
	if diff := cmp.Diff(tidy(), fake.Disorder{}.Apply(tidy(), chance())); diff != "" {
		t.Errorf("call (-want +got):\n%s", diff)
	}
}

func TestDisorderLeavesTheCallItWasGiven(t *testing.T) {
	c := tidy()
	fake.Disorder{Duplicates: 1, Late: 0.5, Drop: 0.5}.Apply(c, chance())
	if diff := cmp.Diff(tidy(), c); diff != "" {
		t.Errorf("call (-want +got):\n%s", diff)
	}
}

func TestADuplicateIsTheSameEventOfAnotherAttempt(t *testing.T) {
	c := fake.Disorder{Duplicates: 1}.Apply(tidy(), chance())
	if got, want := len(c.Deliveries), 2*len(tidy().Deliveries); got != want {
		t.Fatalf("got %d deliveries, want %d", got, want)
	}
	first := map[string]fake.Delivery{}
	for _, d := range c.Deliveries {
		if !d.Duplicate {
			first[d.EventID] = d
		}
	}
	for _, d := range c.Deliveries {
		if !d.Duplicate {
			continue
		}
		want := first[d.EventID]
		if d.Offset < want.Offset {
			t.Errorf("%s comes again at %s, before %s", d.Type, d.Offset, want.Offset)
		}
		want.Offset, want.Attempt, want.Duplicate = d.Offset, 2, true
		if diff := cmp.Diff(want, d); diff != "" {
			t.Errorf("duplicate (-want +got):\n%s", diff)
		}
	}
	if !inOrder(c.Deliveries) {
		t.Error("the deliveries are not by offset")
	}
}

func TestDroppedDeliveriesAreMarkedAndNeverRepeated(t *testing.T) {
	c := fake.Disorder{Drop: 1, Duplicates: 1}.Apply(tidy(), chance())
	if got, want := len(c.Deliveries), len(tidy().Deliveries); got != want {
		t.Errorf("got %d deliveries, want %d", got, want)
	}
	for _, d := range c.Deliveries {
		if !d.Dropped {
			t.Errorf("%s is not dropped", d.Type)
		}
	}
}

func TestLateDeliveriesComeAfterTheLastHangup(t *testing.T) {
	c := fake.Disorder{Late: 1}.Apply(tidy(), chance())
	for _, d := range c.Deliveries {
		if late := d.Offset - c.Length; late < 2*time.Second || late > 10*time.Second {
			t.Errorf("%s comes %s after the hangup", d.Type, late)
		}
	}
	if !inOrder(c.Deliveries) {
		t.Error("the deliveries are not by offset")
	}
}

func TestReorderedDeliveriesComeBehindLaterOnes(t *testing.T) {
	overtaken := 0
	for n := range uint64(50) {
		c := fake.Disorder{Reorder: 0.3}.Apply(fake.Generator{Seed: 9}.Of(fake.IVR, n, start), chance())
		for i := range len(c.Deliveries) - 1 {
			if c.Deliveries[i].OccurredAt.After(c.Deliveries[i+1].OccurredAt) {
				overtaken++
			}
		}
	}
	if overtaken == 0 {
		t.Error("nothing was overtaken")
	}
}
