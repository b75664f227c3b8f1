package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/legato-calls/legato/enrich/summary/schema"
	"github.com/legato-calls/legato/internal/natsd"
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

// newRegistry returns the registry of a process, with what is known before anything is connected.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "legato_build_info", Help: "1; the labels tell what runs.",
		ConstLabels: prometheus.Labels{"version": version, "commit": Commit(), "goversion": runtime.Version()},
	})
	build.Set(1)
	registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// readyMetric is 1 or 0, as /readyz answers.
func readyMetric(a *admin) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "legato_ready", Help: "1 when /readyz says that the service is ready, else 0.",
	}, func() float64 {
		_, err := a.readiness()
		return truth(err == nil)
	})
}

// natsMetrics tell of the connection, and of the disk of the embedded server: dataDir is empty without one.
func natsMetrics(nc *nats.Conn, dataDir string) []prometheus.Collector {
	all := []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "legato_nats_connected", Help: "1 while the connection to NATS stands, else 0.",
		}, func() float64 { return truth(nc.IsConnected()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "legato_nats_reconnects_total", Help: "Times that the connection to NATS was made again.",
		}, func() float64 { return float64(nc.Stats().Reconnects) }),
	}
	if dataDir == "" {
		return all
	}
	return append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "legato_disk_free_bytes", Help: "Room left on the disk of the embedded NATS; -1 when it cannot be told.",
	}, func() float64 {
		free, err := natsd.FreeSpace(dataDir)
		if err != nil {
			return -1
		}
		return float64(free)
	}))
}

// failingMetrics tell for how long what the service lives on fails.
func (s *Service) failingMetrics() (all []prometheus.Collector) {
	since := map[string]func() time.Time{
		"append": s.journal.FailingSince,
		"follow": func() time.Time { return s.journal.Following().Since },
		"queue": func() time.Time {
			if refused, err := s.refused.state(); err != nil {
				return refused
			}
			return s.journal.Working().Since
		},
		"streams": func() time.Time { since, _ := s.watched.broken(); return since },
	}
	if s.copying != nil {
		since["copy"] = func() time.Time { return s.copying().Since }
	}
	for part, since := range since {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "legato_failing_seconds", Help: "For how long something fails without which calls are not taken or finished " +
				"(append, follow: the log; queue: its tasks; copy: the log's into the stream of events; streams: one is missing or cannot be used), 0 while it works.",
			ConstLabels: prometheus.Labels{"part": part},
		}, func() float64 {
			at := since()
			if at.IsZero() {
				return 0
			}
			return time.Since(at).Seconds()
		}))
	}
	return all
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
