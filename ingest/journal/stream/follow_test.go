package stream_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/journal/stream"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func TestEntriesComeBackByteForByte(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		entry call.Entry
	}{
		{"with every field", call.Entry{
			Topic: call.TopicEvent + "call.machine.premium.greeting.ended", ID: "0ccc7b54-4df3-4bca-a65a-3da1ecc777f0:call.hangup",
			Ref: call.Ref{
				Session: "428c31b6-7af4-4bcb-b7f5-5013ef9657c1", Leg: "428c31b6-7af4-4bcb-b68e-5013ef9657c1",
				Control: "v2:T02llQxIyaRkhfRKxgAP8nY511EhFLizdvdUKJiSw8d6A9BborherQ+/=", Connection: "1684641123236054244",
			},
			Attempt: 3, Signature: "rQ2lRXn1JU4mRZ4kq+/4QHq1f6wG8v8G6b4m0kD0L7w9r3Wl2nGz9QkJb7w6Qd3mUeE4dF5sR1tYyXvZ0aBcCw==", Timestamp: "1700000000",
			Backfill: true, Data: []byte("{\"data\": {\r\n\t\"emoji\":\"\xf0\x9f\x93\x9e\", \"broken\": \"\xff\x00\"}}\r\n"),
		}},
		{"with nothing but a topic", call.Entry{Topic: call.TopicHeartbeat}},
		{"with a body alone", call.Entry{Topic: call.TopicStatus, Data: []byte("{}")}},
		{"with an id and no body", call.Entry{Topic: call.TopicCheck, ID: "check-1"}},
		{"with a control id alone", call.Entry{Topic: call.TopicEvent + "call.cost", ID: "x", Ref: call.Ref{Control: "v3:abc"}, Data: []byte("{}")}},
		{"with a body of the largest size", call.Entry{Topic: call.TopicEvent + "call.initiated", ID: "large", Data: make([]byte, 960<<10)}},
	}
	s := natsdtest.Run(t)
	j := open(t, s.JS, stream.Config{})
	r, _ := follow(t, j)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := time.Now().Add(-time.Second)
			receipt := must(t)(j.Append(t.Context(), tt.entry))
			got := r.await(1, i+1)[i]
			if diff := same([]call.Entry{tt.entry}, []call.Entry{got}); diff != "" {
				t.Errorf("entry (-want +got):\n%s", diff)
			}
			if got.Seq != receipt.Seq {
				t.Errorf("got sequence %d, want %d", got.Seq, receipt.Seq)
			}
			if got.ReceivedAt.Before(before) || got.ReceivedAt.After(time.Now().Add(time.Second)) || got.ReceivedAt.Location() != time.UTC {
				t.Errorf("received at %v, want now in UTC", got.ReceivedAt)
			}
		})
	}
}

func TestWhatAnEarlierReleaseLoggedIsReadAlike(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	j := open(t, s.JS, stream.Config{})
	earlier, later, unknown := webhook(1), webhook(2), webhook(3)
	unknown.Ref.Connection = ""
	m := j.Message(&earlier)
	m.Subject = "calls." + earlier.Topic // without the connection
	if _, err := s.JS.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	must(t)(j.Append(t.Context(), later))
	must(t)(j.Append(t.Context(), unknown))
	if got := must(t)(j.Append(t.Context(), earlier)); !got.Duplicate {
		t.Error("a redelivery of what an earlier release logged is stored again")
	}
	want := []call.Entry{earlier, later, unknown}
	r, _ := follow(t, j)
	if diff := same(want, r.await(1, 3)); diff != "" {
		t.Errorf("followed (-want +got):\n%s", diff)
	}
	w, _ := work(t, j, ack(t))
	w.await(3)
	var tasks []call.Entry
	for _, task := range w.taken() {
		tasks = append(tasks, task.Entry())
	}
	if diff := same(want, tasks); diff != "" {
		t.Errorf("worked (-want +got):\n%s", diff)
	}
	read, err := stream.NewReader(s.JS, logStream, "calls").Entries(t.Context(), []uint64{1, 2, 3})
	if err != nil {
		t.Fatal(err)
	}
	if diff := same(want, read); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	for n, want := range []string{"calls.event.call.hangup", "calls.event.1684641123236054244.call.hangup", "calls.event._.call.hangup"} {
		if m, err := s.JS.Conn().Request("$JS.API.STREAM.MSG.GET."+logStream, fmt.Appendf(nil, `{"seq":%d}`, n+1), patience); err != nil ||
			!strings.Contains(string(m.Data), `"subject":"`+want+`"`) {
			t.Errorf("entry %d is not on %s: %v", n+1, want, err)
		}
	}
}

