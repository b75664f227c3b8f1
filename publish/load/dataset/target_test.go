package dataset_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/load"
	"github.com/legato-calls/legato/publish/load/dataset"
	"github.com/legato-calls/legato/publish/load/loadtest"
)

// manifest is what a test reads of the folder's.
type manifest struct {
	ID      string
	Commit  int
	Streams []struct {
		Sequences [][2]uint64
		Marks     []struct{ Seq uint64 }
	}
	Files []struct {
		Path, Kind string
		Rows       int64
	}
	Replaced []struct{ Path string }
}

func read(t *testing.T, dir string) (m manifest) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "manifest.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// ids are the ids and revisions in the files that the manifest names.
func ids(t *testing.T, dir string) (found []string) {
	t.Helper()
	type row struct {
		Kind     string `parquet:"kind,optional"`
		Session  string `parquet:"call_session_id,optional"`
		Revision int64  `parquet:"revision,optional"`
	}
	for _, f := range read(t, dir).Files {
		rows, err := parquet.ReadFile[row](filepath.Join(dir, f.Path))
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(rows)) != f.Rows {
			t.Errorf("%s has %d rows, and the manifest says %d", f.Path, len(rows), f.Rows)
		}
		for _, r := range rows {
			found = append(found, r.Kind+" "+r.Session+" "+string(rune('0'+r.Revision)))
		}
	}
	slices.Sort(found)
	return found
}

// parse makes a row of a message.
func parse(t *testing.T, origin load.Origin, body string) load.Row {
	t.Helper()
	of, ok := publish.ParseSubject(origin.Subject)
	if !ok {
		t.Fatalf("no subject: %s", origin.Subject)
	}
	table, err := flat.Of(of.Key.Kind)
	if err != nil {
		t.Fatal(err)
	}
	row := load.Row{Key: of.Key, Body: body, Cells: make([]flat.Value, len(table.Columns())), Origin: origin}
	if err := table.Row(body, row.Cells); err != nil {
		t.Fatal(err)
	}
	for i, c := range table.Columns() {
		if c.Name == "revision" {
			row.Revision = row.Cells[i].Int
		}
	}
	return row
}

// idOf is what ids says of a row.
func idOf(r load.Row) string {
	return r.Key.Kind + " " + r.Key.Session + " " + string(rune('0'+r.Revision))
}

// parsed are the rows of a plan, and what ids says of them.
func parsed(t *testing.T, p loadtest.Plan) (rows []load.Row, want []string) {
	t.Helper()
	var seq uint64
	if err := p.Each(func(m loadtest.Message) error {
		seq++
		row := parse(t, load.Origin{Stream: "CALLS", Created: loadtest.Began, Seq: seq, Subject: m.Subject}, string(m.Body))
		rows = append(rows, row)
		want = append(want, idOf(row))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	return rows, want
}

func open(t *testing.T, dir string) *dataset.Target {
	t.Helper()
	target, err := dataset.New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = target.Close(context.Background()) })
	if _, err := target.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	return target
}

