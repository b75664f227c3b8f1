package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/disk"
	"github.com/legato-calls/legato/ingest/journal/journaltest"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 60 * time.Second

type suited struct {
	*disk.Journal
	*disk.Queue
}

func (s suited) Work(ctx context.Context, do func(journaltest.Task)) error {
	return s.Queue.Work(ctx, func(t *disk.Task) { do(t) })
}

func TestTheLogOnDiskKeepsTheContract(t *testing.T) {
	t.Parallel()
	journaltest.Run(t, func(t *testing.T) journaltest.Opener {
		w := newWorld(t)
		return func(t *testing.T) journaltest.Log {
			j := w.open(t)
			return suited{j, j.Queue()}
		}
	})
}

// world is a directory with a log, and the server with its copy.
type world struct {
	*natsdtest.Server
	dir string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{natsdtest.Run(t, natsdtest.WithLimits(natsd.Limits{Copy: true})), filepath.Join(t.TempDir(), "log")}
}

func (w *world) config() disk.Config {
	return disk.Config{Dir: w.dir, Queue: "legato", Config: journal.Config{
		JetStream: w.JS, Stream: w.Layout.Events, Summaries: w.Layout.Calls, Prefix: w.Layout.Prefix, Logger: slog.New(slog.DiscardHandler),
	}}
}

func (w *world) open(t *testing.T) *disk.Journal {
	t.Helper()
	j, err := disk.Open(t.Context(), w.config())
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// opened is open, until the test ends.
func (w *world) opened(t *testing.T) *disk.Journal {
	t.Helper()
	j := w.open(t)
	t.Cleanup(func() { end(t, j) })
	return j
}

func end(t *testing.T, j *disk.Journal) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := j.Close(ctx); err != nil {
		t.Error(err)
	}
}

func event(n int) call.Entry {
	return call.Entry{
		Topic: call.TopicEvent + "call.hangup", ID: fmt.Sprintf("event-%d", n), Attempt: 1, Signature: "sig", Timestamp: "17",
		Ref: call.Ref{Session: "s", Leg: "l", Connection: "22"}, Data: fmt.Appendf(nil, `{"n":%d}`, n),
	}
}

func appendAll(t *testing.T, j interface {
	Append(context.Context, call.Entry) (call.Receipt, error)
}, from, to int,
) {
	t.Helper()
	for n := from; n <= to; n++ {
		if _, err := j.Append(t.Context(), event(n)); err != nil {
			t.Fatal(err)
		}
	}
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick, late := time.NewTicker(2*time.Millisecond), time.After(patience)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// copied waits for the copy to be complete, and returns it.
func (w *world) copied(t *testing.T, j *disk.Journal) []call.Entry {
	t.Helper()
	eventually(t, "the log to be copied", func() bool { return j.Uncopied() == 0 })
	events, err := w.JS.Stream(t.Context(), w.Layout.Events)
	if err != nil {
		t.Fatal(err)
	}
	var all []call.Entry
	reader := stream.NewReader(w.JS, w.Layout.Events, w.Layout.Prefix)
	for seq := events.CachedInfo().State.FirstSeq; seq <= events.CachedInfo().State.LastSeq; seq++ {
		got, err := reader.Entries(t.Context(), []uint64{seq})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, got...)
	}
	return all
}

// collector keeps what it is given.
type collector struct{ entries chan call.Entry }

func (collector) Restart(call.Log)    {}
func (c collector) Fold(e call.Entry) { c.entries <- e }

// logged returns so many entries of a log.
func logged(t *testing.T, j *disk.Journal, n int) (all []call.Entry) {
	t.Helper()
	c := collector{make(chan call.Entry, 100_000)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- j.Follow(ctx, c) }()
	defer func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	for range n {
		select {
		case e := <-c.entries:
			all = append(all, e)
		case <-time.After(patience):
			t.Fatalf("the log has only %d entries", len(all))
		}
	}
	return all
}

func wantSame(t *testing.T, want, got []call.Entry) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmp.Comparer(bytes.Equal)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestEntriesAreReadBackFromTheirPlaces(t *testing.T) {
	t.Parallel()
	j := newWorld(t).opened(t)
	appendAll(t, j, 1, 6)
	all := logged(t, j, 6)
	got, err := j.Read([]uint64{2, 3, 5})
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, []call.Entry{all[1], all[2], all[4]}, []call.Entry{*got[0], *got[1], *got[2]})
	if got, err := j.Read([]uint64{5, 7}); err == nil {
		t.Errorf("an entry that the log does not have was read: %d entries", len(got))
	}
}

