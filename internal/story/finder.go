package story

import (
	"slices"

	"github.com/legato-calls/legato/internal/call"
)

// maxUnnamed bounds how many entries without a session are remembered in case their call is found: they are rare.
const maxUnnamed = 100_000

// Finder picks the entries of one call out of a log, by what their headers name. First, while the session is not
// known, it looks for an entry that names it (Session then returns it). Then the log must be read from its beginning
// again, and it collects.
type Finder struct {
	id      string
	session call.SessionID
	// legs and controls are those of the session; found are places in the log.
	legs     map[call.LegID]bool
	controls map[call.ControlID]bool
	found    []uint64
	unnamed  []unnamed
}

// unnamed is an entry that names no session.
type unnamed struct {
	seq uint64
	ref call.Ref
}

// NewFinder returns a finder for a call by the id of its session, of a leg, or a control id. Where the session is
// known the finder collects at once.
func NewFinder(id string, session call.SessionID) *Finder {
	return &Finder{
		id: id, session: session,
		legs: map[call.LegID]bool{}, controls: map[call.ControlID]bool{},
	}
}

// Session returns the session; empty: it is not known so far.
func (f *Finder) Session() call.SessionID { return f.session }

// Take takes the next entry, and reports whether it is the one that names the session.
func (f *Finder) Take(e call.Entry) (named bool) {
	switch {
	case f.session == "" && e.Ref.Session != "" && f.names(e.Ref):
		f.session = e.Ref.Session
		f.found, f.unnamed = nil, nil
		return true
	case f.session == "" && f.names(e.Ref):
		f.found = append(f.found, e.Seq)
	case f.session == "":
	case e.Ref.Session == f.session:
		f.found = append(f.found, e.Seq)
		if e.Ref.Leg != "" {
			f.legs[e.Ref.Leg] = true
		}
		if e.Ref.Control != "" {
			f.controls[e.Ref.Control] = true
		}
	case e.Ref.Session == "" && !e.Ref.Empty() && len(f.unnamed) < maxUnnamed:
		f.unnamed = append(f.unnamed, unnamed{e.Seq, e.Ref})
	}
	return false
}

func (f *Finder) names(r call.Ref) bool {
	return string(r.Session) == f.id || string(r.Leg) == f.id || string(r.Control) == f.id
}

// Found returns the places of the entries about the call, in order.
func (f *Finder) Found() []uint64 {
	found := slices.Clone(f.found)
	for _, u := range f.unnamed {
		// The most specific id that is stated decides, as in the fold.
		if u.ref.Leg != "" && f.legs[u.ref.Leg] || u.ref.Leg == "" && f.controls[u.ref.Control] {
			found = append(found, u.seq)
		}
	}
	slices.Sort(found)
	return found
}
