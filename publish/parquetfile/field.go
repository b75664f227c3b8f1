package parquetfile

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/parquet-go/parquet-go"
	"github.com/tidwall/gjson"

	"github.com/legato-calls/legato/enrich/summary/flat"
)

// field is a column of a table: a leaf of the file, or a list of elements that have leaves.
type field struct {
	column flat.Column
	// leaf is its place among the leaves of the file; of a list the first of its elements'.
	leaf int
	// place is that among all fields, those of elements included.
	place int
	// list is nil for a leaf.
	list *list
}

// leaves is how many it has in the file.
func (f *field) leaves() int {
	if f.list != nil {
		return f.list.leaves
	}
	return 1
}

// fields are those of its elements, if it is a list that has some.
func (f *field) fields() []field {
	if f.list != nil {
		return f.list.fields
	}
	return nil
}

// number gives fields their places, from the first that is free on, and returns the next one.
func number(fields []field, free int) int {
	for i := range fields {
		fields[i].place = free
		free = number(fields[i].fields(), free+1)
	}
	return free
}

// list is a list that is written as such.
type list struct {
	// elements is nil for a list of texts, which has one leaf.
	elements *flat.Table
	fields   []field
	// leaves is how many the elements have.
	leaves int
	// repetition is the level of an element that is not the first.
	repetition int
	// scratch has room for an element.
	scratch []flat.Value
}

// fieldsOf returns the fields of columns, the first of which has the leaf first. They are inside of depth lists.
func fieldsOf(columns []flat.Column, nested bool, first, depth int) (fields []field, leaves int) {
	for _, c := range columns {
		f := field{column: c, leaf: first + leaves}
		if elements, ok := c.Elements(); ok && nested {
			f.list = &list{elements: elements, repetition: depth + 1, scratch: make([]flat.Value, len(elements.Columns()))}
			f.list.fields, f.list.leaves = fieldsOf(elements.Columns(), nested, f.leaf, depth+1)
		} else if c.Texts() && nested {
			f.list = &list{repetition: depth + 1, leaves: 1}
		}
		fields = append(fields, f)
		leaves += f.leaves()
	}
	return fields, leaves
}

// schemaOf returns the schema of the fields.
func schemaOf(fields []field) *parquet.Schema {
	return parquet.NewSchema("legato", parquet.SchemaOf(reflect.New(structOf(fields)).Interface()))
}

// structOf returns a struct that has the schema of the fields: a parquet.Group would sort them by name.
func structOf(fields []field) reflect.Type {
	all := make([]reflect.StructField, len(fields))
	for i, f := range fields {
		typ, options := typeOf(f)
		all[i] = reflect.StructField{Name: fmt.Sprintf("C%d", i), Type: typ, Tag: reflect.StructTag(`parquet:"` + f.column.Name + `,optional` + options + `"`)}
	}
	return reflect.StructOf(all)
}

func typeOf(f field) (typ reflect.Type, options string) {
	switch {
	case f.list != nil && f.list.elements != nil:
		return reflect.SliceOf(structOf(f.list.fields)), ",list"
	case f.list != nil:
		return reflect.TypeFor[[]string](), ",list"
	}
	switch f.column.Type {
	case flat.Integer:
		return reflect.TypeFor[int64](), ""
	case flat.Number:
		return reflect.TypeFor[float64](), ""
	case flat.Boolean:
		return reflect.TypeFor[bool](), ""
	case flat.Timestamp:
		return reflect.TypeFor[int64](), ",timestamp(microsecond:utc)"
	case flat.Decimal:
		return reflect.TypeFor[int64](), ",decimal(6:18)"
	case flat.Text, flat.JSON:
	}
	return reflect.TypeFor[string](), ""
}

// rowBatch are rows that each column takes at one go.
type rowBatch struct {
	// columns are those of the fields, by their places.
	columns []column
	// gathered is how many rows there are, bytes about what their texts have.
	gathered, bytes int
}

// column are the values of a field in some rows: of a leaf those that it has in the file, of a list with elements
// those that a field of an element has where it is null. Most fields of a row, and of an element, are null: their
// values are those of what they are in, and are copied once there is another.
type column struct {
	values []parquet.Value
	// taken is how many values of what the field is in are in its own. 0: none, and it is null in all rows.
	taken int
}

// nulls are the values of a leaf in rows in which its field is null.
var nulls [1024]parquet.Value

// null is a value that is none.
func null(repetition, definition int) (v parquet.Value) {
	v.SetRepetitionLevel(repetition)
	v.SetDefinitionLevel(definition)
	return v
}

