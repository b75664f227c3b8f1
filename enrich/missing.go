package enrich

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// past is an event as far as it takes to know it again.
type past struct {
	typ, id string
	at      time.Time
	// exact: the time is the event's own. named: so is the id, as far as is stated; of a known event that is a webhook's.
	exact, named bool
	// entry is the one that a row of the history makes.
	entry call.Entry
}

func (p past) is(q past) bool { return p.typ == q.typ && p.id == q.id }

// missing returns those of the rows that are about no event that is known, each event once, by occurrence. sparse: not
// all events are known by name; then only those are taken that a leg has once.
//
// The id in a row can be another than the webhook's, or there is none. Where the rows prove that theirs are the
// webhooks', since one names a known webhook, the ids decide. Where not, the events of a type are counted: each row
// stands for one, rows of the same time for the same, and of as many known ones as there are nothing is missing. A
// time that is the event's own tells which; of others those rows are missing that lie farthest from what is known.
func missing(rows, known []past, sparse bool) (found []past) {
	rows, known = distinct(rows), distinct(known)
	slices.SortStableFunc(rows, func(a, b past) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.id, b.id)) })
	isProof := func(row past) bool {
		return row.named && slices.ContainsFunc(known, func(k past) bool { return k.named && k.is(row) })
	}
	proven := slices.ContainsFunc(rows, isProof)
	byType := make(map[string][]past)
	var types []string
	for _, row := range rows {
		if byType[row.typ] == nil {
			types = append(types, row.typ)
		}
		byType[row.typ] = append(byType[row.typ], row)
	}
	for _, typ := range types {
		of := slices.DeleteFunc(slices.Clone(known), func(k past) bool { return k.typ != typ })
		switch once := call.EventTypeOf(typ).Once; {
		case once && len(of) == 0:
			found = append(found, byType[typ][0])
		case !once && !sparse:
			found = append(found, missingOfType(byType[typ], of, proven)...)
		}
	}
	slices.SortStableFunc(found, func(a, b past) int { return a.at.Compare(b.at) })
	return found
}

// distinct returns the events without those of the same type and id as an earlier one.
func distinct(events []past) (all []past) {
	seen := make(map[[2]string]bool, len(events))
	for _, e := range events {
		if key := [2]string{e.typ, e.id}; !seen[key] {
			seen[key] = true
			all = append(all, e)
		}
	}
	return all
}

// missingOfType is missing of the events of one type, whose rows are in order of time.
func missingOfType(rows, known []past, proven bool) (found []past) {
	take := func(match func(row, k past) bool) {
		rows = slices.DeleteFunc(rows, func(row past) bool {
			i := slices.IndexFunc(known, func(k past) bool { return match(row, k) })
			if i >= 0 {
				known = slices.Delete(known, i, i+1)
			}
			return i >= 0
		})
	}
	take(past.is)
	// A webhook of which the rows would have the id is about another event.
	isOther := func(row, k past) bool { return proven && row.named && k.named }
	take(func(row, k past) bool { return row.exact && !isOther(row, k) && row.at.Equal(k.at) })
	take(func(row, k past) bool {
		return row.exact && !isOther(row, k) && row.at.Sub(k.at).Abs() < time.Millisecond
	})

	var loose []past
	var last past
	for _, row := range rows {
		switch {
		case proven && row.named:
			found = append(found, row)
		case row.at.Equal(last.at): // another row about the same event
		case row.exact:
			found = append(found, row)
		default:
			loose = append(loose, row)
		}
		if !proven || !row.named {
			last = row
		}
	}
	slices.SortStableFunc(known, func(a, b past) int { return a.at.Compare(b.at) })
	return append(found, unmatched(loose, known)...)
}

// maxDistances bounds what telling rows apart by their distances may cost: a leg with a thousand events of one type.
const maxDistances = 1_000_000

// unmatched returns the rows that are left when each known event has the one that it is nearest to, so that the
// distances are the least in all and the order is kept. Both are in order of time.
func unmatched(rows, known []past) (left []past) {
	switch {
	case len(known) >= len(rows):
		return nil
	case len(known)*len(rows) > maxDistances:
		return rows[len(known):]
	}
	// cost[i][j] is the least distance of the first i rows to the first j known, every one of which has a row.
	cost := make([][]float64, len(rows)+1)
	for i := range cost {
		cost[i] = make([]float64, len(known)+1)
		for j := 1; j <= len(known); j++ {
			cost[i][j] = math.Inf(1)
			if i >= j {
				cost[i][j] = min(cost[i-1][j], cost[i-1][j-1]+distance(rows[i-1], known[j-1]))
			}
		}
	}
	j := len(known)
	for i := len(rows); i > 0; i-- {
		if j > 0 && cost[i][j] < cost[i-1][j] {
			j--
			continue
		}
		left = append(left, rows[i-1])
	}
	slices.Reverse(left)
	return left
}

func distance(a, b past) float64 { return a.at.Sub(b.at).Abs().Seconds() }
