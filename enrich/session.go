package enrich

import (
	"context"
	"slices"
	"time"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

// wholeSession is the session of a pass: a subject.
type wholeSession struct {
	pass *pass
	// legs are the newest summaries of its legs; of a session that goes on, of those that were trimmed.
	legs []summary.Leg
}

func (s *wholeSession) key() summary.Key { return key(s.pass.view.ID, "") }

func (s *wholeSession) published() int { return s.pass.view.Revision }

func (s *wholeSession) isNew() bool {
	return s.pass.view.Over && s.pass.settled && s.pass.view.Settles <= 1
}

// due: what is over and quiet has settled before, and so have legs that come with news.
func (s *wholeSession) due(stored summary.Stored) verdict {
	v := s.pass.view
	switch {
	case stored.Revision == 0 && !v.Over:
		return verdict{reason: reasonNotOver}
	case stored.Revision == 0:
		return verdict{reason: reasonQuiet, act: true}
	case !v.Over && len(s.legs) == 0:
		return decideAmend(firstReceived(v.Events, s.pass.after(stored)), s.pass.now)
	}
	return verdict{reason: reasonLate, act: true}
}

func (s *wholeSession) version() version {
	v := version{changes: s.pass.view.Version}
	for i := range s.legs {
		v.revisions += s.legs[i].Revision
	}
	return v
}

func (s *wholeSession) draft() *compose.Draft {
	return compose.SessionDraft(compose.Session(s.pass.view, s.legs), s.pass.w.maxBody())
}

// merge reads back the summaries of legs that only the stored session knows: they were trimmed from the log.
func (s *wholeSession) merge(ctx context.Context, stored summary.Stored, _ *compose.Draft, _ bool) (merged, error) {
	before, err := compose.Read(s.key(), stored.Body)
	if err != nil {
		return merged{}, err
	}
	legs, err := s.storedLegs(ctx, before.Session)
	if err != nil {
		return merged{}, err
	}
	v := s.pass.view
	after := compose.SessionDraft(compose.MergeSession(compose.Session(v, legs), before.Session, v, legs), s.pass.w.maxBody())
	own := len(legs) == len(s.legs)
	for _, l := range s.pass.legs {
		own = own && !l.trimmed
	}
	return merged{before: before, after: after, again: true, own: own}, nil
}

// storedLegs adds the summaries of legs that the stored session lists and the view does not, and lets no
// leg's revision go back: another replica may have published a later one than this replica knows of.
func (s *wholeSession) storedLegs(ctx context.Context, before *summary.Session) ([]summary.Leg, error) {
	legs := slices.Clone(s.legs)
	for _, was := range before.Legs {
		i := slices.IndexFunc(legs, func(leg summary.Leg) bool { return leg.CallLegID == was.CallLegID })
		// What a revision changed, a leg that was published by an earlier pass does not say.
		if i >= 0 && (legs[i].Revision == was.Revision || legs[i].Revision > was.Revision && len(legs[i].Changed) > 0) {
			continue
		}
		k := key(s.pass.view.ID, call.LegID(was.CallLegID))
		stored, found, err := s.pass.w.cfg.Sink.Last(ctx, k)
		if err != nil {
			return nil, err
		}
		if !found {
			continue // it has left the stream of summaries as well: compose.MergeSession keeps what is known of it
		}
		d, err := compose.Read(k, stored.Body)
		switch {
		case err != nil:
			return nil, err
		case i >= 0:
			legs[i].Revision, legs[i].Changed = d.Leg.Revision, d.Leg.Changed
		default:
			legs = append(legs, *d.Leg)
		}
	}
	return legs, nil
}

func (s *wholeSession) resume(known) error {
	s.pass.sessionDone = true
	return nil
}

func (s *wholeSession) settle(*compose.Draft) { s.pass.sessionDone = true }

// report counts and logs a published revision: duration_ms is since the last leg was over.
func (s *wholeSession) report(d *compose.Draft, why reason) {
	var over, hangup time.Time
	for _, l := range s.pass.view.Legs {
		if l.Since.After(over) {
			over = l.Since
		}
		if l.Hangup.After(hangup) {
			hangup = l.Hangup
		}
	}
	sum := d.Session
	s.pass.w.report(s.key(), sum.Revision, sum.Outcome, sum.Reasons, s.pass.now, over, hangup,
		"connection_id", sum.ConnectionID, "status", string(sum.StatusState), "why", string(why),
		"legs", sum.LegCount, "answered_legs", sum.AnsweredLegs, "events", sum.EventCount)
}
