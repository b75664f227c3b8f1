package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/service"
	"github.com/legato-calls/legato/publish"
)

type tailCmd struct {
	service.ReaderSettings
	JSON bool `help:"One JSON document a line, as published."`
	All  bool `help:"Begin with the oldest summary that is still kept; otherwise only new ones are shown." xor:"begin"`

	Since      string   `help:"Begin with what was published since then, as 2h, 2026-03-14 (UTC) or 2026-03-14T15:00:00Z." placeholder:"TIME" xor:"begin"`
	Level      string   `default:"all" enum:"leg,session,all" help:"leg, session or all."`
	Outcome    []string `enum:"answered,no_answer,busy,rejected,canceled,failed,unknown" help:"Only these outcomes." placeholder:"OUTCOME"`
	Connection []string `help:"Only calls of these connections." placeholder:"ID"`
	service.LogSettings
}

// Run prints until ctx ends.
func (cmd *tailCmd) Run(ctx context.Context, c *console) error {
	which, err := cmd.filter(cmd.SubjectPrefix)
	if err != nil {
		return err
	}
	from, err := cmd.from(which, time.Now())
	if err != nil {
		return err
	}
	log := cmd.Logger(c.stderr)
	nc, js, layout, err := cmd.Reach(ctx, "legato tail", 0, log)
	if err != nil {
		return err
	}
	defer nc.Close()
	show := printSummary
	if cmd.JSON {
		show = printJSON
	}
	return follow(ctx, js, layout, from, log, func(subject string, data []byte) error {
		if wanted, err := which.wants(subject, data); !wanted {
			return err
		}
		return show(c.stdout, data)
	})
}

// from is where tail begins.
func (cmd *tailCmd) from(which filter, now time.Time) (jetstream.OrderedConsumerConfig, error) {
	cfg := jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverNewPolicy, FilterSubjects: which.subjects}
	since, err := parsePast(cmd.Since, now)
	switch {
	case err != nil:
		return cfg, fmt.Errorf("--since: %w", err)
	case cmd.All:
		cfg.DeliverPolicy = jetstream.DeliverAllPolicy
	case cmd.Since != "":
		cfg.DeliverPolicy, cfg.OptStartTime = jetstream.DeliverByStartTimePolicy, &since
	}
	return cfg, nil
}

// errNoSummary is wrapped by the error of a body that cannot be read: it is somebody else's.
var errNoSummary = errors.New("not a summary")

// follow hands every summary to do, in the order of the stream, until ctx ends or do fails. What is no summary is passed over.
func follow(ctx context.Context, js jetstream.JetStream, layout natsd.Layout, from jetstream.OrderedConsumerConfig, log *slog.Logger,
	do func(subject string, data []byte) error,
) error {
	consumer, err := js.OrderedConsumer(ctx, layout.Calls, from)
	if err != nil {
		return fmt.Errorf("follow %s: %w", layout.Calls, err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return fmt.Errorf("follow %s: %w", layout.Calls, err)
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return fmt.Errorf("follow %s: %w", layout.Calls, err)
		}
		if err != nil {
			continue // the ordered consumer makes itself anew
		}
		switch err := do(m.Subject(), m.Data()); {
		case errors.Is(err, errNoSummary):
			meta, err := m.Metadata()
			if err != nil {
				return fmt.Errorf("follow %s: %w", layout.Calls, err)
			}
			// Where it is, and not why it is none: that may show the content.
			log.Warn("a message is no summary, and is passed over", "stream", layout.Calls, "seq", meta.Sequence.Stream)
		case err != nil:
			return err
		}
	}
}

func printJSON(w io.Writer, data []byte) error {
	if !json.Valid(data) {
		return errNoSummary
	}
	_, err := fmt.Fprintf(w, "%s\n", data)
	return err
}

