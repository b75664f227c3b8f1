package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
)

// consoleRate is what the console is measured at.
const consoleRate = 1000

// consolePages are what the readers look at, one each: streams, and what a page asks for again and again.
var consolePages = []string{"/stream/calls", "/stream/calls", "/stream/calls?doubtful=1", "/stream/live", "/outcomes/data?hours=1"}

// outcomesAgain is how often a page of outcomes asks.
const outcomesAgain = 5 * time.Second

// consolePart measures what readers of live pages cost.
func (b *benchRun) consolePart(ctx context.Context) error {
	c := &bench.Console{Rate: consoleRate, Readers: len(consolePages)}
	for n := range b.Rounds {
		for _, m := range []struct {
			what    string
			flags   []string
			readers bool
			into    *[]bench.ConsoleRound
		}{
			{"without one", nil, false, &c.Alone},
			{"with readers", []string{consoleFlag}, true, &c.Read},
		} {
			b.progress("console, round %d of %d: %s", n+1, b.Rounds, m.what)
			round, err := b.consoleRound(ctx, fmt.Sprintf("console-%s-%d", m.what, n+1), m.readers, m.flags)
			if err != nil {
				return fmt.Errorf("%s: %w", m.what, err)
			}
			*m.into = append(*m.into, round)
		}
	}
	var err error
	if c.Pages, err = b.consoleCalls(ctx); err != nil {
		return fmt.Errorf("pages of calls: %w", err)
	}
	b.report.Console = c
	return nil
}

// consoleLoads is how often a page is loaded and measured.
const consoleLoads = 7

// consoleCalls measures pages of calls in a browser, where there is one.
func (b *benchRun) consoleCalls(ctx context.Context) (pages []bench.ConsolePage, err error) {
	browser, err := exec.LookPath("chromium")
	if err != nil {
		b.progress("console: there is no Chromium to look at pages with: %v", err)
		return nil, nil
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox)
	err = b.driven(ctx, targetPipeline, func(ctx context.Context, d *drive) error {
		tab, end := chromedp.NewExecAllocator(ctx, options...)
		defer end()
		tab, end = chromedp.NewContext(tab)
		defer end()
		for _, events := range []int{bench.ConsoleShort, bench.ConsoleLong} {
			b.progress("console: the page of a call of %d events", events)
			w := d.build(bench.Shape{Events: events, PerLeg: events})
			if _, _, err := d.send(ctx, w, func(ctx context.Context) (*bench.Result, error) {
				return bench.Saturate(ctx, d.Listen, w, connections)
			}); err != nil {
				return err
			}
			page, err := loads(tab, d.Console+"/calls/"+string(w.Sessions[0]))
			if err != nil {
				return err
			}
			page.Events = events
			pages = append(pages, page)
		}
		return nil
	}, consoleFlag)
	return pages, err
}

// loads loads a page some times, after once to warm up.
func loads(tab context.Context, address string) (p bench.ConsolePage, err error) {
	for n := range consoleLoads + 1 {
		if err := chromedp.Do(tab, chromedp.Navigate(address)); err != nil {
			return p, fmt.Errorf("load a page: %w", err)
		}
		times, err := chromedp.Run(tab, chromedp.Evaluate[[]float64](`(() => {
			const n = performance.getEntriesByType("navigation")[0];
			return [n.responseStatus, n.responseStart - n.requestStart, n.loadEventEnd - n.startTime];
		})()`))
		if err != nil {
			return p, fmt.Errorf("ask how long a page took: %w", err)
		}
		if times[0] != http.StatusOK || times[2] <= 0 {
			return p, fmt.Errorf("a page was not loaded: status, first byte and whole are %v", times)
		}
		if n > 0 {
			p.FirstByte, p.Whole = append(p.FirstByte, times[1]), append(p.Whole, times[2])
		}
	}
	return p, nil
}

// consoleFlag has the service serve a console.
const consoleFlag = "--console-listen=127.0.0.1:0"

func (b *benchRun) consoleRound(ctx context.Context, name string, readers bool, flags []string) (r bench.ConsoleRound, err error) {
	err = b.driven(ctx, targetPipeline, func(ctx context.Context, d *drive) error {
		if _, _, err := d.flood(ctx, warmUp); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
		read := &consoleReaders{}
		if readers {
			if err := read.begin(ctx, d.Console); err != nil {
				return err
			}
		}
		w := d.build(bench.Shape{Events: int(consoleRate * d.Hold.Seconds())})
		var result *bench.Result
		var used cost
		err := d.profiled(name, func() (err error) {
			result, used, err = d.send(ctx, w, func(ctx context.Context) (*bench.Result, error) {
				return bench.Hold(ctx, d.Listen, w, connections, consoleRate)
			})
			return err
		})
		if err := errors.Join(err, read.end()); err != nil {
			return err
		}
		r.CPUMicros, r.P99, r.KiB = used.target, result.Latency().P99, float64(read.bytes.Load())/1024
		if readers && r.KiB == 0 {
			return errors.New("the readers got nothing")
		}
		return nil
	}, flags...)
	return r, err
}

// consoleReaders look at live pages until they are told to end.
type consoleReaders struct {
	bytes  atomic.Int64
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu  sync.Mutex
	err error
}

func (c *consoleReaders) begin(ctx context.Context, address string) error {
	if address == "" {
		return errors.New("the service tells of no console")
	}
	ctx, c.cancel = context.WithCancel(ctx)
	for _, page := range consolePages {
		c.wg.Go(func() {
			if err := c.read(ctx, address+page); err != nil && ctx.Err() == nil {
				c.mu.Lock()
				defer c.mu.Unlock()
				c.err = errors.Join(c.err, err)
			}
		})
	}
	return nil
}

// read reads a page to its end, which a stream does not have, and again.
func (c *consoleReaders) read(ctx context.Context, url string) error {
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return fmt.Errorf("read the console: %w", err)
		}
		n, err := io.Copy(counting{&c.bytes}, response.Body)
		if err := errors.Join(err, response.Body.Close()); err != nil {
			return fmt.Errorf("read the console: %w", err)
		}
		if response.StatusCode != http.StatusOK || n == 0 {
			return fmt.Errorf("the console answers %d to %s", response.StatusCode, request.URL.Path)
		}
		select {
		case <-time.After(outcomesAgain):
		case <-ctx.Done():
			return nil
		}
	}
}

// counting counts what is written to it.
type counting struct{ n *atomic.Int64 }

func (c counting) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// end ends the readers, and returns what went wrong before.
func (c *consoleReaders) end() error {
	if c.cancel != nil {
		c.cancel()
	}
	c.wg.Wait()
	return c.err
}
