package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/forward"
)

// ForwardSettings say which applications get the webhooks.
type ForwardSettings struct {
	Forward            []string      `env:"LEGATO_FORWARD" help:"Hand each webhook on to an application, once it is stored: NAME=URL, or URL for the name app; several, separated by commas. The name is its durable identity." placeholder:"NAME=URL"`
	ForwardMode        []string      `env:"LEGATO_FORWARD_MODE" help:"NAME=after: Telnyx is answered once the event is stored, and the application gets it then (the default); NAME=proxy: the application's answer is Telnyx's answer." placeholder:"NAME=MODE"`
	ForwardOnly        []string      `env:"LEGATO_FORWARD_ONLY" help:"What an application gets, else all: NAME=TYPE of event, with * at the end for all that begin so, and NAME=connection:ID; several conditions of one kind are alternatives." placeholder:"NAME=CONDITION"`
	ForwardTimeout     time.Duration `default:"2s" env:"LEGATO_FORWARD_TIMEOUT" help:"Time limit of one attempt."`
	ForwardFor         time.Duration `default:"60s" env:"LEGATO_FORWARD_FOR" help:"How long after its receipt an event is worth trying on which an application commands; it ends at once when its leg is over."`
	ForwardReportsFor  time.Duration `default:"1h" env:"LEGATO_FORWARD_REPORTS_FOR" help:"The same for events that only report, as hangups, recordings and costs."`
	ForwardConcurrency int           `default:"64" env:"LEGATO_FORWARD_CONCURRENCY" help:"Most attempts under way to one application."`
	ForwardBackfill    string        `default:"off" enum:"on,off" env:"LEGATO_FORWARD_BACKFILL" help:"on: hand on also what was filled in from Telnyx's history of call events."`
	ForwardHeader      []string      `env:"LEGATO_FORWARD_HEADER" help:"A header of your own for an application, a secret perhaps: NAME=Header: value; several in lines of their own." placeholder:"NAME=HEADER" sep:"none"`
	ForwardHeaderFile  string        `env:"LEGATO_FORWARD_HEADER_FILE" help:"File to read such headers from, one a line." placeholder:"FILE" type:"path"`
}

// targets reads the applications. Its errors name settings and never a secret in them.
func (s *ForwardSettings) targets() ([]forward.Target, error) {
	if s.ForwardTimeout <= 0 || s.ForwardFor <= 0 || s.ForwardReportsFor <= 0 || s.ForwardConcurrency <= 0 {
		return nil, errors.New("--forward-timeout, --forward-for, --forward-reports-for and --forward-concurrency must be more than 0")
	}
	headers, err := optionalSecret(strings.Join(s.ForwardHeader, "\n"), s.ForwardHeaderFile, "LEGATO_FORWARD_HEADER")
	if err != nil {
		return nil, err
	}
	flags := forward.Flags{Targets: s.Forward, Modes: s.ForwardMode, Only: s.ForwardOnly}
	for line := range strings.Lines(headers) {
		if line = strings.TrimSpace(line); line != "" {
			flags.Headers = append(flags.Headers, line)
		}
	}
	return forward.Parse(flags)
}

// forwarding makes the room that hands webhooks on, where there is anybody to hand them on to.
func (s *Service) forwarding(ctx context.Context, targets []forward.Target, summaries *publish.Publisher) error {
	if len(targets) == 0 {
		return nil
	}
	set := &s.settings.ForwardSettings
	return s.await(ctx, "make the places of the applications", func(ctx context.Context) (err error) {
		s.forward, err = forward.New(ctx, forward.Config{
			JetStream: s.js, Layout: s.layout, Targets: targets, Timeout: set.ForwardTimeout, For: set.ForwardFor,
			ReportsFor: set.ForwardReportsFor, Concurrency: set.ForwardConcurrency, Backfill: set.ForwardBackfill == "on",
			Calls:  &foldedCalls{table: s.worker.Table(), log: s.journal, summaries: summaries},
			Logger: s.log.With("component", "forward"), Registerer: s.registry,
		})
		if err == nil {
			s.forwarded.Store(s.forward)
		}
		return err
	})
}

