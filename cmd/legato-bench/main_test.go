package main_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
)

// program is built once: the tests of this package run what users run.
var program string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "legato-bench-test-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		program = filepath.Join(dir, "legato-bench")
		if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, ".").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "build legato-bench: %v\n%s", err, out)
			return 1
		}
		// These programs wait for most of their time. A flag of the command line, parsed by Run, has the last word.
		if err := flag.Set("test.parallel", "6"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}())
}

// TestBenchMeasuresAllTargets runs a few events through every floor and the whole service.
func TestBenchMeasuresAllTargets(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cmd := exec.CommandContext(t.Context(), program, "--quick", "--json", "--events=140", "--rates=200", "--hold=350ms",
		"--dir="+dir, "--profile="+filepath.Join(dir, "profiles"))
	// What is measured has its defaults, whatever is set here.
	cmd.Env = append(os.Environ(), "LEGATO_SETTLE=1h", "LEGATO_LISTEN=nowhere")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("legato-bench: %v\n%s", err, stderr.Bytes())
	}
	var report bench.Report
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	if len(report.Targets) != 6 {
		t.Fatalf("%d targets", len(report.Targets))
	}
	for _, target := range report.Targets {
		if len(target.Rounds) != 1 || len(target.Rounds[0].Held) != 1 {
			t.Fatalf("%s: %+v", target.Name, target.Rounds)
		}
		r := target.Rounds[0]
		if r.Saturated.Events != 140 || r.Saturated.PerSecond <= 0 || r.IdleRSS <= 0 || r.PeakRSS < r.IdleRSS || r.Held[0].Latency.P99 <= 0 {
			t.Errorf("%s: %+v", target.Name, r)
		}
		if completed := r.Held[0].Completed; (completed != nil) != strings.HasPrefix(target.Name, bench.Pipeline) || completed != nil && completed.Max < completed.P50 {
			t.Errorf("%s: from hangup to completed: %+v", target.Name, completed)
		}
		for _, kind := range []string{"cpu", "allocs"} {
			if _, err := os.Stat(filepath.Join(dir, "profiles", target.Name+"-1."+kind+".pprof")); err != nil {
				t.Error(err)
			}
		}
	}
	if report.Start == nil || report.Start.Median <= 0 || report.Replays != nil || report.Heap != nil {
		t.Errorf("parts: %s", out)
	}
	left, err := filepath.Glob(filepath.Join(dir, "legato-bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("it left %v behind, error %v", left, err)
	}
}

// TestBenchMeasuresThePartsApart does so with a small log and few open legs, each part by itself: what is not asked for
// is not measured.
func TestBenchMeasuresThePartsApart(t *testing.T) {
	t.Parallel()
	for part, check := range map[string]func(*testing.T, *bench.Report){
		"replay": func(t *testing.T, report *bench.Report) {
			if r := report.Replays; len(r) != 2 || r[0].Name != bench.Pipeline || r[1].Name != bench.Baseline {
				t.Errorf("replays: %+v", r)
			}
			for _, r := range report.Replays {
				if r.Events < 140 || r.Seconds <= 0 || r.AfterKill <= 0 {
					t.Errorf("replay: %+v", r)
				}
			}
			report.Replays = nil
		},
		"disk-busy": func(t *testing.T, report *bench.Report) {
			if b := report.Busy; b == nil || b.MegabytesPerSecond <= 0 || len(b.Targets) != 2 || b.Targets[1].Rounds[0].Saturated.PerSecond <= 0 {
				t.Errorf("on a busy disk: %+v", b)
			}
			report.Busy = nil
		},
		"heap": func(t *testing.T, report *bench.Report) {
			if h := report.Heap; h == nil || h.Legs < 20 || h.IdleMiB <= 0 {
				t.Errorf("heap: %+v", h)
			}
			report.Heap = nil
		},
		"steady": func(t *testing.T, report *bench.Report) {
			if m := report.Steady; m == nil || m.Events < 70 || m.Rate != 100 || len(m.Samples) == 0 || m.P99.Median <= 0 {
				t.Errorf("steady: %+v", m)
			} else if sample := m.Samples[0]; sample.RSS <= 0 || sample.Seconds <= 0 {
				t.Errorf("sample: %+v", sample)
			}
			report.Steady = nil
		},
	} {
		t.Run(part, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), program, "--only="+part, "--json", "--rounds=1", "--events=140", "--hold=350ms", "--baseline="+program+" bench-target", "--replay=140", "--open-legs=20", "--rates=100", "--steady=1s", "--dir="+t.TempDir())
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("legato-bench: %v\n%s", err, stderr.Bytes())
			}
			report := new(bench.Report)
			if err := json.Unmarshal(out, report); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
			check(t, report)
			if report.Replays != nil || report.Busy != nil || report.Heap != nil || report.Steady != nil || len(report.Targets) > 0 {
				t.Errorf("other parts: %s", out)
			}
		})
	}
}

func TestBenchRefusesWhatCannotBeMeasured(t *testing.T) {
	t.Parallel()
	for name, flag := range map[string]string{
		"no rounds": "--rounds=0", "a rate of nothing": "--rates=0", "an unknown part": "--only=weather", "a directory that is not there": "--dir=/nowhere/at/all",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if out, err := exec.CommandContext(t.Context(), program, flag).CombinedOutput(); err == nil {
				t.Errorf("no error:\n%s", out)
			}
		})
	}
}