// skimmer looks at what stands in a log, and wants only some of it.
type skimmer struct {
	collector
	wants   func(seq uint64) bool
	skimmed []call.Entry
}

func (s *skimmer) FoldAll(entries []*call.Entry) {
	for _, e := range entries {
		s.Fold(*e)
	}
}

func (s *skimmer) Skim(entries []*call.Entry) {
	for _, e := range entries {
		kept := *e
		kept.Data = bytes.Clone(e.Data)
		s.skimmed = append(s.skimmed, kept)
	}
}

func (s *skimmer) Skimmed() func(uint64) bool { return s.wants }

func TestAFollowerThatSkimsIsHandedWhatItWants(t *testing.T) {
	t.Parallel()
	const stands, more = 1500, 3 // more than is read at once
	for name, wants := range map[string]func(seq uint64) bool{
		"all":               nil,
		"the last":          func(seq uint64) bool { return seq == stands },
		"every third":       func(seq uint64) bool { return seq%3 == 0 },
		"the first and few": func(seq uint64) bool { return seq <= 600 || seq == 1200 || seq == stands },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := newWorld(t).opened(t)
			appendAll(t, j, 1, stands)
			all := logged(t, j, stands)
			var want []call.Entry
			for _, e := range all {
				if wants == nil || wants(e.Seq) {
					want = append(want, e)
				}
			}
			s := &skimmer{collector: collector{make(chan call.Entry, 2*stands)}, wants: wants}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- j.Follow(ctx, s) }()
			eventually(t, "what stands in the log", func() bool { return len(s.entries) == len(want) })
			appendAll(t, j, stands+1, stands+more)
			eventually(t, "what came after", func() bool { return len(s.entries) == len(want)+more })
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			var got []call.Entry
			for range want {
				got = append(got, <-s.entries)
			}
			wantSame(t, all, s.skimmed)
			wantSame(t, want, got)
		})
	}
}

// What was stored before a crash, and not answered, comes again within seconds; a long log is not read by then.
func TestWhatWasStoredLatelyIsKnownAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.open(t)
	appendAll(t, j, 1, 1500) // more than is read at once
	end(t, j)
	j = w.opened(t)
	for _, n := range []int{1, 2, 700, 1500} {
		if got, err := j.Append(t.Context(), event(n)); err != nil || !got.Duplicate || got.Seq != uint64(n) {
			t.Errorf("event %d again: %+v, %v", n, got, err)
		}
	}
	if got, err := j.Append(t.Context(), event(1501)); err != nil || got.Duplicate || got.Seq != 1501 {
		t.Errorf("a new event: %+v, %v", got, err)
	}
}

func TestTheStreamIsACopyOfTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.opened(t)
	appendAll(t, j, 1, 700)
	wantSame(t, logged(t, j, 700), w.copied(t, j))
}

// A subject that no server takes would keep the copy of the log from ever going on.
func TestAnEntryOfATypeThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.opened(t)
	for name, topic := range map[string]string{
		"of 5,000 characters": call.TopicEvent + strings.Repeat("a.", 2500) + "a",
		"of nine tokens":      call.TopicEvent + "a.b.c.d.e.f.g.h.i",
		"of none":             call.TopicEvent,
		"with a wildcard":     call.TopicEvent + "call.>",
		"of no topic":         "internal.other",
	} {
		e := event(1)
		e.Topic = topic
		if _, err := j.Append(t.Context(), e); !errors.Is(err, journal.ErrUnavailable) {
			t.Errorf("a type %s: %v", name, err)
		}
	}
	appendAll(t, j, 1, 1)
	if got := logged(t, j, 1); got[0].ID != event(1).ID {
		t.Errorf("the log begins with %s", got[0].Topic)
	}
	w.copied(t, j)
}