// foldedCalls answers forwarding's questions from this replica's fold, and about a call that has left the log from its
// summary.
type foldedCalls struct {
	table *session.Table
	log   interface {
		State(ctx context.Context) (call.Log, error)
	}
	summaries *publish.Publisher

	mu sync.Mutex
	// end is where the log ended when it was asked last, and replay is the signal of the replay that was through then.
	end    uint64
	asked  time.Time
	replay <-chan struct{}
}

const (
	// freshFor is how old the newest entry that is folded may be for the fold to count as up to date.
	freshFor = time.Second
	// askedFor is for how long an answer of the log is used again.
	askedFor = 100 * time.Millisecond
)

// Session implements forward.Calls.
func (c *foldedCalls) Session(ref call.Ref) call.SessionID { return c.table.Place(ref).Session }

// errReplaying is the error of a question that the fold could answer before and cannot again yet.
var errReplaying = errors.New("the log is being replayed")

// current waits until the fold has come to the log's end: what is further on may have ended a call long ago. A replay is
// through where the log ended when it began, and webhooks are stored while it lasts; and a fold that has heard nothing for
// a while may have lost its connection. On a cluster the age of an entry is by two clocks: where they differ, the log is
// asked more often, or what is not folded may be older by as much.
func (c *foldedCalls) current(ctx context.Context) error {
	replay := c.table.CaughtUp()
	select {
	case <-replay:
	case <-ctx.Done():
		return errReplaying
	}
	c.mu.Lock()
	end, asked, known := c.end, c.asked, c.replay == replay
	c.mu.Unlock()
	if isFresh := time.Since(c.table.Latest()) < freshFor; !known || !isFresh && time.Since(asked) > askedFor {
		asked = time.Now()
		log, err := c.log.State(ctx)
		if err != nil {
			return err
		}
		end = log.Last
		c.mu.Lock()
		c.replay, c.end, c.asked = replay, end, asked
		c.mu.Unlock()
	}
	return c.table.Wait(ctx, end)
}

// Over implements forward.Calls.
func (c *foldedCalls) Over(ctx context.Context, ref call.Ref, seq uint64) (bool, error) {
	if err := c.current(ctx); err != nil {
		return false, fmt.Errorf("is the leg of entry %d over: %w", seq, err)
	}
	if err := c.table.Wait(ctx, seq); err != nil {
		return false, err
	}
	st := c.table.Standing(ref)
	if st.Position < seq {
		return false, fmt.Errorf("is the leg of entry %d over: %w", seq, errReplaying)
	}
	// The entry was folded, so its session was known: one that is not known any more was forgotten, since it was over.
	forgotten := !st.Known && ref.Session != "" && c.table.Unusable(seq) == nil
	if st.Over || forgotten || !st.Headless || ref.Session == "" || ref.Leg == "" {
		return st.Over || forgotten, nil
	}
	// A leg that begins in its middle: what came late for a call that has left the log, if a summary of it is stored.
	_, stored, err := c.summaries.Last(ctx, summary.Key{Kind: summary.KindLeg, Session: string(ref.Session), Leg: string(ref.Leg)})
	return stored, err
}

// application answers webhooks in proxy mode; nil where no application is in it.
func (s *Service) application() ingest.Application {
	if s.forward == nil || !s.forward.Proxies() {
		return nil
	}
	return func(ctx context.Context, e call.Entry) (ingest.Answer, bool) {
		a, ok := s.forward.Answer(ctx, e)
		return ingest.Answer(a), ok
	}
}

// needed is what applications still need of the log.
func (s *Service) needed(ctx context.Context) (uint64, error) { return s.forward.Needed(ctx) }

// runForward forwards until ctx ends, where there is anybody to forward to.
func (s *Service) runForward(ctx context.Context) error {
	if s.forward == nil {
		return nil
	}
	return s.forward.Run(ctx)
}