// printSummary prints one line for a person: time, level, parties, outcome, duration, status state, why it was
// revised, and the id to explain it by.
func printSummary(w io.Writer, data []byte) error {
	var s struct {
		summary.Session
		Status summary.Status `json:"status"`
		Leg    string         `json:"call_leg_id"`
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return fmt.Errorf("%w: %w", errNoSummary, err)
	}
	state, level, id, detail := s.StatusState, "session", s.CallSessionID, fmt.Sprintf("%d legs", s.LegCount)
	if s.LegCount == 1 {
		detail = "1 leg"
	}
	if s.Kind == summary.KindLeg {
		state, level, id, detail = s.Status.State, "  leg", s.Leg, ""
	}
	if s.Revision > 1 {
		reasons := make([]string, len(s.Reasons))
		for i, r := range s.Reasons {
			reasons[i] = string(r)
		}
		detail = fmt.Sprintf("revision %d: %s", s.Revision, strings.Join(reasons, ", "))
	}
	word := func(width int, word string) string {
		word = oneLine(word)
		return paint(w, colorOf(word), word) + strings.Repeat(" ", max(0, width-len(word)))
	}
	if detail != "" {
		id += "  " + detail
	}
	_, err := fmt.Fprintf(w, "%s  %-7s  %-27s  %s  %7s  %s  %s\n",
		s.PublishedAt.Local().Format(time.TimeOnly), level, parties(s.From, s.To),
		word(9, string(s.Outcome)), lasting(s.DurationSeconds), word(9, string(state)), paint(w, dim, oneLine(id)))
	return err
}

func parties(from, to string) string {
	return oneLine(cmp.Or(from, "?")) + " → " + oneLine(cmp.Or(to, "?"))
}

// oneLine is printable for a text in a line: callers choose what they call from.
func oneLine(text string) string {
	return strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(printable(text))
}

func lasting(s *summary.Seconds) string {
	if s == nil {
		return "–"
	}
	return (time.Duration(float64(*s)*1000) * time.Millisecond).Round(100 * time.Millisecond).String()
}

// filter lets through the summaries that tail is asked for. What a subject tells is left to
// the server, the rest is read from the bodies.
type filter struct {
	// subjects are the server's filters; none: everything.
	subjects    []string
	connections []string
	outcomes    []string
}

// filter makes a filter of the flags.
func (cmd *tailCmd) filter(prefix string) (filter, error) {
	f := filter{connections: cmd.Connection, outcomes: cmd.Outcome}
	levels := []string{cmd.Level}
	if cmd.Level == "all" {
		levels = []string{summary.KindLeg, summary.KindSession}
	}
	for _, connection := range cmd.Connection {
		if !call.ValidToken(connection) {
			return f, fmt.Errorf("--connection: %.64q is no connection id", connection)
		}
	}
	switch {
	case len(cmd.Connection) == 0 && cmd.Level == "all":
	case len(cmd.Connection) == 0:
		f.subjects = []string{prefix + "." + cmd.Level + ".>"}
	default:
		// Where the connection was not known at first the subject never tells it; the body may.
		tokens := append(slices.Clone(cmd.Connection), "_")
		slices.Sort(tokens)
		for _, token := range slices.Compact(tokens) {
			for _, level := range levels {
				f.subjects = append(f.subjects, prefix+"."+level+".*."+token+".>")
			}
		}
	}
	return f, nil
}

// wants reports whether a summary is let through.
func (f filter) wants(subject string, data []byte) (bool, error) {
	if len(f.connections) == 0 && len(f.outcomes) == 0 {
		return true, nil
	}
	var body struct {
		Connection string `json:"connection_id"`
		Outcome    string `json:"outcome"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return false, fmt.Errorf("%w: %w", errNoSummary, err)
	}
	if len(f.outcomes) > 0 && !slices.Contains(f.outcomes, body.Outcome) {
		return false, nil
	}
	if len(f.connections) == 0 || slices.Contains(f.connections, body.Connection) {
		return true, nil
	}
	of, ok := publish.ParseSubject(subject)
	return ok && slices.Contains(f.connections, of.Connection), nil
}

// errNoTime is wrapped by the error of a text that says no time.
var errNoTime = errors.New(`neither a duration as 2h or 90m, nor a time as 2026-03-14T15:00:00Z, nor a day as 2026-03-14 (in UTC)`)

// parseTime reads a point in time: so long before now, or an instant, or the
// beginning of a day in UTC. The empty text is the zero time.
func parseTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		if d < 0 {
			return time.Time{}, fmt.Errorf("%q is negative: a duration counts back from now", text)
		}
		return now.Add(-d).UTC(), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is %w", text, errNoTime)
}

// parsePast is parseTime for a text that must not name the future.
func parsePast(text string, now time.Time) (time.Time, error) {
	at, err := parseTime(text, now)
	if err == nil && at.After(now) {
		return at, fmt.Errorf("%q lies in the future", text)
	}
	return at, err
}
