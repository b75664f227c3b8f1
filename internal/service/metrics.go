package service

import (
	"runtime"
	"time"

	"github.com/legato-calls/legato/internal/natsd"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

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
