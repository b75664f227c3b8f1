package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/service"
	"github.com/legato-calls/legato/internal/story"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/forward"
	"github.com/legato-calls/legato/publish/parked"
)

type eraseCmd struct {
	service.ReaderSettings
	ID     string `arg:"" help:"A call_session_id, call_leg_id or call_control_id."`
	DryRun bool   `help:"Only tell what would be erased."`
	Wait   bool   `help:"Wait until the call has left the log, and erase then."`
}

// eraseEvery is how often the log is looked at while its entries of a call are waited for.
const eraseEvery = 15 * time.Second

var errInTheLog = errors.New("the call is in the log yet: erase it again when it has left, or use --wait")

// Run erases one call from the summaries, from what is parked and from what is recorded of applications. Single entries
// of the log cannot be removed: they leave with their call.
func (cmd *eraseCmd) Run(ctx context.Context, c *console) error {
	nc, js, layout, err := reach(ctx, cmd.ReaderSettings, "legato erase", c)
	if err != nil {
		return err
	}
	defer nc.Close()
	e := eraser{cmd: cmd, console: c, js: js, layout: layout, log: stream.NewReader(js, layout.Events, layout.Prefix)}
	if e.calls, err = publish.New(ctx, js, layout); err != nil {
		return err
	}
	if err := e.identify(ctx); err != nil {
		return err
	}
	for {
		seqs, newest, err := e.entries(ctx)
		if err != nil {
			return err
		}
		if !cmd.Wait || cmd.DryRun || len(seqs) == 0 {
			return e.erase(ctx, seqs, newest)
		}
		e.say("log: %d entries, waiting", len(seqs))
		// What is recorded of applications names places in the log, which tell nothing when that has let them go.
		if _, err := forward.NewDesk(js, layout).Erase(ctx, seqs, false); err != nil {
			return err
		}
		select {
		case <-time.After(eraseEvery):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// eraser erases one call.
type eraser struct {
	cmd     *eraseCmd
	console *console
	js      jetstream.JetStream
	layout  natsd.Layout
	log     *stream.Reader
	calls   *publish.Publisher
	// session and ids are what the call goes by: session, legs, control ids. The session is empty where nothing names it, and
	// then there are no summaries: their subjects do.
	session string
	ids     []string
}

// identify finds all ids of the call. One that is known to nobody may stand in what is parked.
func (e *eraser) identify(ctx context.Context) error {
	set, err := service.Environment()
	if err != nil {
		return err
	}
	sources := &story.Sources{Log: e.log, Summaries: e.calls, Parked: parked.New(e.js, e.layout), Rules: set.Rules(), Decode: service.Decoder(nil)}
	told, err := sources.Story(ctx, story.Query{ID: e.cmd.ID, Since: time.Now().Add(-set.CallsMaxAge), Search: true})
	switch {
	case errors.Is(err, story.ErrUnknownCall):
		if e.ids = []string{e.cmd.ID}; call.ValidToken(e.cmd.ID) {
			e.session = e.cmd.ID
		}
		return nil
	case err != nil:
		return fmt.Errorf("find the call: %w", err)
	}
	e.session = told.CallSessionID
	e.ids = []string{e.cmd.ID, told.CallSessionID}
	for _, l := range told.Legs {
		e.ids = append(e.ids, l.CallLegID, l.CallControlID)
	}
	slices.Sort(e.ids)
	e.ids = slices.DeleteFunc(slices.Compact(e.ids), func(id string) bool { return id == "" })
	return nil
}

// entries are the places that the log has of the call, and when the newest was received.
func (e *eraser) entries(ctx context.Context) (seqs []uint64, newest time.Time, err error) {
	has := func(id string) bool { return id != "" && slices.Contains(e.ids, id) }
	err = e.log.Scan(ctx, stream.From{}, func(entry call.Entry) error {
		if r := entry.Ref; has(string(r.Session)) || has(string(r.Leg)) || has(string(r.Control)) {
			seqs, newest = append(seqs, entry.Seq), entry.ReceivedAt
		}
		return nil
	})
	return seqs, newest, err
}

// erase erases what can be, and fails where the log has entries of the call.
func (e *eraser) erase(ctx context.Context, seqs []uint64, newest time.Time) error {
	verb := "erased"
	if e.cmd.DryRun {
		verb = "would be erased"
	}
	for _, part := range []struct {
		what  string
		erase func() (int, error)
	}{
		{e.layout.Calls + ": %d summaries %s", func() (int, error) {
			if e.session == "" {
				return 0, nil
			}
			return e.calls.Erase(ctx, e.session, e.cmd.DryRun)
		}},
		{e.layout.Parked + ": %d messages %s", func() (int, error) { return parked.New(e.js, e.layout).Erase(ctx, e.ids, e.cmd.DryRun) }},
		{e.layout.Forward + ": %d records of attempts %s", func() (int, error) { return forward.NewDesk(e.js, e.layout).Erase(ctx, seqs, e.cmd.DryRun) }},
	} {
		n, err := part.erase()
		if err != nil {
			return err
		}
		e.say(part.what, n, verb)
	}
	if len(seqs) == 0 {
		e.say("%s: no entries", e.layout.Events)
		return nil
	}
	stream, err := e.js.Stream(ctx, e.layout.Events)
	if err != nil {
		return fmt.Errorf("look at the log: %w", err)
	}
	latest := newest.Add(stream.CachedInfo().Config.MaxAge).UTC().Format(time.RFC3339)
	e.say("%s: %d entries stay until the call is trimmed, some minutes after --amend-window, at the latest until %s", e.layout.Events, len(seqs), latest)
	return errInTheLog
}

func (e *eraser) say(format string, args ...any) {
	_, _ = fmt.Fprintf(e.console.stdout, format+"\n", args...)
}
