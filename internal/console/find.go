package console

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/story"
)

const (
	// searchMessages are the newest summaries that are looked through, and searchWithin bounds a search.
	searchMessages = 3_000_000
	searchWithin   = 2 * time.Minute
	// maxSearches may go on at once, and maxKept are kept to be looked at.
	maxSearches, maxKept = 4, 64
	// searchKept is how long what was found is kept.
	searchKept = 10 * time.Minute
	// searchFound is the longest list.
	searchFound = 200
	// minDigits are the least digits of a number that is looked for: fewer would find nearly every call.
	minDigits = 4
	// minAbroad are the least digits of a whole number with the code of its country.
	minAbroad = 7
)

// query is what is looked for. All that is given must hold.
type query struct {
	filter
	// Digits stand in a number of a party of the call, in this order. Empty: any.
	Digits string
	// Tag is one of a leg's. Empty: any.
	Tag string
	// Until is when it was last published at the latest. Zero: whenever.
	Until time.Time
	// ID may be of a session, of a leg, or a control id. Then nothing else is given.
	ID string
}

// parseQuery reads the one box. Its errors are for the reader.
func parseQuery(text string, now time.Time) (q query, err error) {
	for word := range strings.FieldsSeq(numbersJoined(text)) {
		key, value, ok := strings.Cut(word, ":")
		switch {
		case ok && key == "tag":
			q.Tag = value
		case ok && key == "outcome":
			q.Outcomes = value
		case ok && key == "connection":
			q.Connections = value
		case ok && key == "since":
			q.Since, err = parseTime(value, now)
		case ok && key == "until":
			q.Until, err = parseTime(value, now)
		case slices.Contains(summary.Outcomes(), summary.Outcome(word)):
			q.Outcomes = word
		case digitsOf(word) != "" && len(digitsOf(word)) <= 15 && strings.Trim(word, "+-().0123456789") == "":
			q.Digits = digitsOf(word)
		case q.ID != "":
			err = errOneID
		default:
			q.ID = word
		}
		if err != nil {
			return q, err
		}
	}
	switch {
	case q == query{}:
		return q, errors.New("type an id, a number, or tag:, outcome:, connection:, since: or until: with what is looked for")
	case q.Digits != "" && len(q.Digits) < minDigits:
		return q, errors.New("a number needs four digits at least")
	case q.Outcomes != "" && !slices.Contains(summary.Outcomes(), summary.Outcome(q.Outcomes)):
		return q, errors.New("there is no such outcome")
	case q.Connections != "" && !call.ValidToken(q.Connections):
		return q, errors.New("this cannot be the id of a connection")
	case q.ID != "" && (q != query{ID: q.ID}):
		return q, errOneID
	case q.ID != "" && !call.ValidControl(q.ID):
		return q, story.ErrInvalidID
	}
	return q, nil
}

var errOneID = errors.New("an id stands alone; a name cannot be looked for")

// numbersJoined makes one word of a text that is nothing but a number as people write it: without spaces, without the
// (0) that is dialed at home only, and without the 00 that stands for the + of a whole number.
func numbersJoined(text string) string {
	if strings.Trim(text, "+-().0123456789 ") != "" {
		return text
	}
	text = strings.ReplaceAll(strings.ReplaceAll(text, " ", ""), "(0)", "")
	if abroad, ok := strings.CutPrefix(text, "00"); ok && len(digitsOf(abroad)) >= minAbroad {
		return abroad
	}
	return text
}

func digitsOf(text string) string {
	return strings.Map(func(r rune) rune {
		if r < '0' || r > '9' {
			return -1
		}
		return r
	}, text)
}

// search is one search on its way, or what it found.
type search struct {
	token, user string
	began       time.Time
	cancel      context.CancelFunc
	looked      atomic.Int64
	all         atomic.Int64

	mu       sync.Mutex
	found    []callRow
	more     bool
	session  string // of the one call of an id
	over     bool
	canceled bool
	failure  string
	oldest   time.Time // of what was looked through
	took     time.Duration
}

// searches are those of the last minutes.
type searches struct {
	wg  sync.WaitGroup
	mu  sync.Mutex
	all map[string]*search
}

// begin takes a new search, unless too many go on.
func (s *searches) begin(user string, cancel context.CancelFunc) (*search, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	going := 0
	for token, one := range s.all {
		switch over, age := one.isOver(), time.Since(one.began); {
		case !over:
			going++
		case age > searchKept || len(s.all) >= maxKept:
			delete(s.all, token)
		}
	}
	if going >= maxSearches {
		return nil, problem{http.StatusServiceUnavailable, "Four searches go on already. Wait for one, or cancel it."}
	}
	one := &search{token: rand.Text(), user: user, began: time.Now(), cancel: cancel}
	if s.all == nil {
		s.all = make(map[string]*search)
	}
	s.all[one.token] = one
	return one, nil
}

