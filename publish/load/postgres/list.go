package postgres

import (
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/publish/load"
)

// idOf returns the id of a row.
func idOf(r load.Row) string {
	if r.Key.Kind == summary.KindSession {
		return r.Key.Session
	}
	return r.Key.Leg
}

// scratch has room for an element.
func (l list) scratch() []flat.Value { return make([]flat.Value, len(l.Elements.Columns())) }

// append appends a line for each element of the list in a row. It fails with a load.Refusal when an element is not as the columns are.
func (l list) append(to []byte, r load.Row, scratch []flat.Value) ([]byte, error) {
	columns := l.Elements.Columns()
	err := l.Elements.Each(r.Cells[l.Column].Text, scratch, func(i int) error {
		to = append(to, r.Key.Kind...)
		to = append(to, '\t')
		to = append(to, idOf(r)...)
		to = append(to, '\t')
		to = append(appendInt(to, int64(i)+1), '\t')
		to = append(to, r.Key.Session...)
		to = append(to, '\t')
		if r.Key.Leg == "" {
			to = append(to, null...)
		} else {
			to = append(to, r.Key.Leg...)
		}
		for c, v := range scratch {
			to = append(to, '\t')
			to = appendCell(to, columns[c], v)
		}
		to = append(to, '\n')
		return nil
	})
	if err != nil {
		return to, &load.Refusal{Reason: l.Table + ": " + err.Error()}
	}
	return to, nil
}
