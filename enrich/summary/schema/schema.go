// Package schema holds the JSON Schemas (2020-12) of the published summaries, as
// they are committed beside this file and served to consumers.
//
// They are made from the types and comments of package summary by this
// package's test, which fails when they are not current; run with -update, it
// writes them anew. Published, they allow fields that they do not name, as
// consumers have to; package schematest closes that door for our own tests.
package schema

import (
	"embed"
	"strconv"

	"github.com/legato-calls/legato/enrich/summary"
)

// MediaType is the content type of a schema.
const MediaType = "application/schema+json"

//go:embed *.json
var files embed.FS

// Kinds returns the kinds of summary that have a schema.
func Kinds() []string { return []string{summary.KindLeg, summary.KindSession} }

// Name returns the file name of the schema of a kind: "leg.v1.json".
func Name(kind string) string {
	return kind + ".v" + strconv.Itoa(summary.Schema) + ".json"
}

// Of returns the schema of a kind. It fails when there is no such kind.
func Of(kind string) ([]byte, error) { return files.ReadFile(Name(kind)) }
