package summary_test

import (
	"testing"

	"github.com/legato-calls/legato/enrich/summary"
)

func TestPositionsOfDifferentLogsDoNotCompare(t *testing.T) {
	p := func(log string, seq uint64) summary.Position { return summary.Position{Log: log, Seq: seq} }
	if !p("a", 5).Covers(p("a", 5)) || !p("a", 6).Covers(p("a", 5)) || p("a", 4).Covers(p("a", 5)) || p("b", 9).Covers(p("a", 5)) {
		t.Error("wrong")
	}
}