// Who works the queue may be gone with as many tasks as are handed out at once.
func TestAWorkerWithAllTasksThatAreHandedOutIsFollowedByAnother(t *testing.T) {
	t.Parallel()
	const held = 32_768
	j := newWorld(t).opened(t)
	var appending errgroup.Group
	for part := range 256 {
		appending.Go(func() error {
			for n := range held/256 + 1 {
				if _, err := j.Append(t.Context(), event(part*(held/256+1)+n)); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := appending.Wait(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	following := make(chan error, 1)
	go func() { following <- j.Follow(ctx, collector{make(chan call.Entry, 100_000)}) }()
	defer func() { cancel(); <-following }()
	for _, worker := range []string{"the first", "the second"} {
		working, stop := context.WithCancel(ctx)
		tasks, done := make(chan uint64, held), make(chan error, 1)
		go func() { done <- j.Queue().Work(working, func(task *disk.Task) { tasks <- task.Entry().Seq }) }()
		for seq := range uint64(held) {
			select {
			case got := <-tasks:
				if got != seq+1 {
					t.Fatalf("%s worker is handed %d, want %d", worker, got, seq+1)
				}
			case <-time.After(patience):
				t.Fatalf("%s worker is handed %d tasks", worker, seq)
			}
		}
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func TestRoomIsMeasuredAndSaidWhereTheFloorCannotBeNoted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	logged := &lines{}
	var free atomic.Int64
	free.Store(1 << 40)
	cfg := w.config()
	cfg.Logger = slog.New(slog.NewTextHandler(logged, nil))
	cfg.Disk = func() (int64, error) { return free.Load(), nil }
	j, err := disk.Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { end(t, j) })
	if err := os.Mkdir(filepath.Join(w.dir, "floor.json.new"), 0o750); err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, 1, 5)
	w.copied(t, j)
	through(t, j, 5)
	eventually(t, "it to be said", func() bool { return strings.Contains(logged.String(), "level=WARN") })
	free.Store(0)
	eventually(t, "the disk to be measured", func() bool { return j.Fill()["disk"] > 0.5 })
	if text := logged.String(); strings.Count(text, "level=WARN") != 1 || !strings.Contains(text, "floor.json") {
		t.Errorf("it is said:\n%s", text)
	}
}

// lines is a log that a test may read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestAnIDThatStandsInTheLogTwiceStandsInTheCopyTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.opened(t)
	for range 2 {
		appendAll(t, j, 1, 30)
		j.Known.Forget() // as after a while
	}
	wantSame(t, logged(t, j, 60), w.copied(t, j))
}

func TestTheCopyGoesOnWhereTheStreamEnds(t *testing.T) {
	t.Parallel()
	for name, lose := range map[string]func(t *testing.T, w *world){
		"after an orderly stop": func(*testing.T, *world) {},
		"after the stream was made anew": func(t *testing.T, w *world) {
			err := w.JS.DeleteStream(t.Context(), w.Layout.Events)
			if _, made := natsd.Manage(t.Context(), w.JS, w.Layout, natsd.Limits{Copy: true}); errors.Join(err, made) != nil {
				t.Fatal(err, made)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			j := w.open(t)
			appendAll(t, j, 1, 100)
			end(t, j)
			lose(t, w)
			j = w.opened(t)
			appendAll(t, j, 101, 150)
			wantSame(t, logged(t, j, 150), w.copied(t, j))
		})
	}
}

// What the server has noted of the copy may be on the disk, and the end of the copy not.
func TestTheCopyIsWholeAgainAfterAPowerCut(t *testing.T) {
	t.Parallel()
	const index = "jetstream/$G/streams/CALL_EVENTS/msgs/index.db"
	dir, cut := t.TempDir(), t.TempDir()
	w := &world{natsdtest.Run(t, natsdtest.WithLimits(natsd.Limits{Copy: true}), natsdtest.WithDataDir(dir)), filepath.Join(t.TempDir(), "log")}
	j := w.open(t)
	appendAll(t, j, 1, 50)
	w.copied(t, j)
	if err := os.CopyFS(cut, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, 51, 100)
	end(t, j)
	w.Stop()
	noted, err := os.ReadFile(filepath.Join(dir, index))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cut, index), noted, 0o600); err != nil {
		t.Fatal(err)
	}
	w.Server = natsdtest.Run(t, natsdtest.WithLimits(natsd.Limits{Copy: true}), natsdtest.WithDataDir(cut))
	j = w.opened(t)
	appendAll(t, j, 101, 110)
	wantSame(t, logged(t, j, 110), w.copied(t, j))
}

func TestWhatTheCopyLacksIsSaidOnce(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lost []uint64
		want string // of the line; empty: there is none
	}{
		"nothing":               {},
		"the first ones":        {lost: []uint64{1, 2}}, // as an age does
		"all":                   {lost: []uint64{1, 2, 3, 4, 5, 6}},
		"some between":          {lost: []uint64{3, 4}, want: "from=3 to=4 entries=2"},
		"the end":               {lost: []uint64{5, 6}, want: "from=5 to=6 entries=2"},
		"some and some further": {lost: []uint64{2, 4, 5}, want: "from=2 to=5 entries=3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			events, err := w.JS.Stream(t.Context(), w.Layout.Events)
			if err != nil {
				t.Fatal(err)
			}
			config := events.CachedInfo().Config
			config.DenyDelete = false
			if err := w.JS.DeleteStream(t.Context(), config.Name); err != nil {
				t.Fatal(err)
			}
			if events, err = w.JS.CreateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			j := w.open(t)
			appendAll(t, j, 1, 6)
			w.copied(t, j)
			end(t, j)
			for _, seq := range tt.lost {
				if err := events.DeleteMsg(t.Context(), seq); err != nil {
					t.Fatal(err)
				}
			}
			var said lines
			cfg := w.config()
			cfg.Logger = slog.New(slog.NewTextHandler(&said, nil))
			if j, err = disk.Open(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			defer end(t, j)
			appendAll(t, j, 7, 7)
			w.copied(t, j)
			// A copy that is refused is looked at again.
			config.MaxMsgs = 1
			if _, err := w.JS.UpdateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			appendAll(t, j, 8, 8)
			eventually(t, "the copy to be refused", func() bool { return j.Copying().Err != nil })
			config.MaxMsgs = -1
			if _, err := w.JS.UpdateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			w.copied(t, j)
			const line = "the copy of the log has lost entries"
			if got := strings.Count(said.String(), line); got != min(1, len(tt.want)) || !strings.Contains(said.String(), tt.want) {
				t.Errorf("it is said %d times, want %q:\n%s", got, tt.want, said.String())
			}
			missing := 0
			if tt.want != "" {
				missing = len(tt.lost)
			}
			var counted dto.Metric
			if err := j.Metrics.Lost.Write(&counted); err != nil || counted.GetCounter().GetValue() != float64(missing) {
				t.Errorf("%v entries are counted, want %d (%v)", counted.GetCounter().GetValue(), missing, err)
			}
		})
	}
}

