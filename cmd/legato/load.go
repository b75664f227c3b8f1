package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/legato-calls/legato/internal/service"
	"github.com/legato-calls/legato/publish/load"
	"github.com/legato-calls/legato/publish/load/clickhouse"
	"github.com/legato-calls/legato/publish/load/dataset"
	"github.com/legato-calls/legato/publish/load/postgres"
)

type loadCmd struct {
	Target string `arg:"" env:"LEGATO_LOAD_TARGET" help:"postgres://user@host/database, clickhouse://user@host:9000, or a folder for Parquet files, as calls/. A password is best left to PGPASSWORD, PGPASSFILE or CLICKHOUSE_PASSWORD." optional:""`
	service.LoadSettings
	PrintSchema bool `help:"Print the SQL that makes the tables of the target, or of a folder the SQL by which DuckDB reads it, and do nothing."`
}

// Run loads until ctx ends.
func (cmd *loadCmd) Run(ctx context.Context, c *console) error {
	if cmd.PrintSchema {
		text, err := cmd.statements()
		if err == nil {
			_, err = io.WriteString(c.stdout, text)
		}
		return err
	}
	log := cmd.Logger(c.stderr)
	target, err := cmd.target(log)
	if err != nil {
		return err
	}
	if err := load.ValidName(cmd.Name); err != nil {
		return fmt.Errorf("--name %w", err)
	}
	return service.Load(ctx, cmd.LoadSettings, target, log, func(ctx context.Context, l *load.Loader) error {
		return watchLoad(ctx, l, log, c.stderr)
	})
}

// statements is the SQL that makes the tables of the target, or reads them. Of a warehouse it needs only the kind.
func (cmd *loadCmd) statements() (string, error) {
	scheme, _, isURL := strings.Cut(cmd.Target, "://")
	switch {
	case cmd.Target == "":
		return "", errNoTarget
	case !isURL:
		return dataset.Statements(cmd.Target)
	case slices.Contains(postgreSQL, scheme):
		return postgres.Statements()
	case slices.Contains(clickHouse, scheme):
		return clickhouse.Statements()
	}
	return "", noWarehouse(scheme)
}

// postgreSQL are the schemes of its URLs, clickHouse those of its native and of its HTTP interface.
var (
	postgreSQL = []string{"postgres", "postgresql"}
	clickHouse = []string{"clickhouse", "http", "https"}
)

var errNoTarget = errors.New("no target is given: postgres://…, clickhouse://… or a folder")

func noWarehouse(scheme string) error {
	return fmt.Errorf("no warehouse is reached by %.32q: postgres://…, clickhouse://… or a folder", scheme+"://")
}

// target is the warehouse that the argument names.
func (cmd *loadCmd) target(log *slog.Logger) (load.Target, error) {
	scheme, _, isURL := strings.Cut(cmd.Target, "://")
	switch {
	case cmd.Target == "":
		return nil, errNoTarget
	case !isURL:
		return dataset.New(cmd.Target, log)
	case slices.Contains(postgreSQL, scheme):
		return postgres.New(cmd.Target)
	case slices.Contains(clickHouse, scheme):
		return clickhouse.New(cmd.Target)
	}
	return nil, noWarehouse(scheme)
}

const (
	// drawEvery is how often the bar is drawn, sayEvery how often a line tells how far the loader is.
	drawEvery, sayEvery = 200 * time.Millisecond, time.Minute
)

// watchLoad tells how far a loader is until ctx ends: on a terminal with a bar while it catches up, and then, and elsewhere, with
// a line a minute.
func watchLoad(ctx context.Context, l *load.Loader, log *slog.Logger, out io.Writer) error {
	tick := time.NewTicker(drawEvery)
	defer tick.Stop()
	bar := progressBar{out: out, shown: service.IsTerminal(out)}
	defer bar.end()
	began := time.Now()
	var said, caughtUp time.Time
	var before load.Progress
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			p := l.Progress()
			if caughtUp.IsZero() && !p.CaughtUp.IsZero() {
				bar.end()
				caughtUp, said, before = p.CaughtUp, now, p
				log.Info("the warehouse has caught up", "messages", p.Loaded, "rows", p.Applied, "rejected", p.Rejected,
					"took", p.CaughtUp.Sub(began).Round(time.Millisecond).String())
				continue
			}
			if all := p.Loaded + int64(p.Pending); caughtUp.IsZero() && all > 0 {
				bar.draw("catching up", p.Loaded, all) // new summaries are published meanwhile
			}
			if said.IsZero() {
				said = began
			}
			if now.Sub(said) >= sayEvery {
				log.Info("loaded", "messages", p.Loaded-before.Loaded, "rows", p.Applied-before.Applied, "rejected", p.Rejected-before.Rejected, "pending", p.Pending)
				said, before = now, p
			}
		}
	}
}

// progressBar is shown on a terminal only, and taken away when it ends.
type progressBar struct {
	out   io.Writer
	shown bool
	step  string
	drawn *progressbar.ProgressBar
}

// draw shows how far a step is; where nobody knows how long it is (all is 0), that it goes on.
func (b *progressBar) draw(step string, done, all int64) {
	if !b.shown {
		return
	}
	if all == 0 {
		all = -1
	}
	if b.step != step || b.drawn == nil {
		b.end()
		b.step = step
		b.drawn = progressbar.NewOptions64(all, progressbar.OptionSetWriter(b.out), progressbar.OptionSetDescription(step),
			progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionThrottle(drawEvery/2),
			progressbar.OptionFullWidth(), progressbar.OptionClearOnFinish())
	}
	if all > 0 {
		b.drawn.ChangeMax64(all) // there may be more to do than there was
	}
	// A bar that cannot be drawn is no reason to end.
	_ = b.drawn.Set64(done)
}

func (b *progressBar) end() {
	if b.drawn != nil {
		_ = b.drawn.Clear()
		b.drawn = nil
	}
}
