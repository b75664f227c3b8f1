package console

import (
	"cmp"
	"context"
	"errors"
	"hash/maphash"
	"iter"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/tidwall/gjson"
	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/publish"
)

const (
	// indexIdle is how long nobody looks at any page before all is forgotten, and indexWithin bounds the reading of what
	// there is.
	indexIdle, indexWithin = 30 * time.Minute, 10 * time.Minute
	// indexBlock is how many entries are allocated, and forgotten, at once.
	indexBlock = 8192
	// termBits are the bits that one term sets. A call of two numbers has some 20 terms: then five bits each of 256 let
	// through 3 calls in a thousand that do not have a term, and of those that lack several terms next to none.
	termBits = 5
	// judgeBatch are judged, judgeAtOnce of them beside each other, before the next are looked for.
	judgeBatch, judgeAtOnce = 64, 8
)

// index says which summaries may have what is looked for, so that only those need be read. It is filled from the stream
// of summaries while the console is in use. Of a summary it has a Bloom filter over keyed hashes of what can be looked for:
// whoever answers by it reads the summary and looks again.
type index struct {
	*reading
	seed   maphash.Seed
	blocks []*indexed // the oldest first
	n      int        // of all entries
}

// indexed are neighbors in the stream. base is the sequence of the first.
type indexed struct {
	base    uint64
	entries []entry
}

// entry is a summary: 40 bytes.
type entry struct {
	terms terms
	// place is its sequence, counted from the block's base, and at when it was published, in Unix seconds.
	place, at uint32
}

// terms is a set of terms: a Bloom filter.
type terms [4]uint64

func (t *terms) has(all *terms) bool {
	return t[0]&all[0] == all[0] && t[1]&all[1] == all[1] && t[2]&all[2] == all[2] && t[3]&all[3] == all[3]
}

// The kinds of terms.
const (
	termSession    = 's' // every session has it
	termDigits     = 'd' // minDigits digits in a row of a number
	termOutcome    = 'o'
	termConnection = 'c'
	termTag        = 't' // of a leg: no session has one
)

func (f *index) add(t *terms, kind byte, text string) {
	var h maphash.Hash
	h.SetSeed(f.seed)
	_ = h.WriteByte(kind)
	_, _ = h.WriteString(text)
	sum := h.Sum64()
	for range termBits {
		t[sum>>6&3] |= 1 << (sum & 63)
		sum >>= 8
	}
}

func (f *index) addDigits(t *terms, digits string) {
	for i := 0; i+minDigits <= len(digits); i++ {
		f.add(t, termDigits, digits[i:i+minDigits])
	}
}

func (c *Console) newIndex() *index {
	f := &index{seed: maphash.MakeSeed()}
	f.reading = &reading{
		follower: c.follower, most: searchMessages, idle: indexIdle, within: indexWithin, gently: true, take: f.take, after: func() {},
		reset: func() { f.blocks, f.n = nil, 0 },
	}
	return f
}

// take takes a summary. f.mu is held.
func (f *index) take(m *jetstream.RawStreamMsg) {
	of, ok := publish.ParseSubject(m.Subject)
	if !ok {
		return
	}
	e := entry{at: uint32(m.Time.Unix())}
	if of.Key.Kind == summary.KindLeg {
		tags := tagsOf(m.Data)
		if len(tags) == 0 {
			return
		}
		for _, tag := range tags {
			f.add(&e.terms, termTag, tag)
		}
	} else {
		f.addSession(&e, m.Data, of.Connection)
	}
	f.append(m.Sequence, e)
}

// addSession adds the terms of a session's summary, in one pass over its body.
func (f *index) addSession(e *entry, body []byte, connection string) {
	f.add(&e.terms, termSession, "")
	gjson.ParseBytes(body).ForEach(func(key, v gjson.Result) bool {
		switch key.Str {
		case "from", "to", "final_to":
			f.addDigits(&e.terms, digitsOf(v.Str))
		case "legs":
			v.ForEach(func(_, leg gjson.Result) bool {
				leg.ForEach(func(key, v gjson.Result) bool {
					if key.Str == "from" || key.Str == "to" {
						f.addDigits(&e.terms, digitsOf(v.Str))
					}
					return true
				})
				return true
			})
		case "outcome", "far_outcome":
			f.add(&e.terms, termOutcome, v.Str)
		case "connection_id":
			connection = cmp.Or(v.Str, connection)
		case "published_at":
			e.at = uint32(v.Time().Unix())
		}
		return true
	})
	f.add(&e.terms, termConnection, connection)
}

// append keeps an entry, and forgets the oldest of too many.
func (f *index) append(seq uint64, e entry) {
	var last *indexed
	if len(f.blocks) > 0 {
		last = f.blocks[len(f.blocks)-1]
	}
	if last == nil || len(last.entries) == indexBlock || seq-last.base > math.MaxUint32 {
		last = &indexed{base: seq, entries: make([]entry, 0, indexBlock)}
		f.blocks = append(f.blocks, last)
	}
	e.place = uint32(seq - last.base)
	last.entries = append(last.entries, e)
	f.n++
	for len(f.blocks) > 1 && (f.n-len(f.blocks[0].entries) >= searchMessages || f.blocks[1].base <= f.first) {
		f.n -= len(f.blocks[0].entries)
		f.blocks = slices.Delete(f.blocks, 0, 1)
	}
}

// oldest is when the oldest summary was published that is known here. Zero: there is none.
func (f *index) oldest() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.blocks) == 0 {
		return time.Time{}
	}
	return time.Unix(int64(f.blocks[0].entries[0].at), 0).UTC()
}

