package parquetfile_test

import (
	"io"
	"strings"
	"testing"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
	"github.com/legato-calls/legato/publish/load/loadtest"
	"github.com/legato-calls/legato/publish/parquetfile"
)

// BenchmarkRow reads and writes summaries one by one; a file has 2,000 of them.
func BenchmarkRow(b *testing.B) {
	for _, kind := range []string{summary.KindLeg, summary.KindSession} {
		table, err := flat.Of(kind)
		if err != nil {
			b.Fatal(err)
		}
		var bodies []string
		if err := (loadtest.Plan{Legs: 2000}).Each(func(m loadtest.Message) error {
			if strings.Contains(m.Subject, "."+kind+".") {
				bodies = append(bodies, string(m.Body))
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
		row := make([]flat.Value, len(table.Columns()))
		b.Run("read "+kind, func(b *testing.B) {
			for i := 0; b.Loop(); i++ {
				if err := table.Row(bodies[i%len(bodies)], row); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, nested := range []string{"flat", "nested"} {
			b.Run("read and write "+nested+" "+kind, func(b *testing.B) {
				w := parquetfile.New(io.Discard, table, nested == "nested")
				for i := 0; b.Loop(); i++ {
					if i%2000 == 1999 {
						if err := w.Close(); err != nil {
							b.Fatal(err)
						}
						w.Reset(io.Discard)
					}
					if err := table.Row(bodies[i%len(bodies)], row); err != nil {
						b.Fatal(err)
					}
					if err := w.Write(row); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
