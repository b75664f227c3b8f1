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
