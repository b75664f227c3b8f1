package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/legato-calls/legato/internal/service"
	"github.com/legato-calls/legato/publish/export"
)

type exportCmd struct {
	service.ReaderSettings
	Level         string `default:"leg" enum:"leg,session" help:"leg or session."`
	Since         string `help:"Only what was published since then, as 24h, 2026-03-14 (UTC) or 2026-03-14T15:00:00Z; otherwise all that is kept." placeholder:"TIME"`
	Until         string `help:"Only what was published before then; otherwise until now." placeholder:"TIME"`
	Format        string `default:"" enum:",ndjson,csv,parquet" help:"ndjson, csv or parquet; otherwise by the end of the file's name."`
	QuoteFormulas bool   `help:"In CSV, put an apostrophe before texts that spreadsheets take for formulas: those that begin with =, +, -, @, a tab or a carriage return."`
	Nested        bool   `help:"In Parquet, write lists as LIST<STRUCT>, not as JSON text."`
	Output        string `help:"File to write; one that exists is replaced when the export is whole." placeholder:"FILE" required:"" short:"o" type:"path"`
}

// Run writes the file, or goes on writing it where an earlier run ended.
func (cmd *exportCmd) Run(ctx context.Context, c *console) error {
	plan, err := cmd.plan(time.Now())
	if err != nil {
		return err
	}
	nc, js, layout, err := reach(ctx, cmd.ReaderSettings, "legato export", c)
	if err != nil {
		return err
	}
	defer nc.Close()
	bar := progressBar{out: c.stderr, shown: service.IsTerminal(c.stderr)}
	began := time.Now()
	result, err := export.Run(ctx, js, layout, plan, func(step export.Step, done, all int64) { bar.draw(string(step), done, all) })
	bar.end()
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return fmt.Errorf("interrupted; the same command goes on where it was (%d rows)", result.Rows)
	}
	if err != nil {
		return fmt.Errorf("export to %s: %w", plan.Output, err)
	}
	fmt.Fprintln(c.stderr, exported(plan, result, time.Since(began)))
	return nil
}

func (cmd *exportCmd) plan(now time.Time) (export.Plan, error) {
	plan := export.Plan{Level: cmd.Level, Format: export.Format(cmd.Format), Output: cmd.Output, QuoteFormulas: cmd.QuoteFormulas, Nested: cmd.Nested}
	var err error
	if plan.Format == "" {
		if plan.Format, err = export.FormatOf(cmd.Output); err != nil {
			return plan, fmt.Errorf("--format: %w", err)
		}
	}
	plan.Since.Text, plan.Until.Text = cmd.Since, cmd.Until
	if plan.Since.At, err = parsePast(cmd.Since, now); err != nil {
		return plan, fmt.Errorf("--since: %w", err)
	}
	if plan.Until.At, err = parseTime(cmd.Until, now); err != nil {
		return plan, fmt.Errorf("--until: %w", err)
	}
	if !plan.Until.At.IsZero() && !plan.Until.At.After(plan.Since.At) {
		return plan, errors.New("--until must be later than --since")
	}
	return plan, nil
}

// exported says what was done.
func exported(p export.Plan, r export.Result, took time.Duration) string {
	what := p.Level
	if r.Rows != 1 {
		what += "s"
	}
	text := fmt.Sprintf("exported %d %s to %s in %v", r.Rows, what, p.Output, took.Round(10*time.Millisecond))
	if r.Resumed > 0 {
		text += fmt.Sprintf("; %d had been fetched before", r.Resumed)
	}
	if r.Gone > 0 {
		text += fmt.Sprintf("; %d had left the stream before they could be read", r.Gone)
	}
	return text
}