func TestTheCopyOfATrimmedLogBeginsWhereTheLogDoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.open(t)
	appendAll(t, j, 1, 50)
	w.copied(t, j)
	through(t, j, 50)
	eventually(t, "the log to be trimmed", func() bool {
		if err := j.Trim(t.Context(), 41); err != nil {
			t.Fatal(err)
		}
		log, _ := j.State(t.Context())
		return log.First == 41
	})
	wantSame(t, logged(t, j, 10), w.copied(t, j))
	end(t, j)
	if err := w.JS.DeleteStream(t.Context(), w.Layout.Events); err != nil {
		t.Fatal(err)
	}
	if _, err := natsd.Manage(t.Context(), w.JS, w.Layout, natsd.Limits{Copy: true}); err != nil {
		t.Fatal(err)
	}
	j = w.opened(t)
	if got := logged(t, j, 10); got[0].Seq != 41 {
		t.Errorf("the log begins at %d", got[0].Seq)
	}
	wantSame(t, logged(t, j, 10), w.copied(t, j))
}

// through acknowledges the first n tasks.
func through(t *testing.T, j *disk.Journal, n uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	go func() { done <- j.Follow(ctx, collector{make(chan call.Entry, 100_000)}) }()
	go func() {
		done <- j.Queue().Work(ctx, func(task *disk.Task) {
			if e := task.Entry(); e.Seq <= n {
				_ = task.Ack()
			}
		})
	}()
	eventually(t, "the tasks to be done", func() bool {
		d, _ := j.Queue().Depth(t.Context(), 0)
		return d.Floor == n
	})
	cancel()
	for range 2 {
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

func TestASlowCopyHoldsBackTrimmingAndNoAppend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	config, err := w.JS.Stream(t.Context(), w.Layout.Events)
	if err != nil {
		t.Fatal(err)
	}
	full := config.CachedInfo().Config
	full.MaxMsgs = 10
	j := w.opened(t)
	appendAll(t, j, 1, 5)
	w.copied(t, j)
	if _, err := w.JS.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, 6, 60)
	eventually(t, "the copy to be refused", func() bool { return errors.Is(j.Copying().Err, call.ErrFull) })
	through(t, j, 60)
	if err := j.Trim(t.Context(), 60); err != nil {
		t.Fatal(err)
	}
	if log, _ := j.State(t.Context()); log.First > 11 {
		t.Errorf("the log begins at %d, and 10 entries are copied", log.First)
	}
	full.MaxMsgs = -1
	if _, err := w.JS.UpdateStream(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	w.copied(t, j)
}

// A service is not ready while its queue cannot be worked.
func TestAQueueThatIsWorkedAgainHasNoTrouble(t *testing.T) {
	t.Parallel()
	j := newWorld(t).opened(t)
	ctx, cancel := context.WithCancel(t.Context())
	following, working := make(chan error, 1), make(chan error, 1)
	go func() { following <- j.Follow(ctx, collector{make(chan call.Entry, 10)}) }()
	go func() { working <- j.Queue().Work(ctx, func(*disk.Task) {}) }()
	defer func() { cancel(); <-following; <-working }()
	appendAll(t, j, 1, 1)
	j.Works.Note(errors.New("the disk could not be read"))
	appendAll(t, j, 2, 2)
	eventually(t, "the trouble to be over", func() bool { return j.Working().Err == nil })
}

// A server that has failed for a minute ends the process: what was no failure of its before does not count.
func TestATroubleOfTheCopyBeginsWithItsCause(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.opened(t)
	appendAll(t, j, 1, 1)
	w.copied(t, j)
	if _, err := w.JS.Publish(t.Context(), "calls.event.22.call.hangup", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, 2, 2)
	eventually(t, "somebody else's message to be said", func() bool { return errors.Is(j.Copying().Err, disk.ErrForeign) })
	foreign := j.Copying()
	if disk.ServerFails(foreign.Err) {
		t.Errorf("that is a failure of the server: %v", foreign.Err)
	}
	if err := w.JS.DeleteStream(t.Context(), w.Layout.Events); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the server's failure to be said", func() bool { return disk.ServerFails(j.Copying().Err) })
	if now := j.Copying(); !now.Since.After(foreign.Since) {
		t.Errorf("%v is said to last since %v, when it was %v", now.Err, now.Since, foreign.Err)
	}
}

func TestACopyThatIsCompleteHasNoTroubleThoughNothingComes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.opened(t)
	appendAll(t, j, 1, 3)
	w.copied(t, j)
	copied, err := w.JS.Stream(t.Context(), w.Layout.Events)
	if err != nil {
		t.Fatal(err)
	}
	again := copied.CachedInfo().Config
	if err := w.JS.DeleteStream(t.Context(), w.Layout.Events); err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, 4, 4)
	eventually(t, "it to be said", func() bool { return j.Copying().Err != nil })
	again.FirstSeq = 5 // as if the entry that failed had been stored
	if _, err := w.JS.CreateStream(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the trouble to be over", func() bool { return j.Copying().Err == nil })
}

