package forward

// remembered is how many events that are through a runner knows: those whose acknowledgement may have been lost
// with a connection, at a thousand events a second for some seconds.
const remembered = 8192

// recent are the events that were through lately, the last ones that were added.
type recent struct {
	seqs map[uint64]struct{}
	ring []uint64
	next int
}

func newRecent() recent {
	return recent{seqs: make(map[uint64]struct{}), ring: make([]uint64, 0, 64)}
}

func (r *recent) add(seq uint64) {
	if _, ok := r.seqs[seq]; ok {
		return
	}
	if len(r.ring) < remembered {
		r.ring = append(r.ring, seq)
	} else {
		delete(r.seqs, r.ring[r.next])
		r.ring[r.next] = seq
		r.next = (r.next + 1) % remembered
	}
	r.seqs[seq] = struct{}{}
}

func (r *recent) has(seq uint64) bool {
	_, ok := r.seqs[seq]
	return ok
}
