package enrich_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/story"
)

var update = flag.Bool("update", false, "write what the flows came to into their want files")

// A file of testdata/flows has the flows of one kind. A flow is its story, in a file "flow <name>", and what follows:
//
//	<offset> <what> [stays] [backfill]   a webhook's body, delivered at the offset; one that
//	                                     stays keeps its place when the others are shuffled
//	options                              what the deployment is told: include dtmf
//	status <leg>                         what the status API says about a leg: lines of an
//	                                     offset, an HTTP status (0: none came) and the answer's data
//	history <leg>                        the rows that Telnyx's history has when it is asked about a leg;
//	                                     what is delivered comes before that: within half a minute
//	want/messages                        what is published in the run as written
//	want/parked                          for which reasons something was parked after any run
//	want/leg <leg>, want/session <session>  the newest summary after any run
//
// In the wanted summaries that is left out which depends on when and how often
// something arrived: revision, changed, reasons, published_at, first_received_at,
// times, events[].received_at and attempt, legs[].revision, of the status
// fetched_at, attempts and http_status, and of the notes clock_skew and redelivered.
type flow struct {
	kind       *kind
	parts      []txtar.File // the story first
	deliveries []delivery
	answers    map[call.LegID][]answerFrom
	history    map[call.LegID][]json.RawMessage
	want       map[string]string
	keep       []telnyx.Secret
}

type delivery struct {
	at              time.Duration
	stays, backfill bool
	body            []byte
}

type answerFrom struct {
	at     time.Duration
	answer status.Answer
}

// kind is a file of flows.
type kind struct {
	file    string
	comment []byte
	flows   []*flow
}

// flows reads all flows, by name.
func flows(t *testing.T) map[string]*flow {
	t.Helper()
	files, err := filepath.Glob("../testdata/flows/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no flows in testdata/flows (%v)", err)
	}
	all := make(map[string]*flow)
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		k := &kind{file: file, comment: archive.Comment}
		for _, part := range archive.Files {
			if name, begins := strings.CutPrefix(part.Name, "flow "); begins {
				if all[name] != nil {
					t.Fatalf("%s: there is another flow %s", file, name)
				}
				all[name] = &flow{kind: k}
				k.flows = append(k.flows, all[name])
			} else if len(k.flows) == 0 {
				t.Fatalf("%s: file %q belongs to no flow", file, part.Name)
			}
			f := k.flows[len(k.flows)-1]
			f.parts = append(f.parts, part)
		}
	}
	for name, f := range all {
		f.read(t, name)
	}
	return all
}

func TestFlows(t *testing.T) {
	for name, f := range flows(t) {
		t.Run(name, func(t *testing.T) {
			if *update {
				f.update(t)
			}
			got := f.run(t, 1, f.deliveries)
			if diff := gocmp.Diff(f.want, got); diff != "" {
				t.Errorf("as written (-want +got):\n%s", diff)
			}
			delete(f.want, "want/messages")
			for _, replicas := range []int{1, 2} {
				for name, deliveries := range f.variants() {
					t.Run(fmt.Sprintf("%s on %d", name, replicas), func(t *testing.T) {
						got := f.run(t, replicas, deliveries)
						delete(got, "want/messages")
						if diff := gocmp.Diff(f.want, got); diff != "" {
							t.Errorf("-want +got:\n%s", diff)
						}
					})
				}
			}
		})
	}
}