func apply(t *testing.T, target *dataset.Target, rows []load.Row, want int) {
	t.Helper()
	if n, err := target.Load(t.Context(), rows); err != nil || n != want {
		t.Fatalf("%d rows, %v; want %d", n, err, want)
	}
	if err := target.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestEachMessageIsInOnce(t *testing.T) {
	dir := t.TempDir()
	rows, want := parsed(t, loadtest.Plan{Legs: 40, Every: 20 * time.Minute})
	target := open(t, dir)
	apply(t, target, rows[:50], 50)
	apply(t, target, append(slices.Clone(rows[30:70]), rows[60]), 20)
	if err := target.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	target = open(t, dir)
	apply(t, target, rows, len(rows)-70)
	apply(t, target, rows, 0)
	if got := ids(t, dir); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	m := read(t, dir)
	if len(m.Streams) != 1 || len(m.Streams[0].Sequences) != 1 || m.Streams[0].Sequences[0] != [2]uint64{1, uint64(len(rows))} {
		t.Errorf("the manifest has %v", m.Streams)
	}
	for _, f := range m.Files {
		if ok, _ := filepath.Match("kind=*/date=2026-03-14/hour=[0-2][0-9]/*.parquet", f.Path); !ok {
			t.Errorf("a file is at %s", f.Path)
		}
	}
}

// TestWhatComesAfterAPowerCutIsLoaded has a server that had not synced the end of the stream when its power went: it gives the
// sequences of what it lost to the next messages.
func TestWhatComesAfterAPowerCutIsLoaded(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	s := natsdtest.Run(t, natsdtest.WithDataDir(data))
	var messages []loadtest.Message
	if err := (loadtest.Plan{Legs: 60}).Each(func(m loadtest.Message) error {
		messages = append(messages, m)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	publish := func(n int) {
		for _, m := range messages[:n] {
			if _, err := s.JS.PublishMsg(t.Context(), m.Msg()); err != nil {
				t.Fatal(err)
			}
		}
		messages = messages[n:]
	}
	var log bytes.Buffer
	run := func() {
		target, err := dataset.New(dir, slog.New(slog.NewTextHandler(&log, nil)))
		if err != nil {
			t.Fatal(err)
		}
		l, err := load.New(load.Config{JetStream: s.JS, Stream: s.Layout.Calls, Name: "dataset", Target: target})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- l.Run(ctx) }()
		if err := loadtest.Settled(t.Context(), s.JS, s.Layout.Calls, "dataset", time.Minute); err != nil {
			t.Error(err)
		}
		stop()
		if err := errors.Join(<-ended, target.Close(context.WithoutCancel(t.Context()))); err != nil {
			t.Error(err)
		}
	}
	publish(50)
	run()
	if log.Len() > 0 {
		t.Errorf("nothing is lost, and the log says %s", &log)
	}
	s.Stop()
	stored := filepath.Join(data, "jetstream", "$G", "streams", s.Layout.Calls, "msgs")
	block, err := os.Stat(filepath.Join(stored, "1.blk"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Truncate(filepath.Join(stored, "1.blk"), block.Size()/2), os.Remove(filepath.Join(stored, "index.db"))); err != nil {
		t.Fatal(err)
	}
	s.Restart()
	stream, err := s.JS.Stream(t.Context(), s.Layout.Calls)
	if err != nil {
		t.Fatal(err)
	}
	if last := stream.CachedInfo().State.LastSeq; last == 0 || last >= 40 {
		t.Fatalf("the stream ends at %d", last)
	}
	publish(10)
	run()
	if in := len(ids(t, dir)); in != 60 {
		t.Errorf("of 60 messages %d are in", in)
	}
	if n := strings.Count(log.String(), "the stream has lost its end"); n != 1 {
		t.Errorf("%d lines of the log say what happened: %s", n, &log)
	}
}

// TestAMessageInThePlaceOfALostOneIsLoaded plays what comes after the end of a stream was lost, in the orders in which several deliveries
// can come: 20 messages are in, a second apart, and those from 11 on were lost.
func TestAMessageInThePlaceOfALostOneIsLoaded(t *testing.T) {
	all, _ := parsed(t, loadtest.Plan{Legs: 40})
	// stored are the messages of some sequences that the stream took that long after it was made.
	stored := func(of []load.Row, seqs []uint64, after time.Duration) (rows []load.Row) {
		for i, seq := range seqs {
			row := of[i]
			row.Origin.Seq, row.Origin.At = seq, loadtest.Began.Add(after+time.Duration(seq)*time.Second)
			rows = append(rows, row)
		}
		return rows
	}
	from := func(first, last uint64) (seqs []uint64) {
		for seq := first; seq <= last; seq++ {
			seqs = append(seqs, seq)
		}
		return seqs
	}
	tests := []struct {
		name string
		// batches are the messages that come after the loss.
		batches [][]uint64
	}{
		{"in order", [][]uint64{from(11, 18)}},
		{"beyond what was lost", [][]uint64{from(11, 30)}},
		{"batch by batch", [][]uint64{from(11, 14), from(15, 24)}},
		{"the first ones last, as they were a killed loader's", [][]uint64{from(16, 18), from(11, 15)}},
		{"the first ones last, and all that took the others' places with them", [][]uint64{from(21, 30), from(11, 20)}},
		{"the first ones last, one by one", [][]uint64{from(21, 22), from(23, 24), {12}, {14}, {11}, {13}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			target := open(t, dir)
			before := stored(all, from(1, 20), 0)
			apply(t, target, slices.Clone(before), 20)
			rest, want := all[20:], 20
			for _, seqs := range tt.batches {
				rows := stored(rest, seqs, time.Hour)
				apply(t, target, slices.Clone(rows), len(rows))
				apply(t, target, slices.Clone(rows), 0) // it is delivered once more
				rest, want = rest[len(rows):], want+len(rows)
			}
			apply(t, target, slices.Clone(before[:10]), 0) // so are those that the stream still has
			if err := target.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			apply(t, open(t, dir), slices.Clone(before[:10]), 0)
			var each []string
			for _, row := range all[:want] {
				each = append(each, idOf(row))
			}
			slices.Sort(each)
			if got := ids(t, dir); !slices.Equal(got, each) {
				t.Errorf("got %v, want %v", got, each)
			}
		})
	}
	t.Run("that is set aside", func(t *testing.T) {
		dir := t.TempDir()
		target := open(t, dir)
		apply(t, target, stored(all, from(1, 20), 0), 20)
		for _, after := range []time.Duration{time.Hour, 2 * time.Hour, 2 * time.Hour} {
			bad := stored(all[20:], []uint64{11}, after)[0]
			if err := errors.Join(target.Reject(t.Context(), []load.Rejected{{Origin: bad.Origin}}), target.Commit(t.Context())); err != nil {
				t.Fatal(err)
			}
		}
		if kept, err := filepath.Glob(filepath.Join(dir, "rejected", "*.json")); err != nil || len(kept) != 2 {
			t.Errorf("kept are %v, %v", kept, err)
		}
		apply(t, target, stored(all[21:], from(12, 13), 2*time.Hour), 2)
	})
}

func TestWhatMessagesAreToldByStaysSmall(t *testing.T) {
	dir := t.TempDir()
	target := open(t, dir)
	rows, _ := parsed(t, loadtest.Plan{Legs: 40})
	for i := range rows {
		rows[i].Origin.At = loadtest.Began.Add(time.Duration(i) * time.Minute)
		if _, err := target.Load(t.Context(), rows[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := target.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := len(read(t, dir).Streams[0].Marks); len(rows) < 100 || n != 64 {
		t.Errorf("after %d batches the manifest has %d marks", len(rows), n)
	}
}

// TestAManifestWithoutTimesIsReadOn has one of a release that did not note when messages were stored.
func TestAManifestWithoutTimesIsReadOn(t *testing.T) {
	dir := t.TempDir()
	rows, want := parsed(t, loadtest.Plan{Legs: 40})
	for i := range rows {
		rows[i].Origin.At = loadtest.Began.Add(time.Duration(i) * time.Second)
	}
	target := open(t, dir)
	apply(t, target, slices.Clone(rows[:50]), 50)
	if err := target.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "manifest.json")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	older := regexp.MustCompile(`,"marks":\[[^]]*\]`).ReplaceAll(data, nil)
	if len(older) == len(data) {
		t.Fatalf("the manifest has no marks: %s", data)
	}
	if err := os.WriteFile(path, older, 0o600); err != nil {
		t.Fatal(err)
	}
	target = open(t, dir)
	apply(t, target, slices.Clone(rows[20:70]), 20)
	apply(t, target, slices.Clone(rows), len(rows)-70)
	if got := ids(t, dir); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestManySmallFilesOfAnHourBecomeOne(t *testing.T) {
	dir := t.TempDir()
	rows, want := parsed(t, loadtest.Plan{Legs: 200, Every: time.Second})
	target := open(t, dir)
	for batch := range slices.Chunk(rows, 6) {
		apply(t, target, batch, len(batch))
	}
	m := read(t, dir)
	if len(m.Files) > 40 || len(m.Replaced) < 100 {
		t.Errorf("%d files, %d replaced", len(m.Files), len(m.Replaced))
	}
	if got := ids(t, dir); !slices.Equal(got, want) {
		t.Errorf("got %d rows, want %d", len(got), len(want))
	}
	for _, r := range m.Replaced {
		if _, err := os.Stat(filepath.Join(dir, r.Path)); err != nil {
			t.Errorf("a file that readers may still have open is gone: %v", err)
		}
	}
}

func TestFilesOfAQuietHourBecomeOneAndTheOldOnesGo(t *testing.T) {
	dir := t.TempDir()
	rows, want := parsed(t, loadtest.Plan{Legs: 40, Every: 10 * time.Second})
	now := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	target := open(t, dir)
	dataset.SetClock(target, func() time.Time { return now })
	for batch := range slices.Chunk(rows[:60], 20) {
		apply(t, target, batch, 20)
	}
	var files []int
	last := rows[60:]
	for i := range 4 {
		now = now.Add(11 * time.Minute)
		apply(t, target, last[i:i+1], 1)
		m := read(t, dir)
		files = append(files, len(m.Files), len(m.Replaced))
	}
	apply(t, target, last[4:], len(last)-4)
	if got := ids(t, dir); !slices.Equal(got, want) {
		t.Errorf("got %d rows, want %d", len(got), len(want))
	}
	m, found := read(t, dir), 0
	if err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".parquet") {
			found++
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if found != len(m.Files)+len(m.Replaced) || len(m.Files) > 8 || len(m.Replaced) == 0 {
		t.Errorf("%d files lie there, %d are named, %d replaced (%v)", found, len(m.Files), len(m.Replaced), files)
	}
}

func TestWhatAKilledLoaderLeftIsRemoved(t *testing.T) {
	dir := t.TempDir()
	rows, _ := parsed(t, loadtest.Plan{Legs: 2})
	target := open(t, dir)
	apply(t, target, rows, len(rows))
	if err := target.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	hour := filepath.Join(dir, filepath.Dir(read(t, dir).Files[0].Path))
	orphan, theirs := filepath.Join(hour, "0000000002-01234567.parquet"), filepath.Join(hour, "mine.parquet")
	half := filepath.Join(dir, "_tmp", "half")
	for _, path := range []string{orphan, theirs, half} {
		if err := os.WriteFile(path, []byte("half a file"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	target = open(t, dir)
	for path, want := range map[string]bool{orphan: false, half: false, theirs: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := target.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Without its manifest nobody knows what the files are: nothing is removed.
	if err := os.Remove(filepath.Join(dir, "manifest.json")); err != nil {
		t.Fatal(err)
	}
	other, err := dataset.New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Open(t.Context()); !errors.Is(err, load.ErrConfig) || !strings.Contains(err.Error(), "has Parquet files and no manifest.json") {
		t.Errorf("a folder without its manifest: %v", err)
	}
}

func TestASecondLoaderWaits(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	second, err := dataset.New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Open(t.Context()); !errors.Is(err, load.ErrStandby) || !strings.Contains(err.Error(), "another loader writes into") {
		t.Errorf("a second loader: %v", err)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := second.Open(t.Context()); err != nil {
		t.Errorf("after the first ended: %v", err)
	}
	if err := second.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestBadRowsAreRefusedAndTheOthersLoaded(t *testing.T) {
	dir := t.TempDir()
	target := open(t, dir)
	rows, want := parsed(t, loadtest.Plan{Legs: 40})
	reasons := map[int]string{3: "not JSON", 10: "kind is not that of the subject", 11: "revision is less than 1"}
	all := slices.Clone(rows)
	for _, bad := range []struct {
		place int
		body  string
	}{
		{3, `{"kind":"leg","call_leg_id":"+12025550111`},
		{10, `{"kind":"session","schema":1,"revision":1,"call_session_id":"s","call_leg_id":"l"}`},
		{11, `{"kind":"leg","schema":1,"revision":0,"call_session_id":"s","call_leg_id":"l"}`},
	} {
		all = slices.Insert(all, bad.place, load.Row{
			Key: summary.Key{Kind: summary.KindLeg, Session: "s", Leg: "l"}, Body: bad.body,
			Origin: load.Origin{Stream: "CALLS", Created: loadtest.Began, Seq: 10_000 + uint64(bad.place)},
		})
	}
	n, err := target.Load(t.Context(), all)
	refusal, ok := errors.AsType[*load.Refusal](err)
	if !ok || n != len(rows) || !maps.Equal(refusal.Rows, reasons) {
		t.Fatalf("%d rows, %v", n, err)
	}
	if err := target.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := ids(t, dir); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if spans := read(t, dir).Streams[0].Sequences; len(spans) != 1 || spans[0] != [2]uint64{1, uint64(len(rows))} {
		t.Errorf("the manifest has %v", spans)
	}
}

// TestWhatTheStreamHeldIsCommittedWithoutWaitingForMore has a loader that gathers news for an hour.
func TestWhatTheStreamHeldIsCommittedWithoutWaitingForMore(t *testing.T) {
	s, dir := natsdtest.Run(t), t.TempDir()
	published := loadtest.Plan{Legs: 300}.Publish(t, s.Conn)
	target, err := dataset.New(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	l, err := load.New(load.Config{JetStream: s.JS, Stream: s.Layout.Calls, Name: "dataset", Target: target, Linger: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }()
	if err := loadtest.Settled(t.Context(), s.JS, s.Layout.Calls, "dataset", time.Minute); err != nil {
		t.Error(err)
	}
	stop()
	if err := errors.Join(<-ended, target.Close(context.WithoutCancel(t.Context()))); err != nil {
		t.Error(err)
	}
	if in := len(ids(t, dir)); in != published {
		t.Errorf("%d messages are in, want %d", in, published)
	}
	if p := l.Progress(); p.CaughtUp.IsZero() || p.Loaded != int64(published) {
		t.Errorf("the loader says %+v", p)
	}
}

func TestNothingIsSeenBeforeTheCommit(t *testing.T) {
	dir := t.TempDir()
	rows, want := parsed(t, loadtest.Plan{Legs: 40})
	target := open(t, dir)
	for _, part := range [][]load.Row{rows[:50], rows[30:]} { // some come again before they are committed
		if _, err := target.Load(t.Context(), slices.Clone(part)); err != nil {
			t.Fatal(err)
		}
		if got := ids(t, dir); len(got) > 0 {
			t.Fatalf("%d rows are in", len(got))
		}
	}
	// What is not committed when the process ends comes again.
	if err := target.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	target = open(t, dir)
	apply(t, target, rows, len(rows))
	if got := ids(t, dir); !slices.Equal(got, want) || read(t, dir).Commit != 1 {
		t.Errorf("commit %d has %d rows, want %d", read(t, dir).Commit, len(got), len(want))
	}
}

func TestABadRowIsRefusedAndKept(t *testing.T) {
	dir := t.TempDir()
	target := open(t, dir)
	origin := load.Origin{Stream: "CALLS", Created: loadtest.Began, Seq: 7, Subject: "calls.leg.completed.17.s.l"}
	body := `{"kind":"leg","schema":1,"revision":1,"call_session_id":"s","call_leg_id":"l","first_received_at":"2026-03-14T15:00:00Z","events":[{"occurred_at":"a secret name"}]}`
	_, err := target.Load(t.Context(), []load.Row{parse(t, origin, body)})
	refusal, ok := errors.AsType[*load.Refusal](err)
	if !ok || refusal.Reason != "events: occurred_at: is not of type timestamp" {
		t.Fatalf("got %v", err)
	}
	for range 2 {
		if err := target.Reject(t.Context(), []load.Rejected{{Origin: origin, Reason: refusal.Reason, Body: []byte(body)}}); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "rejected", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var kept struct {
		Subject, Reason string
		Body            []byte
	}
	if err := json.Unmarshal(data, &kept); err != nil || string(kept.Body) != body || kept.Reason != refusal.Reason || kept.Subject != origin.Subject {
		t.Errorf("kept is %s: %v", data, err)
	}
	rows, want := parsed(t, loadtest.Plan{Legs: 2})
	apply(t, target, rows, len(rows))
	if got := ids(t, dir); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if kinds := []string{summary.KindLeg, summary.KindSession}; len(read(t, dir).Files) != len(kinds) {
		t.Errorf("files: %v", read(t, dir).Files)
	}
}

// BenchmarkLoad writes batches of parsed messages; ns/op is that of a message.
func BenchmarkLoad(b *testing.B) {
	var rows []load.Row
	tables := make(map[string]*flat.Table)
	for _, kind := range []string{summary.KindLeg, summary.KindSession} {
		table, err := flat.Of(kind)
		if err != nil {
			b.Fatal(err)
		}
		tables[kind] = table
	}
	if err := (loadtest.Plan{Legs: 8000}).Each(func(m loadtest.Message) error {
		of, _ := publish.ParseSubject(m.Subject)
		row := load.Row{Key: of.Key, Body: string(m.Body), Cells: make([]flat.Value, len(tables[of.Key.Kind].Columns()))}
		row.Origin = load.Origin{Stream: "CALLS", Created: loadtest.Began, Subject: m.Subject}
		rows = append(rows, row)
		return tables[of.Key.Kind].Row(row.Body, row.Cells)
	}); err != nil {
		b.Fatal(err)
	}
	target, err := dataset.New(b.TempDir(), nil)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := target.Open(b.Context()); err != nil {
		b.Fatal(err)
	}
	size := target.Batches().Messages
	b.ReportAllocs()
	b.ResetTimer()
	var seq uint64
	for done := 0; done < b.N; done += size {
		at := done % (len(rows) - size)
		batch := slices.Clone(rows[at : at+size])
		for i := range batch {
			seq++
			batch[i].Origin.Seq = seq
		}
		if _, err := target.Load(b.Context(), batch); err != nil {
			b.Fatal(err)
		}
	}
	if err := target.Close(b.Context()); err != nil {
		b.Fatal(err)
	}
}
