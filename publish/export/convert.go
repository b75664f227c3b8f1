package export

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/publish/parquetfile"
)

// encoder writes rows in a format.
type encoder interface {
	Write(row []flat.Value) error
	// Close writes what is left. It does not close what it wrote to.
	Close() error
}

// convert writes the spool as rows into a file, from the beginning.
func (s *spool) convert(ctx context.Context, path string, watch Watch) error {
	table, err := flat.Of(s.plan.Level)
	if err != nil {
		return err
	}
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("read what was fetched: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
	if err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	out := bufio.NewWriterSize(f, 1<<20)
	var to encoder
	if s.plan.Format == Parquet {
		to = parquetfile.New(out, table, s.plan.Nested)
	} else {
		to = newCSV(out, table.Columns(), s.plan.QuoteFormulas)
	}
	err = rows(ctx, io.LimitReader(s.file, s.state.Bytes), table, to, func(done int64) { watch(Write, done, s.state.Rows) })
	if err == nil {
		err = errors.Join(to.Close(), out.Flush(), f.Sync())
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	return nil
}

// chunk is a run of lines, and the rows that they become.
type chunk struct {
	lines []string
	rows  [][]flat.Value
	err   error
	done  chan struct{}
}

// A chunk ends at whichever comes first. Lines may have half a MiB.
const (
	chunkLines = 512
	chunkBytes = 2 << 20
)

// rows makes a row of each line, on all processors, and writes them in order.
func rows(ctx context.Context, in io.Reader, table *flat.Table, to encoder, seen func(done int64)) error {
	group, ctx := errgroup.WithContext(ctx)
	parsers := runtime.GOMAXPROCS(0)
	work, order := make(chan *chunk, parsers), make(chan *chunk, parsers)
	group.Go(func() error {
		defer close(work)
		defer close(order)
		return split(in, func(c *chunk) error {
			for _, to := range []chan *chunk{order, work} {
				select {
				case to <- c:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		})
	})
	for range parsers {
		group.Go(func() error {
			for c := range work {
				c.parse(table)
			}
			return nil
		})
	}
	group.Go(func() error {
		var done int64
		for c := range order {
			select {
			case <-c.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			for _, row := range c.rows {
				if err := to.Write(row); err != nil {
					return err
				}
			}
			if done += int64(len(c.rows)); c.err != nil {
				return fmt.Errorf("row %d: %w", done+1, c.err)
			}
			seen(done)
		}
		return nil
	})
	return group.Wait()
}

func (c *chunk) parse(table *flat.Table) {
	defer close(c.done)
	columns := len(table.Columns())
	cells := make([]flat.Value, columns*len(c.lines))
	for i, line := range c.lines {
		row := cells[i*columns : (i+1)*columns]
		if c.err = table.Row(line, row); c.err != nil {
			return
		}
		c.rows = append(c.rows, row)
	}
}

// split cuts the lines into chunks.
func split(in io.Reader, do func(*chunk) error) error {
	reader := bufio.NewReaderSize(in, 1<<20)
	next, size := &chunk{done: make(chan struct{})}, 0
	for {
		line, err := reader.ReadString('\n')
		if line != "" {
			next.lines, size = append(next.lines, line), size+len(line)
		}
		if len(next.lines) > 0 && (err != nil || len(next.lines) == chunkLines || size >= chunkBytes) {
			if err := do(next); err != nil {
				return err
			}
			next, size = &chunk{done: make(chan struct{})}, 0
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read what was fetched: %w", err)
		}
	}
}
