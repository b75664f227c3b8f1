package ingest

// Refusals returns the status of every reason that a problem can have.
func Refusals() map[string]int {
	all := make(map[string]int, len(refusals))
	for why, how := range refusals {
		all[string(why)] = how.status
	}
	return all
}

// Acceptances returns the words of the answers 200.
func Acceptances() []string {
	return []string{string(resultStored), string(resultDuplicate), string(resultParked)}
}

// MaxHeld is what long bodies may take up together.
const MaxHeld = maxHeld

// HeldAtRest returns what a connection holds of the memory for bodies when its long body was stored, and it is in line again.
func HeldAtRest() int64 {
	l := newConnLimiter(nil, 1, nil)
	c, _ := l.admit(nil)
	c.hold(1 << 20)
	c.busy()
	c.rest(true)
	return c.held + l.held
}
