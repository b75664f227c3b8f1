// Package flat gives a summary the shape of a row, for tools that read tables.
//
// In goes the JSON of a leg or a session; out comes one value a column. The
// columns are made from the types of package summary: a field is a column of its name, the
// fields of a nested object have its name before theirs (hangup_cause), lists and maps are one column
// of JSON text. A field that is absent is null.
//
// It is a leaf: it knows neither files nor streams. docs/export.md lists the
// columns; this package's test holds it current, and writes it with -update.
package flat

import (
	"errors"
	"fmt"
	"reflect"

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
	name   string
	column int
	// quoted is its key as Legato writes it, with the colon. first has up to eight bytes behind the quote, and mask
	// tells which of them are the key's.
	quoted      string
	first, mask uint64
	fields      map[string]*place
	// order has the fields as the types have them, which is how Legato writes them.
	order []*place
}

func newPlace(name string, column int) *place {
	p := &place{name: name, column: column, quoted: `"` + name + `":`, fields: make(map[string]*place)}
	for i := range min(8, len(p.quoted)-1) {
		p.first |= uint64(p.quoted[1+i]) << (8 * i)
		p.mask |= 0xff << (8 * i)
	}
	return p
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
				next = newPlace(name, i)
				at.fields[name] = next
				at.order = append(at.order, next)
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
	at := space(body, 0)
	if !is(body, at, '{') {
		if !gjson.Valid(body) {
			return errSyntax
		}
		return errors.New("not a JSON object")
	}
	end, err := t.fill(body, at, row)
	if err == nil && space(body, end) < len(body) {
		return errSyntax
	}
	if err != nil && !gjson.Valid(body) {
		return errSyntax // whatever was found first
	}
	return err
}

// fill reads the object at a place into row, and returns where it ends.
func (t *Table) fill(json string, at int, row []Value) (end int, err error) {
	if end, err = t.object(json, at, t.root, row); err != nil {
		return 0, err
	}
	if t.totals >= 0 && row[t.totals].Known {
		if totals := gjson.Parse(row[t.totals].Text).Array(); len(totals) == 1 {
			if amount := totals[0].Get("amount"); amount.Exists() {
				if _, err = read(Decimal, amount.Raw, 0, &row[t.totals+1]); err != nil {
					return 0, fmt.Errorf("%s: %w", costAmount, err)
				}
			}
			row[t.totals+2] = text(totals[0].Get("currency"))
		}
	}
	return end, nil
}

// Each reads the elements of a list, as it stands in a JSON column of a valid summary, into row one after another, and
// hands each to do with its place, from 0. The empty text is a list that the summary has not got. It fails as Row does,
// and with the error of do.
func (t *Table) Each(list string, row []Value, do func(i int) error) (err error) {
	at := space(list, 0)
	if at == len(list) {
		return nil // the summary has no such list
	}
	if list[at] != '[' {
		return errors.New("is no list")
	}
	at = space(list, at+1)
	for i := 0; list[at] != ']'; i++ {
		if list[at] == ',' {
			at = space(list, at+1)
		}
		clear(row)
		if list[at] != '{' {
			return fmt.Errorf("element %d is no object", i)
		}
		if at, err = t.fill(list, at, row); err != nil {
			return err
		}
		if err := do(i); err != nil {
			return err
		}
		at = space(list, at)
	}
	return nil
}

func text(r gjson.Result) Value { return Value{Known: r.Type == gjson.String, Text: r.Str} }
