package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/legato-calls/legato/enrich/summary/schema"
)

// admin is the listener for operators: /healthz, /readyz, /metrics, and the
// schemas of the summaries under /schemas/.
type admin struct {
	listener net.Listener
	server   *http.Server
	done     chan struct{}

	// warning is what every answer of /readyz says besides. Empty: nothing.
	warning string

	mu    sync.Mutex
	ready readiness
}

// readiness tells why the service is not ready, nil when it is, and what is wrong all the same.
type readiness func() (warnings []string, err error)

// newAdmin binds the listener and serves at once, so that a service that is
// still starting can say so. An empty address serves nowhere.
func newAdmin(ctx context.Context, addr, warning string, profiles bool, registry *prometheus.Registry, log *slog.Logger) (*admin, error) {
	a := &admin{
		warning: warning,
		done:    make(chan struct{}),
		ready:   func() ([]string, error) { return nil, errors.New("starting") },
	}
	if addr == "" {
		close(a.done)
		return a, nil
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--admin-listen: %w", err)
	}
	a.listener = listener
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		warnings, err := a.readiness()
		if err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprintln(w, "not ready:", err)
			if a.warning != "" {
				fmt.Fprintln(w, "warning:", a.warning)
			}
			return
		}
		if a.warning != "" {
			warnings = append([]string{a.warning}, warnings...)
		}
		// It takes webhooks all the same: a balancer must not turn away from it.
		if len(warnings) > 0 {
			fmt.Fprintln(w, "ready, but: "+strings.Join(warnings, "; "))
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	if profiles {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	for _, kind := range schema.Kinds() {
		if err := serveSchema(mux, kind); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
	}
	a.server = &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		WriteTimeout:      2 * time.Minute, // a profile takes half a minute by default
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	go func() {
		defer close(a.done)
		if err := a.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			log.Error("the admin listener failed", "error", err)
		}
	}()
	return a, nil
}

// serveSchema adds the schema of a kind of summary.
func serveSchema(mux *http.ServeMux, kind string) error {
	body, err := schema.Of(kind)
	if err != nil {
		return fmt.Errorf("schema of a %s: %w", kind, err)
	}
	mux.HandleFunc("GET /schemas/"+schema.Name(kind), func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", schema.MediaType)
		// A reader that is gone misses it; that is its own affair.
		_, _ = w.Write(body)
	})
	return nil
}

func (a *admin) Addr() net.Addr {
	if a.listener == nil {
		return nil
	}
	return a.listener.Addr()
}

func (a *admin) readiness() (warnings []string, err error) {
	a.mu.Lock()
	ready := a.ready
	a.mu.Unlock()
	return ready()
}

func (a *admin) setReadiness(ready readiness) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ready = ready
}

func (a *admin) shutdown(ctx context.Context) error {
	if a.server == nil {
		return nil
	}
	// A connection that never sent anything is not waited for.
	soon, cancel := context.WithTimeout(ctx, lastMoment)
	defer cancel()
	err := a.server.Shutdown(soon)
	if errors.Is(err, context.DeadlineExceeded) {
		err = a.server.Close()
	}
	<-a.done
	return err
}