func newRowBatch(fields int) rowBatch { return rowBatch{columns: make([]column, fields)} }

func (b *rowBatch) empty() {
	for i := range b.columns {
		c := &b.columns[i]
		c.values, c.taken = c.values[:0], 0
	}
	b.gathered, b.bytes = 0, 0
}

// add appends a row. One that is refused leaves nothing behind.
func (b *rowBatch) add(fields []field, row []flat.Value) error {
	for i := range fields {
		if !row[i].Known {
			continue
		}
		if err := b.gather(&fields[i], &row[i], nulls[:b.gathered+1]); err != nil {
			b.forget(fields, b.gathered)
			return err
		}
	}
	b.gathered++
	return nil
}

// gather appends the values of a field that is known. The last of the values of what it is in is the one that it
// would have if it were null.
func (b *rowBatch) gather(f *field, v *flat.Value, in []parquet.Value) error {
	c, none := &b.columns[f.place], in[len(in)-1]
	c.values = append(c.values, in[c.taken:len(in)-1]...)
	c.taken = len(in)
	if f.list != nil {
		if err := b.gatherList(f.list, c, v, none.RepetitionLevel(), none.DefinitionLevel()); err != nil {
			return fmt.Errorf("%s: %w", f.column.Name, err)
		}
		return nil
	}
	if value, ok := b.cell(f.column.Type, v); ok {
		value.SetRepetitionLevel(none.RepetitionLevel())
		value.SetDefinitionLevel(none.DefinitionLevel() + 1)
		c.values = append(c.values, value)
	} else {
		c.values = append(c.values, none)
	}
	return nil
}

// gatherList appends the elements of a list. A list that is null has the definition level of what it is in, one that
// is empty the next, and an element the one after that.
func (b *rowBatch) gatherList(l *list, c *column, v *flat.Value, repetition, definition int) error {
	next := repetition
	if l.elements != nil {
		if err := l.elements.Each(v.Text, l.scratch, func(int) error {
			c.values = append(c.values, null(next, definition+2))
			next = l.repetition
			for i := range l.fields {
				if !l.scratch[i].Known {
					continue
				}
				if err := b.gather(&l.fields[i], &l.scratch[i], c.values); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	} else {
		gjson.Parse(v.Text).ForEach(func(_, text gjson.Result) bool {
			value := bytesOf(text.Str)
			value.SetRepetitionLevel(next)
			value.SetDefinitionLevel(definition + 2)
			b.bytes += len(text.Str)
			c.values = append(c.values, value)
			next = l.repetition
			return true
		})
	}
	if next == repetition {
		c.values = append(c.values, null(repetition, definition+1))
	}
	return nil
}

// cell is a value that is known; false when it is null all the same.
func (b *rowBatch) cell(typ flat.Type, v *flat.Value) (parquet.Value, bool) {
	switch typ {
	case flat.Integer, flat.Timestamp:
		return parquet.Int64Value(v.Int), true
	case flat.Decimal:
		// What does not fit is null; the totals have it as text.
		if n, ok := flat.Millionths(v.Text); ok {
			return parquet.Int64Value(n), true
		}
		return parquet.Value{}, false
	case flat.Number:
		return parquet.DoubleValue(v.Number), true
	case flat.Boolean:
		return parquet.BooleanValue(v.Int == 1), true
	case flat.Text, flat.JSON:
	}
	b.bytes += len(v.Text)
	return bytesOf(v.Text), true
}

// bytesOf is a text without a copy: the columns copy what they are given.
func bytesOf(text string) parquet.Value {
	return parquet.ByteArrayValue(unsafe.Slice(unsafe.StringData(text), len(text)))
}

// forget takes back what was gathered of a row that is not whole. Of the values of what the fields are in so many
// remain.
func (b *rowBatch) forget(fields []field, remain int) {
	for i := range fields {
		c := &b.columns[fields[i].place]
		if c.taken <= remain {
			continue // it had not come to this field
		}
		rows, last := 0, 0
		for at := range c.values {
			if c.values[at].RepetitionLevel() == 0 {
				rows, last = rows+1, at
			}
		}
		if rows > b.gathered {
			c.values = c.values[:last]
		}
		c.taken = remain
		b.forget(fields[i].fields(), len(c.values))
	}
}

// of returns the values of a field, given those of what it is in.
func (b *rowBatch) of(f *field, in []parquet.Value) []parquet.Value {
	c := &b.columns[f.place]
	if c.taken == 0 {
		return in
	}
	c.values = append(c.values, in[c.taken:]...)
	c.taken = len(in)
	return c.values
}