// read makes the flow of its parts.
func (f *flow) read(t *testing.T, name string) {
	t.Helper()
	if len(bytes.TrimSpace(f.parts[0].Data)) == 0 {
		t.Errorf("%s tells no story", name)
	}
	f.answers, f.history, f.want = make(map[call.LegID][]answerFrom), make(map[call.LegID][]json.RawMessage), make(map[string]string)
	for _, part := range f.parts[1:] {
		words := strings.Fields(part.Name)
		switch {
		case strings.HasPrefix(part.Name, "want/"):
			f.want[part.Name] = string(part.Data)
		case part.Name == "options":
			if string(part.Data) != "include dtmf\n" {
				t.Fatalf("%s: options %q", name, part.Data)
			}
			f.keep = append(f.keep, telnyx.Digits)
		case words[0] == "status":
			f.answers[call.LegID(words[1])] = readAnswers(t, part.Data)
		case words[0] == "history":
			f.history[call.LegID(words[1])] = readRows(t, part.Data)
		default:
			at, err := time.ParseDuration(words[0])
			if err != nil {
				t.Fatalf("%s: file %q: %v", name, part.Name, err)
			}
			f.deliveries = append(f.deliveries, delivery{
				at: at, stays: slices.Contains(words, "stays"), backfill: slices.Contains(words, "backfill"), body: part.Data,
			})
		}
	}
	if !slices.IsSortedFunc(f.deliveries, func(a, b delivery) int { return cmp.Compare(a.at, b.at) }) {
		t.Errorf("%s: the deliveries are not in order", name)
	}
}

func readAnswers(t *testing.T, data []byte) []answerFrom {
	t.Helper()
	var answers []answerFrom
	for line := range strings.Lines(string(data)) {
		var offset, body string
		var code int
		if n, err := fmt.Sscan(line, &offset, &code); n != 2 {
			t.Fatalf("answer %q: %v", line, err)
		}
		if i := strings.IndexByte(line, '{'); i >= 0 {
			body = line[i:]
		}
		at, err := time.ParseDuration(offset)
		if err != nil {
			t.Fatal(err)
		}
		a := status.Answer{HTTPStatus: code, Result: resultOf(code)}
		if a.Result == status.Unreachable {
			a.Problem = status.ProblemTimeout
		}
		if body != "" {
			if err := json.Unmarshal([]byte(body), &a); err != nil {
				t.Fatalf("answer %q: %v", line, err)
			}
		}
		answers = append(answers, answerFrom{at, a})
	}
	return answers
}

func readRows(t *testing.T, data []byte) (rows []json.RawMessage) {
	t.Helper()
	if err := json.Unmarshal(data, &rows); err != nil {
		t.Fatalf("a history: %v", err)
	}
	return rows
}

func resultOf(code int) status.Result {
	switch code {
	case 200:
		return status.Answered
	case 404, 422:
		return status.NotFound
	case 401, 403:
		return status.Denied
	case 429:
		return status.RateLimited
	}
	return status.Unreachable
}

// variants are the deliveries in other orders, each at the times of the file.
func (f *flow) variants() map[string][]delivery {
	var twice []delivery
	for i, d := range f.deliveries {
		again := d
		again.body = bytes.Replace(d.body, []byte(`"attempt": 1`), []byte(`"attempt": 2`), 1)
		if i%2 == 0 {
			again.at += duplicateWindow + time.Second // the log does not know it any more
		}
		twice = append(twice, d, again)
	}
	slices.SortStableFunc(twice, func(a, b delivery) int { return cmp.Compare(a.at, b.at) })
	variants := map[string][]delivery{
		"as written": f.deliveries,
		"reversed":   f.permuted(slices.Reverse[[]delivery]),
		"twice":      twice,
	}
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(11, seed))
		variants[fmt.Sprintf("shuffled %d", seed)] = f.permuted(func(moving []delivery) {
			rng.Shuffle(len(moving), func(i, j int) { moving[i], moving[j] = moving[j], moving[i] })
		})
	}
	return variants
}

// permuted returns the deliveries in another order, each at a time of the file.
func (f *flow) permuted(permute func(moving []delivery)) []delivery {
	all := slices.Clone(f.deliveries)
	var moving []delivery
	for _, d := range all {
		if !d.stays {
			moving = append(moving, d)
		}
	}
	permute(moving)
	for i := range all {
		if !all[i].stays {
			at := all[i].at
			all[i], moving = moving[0], moving[1:]
			all[i].at = at
		}
	}
	return all
}

