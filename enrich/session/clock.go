package session

import "time"

// clock is the log's clock: the stream's timestamp of an entry, plus what has passed on the monotonic clock since
// that entry came in. Replicas whose own clocks differ agree on it. Before an entry was seen live there is nothing to
// count from but the wall clock.
type clock struct {
	stamp time.Time // timestamp of the entry counted from
	seen  time.Time // when it came in, with a monotonic reading
}

// anchorFor is how long an entry is counted from. Entries come in with a delay that varies: the one that came in
// fastest is the best to count from, but not forever, for clocks drift and are set.
const anchorFor = 30 * time.Second

// set takes the timestamp of an entry that came in, and returns how far that sets the clock back.
func (c *clock) set(stamp, seen time.Time) (back time.Duration) {
	before := c.now(seen)
	if c.stamp.IsZero() || stamp.After(before) || seen.Sub(c.seen) > anchorFor {
		c.stamp, c.seen = stamp, seen
	}
	return before.Sub(c.now(seen))
}

// anchored reports whether there is an entry to count from.
func (c *clock) anchored() bool { return !c.stamp.IsZero() }

func (c *clock) now(wall time.Time) time.Time {
	if c.stamp.IsZero() {
		return wall
	}
	return c.stamp.Add(wall.Sub(c.seen))
}
