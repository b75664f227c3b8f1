package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/service"
	"github.com/legato-calls/legato/internal/story"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/forward"
	"github.com/legato-calls/legato/publish/parked"
)

// screenWidth is how wide a ladder is at most, and where nobody knows how wide the screen is.
const screenWidth = 120

type explainCmd struct {
	service.ReaderSettings
	ID       string        `arg:"" help:"A call_session_id, call_leg_id or call_control_id."`
	JSON     bool          `help:"The whole story as JSON."`
	Personal bool          `help:"Show phone numbers and names of parties whole; they are masked otherwise."`
	Since    time.Duration `default:"6h" help:"How far back to look for a call of which no summary is stored, for a control id, and for parked messages."`
}

// Run tells all that is known about one call. It reads NATS and asks no running service; what is due next it
// tells by the times that serve has in this environment.
func (cmd *explainCmd) Run(ctx context.Context, c *console) error {
	if cmd.Since <= 0 {
		return errors.New("--since must be more than 0")
	}
	set, err := service.Environment()
	if err != nil {
		return err
	}
	nc, js, layout, err := reach(ctx, cmd.ReaderSettings, "legato explain", c)
	if err != nil {
		return err
	}
	defer nc.Close()
	calls, err := publish.New(ctx, js, layout)
	if err != nil {
		return err
	}
	sources := &story.Sources{
		Log: stream.NewReader(js, layout.Events, layout.Prefix), Summaries: calls, Parked: parked.New(js, layout),
		Forwarding: forward.NewDesk(js, layout),
		Rules:      set.Rules(), Decode: service.Decoder(nil),
	}
	progress, done := scanProgress(c.stderr)
	s, err := sources.Story(ctx, story.Query{ID: cmd.ID, Since: time.Now().Add(-cmd.Since), Search: true, Progress: progress})
	done()
	switch {
	case errors.Is(err, story.ErrUnknownCall):
		return fmt.Errorf("nothing is known of %s: not in the log of the last %v, not among the stored summaries (by control id, those of that time); --since looks further back", cmd.ID, cmd.Since)
	case err != nil:
		return fmt.Errorf("explain: %w", err)
	}
	if !cmd.Personal {
		s.Mask()
	}
	if cmd.JSON {
		return printIndented(c.stdout, &s)
	}
	_, err = io.WriteString(c.stdout, paintLadder(c.stdout, s.Ladder(width(c.stdout), time.Local)))
	return err
}

// printIndented prints JSON for people.
func printIndented(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// width is that of the terminal, at most screenWidth.
func width(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return min(columns, screenWidth)
		}
	}
	return screenWidth
}

// scanProgress tells a person who waits how far it is; nobody else.
func scanProgress(w io.Writer) (progress func(what string, n int), done func()) {
	if !service.IsTerminal(w) {
		return nil, func() {}
	}
	var said time.Time
	longest := 0
	progress = func(what string, n int) {
		if time.Since(said) < 100*time.Millisecond {
			return
		}
		said = time.Now()
		text := fmt.Sprintf("%d %s looked at", n, what)
		longest = max(longest, len(text))
		fmt.Fprintf(w, "\r%-*s", longest, text)
	}
	return progress, func() {
		if longest > 0 {
			fmt.Fprintf(w, "\r%s\r", strings.Repeat(" ", longest))
		}
	}
}
