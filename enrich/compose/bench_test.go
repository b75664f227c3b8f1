package compose_test

import (
	"testing"

	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/enrich/summary"
)

// BenchmarkComposeLeg makes the summary of a leg of seven events, without its bytes.
func BenchmarkComposeLeg(b *testing.B) {
	v := sevenEvents()
	b.ReportAllocs()
	for b.Loop() {
		if leg := compose.Leg("5f1c0a02-0000-11f1-9c00-02420a0d0a00", v); len(leg.Events) != 7 {
			b.Fatal("not as supposed")
		}
	}
}

// BenchmarkFitLeg encodes a leg's content and finds it within the bound.
func BenchmarkFitLeg(b *testing.B) {
	leg := compose.Leg("5f1c0a02-0000-11f1-9c00-02420a0d0a00", sevenEvents())
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := compose.FitLeg(leg); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEncodeLeg makes the bytes that are published.
func BenchmarkEncodeLeg(b *testing.B) {
	leg := compose.Leg("5f1c0a02-0000-11f1-9c00-02420a0d0a00", sevenEvents())
	b.ReportAllocs()
	for b.Loop() {
		body, err := summary.Encode(leg)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(body)))
	}
}

// BenchmarkSessionSummary makes the summary of a session of three legs, and its bytes.
func BenchmarkSessionSummary(b *testing.B) {
	v := &session.View{ID: "s", FirstAt: off(0)}
	legs := sessionLegs()
	b.ReportAllocs()
	for b.Loop() {
		s, _, err := compose.FitSession(compose.Session(v, legs))
		if err != nil {
			b.Fatal(err)
		}
		body, err := summary.Encode(s)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(int64(len(body)))
	}
}