// run lets a flow take place and returns what came of it as the want files say it.
func (f *flow) run(t *testing.T, replicas int, deliveries []delivery) map[string]string {
	t.Helper()
	return f.runOn(t, replicas, deliveries, nil)
}

// runOn is run in a world that is prepared before anything is delivered.
func (f *flow) runOn(t *testing.T, replicas int, deliveries []delivery, prepare func(w *world)) map[string]string {
	t.Helper()
	// The calendar of a leg ends eleven minutes after its hangup.
	return f.runFor(t, replicas, deliveries, prepare, 15*time.Minute)
}

// runFor is runOn that lets so much time pass after the last delivery.
func (f *flow) runFor(t *testing.T, replicas int, deliveries []delivery, prepare func(w *world), rest time.Duration) map[string]string {
	t.Helper()
	got := make(map[string]string)
	synctest.Test(t, func(t *testing.T) {
		pass(time.Until(callStart)) // the calls are of that day
		w := newWorld(t)
		defer w.end()
		w.keep = f.keep
		for range replicas {
			w.startWith(func(r *replica) {
				if replicas > 1 {
					r.slow = 30 * time.Millisecond
				}
			})
		}
		w.past.rows = f.history
		if prepare != nil {
			prepare(w)
		}
		begun := time.Now()
		w.status.answer = func(ref call.Ref, _ int) status.Answer {
			a := alive()
			for _, from := range f.answers[ref.Leg] {
				if time.Since(begun) >= from.at {
					a = from.answer
				}
			}
			return a
		}
		for _, d := range deliveries {
			pass(time.Until(begun.Add(d.at)))
			w.deliverAs(d.body, d.backfill)
		}
		after(rest)
		w.consistent()
		if open := w.queue.open(); len(open) > 0 {
			t.Errorf("tasks %v are not done", open)
		}
		var reasons []string
		for _, p := range w.parking.parked {
			if p.Reason == "unknown_call" {
				continue // it came more than a minute before its call, whose summary has it all the same
			}
			reasons = append(reasons, p.Reason)
		}
		if slices.Sort(reasons); len(reasons) > 0 {
			got["want/parked"] = strings.Join(slices.Compact(reasons), "\n") + "\n"
		}
		got["want/messages"] = messagesOf(t, w)
		for _, m := range w.sink.all() {
			id := m.Key.Leg
			if m.Key.Kind == summary.KindSession {
				id = m.Key.Session
			}
			got["want/"+m.Key.Kind+" "+id] = normalized(t, m.Body) // the last one stays
		}
	})
	return got
}

// deliverAs is deliver, for events from the provider's history as well, and for
// what is no usable event: that is parked, as ingest does.
func (w *world) deliverAs(body []byte, backfill bool) {
	w.t.Helper()
	env, err := telnyx.ParseEnvelope(body)
	if unusable, ok := errors.AsType[*telnyx.Unusable](err); ok {
		if err := w.parking.Park(w.t.Context(), call.Parked{Reason: string(unusable.Reason), Data: body}); err != nil {
			w.t.Fatal(err)
		}
		return
	}
	if !backfill {
		w.deliver(body)
		return
	}
	w.log.store(call.Entry{Topic: call.TopicEvent + env.Type, ID: call.BackfillID(env.Key()), Ref: env.Ref, Backfill: true, Data: body})
}