func TestSizesAreNotUnderestimated(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	j := open(t, s.JS, stream.Config{})
	entries := []call.Entry{{Topic: call.TopicHeartbeat}, entry(1), webhook(1)}
	all := webhook(2)
	all.Backfill, all.Attempt = true, 99
	for _, e := range append(entries, all) {
		m := j.Message(&e)
		size := len("NATS/1.0\r\n\r\n") + len(m.Data)
		for name, values := range m.Header {
			size += len(name) + len(values[0]) + len(": \r\n")
		}
		// Those of a batch: two of them with a nuid of 22 letters and a number.
		size += len("Nats-Batch-Id: \r\nNats-Batch-Sequence: \r\nNats-Batch-Commit: 1\r\n") + 22 + 3
		if got := journal.MessageSize(&e); got < int64(size) || got > int64(size)+400 {
			t.Errorf("%s: taken for %d bytes, is %d", e.Topic, got, size)
		}
	}
}

func TestFollowDeliversTheLogInOrderAndWhole(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	j := open(t, s.JS, stream.Config{})
	fill(t, j, 1, 20)
	r, stop := follow(t, j)
	var wg sync.WaitGroup
	for c := range 100 {
		wg.Go(func() {
			for n := range 5 {
				if _, err := j.Append(t.Context(), entry(100+5*c+n)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	got := r.await(1, 520)
	logs, _ := r.logs()
	if logs[0].First != 1 || logs[0].Last < 20 || logs[0].ID == "" {
		t.Errorf("got the restart %+v", logs[0])
	}
	if diff := cmp.Diff(append(idsOf(numbers(1, 20)), idsOf(numbers(100, 599))...), append(idsOf(got[:20]), idsOf(got[20:])...)); diff != "" {
		t.Errorf("ids (-want +got):\n%s", diff)
	}
	for i, e := range got {
		if e.Seq != uint64(i+1) {
			t.Fatalf("entry %d has sequence %d", i, e.Seq)
		}
	}
	stop()
	stream, err := s.JS.Stream(t.Context(), logStream)
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Consumers; got != 0 {
		t.Errorf("%d consumers are left behind", got)
	}
}

func TestFollowBeginsWithWhatTheLogHolds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		appends int
		trim    uint64
		want    call.Log
	}{
		{"nothing, when it never held anything", 0, 0, call.Log{First: 1, Last: 0}},
		{"its first entry", 5, 0, call.Log{First: 1, Last: 5}},
		{"its first entry after it was trimmed", 5, 4, call.Log{First: 4, Last: 5}},
		{"nothing, when it was trimmed to its end", 5, 6, call.Log{First: 6, Last: 5}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := natsdtest.Run(t)
			j := open(t, s.JS, stream.Config{})
			fill(t, j, 1, tt.appends)
			if err := j.Trim(t.Context(), tt.trim); err != nil {
				t.Fatal(err)
			}
			r, _ := follow(t, j)
			first := int(tt.want.First)
			r.await(1, tt.appends-first+1)
			logs, _ := r.logs()
			tt.want.ID = logs[0].ID
			if diff := cmp.Diff(tt.want, logs[0]); diff != "" {
				t.Errorf("restart (-want +got):\n%s", diff)
			}
			fill(t, j, tt.appends+1, tt.appends+1)
			if diff := same(numbers(first, tt.appends+1), r.await(1, tt.appends-first+2)); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

// more appends entries past any link.
func more(t *testing.T, s *natsdtest.Server, from, to int) {
	t.Helper()
	fill(t, open(t, s.JS, stream.Config{}), from, to)
}

// TestFollowLosesAndRepeatsNothing has a follower behind a link, and a writer that is not.
func TestFollowLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		// run does something to the link or the server, and appends the entries from 11 to 20.
		run func(t *testing.T, s *natsdtest.Server, l *link)
	}{
		{"when the server restarts", func(t *testing.T, s *natsdtest.Server, l *link) {
			s.Restart()
			l.point(s)
			more(t, s, 11, 20)
		}},
		{"when it finds the server again only after more was stored", func(t *testing.T, s *natsdtest.Server, l *link) {
			s.Restart()
			more(t, s, 11, 20)
			l.point(s)
		}},
		{"when the connection breaks", func(t *testing.T, s *natsdtest.Server, l *link) {
			l.cut()
			more(t, s, 11, 20)
		}},
		{"when what was on its way is lost with the connection", func(t *testing.T, s *natsdtest.Server, l *link) {
			l.lose()
			more(t, s, 11, 20)
			delivered(t, s.JS, 20)
			l.cut()
			l.heal()
		}},
		{"when the end of the log is lost on its way", func(t *testing.T, s *natsdtest.Server, l *link) {
			l.loseAnswers()
			more(t, s, 11, 20)
			delivered(t, s.JS, 20)
			l.heal()
		}},
		{"when the middle of the log is lost on its way", func(t *testing.T, s *natsdtest.Server, l *link) {
			l.loseAnswers()
			more(t, s, 11, 15)
			delivered(t, s.JS, 15)
			l.heal()
			more(t, s, 16, 20)
		}},
		{"when its consumer is deleted", func(t *testing.T, s *natsdtest.Server, _ *link) {
			stream, err := s.JS.Stream(t.Context(), logStream)
			if err != nil {
				t.Fatal(err)
			}
			for name := range stream.ConsumerNames(t.Context()).Name() {
				if err := stream.DeleteConsumer(t.Context(), name); err != nil {
					t.Fatal(err)
				}
			}
			more(t, s, 11, 20)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := listening(t)
			l, js := connect(t, s)
			more(t, s, 1, 10)
			registry := prometheus.NewRegistry()
			r, _ := follow(t, open(t, js, stream.Config{Config: journal.Config{Registerer: registry}}.Paced(soon, 0)))
			r.await(1, 10)
			tt.run(t, s, l)
			if diff := same(numbers(1, 20), r.await(1, 20)); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			if got := metric(t, registry, "legato_log_lost_total", "").GetCounter().GetValue(); got != 0 {
				t.Errorf("%v entries are counted as lost, want none", got)
			}
		})
	}
}

// remake deletes the log and makes it anew.
func remake(t *testing.T, s *natsdtest.Server) {
	t.Helper()
	stream, err := s.JS.Stream(t.Context(), logStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.JS.DeleteStream(t.Context(), logStream); err != nil {
		t.Fatal(err)
	}
	if _, err := s.JS.CreateStream(t.Context(), stream.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
}

// TestFollowStartsAnew has a follower that has read the entries from 1 to 10.
func TestFollowStartsAnew(t *testing.T) {
	t.Parallel()
	purge := func(t *testing.T, s *natsdtest.Server, opts ...jetstream.StreamPurgeOpt) {
		stream, err := s.JS.Stream(t.Context(), logStream)
		if err == nil {
			err = stream.Purge(t.Context(), opts...)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name  string
		cause string
		run   func(t *testing.T, s *natsdtest.Server, l *link)
		want  []call.Entry
		other bool // the log is another one
	}{
		{"when another replica has trimmed the log past it", "gap", func(t *testing.T, s *natsdtest.Server, l *link) {
			l.lose()
			j := open(t, s.JS, stream.Config{})
			fill(t, j, 11, 20)
			if err := j.Trim(t.Context(), 15); err != nil {
				t.Fatal(err)
			}
			l.cut()
			l.heal()
		}, numbers(15, 20), false},
		{"when all was purged before it had read it", "gap", func(t *testing.T, s *natsdtest.Server, l *link) {
			l.lose()
			more(t, s, 11, 20)
			purge(t, s)
			l.cut()
			l.heal()
		}, nil, false},
		{"when the log was made anew and is empty", "recreated", func(t *testing.T, s *natsdtest.Server, _ *link) {
			remake(t, s)
		}, nil, true},
		{"when the log was made anew and has less than was read", "recreated", func(t *testing.T, s *natsdtest.Server, _ *link) {
			remake(t, s)
			more(t, s, 101, 103)
		}, numbers(101, 103), true},
		{"when the log was made anew and has just as much as was read", "recreated", func(t *testing.T, s *natsdtest.Server, _ *link) {
			remake(t, s)
			more(t, s, 101, 110)
		}, numbers(101, 110), true},
		{"when the log was made anew and soon has more than was read", "recreated", func(t *testing.T, s *natsdtest.Server, _ *link) {
			remake(t, s)
			more(t, s, 101, 140)
		}, numbers(101, 140), true},
		{"when the log was made anew behind its back and has more than was read", "recreated", func(t *testing.T, s *natsdtest.Server, l *link) {
			l.lose()
			remake(t, s)
			more(t, s, 101, 140)
			l.cut()
			l.heal()
		}, numbers(101, 140), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := listening(t)
			more(t, s, 1, 10)
			l, js := connect(t, s)
			registry := prometheus.NewRegistry()
			r, _ := follow(t, open(t, js, stream.Config{Config: journal.Config{Registerer: registry}}.Paced(soon, 0)))
			r.await(1, 10)
			tt.run(t, s, l)
			if diff := same(tt.want, r.await(2, len(tt.want))); diff != "" {
				t.Errorf("entries after the restart (-want +got):\n%s", diff)
			}
			// Nothing of the new log may have been taken for a continuation of the old one.
			if diff := same(numbers(1, 10), r.discarded()); diff != "" {
				t.Errorf("entries before the restart (-want +got):\n%s", diff)
			}
			logs, _ := r.logs()
			if other := logs[0].ID != logs[1].ID; other != tt.other {
				t.Errorf("another log: %t, want %t: %+v", other, tt.other, logs)
			}
			if got := metric(t, registry, "legato_log_replays_total", tt.cause).GetCounter().GetValue(); got != 1 {
				t.Errorf("%v replays because of %q, want 1", got, tt.cause)
			}
			more(t, s, 200, 200)
			if diff := same(append(tt.want, entry(200)), r.await(2, len(tt.want)+1)); diff != "" {
				t.Errorf("entries later (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFollowStartsAnewWhenTheLogEndsBelowWhatWasRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, saved := filepath.Join(dir, "data"), filepath.Join(dir, "saved")
	s := listening(t, natsdtest.WithDataDir(data))
	l, js := connect(t, s)
	j := openSoon(t, js)
	fill(t, j, 1, 5)
	s.Stop()
	if err := os.CopyFS(saved, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	s = listening(t, natsdtest.WithDataDir(data))
	l.point(s)
	r, _ := follow(t, j)
	r.await(1, 5)
	fill(t, j, 6, 10)
	r.await(1, 10)
	// The disk is put back to what it was.
	s.Stop()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(saved)); err != nil {
		t.Fatal(err)
	}
	s = listening(t, natsdtest.WithDataDir(data))
	l.point(s)
	if diff := same(numbers(1, 5), r.await(2, 5)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	// What was stored once is not any more, so it is no duplicate.
	if got := must(t)(j.Append(t.Context(), entry(8))); got != (call.Receipt{Seq: 6}) {
		t.Errorf("an entry of the lost part: got %+v, want it stored at 6", got)
	}
}

// A server comes back with an older disk, and others write on before this replica looks: its place is that of another
// entry. What they wrote meanwhile is followed, and handed out as tasks.
func TestFollowStartsAnewWhenItsPlaceIsThatOfAnotherEntry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, saved := filepath.Join(dir, "data"), filepath.Join(dir, "saved")
	s := listening(t, natsdtest.WithDataDir(data))
	l, js := connect(t, s)
	j := openSoon(t, js)
	fill(t, j, 1, 5)
	s.Stop()
	if err := os.CopyFS(saved, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	s = listening(t, natsdtest.WithDataDir(data))
	l.point(s)
	r, _ := follow(t, j)
	r.await(1, 5)
	fill(t, j, 6, 10)
	r.await(1, 10)
	queue, err := j.Queue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var handed sync.Map
	run(t, func(ctx context.Context) error {
		return queue.Work(ctx, func(task *stream.Task) {
			handed.Store(task.Entry().ID, true)
			if err := task.Ack(); err != nil {
				t.Log(err)
			}
		})
	})
	was := func(n int) bool { _, ok := handed.Load(entry(n).ID); return ok }
	eventually(t, "all tasks to be handed out", func() bool { return was(10) })
	s.Stop()
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(saved)); err != nil {
		t.Fatal(err)
	}
	s = listening(t, natsdtest.WithDataDir(data))
	fill(t, open(t, s.JS, stream.Config{}), 11, 15)
	l.point(s)
	if diff := same(append(numbers(1, 5), numbers(11, 15)...), r.await(2, 10)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	eventually(t, "the tasks of the entries that came meanwhile", func() bool {
		for n := 11; n <= 15; n++ {
			if !was(n) {
				return false
			}
		}
		return true
	})
}

// Only the log's end is gone, and this replica has not followed it so far: nothing that it has read is otherwise.
func TestWhatAServerHasLostIsNoDuplicate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, saved := filepath.Join(dir, "data"), filepath.Join(dir, "saved")
	s := listening(t, natsdtest.WithDataDir(data))
	l, js := connect(t, s)
	j := openSoon(t, js)
	fill(t, j, 1, 5)
	s.Stop()
	if err := os.CopyFS(saved, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	again := func(n int) (r call.Receipt) {
		eventually(t, "the entry to be stored", func() bool {
			var err error
			r, err = j.Append(t.Context(), entry(n))
			return err == nil
		})
		return r
	}
	s = listening(t, natsdtest.WithDataDir(data))
	l.point(s)
	r, stop := follow(t, j)
	r.await(1, 5)
	stop()
	if again(6).Duplicate {
		t.Error("what is new is a duplicate")
	}
	if !again(6).Duplicate {
		t.Error("what is repeated is no duplicate")
	}
	s.Stop()
	eventually(t, "the connection to be lost", func() bool { return !js.Conn().IsConnected() })
	if _, err := j.Append(t.Context(), entry(6)); !errors.Is(err, journal.ErrUnavailable) {
		t.Errorf("the server is away: got error %v, want ErrUnavailable", err)
	}
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(data, os.DirFS(saved)); err != nil {
		t.Fatal(err)
	}
	s = listening(t, natsdtest.WithDataDir(data))
	l.point(s)
	if again(6).Duplicate {
		t.Error("what the server has lost is a duplicate")
	}
	if ids := storedIDs(t, js); !slices.Contains(ids, entry(6).ID) {
		t.Errorf("it was answered, and stored are %v", ids)
	}
	r, _ = follow(t, j)
	if diff := same(numbers(1, 6), r.await(1, 6)); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestFollowGoesOnWhenNothingIsMissing(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		run  func(t *testing.T, s *natsdtest.Server)
	}{
		{"though the log is trimmed below it", func(t *testing.T, s *natsdtest.Server) {
			if err := open(t, s.JS, stream.Config{}).Trim(t.Context(), 8); err != nil {
				t.Fatal(err)
			}
		}},
		{"though the log is trimmed just to it", func(t *testing.T, s *natsdtest.Server) {
			if err := open(t, s.JS, stream.Config{}).Trim(t.Context(), 11); err != nil {
				t.Fatal(err)
			}
		}},
		{"though all that it has read is purged", func(t *testing.T, s *natsdtest.Server) {
			stream, err := s.JS.Stream(t.Context(), logStream)
			if err == nil {
				err = stream.Purge(t.Context())
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := natsdtest.Run(t)
			j := openSoon(t, s.JS)
			fill(t, j, 1, 10)
			r, _ := follow(t, j)
			r.await(1, 10)
			n := looks(t, s.Conn)
			tt.run(t, s)
			afterLooks(t, n)
			fill(t, j, 11, 12)
			if diff := same(numbers(1, 12), r.await(1, 12)); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
		})
	}
}

// TestFollowPassesAHole has a log that lost entries in its middle or at its end: to
// replay it for ever would not bring them back.
func TestFollowPassesAHole(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		holes []uint64
		want  []call.Entry
	}{
		{"in the middle", []uint64{4, 5}, append(numbers(1, 3), numbers(6, 11)...)},
		{"at the end", []uint64{9, 10}, append(numbers(1, 8), entry(11))},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := limited(t, jetstream.StreamConfig{})
			registry := prometheus.NewRegistry()
			j := open(t, s.JS, stream.Config{Config: journal.Config{Registerer: registry}}.Paced(soon, 0))
			fill(t, j, 1, 10)
			stream, err := s.JS.Stream(t.Context(), logStream)
			if err != nil {
				t.Fatal(err)
			}
			for _, seq := range tt.holes {
				if err := stream.DeleteMsg(t.Context(), seq); err != nil {
					t.Fatal(err)
				}
			}
			r, _ := follow(t, j)
			r.await(1, 8)
			afterLooks(t, looks(t, s.Conn))
			fill(t, j, 11, 11)
			if diff := same(tt.want, r.await(1, 9)); diff != "" {
				t.Errorf("entries (-want +got):\n%s", diff)
			}
			if got := metric(t, registry, "legato_log_lost_total", "").GetCounter().GetValue(); got != 2 {
				t.Errorf("%v entries are counted as lost, want 2", got)
			}
		})
	}
}

// slow is a follower that waits in Fold.
type slow struct {
	entered chan uint64
	leave   chan struct{}
}

func (*slow) Restart(call.Log) {}

func (f *slow) Fold(e call.Entry) {
	f.entered <- e.Seq
	<-f.leave
}

func TestNothingIsFoldedAfterFollowHasReturned(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	j := openSoon(t, s.JS)
	fill(t, j, 1, 10)
	f := &slow{entered: make(chan uint64, 10), leave: make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	returned := make(chan error, 1)
	go func() { returned <- j.Follow(ctx, f) }()
	receive(t, "the first entry", f.entered)
	n := looks(t, s.Conn)
	cancel()
	afterLooks(t, n) // The journal looks on.
	select {
	case err := <-returned:
		t.Errorf("Follow returned while an entry was being folded: %v", err)
	default:
	}
	close(f.leave)
	if err := receive(t, "Follow to return", returned); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want that of the context", err)
	}
	if got := len(f.entered); got > 0 {
		t.Errorf("%d entries were folded after the context had ended", got)
	}
}

func TestFollowEndsAtOnceWhileTheServerIsGone(t *testing.T) {
	// Not at the same time as other tests: it is about time.
	tests := []struct {
		name  string
		leave func(s *natsdtest.Server, l *link)
	}{
		{"and the connection is down", func(s *natsdtest.Server, _ *link) { s.Stop() }},
		{"and nobody knows", func(_ *natsdtest.Server, l *link) { l.lose() }},
		// nats.go can be asked nothing while it waits for the server's first word.
		{"and comes back mute", func(_ *natsdtest.Server, l *link) {
			l.cut()
			l.lose()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := listening(t)
			l, js := connect(t, s)
			j := openSoon(t, js)
			fill(t, j, 1, 3)
			r, stop := follow(t, j)
			r.await(1, 3)
			tt.leave(s, l)
			start := time.Now()
			stop()
			// A question to the server is given up after five.
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestFollowWaitsForALogThatIsNotThere(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	j := openSoon(t, s.JS)
	stream, err := s.JS.Stream(t.Context(), logStream)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.JS.DeleteStream(t.Context(), logStream); err != nil {
		t.Fatal(err)
	}
	n := looks(t, s.Conn)
	r, _ := follow(t, j)
	afterLooks(t, n)
	if _, err := s.JS.CreateStream(t.Context(), stream.CachedInfo().Config); err != nil {
		t.Fatal(err)
	}
	fill(t, j, 1, 2)
	r.await(1, 2)
}

// TestLargeEntriesAreReplayedAtOnce has more in the log than nats.go would keep for
// a slow handler before it drops what comes.
func TestLargeEntriesAreReplayedAtOnce(t *testing.T) {
	t.Parallel()
	s := limited(t, jetstream.StreamConfig{Storage: jetstream.MemoryStorage})
	j := openSoon(t, s.JS)
	const entries = 80
	for n := range entries {
		must(t)(j.Append(t.Context(), call.Entry{Topic: call.TopicEvent + "x", ID: strconv.Itoa(n), Data: make([]byte, 900<<10)}))
	}
	var log lines
	j = open(t, s.JS, stream.Config{Config: journal.Config{Logger: log.logger()}})
	f := &slow{entered: make(chan uint64, entries), leave: make(chan struct{})}
	run(t, func(ctx context.Context) error { return j.Follow(ctx, f) })
	receive(t, "the first entry", f.entered)
	close(f.leave)
	for seq := uint64(2); seq <= entries; seq++ {
		if got := receive(t, "an entry", f.entered); got != seq {
			t.Fatalf("got entry %d, want %d", got, seq)
		}
	}
	if got := log.String(); strings.Contains(got, "interrupted") {
		t.Errorf("the follower was interrupted:\n%s", got)
	}
}

func TestAFollowerRemembersWhatOthersHaveStored(t *testing.T) {
	t.Parallel()
	s := listening(t)
	l, js := connect(t, s)
	j := openSoon(t, js)
	r, _ := follow(t, j)
	more(t, s, 1, 3)
	r.await(1, 3)
	l.lose() // nobody else can tell
	if got := must(t)(j.Append(t.Context(), entry(2))); got != (call.Receipt{Seq: 2, Duplicate: true}) {
		t.Errorf("got %+v, want a duplicate of entry 2", got)
	}
}

func TestAnIDOfAnotherLogIsNoDuplicate(t *testing.T) {
	t.Parallel()
	s := natsdtest.Run(t)
	j := openSoon(t, s.JS)
	fill(t, j, 1, 5)
	remake(t, s)
	afterLooks(t, looks(t, s.Conn))
	if got := must(t)(j.Append(t.Context(), entry(5))); got != (call.Receipt{Seq: 1}) {
		t.Errorf("got %+v, want it stored at 1", got)
	}
}

func TestTheLagIsWhatIsNotFolded(t *testing.T) {
	t.Parallel()
	s := limited(t, jetstream.StreamConfig{})
	registry := prometheus.NewRegistry()
	j := open(t, s.JS, stream.Config{Config: journal.Config{Registerer: registry}}.Paced(soon, 0))
	fill(t, j, 1, 10)
	lag := func(want float64) {
		t.Helper()
		eventually(t, fmt.Sprintf("a lag of %v", want), func() bool {
			return metric(t, registry, "legato_log_lag", "").GetGauge().GetValue() == want
		})
	}
	lag(10)
	// What was trimmed nobody needs to fold.
	if err := j.Trim(t.Context(), 4); err != nil {
		t.Fatal(err)
	}
	lag(7)
	if got := metric(t, registry, "legato_log_entries", "").GetGauge().GetValue(); got != 7 {
		t.Errorf("the log has %v entries, want 7", got)
	}
	r, _ := follow(t, j)
	r.await(1, 7)
	lag(0)
}
