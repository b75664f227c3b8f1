package parquetfile

import (
	"fmt"
	"reflect"

	"github.com/parquet-go/parquet-go"

	"github.com/legato-calls/legato/enrich/summary/flat"
)

// field is a column of a table: a leaf of the file, or a list of elements that have leaves.
type field struct {
	column flat.Column
	// leaf is its place among the leaves of the file; of a list the first of its elements'.
	leaf int
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
