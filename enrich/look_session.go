package enrich

import (
	"context"
	"encoding/json"
	"errors"
	"hash/maphash"
	"slices"

	"github.com/legato-calls/legato/enrich/compose"

	"github.com/legato-calls/legato/enrich/summary"
)

// doSession publishes what is due for the session, after its legs.
func (l *look) doSession(ctx context.Context) error {
	if !l.view.Over {
		departed := false
		for _, lw := range l.legs {
			departed = departed || lw.departed
			if lw.departed && !lw.done {
				return nil
			}
		}
		if departed || len(l.legs) == 0 {
			return l.amendDeparted(ctx)
		}
		// A check will find the session quiet; it brings a task of its own.
		l.sessionDone = true
		return nil
	}
	legs := make([]summary.Leg, 0, len(l.legs))
	for _, lw := range l.legs {
		if lw.summary == nil {
			return nil // its completed comes first
		}
		legs = append(legs, *lw.summary)
	}
	return l.publishSession(ctx, legs)
}

// publishSession brings the stored summary of a session up to its legs.
func (l *look) publishSession(ctx context.Context, legs []summary.Leg) error {
	k := key(l.view.ID, "")
	s, err := compose.FitSession(compose.Session(l.view, legs))
	if err != nil {
		return poison("%w", err)
	}
	content, err := compose.SessionContent(s)
	if err != nil {
		return poison("%w", err)
	}
	cached, ok := l.w.stored.Get(cacheKey(k))
	if ok && cached.(known).content == maphash.Bytes(seed, content) {
		l.sessionDone = true
		return nil
	}
	// Only who has the task of the first settling, for the first time, may suppose
	// that nothing is stored.
	if ok || !l.settled || l.view.Settles > 1 {
		stored, found, err := l.w.cfg.Sink.Last(ctx, k)
		if err != nil {
			return err
		}
		if found {
			return l.compareSession(ctx, s, legs, stored)
		}
	}
	s.Revision, s.PublishedAt = 1, summary.MustAt(l.now)
	stored, err := l.publish(ctx, k, s.ConnectionID, 1, s, summary.Stored{})
	if errors.Is(err, summary.ErrRefused) {
		l.w.metrics.refused.Inc()
		l.later(l.now.Add(refusedPause))
		stored, found, err := l.w.cfg.Sink.Last(ctx, k)
		if err != nil || !found {
			return err
		}
		return l.compareSession(ctx, s, legs, stored)
	}
	if err != nil {
		return err
	}
	l.remember(k, stored, content)
	l.sessionDone = true
	l.w.publishedSession(&s, l.view, l.now)
	return nil
}

// compareSession holds the session against its stored summary and amends it
// where they differ. Legs that only the stored one knows have left the log; their summaries are read back.
func (l *look) compareSession(ctx context.Context, s summary.Session, legs []summary.Leg, stored summary.Stored) error {
	if wait, _ := l.behind(stored); wait {
		return nil
	}
	var before summary.Session
	if err := json.Unmarshal(stored.Body, &before); err != nil {
		return poison("read back revision %d of session %s: %w", stored.Revision, l.view.ID, err)
	}
	viewContent, err := compose.SessionContent(s)
	if err != nil {
		return poison("%w", err)
	}
	legs, err = l.departedLegs(ctx, &before, legs)
	if err != nil {
		return err
	}
	s, err = compose.FitSession(compose.MergeSession(compose.Session(l.view, legs), &before, l.view, legs))
	if err != nil {
		return poison("%w", err)
	}
	was, err := compose.SessionContent(before)
	if err != nil {
		return poison("%w", err)
	}
	is, err := compose.SessionContent(s)
	if err != nil {
		return poison("%w", err)
	}
	k := key(l.view.ID, "")
	if string(was) == string(is) {
		l.remember(k, stored, viewContent)
		l.sessionDone = true
		return nil
	}
	if s.Changed, err = compose.Changed(was, is); err != nil {
		return poison("%w", err)
	}
	s.Reasons = compose.SessionReasons(&before, &s)
	s.Revision, s.PublishedAt = stored.Revision+1, summary.MustAt(l.now)
	next, err := l.publish(ctx, k, s.ConnectionID, s.Revision, s, stored)
	if errors.Is(err, summary.ErrRefused) {
		l.w.metrics.refused.Inc()
		l.later(l.now.Add(refusedPause))
		return nil
	}
	if err != nil {
		return err
	}
	l.remember(k, next, viewContent)
	l.sessionDone = true
	l.w.publishedSession(&s, l.view, l.now)
	return nil
}

// departedLegs adds the summaries of legs that the stored session lists and the
// view does not, and sees to it that no leg's revision goes back: another replica may have
// published a later one than this replica knows of.
func (l *look) departedLegs(ctx context.Context, before *summary.Session, legs []summary.Leg) ([]summary.Leg, error) {
	legs = slices.Clone(legs)
	for _, was := range before.Legs {
		i := slices.IndexFunc(legs, func(leg summary.Leg) bool { return leg.CallLegID == was.CallLegID })
		// What a revision changed, a leg that was published by an earlier look does not say.
		if i >= 0 && (legs[i].Revision == was.Revision || legs[i].Revision > was.Revision && len(legs[i].Changed) > 0) {
			continue
		}
		k := summary.Key{Kind: summary.KindLeg, Session: string(l.view.ID), Leg: was.CallLegID}
		stored, found, err := l.w.cfg.Sink.Last(ctx, k)
		if err != nil {
			return nil, err
		}
		if !found {
			continue // it has left the stream of summaries as well: see keepLegs
		}
		var leg summary.Leg
		if err := json.Unmarshal(stored.Body, &leg); err != nil {
			return nil, poison("read back leg %s: %w", was.CallLegID, err)
		}
		if i >= 0 {
			legs[i].Revision, legs[i].Changed = leg.Revision, leg.Changed
		} else {
			legs = append(legs, leg)
		}
	}
	return legs, nil
}

// amendDeparted revises the session of a leg whose call has left the log, or of
// an event that names a session of which no leg is known. Of the latter nothing may be stored: then it
// waits in the table for its legs.
func (l *look) amendDeparted(ctx context.Context) error {
	stored, found, err := l.w.cfg.Sink.Last(ctx, key(l.view.ID, ""))
	if err != nil {
		return err
	}
	if !found {
		l.sessionDone = true
		return nil
	}
	if len(l.legs) == 0 {
		since := firstReceived(l.view.Events, l.after(stored))
		if d := decideAmend(since, l.now); !since.IsZero() && !d.act {
			l.later(d.until)
			return nil
		}
	}
	var legs []summary.Leg
	for _, lw := range l.legs {
		if lw.departed {
			legs = append(legs, *lw.summary)
		}
	}
	return l.compareSession(ctx, compose.Session(l.view, legs), legs, stored)
}
