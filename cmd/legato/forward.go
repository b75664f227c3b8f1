package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/service"
	"github.com/legato-calls/legato/publish/forward"
)

// forwardCmd is about the applications that get the webhooks. It reads NATS and asks no running service.
type forwardCmd struct {
	List  forwardListCmd  `cmd:"" help:"List the applications, how far each is, and their last answers."`
	Show  forwardShowCmd  `cmd:"" help:"Show the attempts at one event."`
	Retry forwardRetryCmd `cmd:"" help:"Have events sent once more, whatever their age, but none that would command a leg that is over."`
}

// reachDesk connects to NATS for a command about forwarding.
func reachDesk(ctx context.Context, set service.ReaderSettings, c *console) (desk *forward.Desk, done func(), err error) {
	nc, js, layout, err := reach(ctx, set, "legato forward", c)
	if err != nil {
		return nil, nil, err
	}
	return forward.NewDesk(js, layout), nc.Close, nil
}

type forwardListCmd struct {
	service.ReaderSettings
	JSON bool `help:"One JSON object a line."`
}

// Run lists the applications.
func (cmd *forwardListCmd) Run(ctx context.Context, c *console) error {
	desk, done, err := reachDesk(ctx, cmd.ReaderSettings, c)
	if err != nil {
		return err
	}
	defer done()
	states, err := desk.List(ctx)
	if err != nil {
		return err
	}
	if len(states) == 0 {
		fmt.Fprintln(c.stderr, "legato: nothing is forwarded; serve does with --forward")
	}
	encoder := json.NewEncoder(c.stdout)
	for _, s := range states {
		if cmd.JSON {
			err = encoder.Encode(s)
		} else {
			err = printState(c.stdout, s, time.Now())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// printState prints a line for an application and one for each of its last answers.
func printState(w io.Writer, s forward.State, now time.Time) error {
	health := paint(w, good, "answers")
	if s.Dead {
		health = paint(w, bad, "does not answer")
	}
	behind := "nothing waits"
	switch {
	case s.Mode == forward.Proxy:
		behind = "answers Telnyx itself"
	case s.Oldest != nil:
		behind = fmt.Sprintf("%d wait, %d under way, the oldest for %v", s.Waiting, s.Held, max(now.Sub(*s.Oldest), 0).Round(time.Second))
	}
	if s.SetAside > 0 {
		behind += fmt.Sprintf(", %d batches later", s.SetAside)
	}
	if _, err := fmt.Fprintf(w, "%s  %s  %s  %s; %s\n", s.Name, s.Mode, s.URL, health, behind); err != nil {
		return err
	}
	for _, a := range s.Last {
		if err := printAttempt(w, a, true); err != nil {
			return err
		}
	}
	return nil
}

// printAttempt prints one line, and the answer where it was no good one.
func printAttempt(w io.Writer, a forward.Attempt, seq bool) error {
	of := ""
	if seq {
		of = fmt.Sprintf("seq %-8d  ", a.Seq)
	}
	if _, err := fmt.Fprintf(w, "  %s  %sattempt %d  %s  %d ms\n",
		a.At.Local().Format("2006-01-02 15:04:05.000"), of, a.Number, paintResult(w, a), a.Millis); err != nil || seq || a.Answer == "" {
		return err
	}
	_, err := fmt.Fprintf(w, "    %s\n", printable(a.Answer))
	return err
}

// paintResult is what came of an attempt, in a few words.
func paintResult(w io.Writer, a forward.Attempt) string {
	text, color := string(a.Result), odd
	if a.Status > 0 {
		text = fmt.Sprintf("%d %s", a.Status, text)
	}
	if a.Error != "" {
		text += ": " + printable(a.Error)
	}
	switch a.Result {
	case forward.Done:
		color = good
	case forward.Refused, forward.Expired:
		color = bad
	default:
	}
	return paint(w, color, text)
}

type forwardShowCmd struct {
	service.ReaderSettings
	Seq  uint64 `arg:"" help:"Sequence of the event: its Legato-Event-Seq."`
	JSON bool   `help:"The attempts as JSON, by application."`
}

// Run shows the attempts at one event. Answers are the application's own words, and may have personal data.
func (cmd *forwardShowCmd) Run(ctx context.Context, c *console) error {
	desk, done, err := reachDesk(ctx, cmd.ReaderSettings, c)
	if err != nil {
		return err
	}
	defer done()
	e, err := desk.Event(ctx, cmd.Seq)
	switch {
	case errors.Is(err, forward.ErrNoEvent):
		return err
	case err != nil:
		return fmt.Errorf("show event %d: %w", cmd.Seq, err)
	}
	history, _, err := desk.Attempts(ctx, e.ReceivedAt.Add(-time.Second), time.Time{}, cmd.Seq)
	if err != nil {
		return err
	}
	targets := history[cmd.Seq]
	if cmd.JSON {
		return printIndented(c.stdout, struct {
			Seq        uint64                       `json:"seq"`
			Type       string                       `json:"type"`
			ReceivedAt time.Time                    `json:"received_at"`
			Session    string                       `json:"call_session_id,omitempty"`
			Attempts   map[string][]forward.Attempt `json:"attempts"`
		}{cmd.Seq, e.EventType(), e.ReceivedAt, string(e.Ref.Session), targets})
	}
	fmt.Fprintf(c.stdout, "%d  %s  received %s  %s\n", cmd.Seq, e.EventType(), e.ReceivedAt.Local().Format("2006-01-02 15:04:05.000"), e.Ref.Session)
	if len(targets) == 0 {
		fmt.Fprintln(c.stdout, "  no attempt is recorded")
	}
	for _, name := range slices.Sorted(maps.Keys(targets)) {
		fmt.Fprintln(c.stdout, name)
		for _, a := range targets[name] {
			if err := printAttempt(c.stdout, a, false); err != nil {
				return err
			}
		}
	}
	return nil
}

type forwardRetryCmd struct {
	service.ReaderSettings
	Seqs   []uint64 `arg:"" help:"Sequences of the events, as their Legato-Event-Seq." name:"seq"`
	Target string   `help:"The application; needed where there are several." placeholder:"NAME"`
}

// Run asks the running service for one more attempt at each event.
func (cmd *forwardRetryCmd) Run(ctx context.Context, c *console) error {
	desk, done, err := reachDesk(ctx, cmd.ReaderSettings, c)
	if err != nil {
		return err
	}
	defer done()
	if err := desk.Retry(ctx, cmd.Target, cmd.Seqs...); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.stdout, "%d asked for; legato forward show tells what comes of it\n", len(cmd.Seqs))
	return err
}
