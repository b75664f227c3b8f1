package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
)

const (
	// forwardRate is what forwarding is measured at.
	forwardRate = 1000
	// undelivered events wait at the restart that is measured.
	undelivered = 10_000
	// forwardPatience bounds the wait for the last forwarded request.
	forwardPatience = 10 * time.Second
)

// application answers every request at once, and takes down when each event came first.
type application struct {
	server *http.Server
	url    string
	served chan error

	mu      sync.Mutex
	index   map[string]int // signature → event
	arrived []time.Time
	missing int
	all     chan struct{}
}

func startApplication(ctx context.Context) (*application, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen as an application: %w", err)
	}
	a := &application{url: "http://" + l.Addr().String() + "/webhooks", served: make(chan error, 1)}
	a.server = &http.Server{Handler: a, ReadHeaderTimeout: 5 * time.Second}
	go func() { a.served <- a.server.Serve(l) }()
	return a, nil
}

func (a *application) close() {
	_ = a.server.Close()
	<-a.served //nolint:errcheck // that it was closed
}

// expect makes it wait for the events of a workload.
func (a *application) expect(w *bench.Workload) {
	index := make(map[string]int, w.Len())
	for i := range w.Len() {
		index[w.Signature(i)] = i
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.index, a.arrived, a.missing, a.all = index, make([]time.Time, w.Len()), w.Len(), make(chan struct{})
}

// ServeHTTP takes one forwarded webhook.
func (a *application) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	now := time.Now()
	_, _ = io.Copy(io.Discard, r.Body) // one that breaks off is sent again
	a.mu.Lock()
	defer a.mu.Unlock()
	i, ok := a.index[r.Header.Get("Telnyx-Signature-Ed25519")]
	if !ok || !a.arrived[i].IsZero() {
		return
	}
	a.arrived[i] = now
	if a.missing--; a.missing == 0 {
		close(a.all)
	}
}

// wait returns when each event came.
func (a *application) wait(ctx context.Context) ([]time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardPatience)
	defer cancel()
	select {
	case <-a.all:
	case <-ctx.Done():
		a.mu.Lock()
		defer a.mu.Unlock()
		return nil, fmt.Errorf("%d of %d events were not forwarded: %w", a.missing, len(a.arrived), ctx.Err())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.arrived, nil
}

// forward measures what an application costs, live and dead.
func (b *benchRun) forward(ctx context.Context) error {
	app, err := startApplication(ctx)
	if err != nil {
		return err
	}
	defer app.close()
	dead, err := deadURL(ctx)
	if err != nil {
		return err
	}
	f := &bench.Forward{Rate: forwardRate, Undelivered: undelivered}
	for n := range b.Rounds {
		for _, m := range []struct {
			what string
			app  *application
			flag []string
			into *[]bench.ForwardRound
		}{
			{"alone", nil, nil, &f.Alone},
			{"with an application", app, []string{"--forward=" + app.url}, &f.Live},
			{"with a dead application", nil, []string{"--forward=" + dead}, &f.Dead},
		} {
			b.progress("forward, round %d of %d: %s", n+1, b.Rounds, m.what)
			round, err := b.forwardRound(ctx, fmt.Sprintf("forward-%s-%d", m.what, n+1), m.app, m.flag)
			if err != nil {
				return fmt.Errorf("%s: %w", m.what, err)
			}
			*m.into = append(*m.into, round)
		}
		b.progress("forward, round %d of %d: restarts", n+1, b.Rounds)
		for _, m := range []struct {
			flag []string
			into *[]float64
		}{{nil, &f.Plain}, {[]string{"--forward=" + dead}, &f.Restart}} {
			took, err := b.forwardRestart(ctx, m.flag)
			if err != nil {
				return err
			}
			*m.into = append(*m.into, took)
		}
	}
	b.report.Forward = f
	return nil
}

// deadURL is where nobody listens.
func deadURL(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return "http://" + l.Addr().String() + "/", l.Close()
}

func (b *benchRun) forwardRound(ctx context.Context, name string, app *application, flags []string) (r bench.ForwardRound, err error) {
	err = b.driven(ctx, targetPipeline, func(ctx context.Context, d *drive) error {
		if app != nil {
			app.expect(d.build(bench.Shape{Events: 1})) // what warms up is not waited for
		}
		if _, _, err := d.flood(ctx, warmUp); err != nil {
			return fmt.Errorf("warm up: %w", err)
		}
		w := d.build(bench.Shape{Events: int(forwardRate * d.Hold.Seconds())})
		if app != nil {
			app.expect(w)
		}
		var arrived []time.Time
		var result *bench.Result
		var used cost
		err := d.profiled(name, func() (err error) {
			result, used, err = d.send(ctx, w, func(ctx context.Context) (*bench.Result, error) {
				r, err := bench.Hold(ctx, d.Listen, w, connections, forwardRate)
				if err == nil && app != nil {
					arrived, err = app.wait(ctx)
				}
				return r, err
			})
			return err
		})
		if err != nil {
			return err
		}
		r.CPUMicros, r.P99 = used.target, result.Latency().P99
		if app != nil {
			r.FirstByte(result, arrived)
		}
		return nil
	}, flags...)
	return r, err
}

// forwardRestart is how long a restart takes, in ms, with events in the log that no application has got.
func (b *benchRun) forwardRestart(ctx context.Context, flags []string) (millis float64, err error) {
	dir, err := os.MkdirTemp(b.dir, "forward-restart-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	t, err := b.launchTarget(ctx, targetPipeline, dir, flags...)
	if err != nil {
		return 0, err
	}
	err = b.drive(ctx, t, func(ctx context.Context, d *drive) error {
		_, err := d.open(ctx, undelivered/openSteps)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("fill the log: %w", err)
	}
	if t, err = b.launchTarget(ctx, targetPipeline, dir, flags...); err != nil {
		return 0, err
	}
	return float64(t.startup) / float64(time.Millisecond), t.stop()
}
