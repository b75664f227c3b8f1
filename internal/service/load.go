package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish/load"
)

// LoadSettings say what to load, and how.
type LoadSettings struct {
	ReaderSettings
	Name        string `default:"warehouse" env:"LEGATO_LOAD_NAME" help:"Durable identity: loaders of one name share the work, and go on where the last one was. One name, one warehouse."`
	AdminListen string `env:"LEGATO_LOAD_ADMIN_LISTEN" help:"Address of /healthz, /readyz and /metrics; empty: nowhere." placeholder:"ADDR"`
	LogSettings
}

const (
	// drainWithin bounds how long the last acknowledgements may take.
	drainWithin = 5 * time.Second
	// loadingWithin is how recently the warehouse must have been heard of for a loader to be ready.
	loadingWithin = time.Minute
)

// loadGarbage is how much garbage there may be, in percent of what is in use: the bodies of messages are garbage by the hundred
// megabytes, and a loader is to need little memory whatever the backlog.
const loadGarbage = 60

// Load keeps a warehouse current until ctx ends. How far it is, it tells to watch, which ends with its context.
func Load(ctx context.Context, set LoadSettings, target load.Target, log *slog.Logger, watch func(context.Context, *load.Loader) error) (err error) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(loadGarbage)
	}
	registry := newRegistry()
	a, err := newAdmin(ctx, set.AdminListen, "", false, registry, log)
	if err != nil {
		return err
	}
	defer func() {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainWithin)
		defer cancel()
		err = errors.Join(err, a.shutdown(stopping))
	}()
	if at := a.Addr(); at != nil {
		log.Info("watch", "health", "http://"+at.String()+"/readyz", "metrics", "http://"+at.String()+"/metrics")
	}
	nc, js, layout, err := set.Reach(ctx, "legato load "+set.Name, 0, log)
	if err != nil {
		return err
	}
	defer nc.Close()
	loader, err := load.New(load.Config{JetStream: js, Stream: layout.Calls, Name: set.Name, Target: target, Logger: log})
	if err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	registry.MustRegister(loader, readyMetric(a))
	registry.MustRegister(natsMetrics(nc, "")...)
	a.setReadiness(func() ([]string, error) { return loading(nc, loader.Progress()) })
	group, running := errgroup.WithContext(ctx)
	watching, stop := context.WithCancel(running)
	group.Go(func() error {
		defer stop()
		return loader.Run(running)
	})
	group.Go(func() error { return watch(watching, loader) })
	err = group.Wait()
	flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainWithin)
	defer cancel()
	// What is not acknowledged is loaded again, without effect.
	_ = closeConn(flushing, nc)
	return errors.Join(err, target.Close(flushing))
}

// loading reports why nothing is loaded, nil when something is or could be. One that waits for another loader to end is ready for
// that: a rollout that waits for the new one first would never end otherwise.
func loading(nc *nats.Conn, p load.Progress) (warnings []string, err error) {
	switch {
	case !nc.IsConnected():
		return nil, errors.New("not connected to NATS")
	case natsd.RefusedAck(nc.LastError()):
		return nil, fmt.Errorf("what was loaded cannot be acknowledged, and is loaded again and again: %w", nc.LastError())
	case errors.Is(p.Failure, load.ErrStandby):
		return []string{p.Failure.Error()}, nil
	case p.Failure != nil:
		return nil, p.Failure
	case p.LastBatch.IsZero():
		return nil, errors.New("nothing has been loaded yet")
	case time.Since(p.LastBatch) > loadingWithin:
		return nil, fmt.Errorf("the warehouse has not taken anything for %v", time.Since(p.LastBatch).Round(time.Second))
	}
	return nil, nil
}