func TestAStreamThatSomebodyElseHasWrittenIsNotTakenForTheCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.opened(t)
	appendAll(t, j, 1, 3)
	w.copied(t, j)
	if _, err := w.JS.Publish(t.Context(), "calls.event.22.call.hangup", []byte("{}")); err != nil {
		t.Fatal(err)
	}
	appendAll(t, j, 4, 6)
	eventually(t, "it to be said", func() bool { return errors.Is(j.Copying().Err, disk.ErrForeign) })
}

func TestTheLogOfAnEarlierReleaseIsTakenOver(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	w := &world{s, filepath.Join(t.TempDir(), "log")}
	old, err := stream.Open(t.Context(), stream.Config{Queue: "legato", Config: w.config().Config})
	if err != nil {
		t.Fatal(err)
	}
	queue, err := old.Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	appendAll(t, old, 1, 40)
	working, stop := context.WithCancel(t.Context())
	worked := make(chan error, 1)
	go func() {
		worked <- queue.Work(working, func(task *stream.Task) {
			if e := task.Entry(); e.Seq <= 30 {
				_ = task.Ack()
			}
		})
	}()
	eventually(t, "the queue to be worked", func() bool {
		d, err := queue.Depth(t.Context(), 0)
		return err == nil && d.Floor == 30
	})
	stop()
	if err := <-worked; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := old.Trim(t.Context(), 11); err != nil {
		t.Fatal(err)
	}
	was, err := old.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 { // and is not taken over again
		j := w.open(t)
		if log, _ := j.State(t.Context()); log.ID != was.ID || log.First != 11 || log.Last < 40 {
			t.Errorf("the log was %+v and is %+v", was, log)
		}
		if d, _ := j.Queue().Depth(t.Context(), 0); d.Floor != 30 {
			t.Errorf("the queue goes on after %d", d.Floor)
		}
		log, _ := j.State(t.Context())
		wantSame(t, logged(t, j, int(log.Last-log.First+1)), w.copied(t, j))
		appendAll(t, j, int(log.Last)+1, int(log.Last)+1)
		end(t, j)
	}
	if _, err := w.JS.Consumer(t.Context(), w.Layout.Events, "legato"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("the queue of the earlier release: %v", err)
	}
}

