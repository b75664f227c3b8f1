package console

import (
	"cmp"
	"encoding/json"
	"hash/maphash"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/publish"
)

const (
	// outcomesMessages are read of the stream of summaries when somebody first looks.
	outcomesMessages = 2_000_000
	// outcomesIdle is how long nobody looks before all is forgotten.
	outcomesIdle = 5 * time.Minute
	// outcomesWords bounds the connections, and the causes, that are told apart: the others are one.
	outcomesWords = 500
	// outcomesCauses are plotted by hour, the most frequent.
	outcomesCauses = 5
	// outcomesHours is the longest span.
	outcomesHours = 72
	otherWord     = "(others)"
)

// outcomesCalls bounds the calls that are counted, the newest: some 60 B each.
var outcomesCalls = 500_000

// outcomes is the one fold over the stream of summaries that ASR, ACD and the rest are made of.
type outcomes struct {
	*reading
	seed        maphash.Seed
	calls       map[uint64]counting // by the hash of the session's id
	connections words
	causes      words
	kinds       words // outcomes
	// first is the first hour that is counted, in Unix hours. 0: there is room for all.
	first int64
}

// counting is what a call counts as: its newest revision.
type counting struct {
	hour                    int64 // Unix hours of its start
	connection, cause, kind uint16
	answered                bool
	talk, untilAnswer       float32 // s; negative: not known
}

// words gives numbers to words, so that a call costs few bytes.
type words struct {
	index map[string]uint16
	all   []string
}

func newWords() words { return words{index: make(map[string]uint16)} }

func (w *words) of(word string) uint16 {
	if i, ok := w.index[word]; ok {
		return i
	}
	if len(w.all) >= outcomesWords {
		word = otherWord
		if i, ok := w.index[word]; ok {
			return i
		}
	}
	w.index[word] = uint16(len(w.all))
	w.all = append(w.all, word)
	return w.index[word]
}

func (c *Console) newOutcomes() *outcomes {
	f := &outcomes{seed: maphash.MakeSeed()}
	f.reading = &reading{
		follower: c.follower, subjects: []string{c.cfg.Layout.Prefix + "." + summary.KindSession + ".>"},
		most: outcomesMessages, idle: outcomesIdle, take: f.take, after: func() {},
		reset: func() {
			f.calls, f.connections, f.causes, f.kinds, f.first = make(map[uint64]counting), newWords(), newWords(), newWords(), 0
		},
	}
	return f
}

// take takes a session's summary. f.mu is held.
func (f *outcomes) take(m *jetstream.RawStreamMsg) {
	of, ok := publish.ParseSubject(m.Subject)
	if !ok || of.Key.Kind != summary.KindSession {
		return
	}
	v := gjson.GetManyBytes(m.Data, "connection_id", "outcome", "hangup.cause", "started_at", "answered_at", "talk_seconds", "published_at")
	started := v[3].Time()
	if started.IsZero() {
		started = v[6].Time()
	}
	n := counting{
		hour: started.Unix() / 3600, connection: f.connections.of(cmp.Or(v[0].Str, of.Connection, "not known")), kind: f.kinds.of(v[1].Str),
		cause: f.causes.of(cmp.Or(v[2].Str, "not known")), answered: v[1].Str == string(summary.OutcomeAnswered), talk: -1, untilAnswer: -1,
	}
	if v[5].Exists() {
		n.talk = float32(v[5].Num)
	}
	if answered := v[4].Time(); !answered.IsZero() && v[3].Exists() && !answered.Before(started) {
		n.untilAnswer = float32(answered.Sub(started).Seconds())
	}
	key := maphash.String(f.seed, of.Key.Session)
	if _, known := f.calls[key]; known || f.room(n.hour) {
		f.calls[key] = n
	}
}

// room reports whether a call of an hour is counted, and makes room for it: where that is an older one it forgets the
// oldest hour. f.mu is held.
func (f *outcomes) room(hour int64) bool {
	switch full := len(f.calls) >= outcomesCalls; {
	case !full:
		return hour >= f.first
	case hour <= f.first:
		return false
	}
	oldest := hour
	for _, n := range f.calls {
		oldest = min(oldest, n.hour)
	}
	if f.first = oldest; oldest == hour {
		return false
	}
	f.first++
	maps.DeleteFunc(f.calls, func(_ uint64, n counting) bool { return n.hour == oldest })
	return true
}

// Hour is what became of the calls that began in one hour, or in all of a span.
type Hour struct {
	// At is the hour, in Unix seconds.
	At int64 `json:"at"`
	// Calls are all that have a summary, Outcomes how many had which.
	Calls    int            `json:"calls"`
	Outcomes map[string]int `json:"outcomes"`
	// Causes are the hangup causes that are the most frequent in the whole span, and those of all other calls together.
	Causes map[string]int `json:"causes"`
	// ASR is the answer-seizure ratio: answered calls in all calls, in percent. ACD is the average length of
	// conversation of the answered, Delay from start to answer, in seconds. Nil: there is none to take it of.
	ASR   *float64 `json:"asr"`
	ACD   *float64 `json:"acd"`
	Delay *float64 `json:"delay"`

	talk, delay     float64
	talked, delayed int
}