// wanted are the terms that a summary must have, and between when it must be published. A tag is looked for in legs, of
// which nothing else is known here.
func (f *index) wanted(q *query) (all terms, since, until int64) {
	since, until = 0, math.MaxInt64
	if q.Tag != "" {
		f.add(&all, termTag, q.Tag)
		return all, since, until
	}
	f.add(&all, termSession, "")
	if q.Outcomes != "" {
		f.add(&all, termOutcome, q.Outcomes)
	}
	if q.Connections != "" {
		f.add(&all, termConnection, q.Connections)
	}
	f.addDigits(&all, q.Digits)
	if !q.Since.IsZero() {
		since = q.Since.Unix()
	}
	if !q.Until.IsZero() {
		until = q.Until.Unix()
	}
	return all, since, until
}

// before returns the newest places below one that may have what is wanted, at most so many, the newest first.
func (f *index) before(below uint64, most int, all terms, since, until int64) []uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var places []uint64
	for _, b := range slices.Backward(f.blocks) {
		if b.base >= below {
			continue
		}
		for i := len(b.entries) - 1; i >= 0; i-- {
			e := &b.entries[i]
			seq := b.base + uint64(e.place)
			if seq >= below || !e.terms.has(&all) || int64(e.at) < since || int64(e.at) > until {
				continue
			}
			if places = append(places, seq); len(places) == most {
				return places
			}
		}
	}
	return places
}

// judging is a search among the summaries that the index names.
type judging struct {
	*Console
	query  query
	stream jetstream.Stream
	now    time.Time

	mu sync.Mutex
	// judged are the sessions of which it is known whether they are meant, and found those that are.
	judged map[string]bool
	found  map[string]*callRow
}

// lookUp looks for calls by what their summaries say, the newest first, until there are more than are shown. A call counts
// by its newest revision.
func (c *Console) lookUp(ctx context.Context, s *search, q query) error {
	err := c.index.reach(ctx, func(done, all uint64) {
		s.looked.Store(int64(done))
		s.all.Store(int64(all))
	})
	if err != nil {
		return err
	}
	j := judging{Console: c, query: q, now: time.Now(), judged: make(map[string]bool), found: make(map[string]*callRow)}
	defer func() { s.keep(j.found, c.index.oldest()) }()
	if j.stream, err = c.cfg.JetStream.Stream(ctx, c.cfg.Layout.Calls); err != nil {
		return err
	}
	all, since, until := c.index.wanted(&q)
	for below := uint64(math.MaxUint64); len(j.found) <= searchFound; {
		places := c.index.before(below, judgeBatch, all, since, until)
		if len(places) == 0 {
			return nil
		}
		below = places[len(places)-1]
		group, each := errgroup.WithContext(ctx)
		group.SetLimit(judgeAtOnce)
		for _, seq := range places {
			group.Go(func() error { return j.judge(each, seq) })
		}
		if err := group.Wait(); err != nil {
			return err
		}
	}
	return nil
}

// judge looks whether the call of a summary is meant.
func (j *judging) judge(ctx context.Context, seq uint64) error {
	m, err := j.stream.GetMsg(ctx, seq)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil
	case err != nil:
		return err
	}
	of, ok := publish.ParseSubject(m.Subject)
	if !ok || !j.mayBe(of.Key, m.Data) || !j.first(of.Key.Session) {
		return nil
	}
	body, connection := m.Data, of.Connection
	newest, known, err := j.cfg.Sources.Summaries.Last(ctx, summary.Key{Kind: summary.KindSession, Session: of.Key.Session})
	switch {
	case err != nil:
		return err
	case known:
		seq, body, connection = newest.Seq, newest.Body, newest.Connection
	case of.Key.Kind == summary.KindSession:
		return nil
	}
	if !j.query.hasDigits(body) {
		return nil
	}
	row := readRow(seq, body)
	row.Connection = cmp.Or(row.Connection, connection)
	if j.query.wants(&row, j.now) && (j.query.Until.IsZero() || row.Published.Before(j.query.Until)) {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.found[of.Key.Session] = &row
	}
	return nil
}

// mayBe reports whether a summary has what the index says that it may have. What else is looked for, the newest one of its
// session says.
func (j *judging) mayBe(key summary.Key, body []byte) bool {
	if j.query.Tag != "" {
		return key.Kind == summary.KindLeg && slices.Contains(tagsOf(body), j.query.Tag)
	}
	return key.Kind == summary.KindSession && j.query.hasDigits(body)
}

// first reports whether a session was not judged yet.
func (j *judging) first(session string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	was := j.judged[session]
	j.judged[session] = true
	return !was
}

// hasDigits reports whether a number of a party in a session's summary has the digits that are looked for.
func (q *query) hasDigits(body []byte) bool {
	if q.Digits == "" {
		return true
	}
	for digits := range partyDigits(body) {
		if strings.Contains(digits, q.Digits) {
			return true
		}
	}
	return false
}

// partyDigits are the digits of the numbers of all parties that a summary names.
func partyDigits(body []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, v := range gjson.GetManyBytes(body, "from", "to", "final_to", "legs.#.from", "legs.#.to") {
			for _, party := range append(v.Array(), v) {
				if party.Type == gjson.String && !yield(digitsOf(party.Str)) {
					return
				}
			}
		}
	}
}

// tagsOf are the tags of a leg's summary.
func tagsOf(body []byte) (tags []string) {
	for _, t := range gjson.GetBytes(body, "tags").Array() {
		tags = append(tags, t.Str)
	}
	return tags
}