// messagesOf lists what was published, by key and revision.
func messagesOf(t *testing.T, w *world) string {
	var lines []string
	for _, m := range w.sink.all() {
		var head struct {
			Changed []string
			Reasons []string
		}
		if err := json.Unmarshal(m.Body, &head); err != nil {
			t.Fatal(err)
		}
		id := m.Key.Leg
		if m.Key.Kind == summary.KindSession {
			id = m.Key.Session
		}
		line := fmt.Sprintf("%s %s %d completed", m.Key.Kind, id, m.Revision)
		if m.Revision > 1 {
			line = fmt.Sprintf("%s %s %d amended, %s: %s", m.Key.Kind, id, m.Revision,
				strings.Join(head.Reasons, " "), strings.Join(head.Changed, " "))
		}
		lines = append(lines, line+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// normalized is a summary without what depends on when and how often something arrived.
func normalized(t *testing.T, body []byte) string {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatal(err)
	}
	without := func(of any, names ...string) {
		if m, ok := of.(map[string]any); ok {
			for _, name := range names {
				delete(m, name)
			}
		}
	}
	without(v, "revision", "changed", "reasons", "published_at", "first_received_at", "times")
	without(v["status"], "fetched_at", "attempts", "http_status")
	if notes, ok := v["notes"].([]any); ok {
		if v["notes"] = slices.DeleteFunc(notes, func(n any) bool { return n == "clock_skew" || n == "redelivered" }); len(v["notes"].([]any)) == 0 {
			delete(v, "notes")
		}
	}
	for _, list := range []string{"events", "legs"} {
		items, _ := v[list].([]any)
		for _, item := range items {
			without(item, "received_at", "attempt", "revision")
		}
	}
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b) + "\n"
}

// update rewrites the wanted part of a flow, and nothing else.
func (f *flow) update(t *testing.T) {
	t.Helper()
	got := f.run(t, 1, f.deliveries)
	f.parts = slices.DeleteFunc(f.parts, func(part txtar.File) bool {
		return strings.HasPrefix(part.Name, "want/")
	})
	names := make([]string, 0, len(got))
	for name := range got {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(first(b, a), cmp.Compare(a, b))
	})
	for _, name := range names {
		f.parts = append(f.parts, txtar.File{Name: name, Data: []byte(got[name])})
	}
	f.kind.write(t)
	f.want = got
}