func (h *Hour) add(n counting, kind, cause string) {
	h.Calls++
	if h.Outcomes == nil {
		h.Outcomes, h.Causes = make(map[string]int), make(map[string]int)
	}
	h.Outcomes[kind]++
	h.Causes[cause]++
	if n.answered && n.talk >= 0 {
		h.talk, h.talked = h.talk+float64(n.talk), h.talked+1
	}
	if n.untilAnswer >= 0 {
		h.delay, h.delayed = h.delay+float64(n.untilAnswer), h.delayed+1
	}
}

// finish makes the figures. Causes are told apart as far as they are named.
func (h *Hour) finish(named []counted) {
	for cause, n := range h.Causes {
		if !slices.ContainsFunc(named, func(c counted) bool { return c.Word == cause }) {
			delete(h.Causes, cause)
			h.Causes[otherWord] += n
		}
	}
	average := func(sum float64, n int) *float64 {
		if n == 0 {
			return nil
		}
		v := sum / float64(n)
		return &v
	}
	h.ASR = average(100*float64(h.Outcomes[string(summary.OutcomeAnswered)]), h.Calls)
	h.ACD, h.Delay = average(h.talk, h.talked), average(h.delay, h.delayed)
}

// report is what is known of a span.
type report struct {
	Hours  []Hour    `json:"hours"`
	All    Hour      `json:"all"`
	Causes []counted `json:"causes"`
	// Connections are all there are, whatever is asked for.
	Connections []counted `json:"-"`
	// Full: there are more calls than are counted. Reading: the stream is still being read.
	Full    bool `json:"full"`
	Reading bool `json:"reading"`
	Percent int  `json:"percent"`
}

// report makes the report of the last hours, of one connection or all.
func (f *outcomes) report(hours int, connection string, now time.Time) report {
	f.mu.Lock()
	defer f.mu.Unlock()
	last := now.Unix() / 3600
	first := last - int64(hours) + 1
	r := report{Hours: make([]Hour, hours), Full: f.first > 0}
	for i := range r.Hours {
		r.Hours[i].At = (first + int64(i)) * 3600
	}
	causes, connections := make(map[string]int), make(map[string]int)
	for _, n := range f.calls {
		if n.hour < first || n.hour > last {
			continue
		}
		name := f.connections.all[n.connection]
		connections[name]++
		if connection != "" && connection != name {
			continue
		}
		kind, cause := f.kinds.all[n.kind], f.causes.all[n.cause]
		r.Hours[n.hour-first].add(n, kind, cause)
		r.All.add(n, kind, cause)
		causes[cause]++
	}
	r.Causes, r.Connections = byCount(causes), byCount(connections)
	named := r.Causes[:min(len(r.Causes), outcomesCauses)]
	for i := range r.Hours {
		r.Hours[i].finish(named)
	}
	r.All.finish(named)
	r.Causes = r.Causes[:min(len(r.Causes), 20)]
	select {
	case <-f.ready:
	default:
		r.Reading = true
		if f.all > 0 {
			r.Percent = int(100 * f.done / f.all)
		}
	}
	return r
}

// outcomesPage is the report with what was asked for.
type outcomesPage struct {
	report
	Span       int
	Spans      []int
	Connection string
	Data       string // the address of the same as JSON
	Kinds      []summary.Outcome
}

// CauseNames are the causes that hours tell apart, the most frequent first.
func (p *outcomesPage) CauseNames() (names []string) {
	for _, c := range p.Causes[:min(len(p.Causes), outcomesCauses)] {
		if c.Word != otherWord {
			names = append(names, c.Word)
		}
	}
	if p.All.Causes[otherWord] > 0 {
		names = append(names, otherWord)
	}
	return names
}

func readSpan(r *http.Request) (hours int, connection string, err error) {
	q := r.URL.Query()
	hours, connection = 24, q.Get("connection")
	if text := q.Get("hours"); text != "" {
		if hours, err = strconv.Atoi(text); err != nil || hours < 1 || hours > outcomesHours {
			return 0, "", problem{http.StatusBadRequest, "A span is of 1 to 72 hours."}
		}
	}
	if connection != "" && !call.ValidToken(connection) && connection != otherWord && connection != "not known" {
		return 0, "", problem{http.StatusBadRequest, "This cannot be the id of a connection."}
	}
	return hours, connection, nil
}

func (c *Console) showOutcomes(r *http.Request) (view, error) {
	hours, connection, err := readSpan(r)
	if err != nil {
		return view{}, err
	}
	select {
	case <-c.outcomes.look():
	case <-time.After(recentPatience / 3):
	case <-r.Context().Done():
		return view{}, r.Context().Err()
	}
	p := outcomesPage{
		report: c.outcomes.report(hours, connection, time.Now()), Span: hours, Spans: []int{1, 6, 24, 72}, Connection: connection,
		Data: "/outcomes/data?" + r.URL.RawQuery, Kinds: summary.Outcomes(),
	}
	if !slices.Contains(p.Spans, hours) {
		p.Spans = append(p.Spans, hours)
	}
	return view{template: "outcomes", Title: "Outcomes", Place: "/outcomes", Data: &p}, nil
}

// outcomesData is the report for the plots.
func (c *Console) outcomesData(w http.ResponseWriter, r *http.Request) {
	hours, connection, err := readSpan(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.outcomes.look()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(c.outcomes.report(hours, connection, time.Now())) // a reader that is gone misses it
}
