package console

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/legato-calls/legato/publish/forward"
)

const (
	// undeliveredSince is how far back attempts are read, attemptsWithin bounds the reading.
	undeliveredSince = time.Hour
	attemptsWithin   = 2 * time.Second
)

// forwardPage is how far applications are.
type forwardPage struct {
	Targets  []forward.State
	Groups   []undeliveredGroup
	Complete bool
	// Retry is what a retry is about, with what would become of it.
	Retry *forwardRetry
}

// undeliveredGroup are events that did not get through alike.
type undeliveredGroup struct {
	Target string
	Result forward.Result
	Status int
	Rows   []forward.Undelivered
}

// Seqs are the places of all of them.
func (g *undeliveredGroup) Seqs() (seqs []uint64) {
	for _, u := range g.Rows {
		seqs = append(seqs, u.Seq)
	}
	return seqs
}

// Shown are the newest of them.
func (g *undeliveredGroup) Shown() []forward.Undelivered {
	rows := slices.Clone(g.Rows[max(len(g.Rows)-10, 0):])
	slices.Reverse(rows)
	return rows
}

func (c *Console) showForward(r *http.Request) (view, error) {
	if c.cfg.Forwarding == nil {
		return view{template: "forward", Title: "Forwarding", Place: "/forward", Data: &forwardPage{}}, nil
	}
	var p forwardPage
	var err error
	if p.Targets, err = c.cfg.Forwarding.List(r.Context()); err != nil {
		return view{}, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), attemptsWithin)
	defer cancel()
	all, complete, err := c.cfg.Forwarding.Undelivered(ctx, time.Now().Add(-undeliveredSince), mostRetried)
	if err != nil {
		return view{}, err
	}
	p.Complete = complete
	type alike struct {
		target string
		result forward.Result
		status int
	}
	groups := make(map[alike]*undeliveredGroup)
	for _, u := range all {
		key := alike{u.Target, u.Result, u.Status}
		if groups[key] == nil {
			groups[key] = &undeliveredGroup{Target: u.Target, Result: u.Result, Status: u.Status}
		}
		groups[key].Rows = append(groups[key].Rows, u)
	}
	for g := range maps.Values(groups) {
		p.Groups = append(p.Groups, *g)
	}
	slices.SortFunc(p.Groups, func(a, b undeliveredGroup) int {
		return cmp.Or(len(b.Rows)-len(a.Rows), strings.Compare(a.Target, b.Target), strings.Compare(string(a.Result), string(b.Result)), a.Status-b.Status)
	})
	return view{template: "forward", Title: "Forwarding", Place: "/forward", Data: &p}, nil
}

// forwardRetry is what would become of events that are tried once more, or that they are.
type forwardRetry struct {
	Target string
	DryRun bool
	Rows   []forwardedEvent
	Again  []uint64
}

type forwardedEvent struct {
	Seq           uint64
	Type, Session string
	Received      time.Time
	Outcome       string
	Wanted        bool
}

// retryForward asks for one more attempt at events, after a dry run.
func (c *Console) retryForward(r *http.Request) (view, error) {
	if c.cfg.Forwarding == nil {
		return view{}, problem{http.StatusConflict, "There is no application to forward to."}
	}
	seqs, err := places(r.PostForm["seq"])
	if err == nil && len(seqs) == 0 {
		err = problem{http.StatusBadRequest, "Nothing is chosen."}
	}
	if err != nil {
		return view{}, err
	}
	p := forwardRetry{Target: r.PostFormValue("target"), DryRun: r.PostFormValue("sure") == ""}
	if !p.DryRun {
		c.log.Info("somebody has events forwarded once more", "user", userOf(r), "target", p.Target, "events", len(seqs))
		if err := c.cfg.Forwarding.Retry(r.Context(), p.Target, seqs...); err != nil {
			return view{}, notForwarded(err)
		}
	}
	for _, seq := range seqs {
		row := forwardedEvent{Seq: seq, Outcome: "is asked for"}
		if p.DryRun {
			if row, err = c.wouldForward(r.Context(), seq); err != nil {
				return view{}, err
			}
			if row.Wanted {
				p.Again = append(p.Again, seq)
			}
		}
		p.Rows = append(p.Rows, row)
	}
	return view{template: "forward", Title: "Forward once more", Place: "/forward", Data: &forwardPage{Retry: &p}}, nil
}

// wouldForward says what would become of an event that is tried once more.
func (c *Console) wouldForward(ctx context.Context, seq uint64) (forwardedEvent, error) {
	e, err := c.cfg.Forwarding.Event(ctx, seq)
	if err != nil {
		if errors.Is(err, forward.ErrNoEvent) {
			return forwardedEvent{Seq: seq, Outcome: "has left the log"}, nil
		}
		return forwardedEvent{}, err
	}
	row := forwardedEvent{Seq: seq, Type: e.EventType(), Session: string(e.Ref.Session), Received: e.ReceivedAt, Outcome: "would be tried once more", Wanted: true}
	if !forward.Outlives(e.EventType()) && c.cfg.Sources.Table.Standing(e.Ref).Over {
		row.Outcome, row.Wanted = "its leg is over: the application would command in vain", false
	}
	return row, nil
}

// notForwarded says what a reader can see to.
func notForwarded(err error) error {
	switch {
	case errors.Is(err, forward.ErrNoTarget):
		return problem{http.StatusNotFound, "There is no such application."}
	case errors.Is(err, forward.ErrNoEvent):
		return problem{http.StatusNotFound, "One of the events has left the log; nothing was asked for."}
	}
	return err
}
