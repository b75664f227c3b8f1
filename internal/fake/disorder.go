package fake

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Disorder is how untidily webhooks arrive. Each share is a probability from 0
// to 1, for each delivery by itself; the zero value keeps everything in order.
type Disorder struct {
	// Duplicates is the share of events that are delivered a second time: the same data, another attempt.
	Duplicates float64
	// Reorder is the share that is held back until one of the next three was posted.
	Reorder float64
	// Late is the share that comes two to ten seconds after the call's last hangup.
	Late float64
	// Drop is the share that never arrives.
	Drop float64
}

// Bounds of the disorder.
const (
	minLate, maxLate = 2 * time.Second, 10 * time.Second
	maxTwice         = 3 * time.Second
	minHeld, maxHeld = time.Millisecond, 20 * time.Millisecond
	heldBehind       = 3
)

// Apply returns the call with its deliveries in disorder, as the source of
// chance decides. The truth stays, and the call that is given is not changed. Every
// event keeps exactly one delivery that is not a duplicate, dropped or not.
func (d Disorder) Apply(c Call, rng *rand.Rand) Call {
	tidy := c.Deliveries
	untidy := slices.Clone(tidy)
	for i := range tidy {
		// The same number of draws for each delivery: another share changes no other fate.
		fate, twice := rng.Float64(), rng.Float64()
		late := c.Length + within(rng, minLate, maxLate)
		behind := min(i+1+rng.IntN(heldBehind), len(tidy)-1)
		held := tidy[behind].Offset + within(rng, minHeld, maxHeld)
		again := within(rng, 0, maxTwice)
		switch {
		case fate < d.Drop:
			untidy[i].Dropped = true
		case fate < d.Drop+d.Late:
			untidy[i].Offset = max(late, tidy[i].Offset)
		case fate < d.Drop+d.Late+d.Reorder:
			untidy[i].Offset = held
		}
		if twice < d.Duplicates && !untidy[i].Dropped {
			second := untidy[i]
			second.Offset += again
			second.Attempt++
			second.Duplicate = true
			untidy = append(untidy, second)
		}
	}
	byOffset(untidy)
	c.Deliveries = untidy
	return c
}

func within(rng *rand.Rand, from, to time.Duration) time.Duration {
	return from + time.Duration(rng.Int64N(int64(to-from)))
}
