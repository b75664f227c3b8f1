package journal_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/internal/call"
)

func TestRecent(t *testing.T) {
	t.Parallel()
	const generation = 500_000
	store := func(r *journal.Recent, from, n int) {
		for i := from; i < from+n; i++ {
			r.Stored(strconv.Itoa(i), uint64(i))
		}
	}
	tests := []struct {
		name string
		run  func(*journal.Recent)
		id   string
		seq  uint64 // 0: not known
	}{
		{"knows what was stored", func(r *journal.Recent) { store(r, 1, 3) }, "2", 2},
		{"does not know what was not", func(r *journal.Recent) { store(r, 1, 3) }, "4", 0},
		{"never knows the empty id", func(r *journal.Recent) { r.Stored("", 7) }, "", 0},
		{"knows what is a generation old", func(r *journal.Recent) { store(r, 1, 2*generation-1) }, "1", 1},
		{"forgets what is two generations old", func(r *journal.Recent) { store(r, 1, 2*generation+1) }, "1", 0},
		{"forgets everything when told so", func(r *journal.Recent) { store(r, 1, 3); r.Forget() }, "2", 0},
		{"learns from the log what is recent", func(r *journal.Recent) {
			r.Seen(&call.Entry{ID: "9", Seq: 9, ReceivedAt: time.Now().Add(-30 * time.Second)})
		}, "9", 9},
		{"does not learn what is old", func(r *journal.Recent) {
			r.Seen(&call.Entry{ID: "9", Seq: 9, ReceivedAt: time.Now().Add(-5 * time.Minute)})
		}, "9", 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := journal.NewRecent()
			tt.run(r)
			if seq, ok := r.Seq(tt.id); seq != tt.seq || ok != (tt.seq > 0) {
				t.Errorf("got %d, %t, want %d", seq, ok, tt.seq)
			}
		})
	}
}

func TestRecentForgetsThoughNothingIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := journal.NewRecent()
		r.Stored("1", 1)
		<-time.After(230 * time.Second)
		if _, ok := r.Seq("1"); !ok {
			t.Error("it is forgotten after 230 s")
		}
		<-time.After(20 * time.Second)
		if seq, ok := r.Seq("1"); ok {
			t.Errorf("it is known to stand at %d after 250 s in which nothing was stored", seq)
		}
	})
}

// Telnyx repeats a webhook within a minute, a stream knows its id for two.
func TestAnIDIsKnownForTwoMinutesWhateverElseComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := journal.NewRecent()
		r.Stored("the first", 1)
		for n := range 120 {
			if seq, ok := r.Seq("the first"); !ok || seq != 1 {
				t.Fatalf("after %d s it is known to stand at %d, %t", n, seq, ok)
			}
			<-time.After(time.Second)
			r.Stored(strconv.Itoa(n), uint64(n+2))
		}
	})
}

// server has the stream of a log, an account without limits, and nothing else.
type server struct {
	jetstream.JetStream
	log logStream
}

// logStream takes up to a MiB.
type logStream struct {
	jetstream.Stream
	bytes atomic.Uint64
}

func (s *server) Stream(context.Context, string) (jetstream.Stream, error) { return &s.log, nil }
func (*server) Conn() *nats.Conn                                           { return &nats.Conn{} }
func (*server) AccountInfo(context.Context) (*jetstream.AccountInfo, error) {
	return &jetstream.AccountInfo{}, nil
}

func (l *logStream) CachedInfo() *jetstream.StreamInfo {
	return &jetstream.StreamInfo{Config: jetstream.StreamConfig{MaxBytes: 1 << 20}, State: jetstream.StreamState{Bytes: l.bytes.Load()}}
}

const lookEvery = 2 * time.Second

// run begins to take entries into a log that stores everything.
func run(t *testing.T, s *server, cfg journal.Config) *journal.Appender {
	t.Helper()
	cfg.JetStream = s
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := journal.NewAppender(cfg)
	err := a.Run(t.Context(), journal.Form{
		Store: func(_ context.Context, batch []*call.Entry) []journal.Result {
			return make([]journal.Result, len(batch))
		},
		Refuse:   func(*call.Entry) error { return nil },
		Surveyed: func(*jetstream.StreamInfo) error { return nil },
		Every:    lookEvery,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return a
}

func TestHowLongThereWasNoRoomIsToldWhenThereIsSomeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		s := &server{}
		s.log.bytes.Store(1 << 20)
		run(t, s, journal.Config{Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		<-time.After(5*time.Minute + lookEvery/2)
		s.log.bytes.Store(0)
		<-time.After(lookEvery)
		synctest.Wait()
		if want := "after=5m2s"; !strings.Contains(logged.String(), want) {
			t.Errorf("it is not told %s:\n%s", want, logged.String())
		}
	})
}

func TestWhatIsStoredDuringALookCountsAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		looks, looking, goOn := 0, make(chan struct{}), make(chan struct{})
		a := run(t, &server{}, journal.Config{Disk: func() (int64, error) {
			if looks++; looks == 2 {
				close(looking)
				<-goOn
			}
			return 1 << 40, nil
		}})
		<-looking
		store := func(id string) error {
			_, err := a.Append(t.Context(), call.Entry{Topic: call.TopicEvent + call.TypeHangup, ID: id, Data: make([]byte, 512<<10)})
			return err
		}
		for _, id := range []string{"1", "2"} {
			if err := store(id); err != nil {
				t.Fatal(err)
			}
		}
		close(goOn)
		synctest.Wait()
		if err := store("3"); !errors.Is(err, journal.ErrFull) {
			t.Errorf("a log with room for two such entries has taken three: %v", err)
		}
	})
}
