package console

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/internal/story"
)

const (
	// liveShown is the longest list of live legs.
	liveShown = 100
	// liveEvery is how often the live legs are looked at while a page shows them.
	liveEvery = 2 * time.Second
	// liveShare is how much longer than it takes to look at them nobody looks again: the table of a busy service has a
	// hundred thousand sessions.
	liveShare = 300
)

// livePage are the legs that are not over.
type livePage struct {
	Legs []session.Open
	All  int
	Now  time.Time
	// Replaying: the table has not caught up with the log.
	Replaying bool
}

func (c *Console) live() *livePage {
	table := c.cfg.Sources.Table
	legs, all := table.Open(liveShown)
	return &livePage{Legs: legs, All: all, Now: table.Now(), Replaying: !table.HasCaughtUp()}
}

// Age is how long ago something was, on the log's clock.
func (p *livePage) Age(t time.Time) time.Duration { return max(p.Now.Sub(t), 0) }

// Due says what is to come of a leg.
func (p *livePage) Due(o session.Open) string {
	if o.Next == nil {
		return ""
	}
	when := "in " + story.Lasted(o.Next.Due.Sub(p.Now))
	if !o.Next.Due.After(p.Now) {
		when = "due since " + story.Lasted(p.Now.Sub(o.Next.Due))
	}
	return story.Check{What: o.Next.Kind, Attempt: o.Next.Attempt}.Phrase() + ", " + when
}

func (c *Console) showLive(*http.Request) (view, error) {
	return view{template: "live", Title: "Live legs", Place: "/live", Data: c.live()}, nil
}

// streamLive sends the live legs every now and then.
func (c *Console) streamLive(w http.ResponseWriter, r *http.Request) {
	c.stream(w, r, func(ctx context.Context, send func(event string, html []byte) error) error {
		tick := time.NewTicker(liveEvery)
		defer tick.Stop()
		for sent := (time.Time{}); ; {
			html, at, err := c.liveDrawn.get(func() (html []byte, took time.Duration, err error) {
				began := time.Now()
				legs := c.live()
				took = time.Since(began)
				html, err = c.draw("live", "livelegs", legs)
				return html, took, err
			})
			if err != nil {
				return err
			}
			if !at.Equal(sent) {
				if err := send("legs", html); err != nil {
					return err
				}
				sent = at
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
}

// shared is something drawn that all readers of a page share for a while.
type shared struct {
	mu   sync.Mutex
	at   time.Time
	took time.Duration // to look at what is drawn
	html []byte
}

// get returns what was drawn lately, or draws it, and when that was.
func (s *shared) get(draw func() (html []byte, took time.Duration, err error)) ([]byte, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.at) >= max(liveEvery/2, liveShare*s.took) {
		html, took, err := draw()
		if err != nil {
			return nil, now, err
		}
		s.html, s.at, s.took = html, now, took
	}
	return s.html, s.at, nil
}
