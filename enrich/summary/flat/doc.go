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
