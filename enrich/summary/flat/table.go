package flat

import (
	"errors"
	"fmt"
	"reflect"
	"time"

	"github.com/tidwall/gjson"

	"github.com/legato-calls/legato/enrich/summary"
)

// Table makes rows of the summaries of one kind. It is safe for concurrent use.
type Table struct {
	columns []Column
	root    *place
	// totals is the column of cost_totals; amount and currency follow it.
	totals int
}

// place is a position in the JSON of a summary: a column, or an object that has some.
type place struct {
	column int
	fields map[string]*place
}

// Value is a cell.
type Value struct {
	// Known is false where the summary says nothing: null.
	Known bool
	// Text is the value as text: for Text, Decimal and Timestamp without the quotes, for all
	// others as it stands in the JSON.
	Text string
	// Int is an Integer, a Timestamp in microseconds since 1970, or a Boolean as 0 and 1.
	Int int64
	// Number is a Number.
	Number float64
}

// Of returns the table of a kind of summary. It fails for a kind that is none.
func Of(kind string) (*Table, error) {
	var typ reflect.Type
	switch kind {
	case summary.KindLeg:
		typ = reflect.TypeFor[summary.Leg]()
	case summary.KindSession:
		typ = reflect.TypeFor[summary.Session]()
	default:
		return nil, fmt.Errorf("no summary is a %.32q", kind)
	}
	return tableOf(typ), nil
}

// tableOf returns the table of a type of package summary.
func tableOf(typ reflect.Type) *Table {
	t := &Table{columns: columnsOf(typ, nil, true), root: &place{fields: make(map[string]*place)}, totals: -1}
	for i, c := range t.columns {
		switch c.Name {
		case costAmount, costCurrency:
			continue // read from the totals
		case costTotals:
			t.totals = i
		}
		at := t.root
		for _, name := range c.Path {
			next := at.fields[name]
			if next == nil {
				next = &place{column: i, fields: make(map[string]*place)}
				at.fields[name] = next
			}
			at = next
		}
	}
	return t
}

// Columns returns the columns, in order. They are not to be changed.
func (t *Table) Columns() []Column { return t.columns }

// Row reads a summary into row, which has a value for each column. Fields that
// no column knows are passed over. It fails when the text is not a JSON object, or when a field is of
// another type than its column. Values share memory with the text.
func (t *Table) Row(body string, row []Value) error {
	clear(row)
	if !gjson.Valid(body) {
		return errors.New("not JSON")
	}
	all := gjson.Parse(body)
	if !all.IsObject() {
		return errors.New("not a JSON object")
	}
	return t.fill(all, row)
}

func (t *Table) fill(all gjson.Result, row []Value) (err error) {
	if err := t.read(all, t.root, row); err != nil {
		return err
	}
	if t.totals >= 0 && row[t.totals].Known {
		if totals := gjson.Parse(row[t.totals].Text).Array(); len(totals) == 1 {
			if amount := totals[0].Get("amount"); amount.Exists() {
				if row[t.totals+1], err = read(Decimal, amount); err != nil {
					return fmt.Errorf("%s: %w", costAmount, err)
				}
			}
			row[t.totals+2] = text(totals[0].Get("currency"))
		}
	}
	return nil
}

// Each reads the elements of a list, as it stands in a JSON column of a valid summary, into row one after another, and
// hands each to do with its place, from 0. It fails as Row does, and with the error of do.
func (t *Table) Each(list string, row []Value, do func(i int) error) (err error) {
	i := 0
	gjson.Parse(list).ForEach(func(_, element gjson.Result) bool {
		clear(row)
		if !element.IsObject() {
			err = fmt.Errorf("element %d is no object", i)
		} else if err = t.fill(element, row); err == nil {
			err = do(i)
		}
		i++
		return err == nil
	})
	return err
}

func text(r gjson.Result) Value { return Value{Known: r.Type == gjson.String, Text: r.Str} }

func (t *Table) read(object gjson.Result, at *place, row []Value) (err error) {
	object.ForEach(func(key, value gjson.Result) bool {
		p := at.fields[key.Str]
		switch {
		case p == nil || value.Type == gjson.Null:
			return true
		case len(p.fields) > 0:
			if !value.IsObject() {
				err = fmt.Errorf("%s is no object", key.Str)
				return false
			}
			err = t.read(value, p, row)
		default:
			c := t.columns[p.column]
			if row[p.column], err = read(c.Type, value); err != nil {
				err = fmt.Errorf("%s: %w", c.Name, err)
			}
		}
		return err == nil
	})
	return err
}

// read reads one field.
func read(typ Type, r gjson.Result) (Value, error) {
	v := Value{Known: true, Text: r.Raw}
	fits := false
	switch typ {
	case Text:
		fits, v.Text = r.Type == gjson.String, r.Str
	case Decimal:
		fits, v.Text, v.Known = r.Type == gjson.String, r.Str, isDecimal(r.Str)
	case Timestamp:
		v.Text = r.Str
		at, err := time.Parse(time.RFC3339Nano, r.Str)
		fits, v.Int = err == nil, at.UnixMicro()
	case Integer:
		v.Int = r.Int()
		fits = r.Type == gjson.Number && float64(v.Int) == r.Num
	case Number:
		fits, v.Number = r.Type == gjson.Number, r.Num
	case Boolean:
		fits = r.Type == gjson.True || r.Type == gjson.False
		if r.Type == gjson.True {
			v.Int = 1
		}
	case JSON:
		fits = r.IsArray() || r.IsObject()
	}
	if !fits {
		// Not the value: it may be somebody's number.
		return Value{}, fmt.Errorf("is not of type %v", typ)
	}
	return v, nil
}
