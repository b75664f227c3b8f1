package compose

import (
	"cmp"
	"maps"
	"slices"

	"github.com/shopspring/decimal"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
)

func composeCost(d *call.Cost) *summary.Cost {
	c := &summary.Cost{Status: d.Status, BilledSeconds: within(d.BilledSeconds, 0, summary.MaxLegSeconds), TotalCost: d.Total}
	for _, p := range d.Parts {
		c.Parts = append(c.Parts, summary.CostPart{
			Part: p.Part, Amount: p.Amount, Currency: p.Currency, Rate: p.Rate,
			BilledSeconds: within(p.BilledSeconds, 0, summary.MaxLegSeconds),
		})
	}
	c.Totals = totals(c)
	return c
}

// totals are what a cost comes to: the sum of its parts, or the total that it states, where that is another.
func totals(c *summary.Cost) []summary.Amount {
	sums := sumOf(c)
	if currency, ok := currencyOf(c); ok && c.TotalCost != "" && !isSum(sums, c.TotalCost) {
		return addAmounts([]summary.Amount{{Currency: currency, Amount: c.TotalCost}})
	}
	return sums
}

// totalDiffers reports whether a cost states a total that is not the sum of its parts.
func totalDiffers(c *summary.Cost) bool {
	if c == nil || c.TotalCost == "" || len(c.Parts) == 0 {
		return false
	}
	_, ok := currencyOf(c)
	return ok && !isSum(sumOf(c), c.TotalCost)
}

func isSum(sums []summary.Amount, total string) bool {
	return len(sums) == 1 && isAmount(sums[0].Amount, total)
}

func sumOf(c *summary.Cost) []summary.Amount {
	amounts := make([]summary.Amount, len(c.Parts))
	for i, p := range c.Parts {
		amounts[i] = summary.Amount{Currency: p.Currency, Amount: p.Amount}
	}
	return addAmounts(amounts)
}

// currencyOf is the currency of all parts that name one; false when they have several, so that nothing tells of which a total is.
func currencyOf(c *summary.Cost) (currency string, ok bool) {
	for _, p := range c.Parts {
		if currency != "" && p.Currency != "" && p.Currency != currency {
			return "", false
		}
		currency = cmp.Or(currency, p.Currency)
	}
	return currency, true
}

// isAmount reports whether two texts are of the same amount.
func isAmount(a, b string) bool {
	x, errX := decimal.NewFromString(a)
	y, errY := decimal.NewFromString(b)
	return a == b || errX == nil && errY == nil && x.Equal(y)
}

// mergeCost merges the later of two statements of a leg's cost onto the earlier, and notes what that came to. Parts of
// other names add up; of a part that is stated again the later amount stands. What states nothing new repeats the
// earlier. A success is not undone by an error that follows it.
func mergeCost(before, after *summary.Cost) (*summary.Cost, []summary.Note) {
	switch {
	case before == nil || after == nil:
		return cmp.Or(before, after), nil
	case before.Status == "error":
		return after, nil
	case after.Status == "error", repeats(before, after):
		return before, nil
	case len(after.Parts) == 0:
		return after, []summary.Note{summary.NoteCostCorrected}
	}
	var kept []summary.CostPart
	corrected := false
	for _, p := range before.Parts {
		i := slices.IndexFunc(after.Parts, func(q summary.CostPart) bool { return q.Part == p.Part })
		if i < 0 {
			kept = append(kept, p)
		}
		corrected = corrected || i >= 0 && !slices.ContainsFunc(after.Parts, isCharge(p))
	}
	if len(kept) == 0 {
		// The later states all that the earlier did.
		if corrected || len(before.Parts) == 0 && !isAmount(before.TotalCost, after.TotalCost) {
			return after, []summary.Note{summary.NoteCostCorrected}
		}
		return after, nil
	}
	m := *after
	m.Parts = slices.Concat(kept, after.Parts)
	m.TotalCost = ""
	notes := []summary.Note{summary.NoteCostAdded}
	if len(kept) == len(before.Parts) {
		m.TotalCost = sumOfTotals(before, after)
		m.BilledSeconds = sumOfSeconds(before.BilledSeconds, after.BilledSeconds)
	} else if corrected {
		notes = append(notes, summary.NoteCostCorrected)
	}
	m.Totals = totals(&m)
	return &m, notes
}

// repeats reports whether a later cost states nothing that an earlier one does not.
func repeats(before, after *summary.Cost) bool {
	if len(after.Parts) == 0 {
		return len(before.Parts) == 0 && isAmount(before.TotalCost, after.TotalCost) ||
			len(before.Totals) == 1 && len(after.Totals) == 1 && isAmount(before.Totals[0].Amount, after.Totals[0].Amount)
	}
	return !slices.ContainsFunc(after.Parts, func(p summary.CostPart) bool { return !slices.ContainsFunc(before.Parts, isCharge(p)) }) &&
		(len(after.Parts) < len(before.Parts) || isAmount(before.TotalCost, after.TotalCost))
}

// isCharge returns whether another part is the same charge.
func isCharge(p summary.CostPart) func(summary.CostPart) bool {
	return func(q summary.CostPart) bool {
		return p.Part == q.Part && p.Currency == q.Currency && isAmount(p.Amount, q.Amount)
	}
}

// sumOfTotals adds up what two costs state in all, where both state it.
func sumOfTotals(a, b *summary.Cost) string {
	if a.TotalCost == "" || b.TotalCost == "" {
		return ""
	}
	sum := addAmounts([]summary.Amount{{Amount: a.TotalCost}, {Amount: b.TotalCost}})
	if len(sum) == 0 {
		return ""
	}
	return sum[0].Amount
}

func sumOfSeconds(a, b *int64) *int64 {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	return new(*a + *b)
}

// addAmounts adds up money per currency, by currency. Text that is no decimal
// number is left out: it stays visible in its part.
func addAmounts(amounts []summary.Amount) []summary.Amount {
	totals := make(map[string]decimal.Decimal)
	for _, a := range amounts {
		d, err := decimal.NewFromString(a.Amount)
		if err != nil {
			continue
		}
		totals[a.Currency] = totals[a.Currency].Add(d)
	}
	var out []summary.Amount
	for _, currency := range slices.Sorted(maps.Keys(totals)) {
		// The scale stays that of the finest part: 0.0050 twice is 0.0100.
		d := totals[currency]
		out = append(out, summary.Amount{Currency: currency, Amount: d.StringFixed(max(0, -d.Exponent()))})
	}
	return out
}
