package export_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/publish/export"
)

// stop runs a plan and ends it at the first report of a step beyond the first of it.
func (w *world) stop(p export.Plan, at export.Step) {
	w.tb.Helper()
	ctx, cancel := context.WithCancel(w.tb.Context())
	defer cancel()
	_, err := export.Run(ctx, w.js, w.layout, p, func(step export.Step, done, _ int64) {
		if step == at && done > 0 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		w.tb.Fatalf("stopped while %s: %v", at, err)
	}
	if _, err := os.Stat(p.Output); err == nil {
		w.tb.Fatalf("the file is there while it is not whole")
	}
}

func TestAnInterruptedExportGoesOnAndGivesTheSameFile(t *testing.T) {
	w := newWorld(t)
	w.publish(0, 2500, 2)
	formats := []export.Format{export.NDJSON, export.CSV, export.Parquet}
	want := make(map[export.Format][]byte)
	for _, format := range formats {
		want[format], _ = w.export(w.plan(summary.KindLeg, format, "undisturbed."+string(format)))
	}
	for _, step := range []export.Step{export.Survey, export.Fetch, export.Write} {
		for _, format := range formats {
			if step == export.Write && format == export.NDJSON {
				continue // which is written when it is fetched
			}
			w.stop(w.plan(summary.KindLeg, format, string(step)+"."+string(format)), step)
		}
	}
	// None of what comes now may stand in the files: new legs, and revisions of old ones.
	w.publish(3000, 3100, 1)
	if _, err := w.revise(t.Context(), 1, 2, mustLast(t, w, 1)); err != nil {
		t.Fatal(err)
	}
	for _, step := range []export.Step{export.Survey, export.Fetch, export.Write} {
		for _, format := range formats {
			if step == export.Write && format == export.NDJSON {
				continue
			}
			t.Run(string(step)+" "+string(format), func(t *testing.T) {
				p := w.plan(summary.KindLeg, format, string(step)+"."+string(format))
				before := readState(t, p)
				if (before.Rows > 0) != (step != export.Survey) || before.Fetched != (step == export.Write) {
					t.Errorf("it came to %+v", before)
				}
				// What came after the last note on disk: a crash leaves it, cut anywhere. Here it
				// is more than what is still to come.
				garbage(t, p.Output+".part", strings.Repeat(`{"kind":"leg","call_le`, 400_000))
				got, result := w.export(p)
				if !bytes.Equal(want[format], got) {
					t.Errorf("%d bytes differ from the undisturbed %d", len(got), len(want[format]))
				}
				if diff := cmp.Diff(export.Result{Rows: 2500, Resumed: before.Rows}, result); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
			})
		}
	}
	for _, name := range w.beside() {
		if strings.HasSuffix(name, ".state") || strings.HasSuffix(name, ".part") || strings.HasSuffix(name, ".tmp") {
			t.Errorf("%s was left", name)
		}
	}
}

func mustLast(t *testing.T, w *world, i int) summary.Stored {
	t.Helper()
	l := leg(i, 1)
	stored, found, err := w.publisher.Last(t.Context(), summary.Key{Kind: l.Kind, Session: l.CallSessionID, Leg: l.CallLegID})
	if err != nil || !found {
		t.Fatalf("leg %d: %v, %v", i, found, err)
	}
	return stored
}

func garbage(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAPartThatWasLostIsFetchedAgain(t *testing.T) {
	w := newWorld(t)
	w.publish(0, 1100, 1)
	want, _ := w.export(w.plan(summary.KindLeg, export.CSV, "undisturbed.csv"))
	p := w.plan(summary.KindLeg, export.CSV, "legs.csv")
	w.stop(p, export.Fetch)
	if err := os.Truncate(p.Output+".part", 10); err != nil {
		t.Fatal(err)
	}
	if got, result := w.export(p); !bytes.Equal(want, got) || result.Resumed != 0 {
		t.Errorf("%d bytes differ from %d: %+v", len(got), len(want), result)
	}
}

func TestWhatLeftTheStreamIsCounted(t *testing.T) {
	w := newWorld(t)
	w.publish(0, 1500, 1)
	p := w.plan(summary.KindLeg, export.NDJSON, "legs")
	w.stop(p, export.Fetch)
	before := readState(t, p)
	stream, err := w.js.Stream(t.Context(), w.layout.Calls)
	if err != nil {
		t.Fatal(err)
	}
	// A survey sees only what is still there; what ages out between survey and fetch is counted.
	if err := stream.Purge(t.Context(), jetstream.WithPurgeSequence(before.Seq+201)); err != nil {
		t.Fatal(err)
	}
	data, result := w.export(p)
	if rows := int64(bytes.Count(data, []byte("\n"))); rows != result.Rows || rows >= 1500 || rows < before.Rows {
		t.Errorf("%d rows, %+v", rows, result)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	result, err = export.Run(ctx, w.js, w.layout, w.plan(summary.KindLeg, export.NDJSON, "aged"), func(step export.Step, done, all int64) {
		if step == export.Fetch && done == 0 && all > 0 {
			if err := stream.Purge(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil || result.Rows != 0 || result.Gone == 0 {
		t.Errorf("after everything aged out: %+v, %v", result, err)
	}
}

func TestAnExportIsRefusedWhereAnotherLies(t *testing.T) {
	w := newWorld(t)
	w.publish(0, 1100, 1)
	unfinished := w.plan(summary.KindLeg, export.CSV, "legs.csv")
	unfinished.Since = export.Bound{Text: "24h", At: time.Now().Add(-24 * time.Hour)}
	w.stop(unfinished, export.Fetch)
	tests := []struct {
		name   string
		change func(*export.Plan)
		want   string
	}{
		{name: "another level", change: func(p *export.Plan) { p.Level = summary.KindSession }, want: "with other arguments (level leg, format csv"},
		{name: "another format", change: func(p *export.Plan) { p.Format = export.Parquet }, want: "with other arguments"},
		{name: "another time", change: func(p *export.Plan) { p.Since.Text = "48h" }, want: "with other arguments"},
		{name: "an end", change: func(p *export.Plan) { p.Until = export.Bound{Text: "1h", At: time.Now()} }, want: "with other arguments"},
		{name: "no level", change: func(p *export.Plan) { p.Level = "call" }, want: "no summary is a"},
		{name: "no format", change: func(p *export.Plan) { p.Format = "xlsx" }, want: "no format is named"},
		{name: "no file", change: func(p *export.Plan) { p.Output = "" }, want: "no file"},
		{name: "a time that runs backwards", change: func(p *export.Plan) { p.Until.At = p.Since.At }, want: "end before it begins"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := unfinished
			tt.change(&p)
			if _, err := export.Run(t.Context(), w.js, w.layout, p, nil); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	// Meanwhile "24h" means another instant, and still the same export.
	later := unfinished
	later.Since.At = time.Now().Add(-time.Second)
	// While it runs, nobody else makes this file.
	var err error
	data := make(chan int64, 1)
	result, runErr := export.Run(t.Context(), w.js, w.layout, later, func(step export.Step, _, _ int64) {
		if step == export.Write && len(data) == 0 {
			data <- 1
			_, err = export.Run(t.Context(), w.js, w.layout, later, nil)
		}
	})
	if runErr != nil || result.Rows != 1100 {
		t.Errorf("it did not go on: %+v, %v", result, runErr)
	}
	if !errors.Is(err, export.ErrInUse) {
		t.Errorf("a second export of the file: %v", err)
	}

	w.stop(unfinished2(w), export.Fetch)
	if err := w.js.DeleteStream(t.Context(), w.layout.Calls); err != nil {
		t.Fatal(err)
	}
	w.streams()
	w.publish(0, 2, 1)
	if _, err := export.Run(t.Context(), w.js, w.layout, unfinished2(w), nil); err == nil || !strings.Contains(err.Error(), "was made anew since") {
		t.Errorf("an export of another stream: %v", err)
	}
}

func unfinished2(w *world) export.Plan { return w.plan(summary.KindLeg, export.NDJSON, "anew") }