// of returns the search of a token, to whoever began it.
func (s *searches) of(r *http.Request) (*search, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.all[r.PathValue("token")]
	if one == nil || one.user != userOf(r) {
		return nil, problem{http.StatusNotFound, "This search is not kept any more. Search again."}
	}
	return one, nil
}

func (s *search) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// findPage is the box, and what came of it.
type findPage struct {
	Token          string
	Rows           []callRow
	Now            time.Time
	Looked, All    int64
	Over, Canceled bool
	More           bool
	Failure        string
	Oldest         time.Time
	Took           time.Duration
}

func (c *Console) showFind(*http.Request) (view, error) {
	return view{template: "find", Title: "Find", Place: "/find", Data: &findPage{}}, nil
}

// find begins a search. What was typed stands in no address, and is not kept.
//
//nolint:contextcheck,nilerr // a search outlives the request that began it; what was typed wrong is said on the page
func (c *Console) find(r *http.Request) (view, error) {
	q, err := parseQuery(strings.TrimSpace(r.PostFormValue("q")), time.Now())
	if err != nil {
		return view{template: "find", Title: "Find", Place: "/find", Status: http.StatusBadRequest, Data: &findPage{Over: true, Failure: err.Error()}}, nil
	}
	if q.ID != "" {
		told, err := c.cfg.Sources.Story(r.Context(), story.Query{ID: q.ID, Since: time.Now().Add(-callSince), MaxScan: time.Second, MaxScanned: 1})
		switch {
		case err == nil && told.CallSessionID != "":
			return view{}, redirect("/calls/" + told.CallSessionID)
		case err != nil && !errors.Is(err, story.ErrUnknownCall):
			return view{}, c.unread(r.Context(), err)
		}
	}
	ctx, cancel := context.WithTimeout(c.stopping, searchWithin)
	one, err := c.searches.begin(userOf(r), cancel)
	if err != nil {
		cancel()
		return view{}, err
	}
	c.searches.wg.Go(func() {
		defer cancel()
		err := c.search(ctx, one, q)
		one.end(ctx, err)
	})
	return view{}, redirect("/find/" + one.token)
}

// unread is the error of an id that could not be looked for. It does not have what was typed, which may be a name, as the
// log must not.
func (c *Console) unread(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded
	}
	c.log.LogAttrs(ctx, slog.LevelWarn, "an id could not be looked for", slog.Any("error", innermost(err)))
	return problem{http.StatusServiceUnavailable, "What is looked for could not be read. The log of the service says why."}
}

// innermost is what an error comes of, without what was tried, and with what.
func innermost(err error) error {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err
}

func (s *search) end(ctx context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over, s.took = true, time.Since(s.began)
	switch {
	case err == nil:
	case errors.Is(err, story.ErrUnknownCall):
		s.failure = "Nothing is known of a call of this id."
	case s.canceled:
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		s.failure = "The search took longer than two minutes and ended there. What was read of the summaries is kept: search again in a moment."
	default:
		s.failure = "Summaries could not be read. The log of the service says why."
	}
}

func (c *Console) search(ctx context.Context, s *search, q query) (err error) {
	defer func() {
		if err != nil && !errors.Is(err, story.ErrUnknownCall) && ctx.Err() == nil {
			c.log.LogAttrs(ctx, slog.LevelWarn, "a search ended early", slog.Any("error", innermost(err)))
		}
	}()
	if q.ID == "" {
		return c.lookUp(ctx, s, q)
	}
	told, err := c.cfg.Sources.Story(ctx, story.Query{ID: q.ID, Since: time.Now().Add(-callSince), Search: true, Progress: func(_ string, n int) { s.looked.Store(int64(n)) }})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = told.CallSessionID
	return err
}

// keep takes what was found, the newest first.
func (s *search) keep(found map[string]*callRow, oldest time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.oldest = oldest
	rows := newestFirst(found)
	s.more = len(rows) > searchFound
	for _, r := range rows[:min(len(rows), searchFound)] {
		s.found = append(s.found, *r)
	}
}

// showSearch shows how far a search is, and what it found.
func (c *Console) showSearch(r *http.Request) (view, error) {
	s, err := c.searches.of(r)
	if err != nil {
		return view{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session != "" {
		return view{}, redirect("/calls/" + s.session)
	}
	return view{template: "find", Title: "Find", Place: "/find", Data: &findPage{
		Token: s.token, Rows: s.found, Now: time.Now(), Looked: s.looked.Load(), All: s.all.Load(), Over: s.over, Canceled: s.canceled,
		More: s.more, Failure: s.failure, Oldest: s.oldest, Took: s.took,
	}}, nil
}

func (c *Console) cancelSearch(r *http.Request) (view, error) {
	s, err := c.searches.of(r)
	if err != nil {
		return view{}, err
	}
	s.mu.Lock()
	s.canceled = !s.over
	s.mu.Unlock()
	s.cancel()
	return view{}, redirect("/find/" + s.token)
}
