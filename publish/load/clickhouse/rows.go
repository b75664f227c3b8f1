package clickhouse

import (
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/shopspring/decimal"
	"github.com/tidwall/gjson"

	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/publish/load"
)

// values are those of one column, in the form that the client takes whole.
type values interface {
	// add appends a value.
	add(v flat.Value)
	// cut ends a list: what was added since the last cut is one row of it.
	cut()
	// put hands rows, or rows of lists, to the client.
	put(to driver.BatchColumn, lists bool) error
}

// typed is a column whose values are of one Go type.
type typed[T any] struct {
	of func(flat.Value) *T
	// always has no null among its values.
	always bool
	all    []*T
	lists  [][]*T
}

func (c *typed[T]) add(v flat.Value) {
	if v.Known {
		c.all = append(c.all, c.of(v))
	} else {
		c.all = append(c.all, nil)
	}
}

func (c *typed[T]) cut() {
	c.lists = append(c.lists, c.all)
	c.all = nil
}

func (c *typed[T]) put(to driver.BatchColumn, lists bool) error {
	if lists {
		return to.Append(c.lists)
	}
	if !c.always {
		return to.Append(c.all)
	}
	whole := make([]T, len(c.all))
	for i, v := range c.all {
		if v != nil {
			whole[i] = *v
		}
	}
	return to.Append(whole)
}

// valuesOf returns an empty column.
func valuesOf(c flat.Column, always bool) values {
	switch c.Type {
	case flat.Integer:
		return &typed[int64]{always: always, of: func(v flat.Value) *int64 { return &v.Int }}
	case flat.Number:
		return &typed[float64]{always: always, of: func(v flat.Value) *float64 { return &v.Number }}
	case flat.Boolean:
		return &typed[bool]{always: always, of: func(v flat.Value) *bool { return new(v.Int == 1) }}
	case flat.Timestamp:
		return &typed[time.Time]{always: always, of: func(v flat.Value) *time.Time { return new(time.UnixMicro(v.Int).UTC()) }}
	case flat.Decimal:
		return &typed[decimal.Decimal]{always: always, of: func(v flat.Value) *decimal.Decimal {
			// What Decimal(18, 6) does not hold exactly is null; the body has it as text.
			n, ok := flat.Millionths(v.Text)
			if !ok {
				return nil
			}
			return new(decimal.New(n, -6))
		}}
	case flat.Text, flat.JSON:
	}
	return &typed[string]{always: always, of: func(v flat.Value) *string { return &v.Text }}
}

// block is the rows of a table, column by column.
type block struct {
	table   *table
	columns []values
	// lists tells which columns are lists.
	lists   []bool
	scratch [][]flat.Value
	rows    int
}

func newBlock(t *table) *block {
	b := &block{table: t, scratch: make([][]flat.Value, len(t.fields))}
	add := func(c flat.Column, always, list bool) {
		b.columns, b.lists = append(b.columns, valuesOf(c, always)), append(b.lists, list)
	}
	for i, f := range t.fields {
		switch {
		case f.elements != nil:
			b.scratch[i] = make([]flat.Value, len(f.elements.Columns()))
			for _, e := range f.elements.Columns() {
				add(e, false, true)
			}
		case f.column.Texts():
			add(flat.Column{Type: flat.Text}, true, true)
		default:
			add(f.column, f.column.Always && f.column.Type != flat.JSON, false)
		}
	}
	add(flat.Column{Type: flat.Text}, true, false)
	return b
}

// add appends a row. It fails with a load.Refusal when a list is not as its columns are; then a part of the row is in, and the block is
// of no more use.
func (b *block) add(r load.Row) error {
	at := 0
	for i, f := range b.table.fields {
		v := r.Cells[i]
		switch {
		case f.elements != nil:
			n := len(f.elements.Columns())
			err := f.elements.Each(v.Text, b.scratch[i], func(int) error {
				for j := range n {
					b.columns[at+j].add(b.scratch[i][j])
				}
				return nil
			})
			if err != nil {
				return &load.Refusal{Reason: f.column.Name + ": " + err.Error()}
			}
			for j := range n {
				b.columns[at+j].cut()
			}
			at += n
		case f.column.Texts():
			gjson.Parse(v.Text).ForEach(func(_, text gjson.Result) bool {
				b.columns[at].add(flat.Value{Known: true, Text: text.Str})
				return true
			})
			b.columns[at].cut()
			at++
		default:
			b.columns[at].add(v)
			at++
		}
	}
	b.columns[at].add(flat.Value{Known: true, Text: r.Body})
	b.rows++
	return nil
}

// put hands the rows to a batch of the client.
func (b *block) put(batch driver.Batch) error {
	for i, c := range b.columns {
		if err := c.put(batch.Column(i), b.lists[i]); err != nil {
			return err
		}
	}
	return nil
}