// whereItGoesOn opens a log and returns after which entry its queue goes on.
func whereItGoesOn(t *testing.T, w *world) uint64 {
	t.Helper()
	j := w.open(t)
	defer end(t, j)
	d, _ := j.Queue().Depth(t.Context(), 0)
	return d.Floor
}

// trimmedTo has the log's floor noted at 20 and the log begin at 11.
func trimmedTo(t *testing.T, w *world) {
	t.Helper()
	j := w.open(t)
	appendAll(t, j, 1, 20)
	w.copied(t, j)
	through(t, j, 20)
	eventually(t, "the floor to be noted", func() bool {
		if err := j.Trim(t.Context(), 11); err != nil {
			t.Fatal(err)
		}
		log, _ := j.State(t.Context())
		return log.First == 11
	})
	end(t, j)
	if got := whereItGoesOn(t, w); got != 20 {
		t.Errorf("after a restart the queue goes on after %d", got)
	}
}

func TestOtherSummariesAreHeldAgainstTheWholeLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	trimmedTo(t, w)
	if err := w.JS.DeleteStream(t.Context(), w.Layout.Calls); err != nil {
		t.Fatal(err)
	}
	if _, err := natsd.Manage(t.Context(), w.JS, w.Layout, natsd.Limits{Copy: true}); err != nil {
		t.Fatal(err)
	}
	if got := whereItGoesOn(t, w); got != 10 {
		t.Errorf("with other summaries the queue goes on after %d", got)
	}
}

func TestWhereTheFloorIsNotKnownTheWholeLogIsGoneThrough(t *testing.T) {
	t.Parallel()
	for what, text := range map[string]string{
		"torn by a power cut": `{"flo`, "of a log that was longer": `{"floor":21,"summaries":""}`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			trimmedTo(t, w)
			if err := os.WriteFile(filepath.Join(w.dir, "floor.json"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if got := whereItGoesOn(t, w); got != 10 {
				t.Errorf("the queue goes on after %d", got)
			}
		})
	}
}

func TestALogIsNeverTrimmedToNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	trimmedTo(t, w)
	j := w.open(t)
	if err := j.Trim(t.Context(), 21); err != nil {
		t.Fatal(err)
	}
	end(t, j)
	j = w.open(t)
	defer end(t, j)
	if log, _ := j.State(t.Context()); log.First != 20 || log.Last != 20 {
		t.Errorf("after a restart the log goes from %d to %d, want its last entry, which says where it goes on", log.First, log.Last)
	}
}

func TestADamagedLogIsHealedFromItsCopyOrSaid(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	j := w.open(t)
	appendAll(t, j, 1, 200)
	w.copied(t, j)
	end(t, j)
	flipped := 0
	files, err := os.ReadDir(w.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		path := filepath.Join(w.dir, f.Name())
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.Index(data, []byte(`{"n":50}`)); i >= 0 {
			data[i+5] ^= 1
			flipped++
			if err := os.WriteFile(path, data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	if flipped == 0 {
		t.Fatal("entry 50 is nowhere on the disk")
	}
	j, err = disk.Open(t.Context(), w.config())
	if err == nil {
		defer end(t, j)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		c := collector{make(chan call.Entry, 1000)}
		go func() { done <- j.Follow(ctx, c) }()
		eventually(t, "all to be followed, or why not", func() bool { return j.Following().Err != nil || len(c.entries) == 200 })
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		if err = j.Following().Err; err == nil {
			for n := 1; len(c.entries) > 0; n++ {
				if e := <-c.entries; !bytes.Equal(e.Data, event(n).Data) {
					t.Errorf("entry %d is %s", n, e.Data)
				}
			}
		}
	}
	t.Logf("a flipped bit: %v", err)
}