func (k *kind) write(t *testing.T) {
	t.Helper()
	archive := &txtar.Archive{Comment: k.comment}
	for _, f := range k.flows {
		archive.Files = append(archive.Files, f.parts...)
	}
	if err := os.WriteFile(k.file, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

func first(a, b string) int {
	switch "want/messages" {
	case a:
		return 1
	case b:
		return -1
	}
	return 0
}

const (
	transferred = "5f1c0a20-0000-11f1-9c00-02420a0d0a00"
	answeredOf3 = "5f1c0a20-e006-4a00-8a00-0242ac110002"
)

// recordingOfTransferred is saved after the call and delivered half a minute later.
const recordingOfTransferred = `{"data":{"record_type":"event","event_type":"call.recording.saved","id":"5f1c0a20-e011-4a00-8a00-0242ac110002",
"occurred_at":"2026-03-02T09:01:02.000000Z","payload":{"call_control_id":"v3:5f1c0a20Nq1_notARealControlId-Legato000000000000000",
"call_leg_id":"5f1c0a20-0a01-11f1-9c00-02420a0d0a01","call_session_id":"` + transferred + `","connection_id":"1700000000000000042",
"recording_id":"rec-1","channels":"dual","format":"mp3","recording_started_at":"2026-03-02T09:00:12.100000Z",
"recording_ended_at":"2026-03-02T09:01:00.000000Z","recording_urls":{"mp3":"https://recordings.example.com/rec-1.mp3"}}},"meta":{"attempt":1}}`

// play lets a flow take place for a while and returns the log and the summaries of that time.
func play(t *testing.T, f *flow, deliveries []delivery, rest time.Duration) (entries []call.Entry, stored []summary.Stored) {
	t.Helper()
	var w *world
	f.runFor(t, 1, deliveries, func(of *world) { w = of; w.log.untrimmed = true }, rest)
	for _, m := range w.sink.all() {
		stored = append(stored, m.Stored)
	}
	return w.log.all(), stored
}

// told is the story of a call from what was played.
func told(t *testing.T, id string, entries []call.Entry, stored []summary.Stored, at time.Time) *story.Story {
	t.Helper()
	finder := story.NewFinder(id, "")
	for range 2 { // for the session, and then for its entries
		for _, e := range entries {
			if finder.Take(e) {
				break
			}
		}
	}
	var mine []call.Entry
	for _, seq := range finder.Found() {
		mine = append(mine, entries[seq-1])
	}
	w := &world{}
	log := call.Log{ID: "log-1", First: 1, Last: uint64(len(entries))}
	view, plan := story.Fold(log, mine, finder.Session(), rules, w.decode)
	session := finder.Session()
	if session == "" {
		session = transferred
	}
	s := story.Compose(story.Known{
		ID: id, Session: session, At: at, View: view, Schedule: plan, Entries: mine, Read: true, Summaries: stored,
	})
	return &s
}

func TestATransferredCallIsExplainedOnOneScreen(t *testing.T) {
	f := flows(t)["transfer_second_try"]
	var deliveries []delivery
	for _, d := range f.deliveries {
		if !bytes.Contains(d.body, []byte(answeredOf3)) {
			deliveries = append(deliveries, d)
		}
	}
	deliveries = append(deliveries, delivery{at: 95 * time.Second, body: []byte(recordingOfTransferred)})
	entries, stored := play(t, f, deliveries, 4*time.Minute)
	at := callStart.Add(95*time.Second + 4*time.Minute)

	for name, id := range map[string]string{
		"its session": transferred, "a leg": "5f1c0a20-0a02-11f1-9c00-02420a0d0a02",
		"a control id": "v3:5f1c0a20Nq3_notARealControlId-Legato000000000000000",
	} {
		t.Run("by "+name, func(t *testing.T) {
			s := told(t, id, entries, stored, at)
			s.Mask()
			compareScreen(t, "transferred_call", s.Ladder(120, time.UTC))
		})
	}
	t.Run("when its log is gone", func(t *testing.T) {
		s := told(t, transferred, nil, stored, at)
		if s.Log.Coverage != story.CoverageNone || len(s.Legs) != 3 {
			t.Errorf("the log covers %s of %d legs", s.Log.Coverage, len(s.Legs))
		}
		s.Mask()
		compareScreen(t, "transferred_call_without_log", s.Ladder(120, time.UTC))
	})
}

// The README shows this one, beside a summary of the same call.
func TestABridgedCallIsExplained(t *testing.T) {
	f := flows(t)["inbound_bridged"]
	entries, stored := play(t, f, f.deliveries, 4*time.Minute)
	s := told(t, "5f1c0a02-0000-11f1-9c00-02420a0d0a00", entries, stored, callStart.Add(6*time.Minute))
	s.Mask()
	compareScreen(t, "bridged_call", s.Ladder(120, time.UTC))
}

func TestARepairedCallIsExplained(t *testing.T) {
	f := flows(t)["repaired_answer"]
	deliveries := slices.Clone(f.deliveries)
	hangup := deliveries[len(deliveries)-1]
	if !bytes.Contains(hangup.body, []byte("call.hangup")) {
		t.Fatal("the last delivery of the flow is no hangup")
	}
	// Delivered again when the log does not know its id any more.
	hangup.at += duplicateWindow + 5*time.Second
	hangup.body = bytes.Replace(hangup.body, []byte(`"attempt": 1`), []byte(`"attempt": 2`), 1)
	entries, stored := play(t, f, append(deliveries, hangup), time.Minute)
	s := told(t, "5f1c0a40-0000-11f1-9c00-02420a0d0a00", entries, stored, callStart.Add(4*time.Minute))
	s.Mask()
	compareScreen(t, "repaired_call", s.Ladder(120, time.UTC))
}

// compareScreen holds a text against testdata, and against a screen of 120 × 40.
func compareScreen(t *testing.T, name, got string) {
	t.Helper()
	const file = "../testdata/ladders.txtar"
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(archive.Files, func(f txtar.File) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("%s has no %s", file, name)
	}
	if *update {
		archive.Files[i].Data = []byte(got)
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := gocmp.Diff(string(archive.Files[i].Data), got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for line := range strings.Lines(got) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 120 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if n := strings.Count(got, "\n"); n > 40 {
		t.Errorf("%d lines", n)
	}
	if strings.Contains(got, "+12025550") {
		t.Error("a whole number is shown")
	}
}
