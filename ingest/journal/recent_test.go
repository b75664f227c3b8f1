package journal_test

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/internal/call"
)

func TestRecent(t *testing.T) {
	t.Parallel()
	const generation = 100_000
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
		<-time.After(50 * time.Second)
		if _, ok := r.Seq("1"); !ok {
			t.Error("it is forgotten after 50 s")
		}
		<-time.After(20 * time.Second)
		if seq, ok := r.Seq("1"); ok {
			t.Errorf("it is known to stand at %d after 70 s in which nothing was stored", seq)
		}
	})
}
