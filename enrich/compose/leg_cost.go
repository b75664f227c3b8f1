package compose

import (
	"maps"
	"slices"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/shopspring/decimal"
)

func composeCost(d *call.Cost) *summary.Cost {
	c := &summary.Cost{Status: d.Status, BilledSeconds: within(d.BilledSeconds, 0, summary.MaxLegSeconds)}
	amounts := make([]summary.Amount, 0, len(d.Parts))
	for _, p := range d.Parts {
		c.Parts = append(c.Parts, summary.CostPart{
			Part: p.Part, Amount: p.Amount, Currency: p.Currency, Rate: p.Rate,
			BilledSeconds: within(p.BilledSeconds, 0, summary.MaxLegSeconds),
		})
		amounts = append(amounts, summary.Amount{Currency: p.Currency, Amount: p.Amount})
	}
	c.Totals = addAmounts(amounts)
	if len(d.Parts) == 0 && d.Total != "" {
		c.Totals = addAmounts([]summary.Amount{{Amount: d.Total}})
	}
	return c
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
