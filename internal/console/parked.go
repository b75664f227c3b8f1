package console

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/story"
	"github.com/legato-calls/legato/publish/parked"
)

const (
	// parkedShown is the longest list of what is parked.
	parkedShown = 200
	// mostRetried is how many are retried at once.
	mostRetried = 500
)

// parkedPage is what is parked, by reason.
type parkedPage struct {
	Reasons []counted
	Reason  string
	All     int
	Rows    []parked.Message
	Retried []retried
	DryRun  bool
	Again   []uint64 // what a retry that is no dry run is posted for
}

// counted is how often a word stands somewhere.
type counted struct {
	Word string
	N    int
}

func byCount(counts map[string]int) []counted {
	all := make([]counted, 0, len(counts))
	for word, n := range counts {
		all = append(all, counted{word, n})
	}
	slices.SortFunc(all, func(a, b counted) int { return cmp.Or(b.N-a.N, strings.Compare(a.Word, b.Word)) })
	return all
}

// retried is what became of one that was retried, or would become of it.
type retried struct {
	Seq     uint64
	Outcome string
	Left    bool
}

func (c *Console) showParked(r *http.Request) (view, error) {
	p := parkedPage{Reason: r.URL.Query().Get("reason")}
	if p.Reason != "" && !call.ValidToken(p.Reason) {
		return view{}, problem{http.StatusBadRequest, "This cannot be a reason."}
	}
	counts := make(map[string]int)
	// The newest are at the end: a ring keeps them.
	err := c.cfg.Sources.Parked.List(r.Context(), parked.Filter{}, func(m parked.Message) error {
		counts[m.Reason]++
		p.All++
		if p.Reason == "" || p.Reason == m.Reason {
			if p.Rows = append(p.Rows, m); len(p.Rows) > 2*parkedShown {
				p.Rows = slices.Clone(p.Rows[len(p.Rows)-parkedShown:])
			}
		}
		return nil
	})
	if err != nil {
		return view{}, err
	}
	p.Rows = p.Rows[max(len(p.Rows)-parkedShown, 0):]
	slices.Reverse(p.Rows)
	p.Reasons = byCount(counts)
	return view{template: "parked", Title: "Parked", Place: "/parked", Data: &p}, nil
}

// showParkedBody shows one parked message with its body.
func (c *Console) showParkedBody(r *http.Request) (view, error) {
	_, seq, err := pathOf(r)
	if err != nil {
		return view{}, err
	}
	m, err := c.cfg.Sources.Parked.Get(r.Context(), seq)
	if err != nil {
		return view{}, notParked(err)
	}
	p := bodyPage{Session: string(m.Ref.Session), Path: r.URL.Path, Heading: "Parked: " + m.Reason}
	if p.Revealed, err = c.revealed(r, "what is parked", slog.Uint64("parked", seq)); err != nil {
		return view{}, err
	}
	p.Body, p.Cut = drawBody(m.Data, p.Revealed)
	p.Facts = facts("parked", m.At.Format(time.RFC3339Nano), "size", story.Count(m.Size, "byte", "bytes"), "topic", m.Topic,
		"place in the log", number(int(m.Parked.Seq)), "session", string(m.Ref.Session), "leg", string(m.Ref.Leg), "signed at", m.Timestamp)
	return view{template: "body", Title: p.Heading, Place: "/parked", Data: &p}, nil
}

// retryParked puts parked messages back, or says what would become of them: a dry run comes first, and what it says
// yes to is what the second form is about.
func (c *Console) retryParked(r *http.Request) (view, error) {
	seqs, err := c.chosen(r)
	if err != nil {
		return view{}, err
	}
	p := parkedPage{DryRun: r.PostFormValue("sure") == ""}
	if !p.DryRun {
		c.log.Info("somebody puts back what is parked", "user", userOf(r), "messages", len(seqs))
	}
	for _, seq := range seqs {
		outcome, left, err := c.cfg.PutBack(r.Context(), seq, p.DryRun)
		if err != nil {
			return view{}, err
		}
		p.Retried = append(p.Retried, retried{seq, outcome, left})
		if left && p.DryRun {
			p.Again = append(p.Again, seq)
		}
	}
	return view{template: "retried", Title: "Put back what is parked", Place: "/parked", Data: &p}, nil
}

// chosen are the parked messages that a form is about: those that it names, or all of a reason.
func (c *Console) chosen(r *http.Request) (seqs []uint64, err error) {
	if seqs, err = places(r.PostForm["seq"]); err != nil {
		return nil, err
	}
	if reason := r.PostFormValue("reason"); reason != "" {
		if !call.ValidToken(reason) {
			return nil, problem{http.StatusBadRequest, "This cannot be a reason."}
		}
		err = c.cfg.Sources.Parked.List(r.Context(), parked.Filter{Reason: reason}, func(m parked.Message) error {
			if len(seqs) < mostRetried {
				seqs = append(seqs, m.Seq)
			}
			return nil
		})
	}
	if err == nil && len(seqs) == 0 {
		err = problem{http.StatusBadRequest, "Nothing is chosen."}
	}
	return seqs, err
}

// places reads places in a stream.
func places(texts []string) (seqs []uint64, err error) {
	if len(texts) > mostRetried {
		return nil, problem{http.StatusBadRequest, fmt.Sprintf("At most %d at once.", mostRetried)}
	}
	for _, text := range texts {
		seq, err := strconv.ParseUint(text, 10, 64)
		if err != nil || seq == 0 {
			return nil, problem{http.StatusBadRequest, "A place is a number from 1."}
		}
		seqs = append(seqs, seq)
	}
	return seqs, nil
}

// notParked says what a reader can see to.
func notParked(err error) error {
	if errors.Is(err, parked.ErrNotFound) {
		return problem{http.StatusNotFound, "It is not parked, or not any more."}
	}
	return err
}
