package flat

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/legato-calls/legato/enrich/summary"
)

// Type is what a column holds.
type Type int

// Types of columns.
const (
	// Text is a text.
	Text Type = iota
	// Integer is a whole number of 64 bits.
	Integer
	// Number is a number of double precision; seconds are.
	Number
	// Boolean is true or false.
	Boolean
	// Timestamp is an instant in UTC, to the microsecond.
	Timestamp
	// Decimal is money: decimal text beside its currency, so that no cent is lost. A text that is
	// no plain decimal number is null; the JSON still has it.
	Decimal
	// JSON is a list or a map, as JSON text.
	JSON
)

// String returns the type's name for people.
func (t Type) String() string {
	return [...]string{"text", "integer", "number", "boolean", "timestamp", "decimal", "JSON text"}[t]
}

// Column is one column of the table of a kind.
type Column struct {
	// Name is unique in its table: lower-case letters, digits and "_".
	Name string
	// Type is what it holds.
	Type Type
	// Path is where the value stands in the summary, from the outside in.
	Path []string
	// Always tells that it is never null.
	Always bool
	// Go is the type of the field in package summary, without its pointer. Nil: the column is made from another.
	Go reflect.Type
}

// Texts reports whether a JSON column is a list of texts.
func (c Column) Texts() bool {
	return c.Go != nil && c.Go.Kind() == reflect.Slice && c.Go.Elem().Kind() == reflect.String
}

// Elements returns the table that the elements of a JSON column make; false when they are no objects.
func (c Column) Elements() (*Table, bool) {
	if c.Go == nil || c.Go.Kind() != reflect.Slice || c.Go.Elem().Kind() != reflect.Struct {
		return nil, false
	}
	return tableOf(c.Go.Elem()), true
}

// Columns added to what the types say: a cost in one currency, as nearly all
// are, without taking a list apart.
const (
	costTotals   = "cost_totals"
	costAmount   = "cost_amount"
	costCurrency = "cost_currency"
)

// money are the fields that hold decimal text.
var money = map[reflect.Type][]string{
	reflect.TypeFor[summary.Cost]():     {"TotalCost"},
	reflect.TypeFor[summary.CostPart](): {"Amount", "Rate"},
	reflect.TypeFor[summary.Amount]():   {"Amount"},
}

// columnsOf returns the columns of a struct, in the order of its fields.
func columnsOf(typ reflect.Type, path []string, always bool) []Column {
	var columns []Column
	for _, f := range reflect.VisibleFields(typ) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			continue // an embedded struct, whose fields follow by themselves
		}
		at := append(append([]string(nil), path...), name)
		stated := always && options == ""
		of := f.Type
		if of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if of.Kind() == reflect.Struct && of != reflect.TypeFor[summary.Time]() {
			columns = append(columns, columnsOf(of, at, stated)...)
			continue
		}
		column := Column{Name: strings.Join(at, "_"), Type: typeOf(of), Path: at, Always: stated, Go: of}
		if slices.Contains(money[typ], f.Name) {
			column.Type = Decimal
		}
		columns = append(columns, column)
		if column.Name == costTotals {
			columns = append(columns, Column{Name: costAmount, Type: Decimal, Path: at}, Column{Name: costCurrency, Path: at})
		}
	}
	return columns
}

func typeOf(typ reflect.Type) Type {
	if typ == reflect.TypeFor[summary.Time]() {
		return Timestamp
	}
	switch typ.Kind() {
	case reflect.String:
		return Text
	case reflect.Int, reflect.Int64:
		return Integer
	case reflect.Float64:
		return Number
	case reflect.Bool:
		return Boolean
	case reflect.Slice, reflect.Map:
		return JSON
	default:
		// The types are our own: a test calls this for each of them.
		panic(fmt.Sprintf("no column holds a %v", typ))
	}
}

// maxDecimal bounds the digits of a decimal: money has fewer, and a database refuses what is absurd.
const maxDecimal = 64

// isDecimal reports whether a text is digits, with a sign and a point at most.
func isDecimal(text string) bool {
	text = strings.TrimPrefix(text, "-")
	digits, points := 0, 0
	for i := range len(text) {
		switch c := text[i]; {
		case '0' <= c && c <= '9':
			digits++
		case c == '.':
			points++
		default:
			return false
		}
	}
	return digits > 0 && points <= 1 && len(text) <= maxDecimal
}

// Millionths returns a decimal in millionths of its unit. It is false when the decimal is finer than that, or has
// more than twelve digits before the point: then no DECIMAL(18,6) holds it.
func Millionths(decimal string) (int64, bool) {
	const places, limit = 6, int64(1e18)
	if !isDecimal(decimal) {
		return 0, false
	}
	digits, negative := strings.CutPrefix(decimal, "-")
	whole, part, _ := strings.Cut(digits, ".")
	if part = strings.TrimRight(part, "0"); len(part) > places {
		return 0, false
	}
	var n int64
	for i := range len(whole) + places {
		if n >= limit/10 {
			return 0, false
		}
		digit := byte('0')
		switch at := i - len(whole); {
		case at < 0:
			digit = whole[i]
		case at < len(part):
			digit = part[at]
		}
		n = n*10 + int64(digit-'0')
	}
	if negative {
		n = -n
	}
	return n, true
}
