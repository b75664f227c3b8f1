package summary_test

import (
	"encoding/json"
	"math"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/legato-calls/legato/enrich/summary"
)

var base = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func TestTimesAreWrittenInOneForm(t *testing.T) {
	for name, c := range map[string]struct {
		in   time.Time
		want string
	}{
		"whole seconds have six digits":        {base, `"2026-03-02T09:00:00.000000Z"`},
		"nanoseconds are cut off, not rounded": {base.Add(1999 * time.Nanosecond), `"2026-03-02T09:00:00.000001Z"`},
		"each digit has its place":             {base.Add(120_345_678 * time.Nanosecond), `"2026-03-02T09:00:00.120345Z"`},
		"another zone becomes UTC":             {base.In(time.FixedZone("", 3600)), `"2026-03-02T09:00:00.000000Z"`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := json.Marshal(summary.At(c.in))
			if err != nil || string(got) != c.want {
				t.Errorf("got %s (%v), want %s", got, err, c.want)
			}
			var back summary.Time
			if err := json.Unmarshal(got, &back); err != nil || !back.Equal(c.in.Truncate(time.Microsecond)) || back.Location() != time.UTC {
				t.Errorf("read back as %v (%v)", back, err)
			}
		})
	}
}

func TestATimeThatIsNotKnownIsAbsent(t *testing.T) {
	if got := summary.At(time.Time{}); got != nil {
		t.Errorf("got %v", got)
	}
	if got := (*summary.Time)(nil).Known(); !got.IsZero() {
		t.Errorf("got %v", got)
	}
}

func TestAnyRFC3339TimeCanBeRead(t *testing.T) {
	for text, want := range map[string]time.Time{
		`"2026-03-02T09:00:00Z"`:           base,
		`"2026-03-02T10:00:00.5+01:00"`:    base.Add(500 * time.Millisecond),
		`"2026-03-02T09:00:00.123456789Z"`: base.Add(123456789),
	} {
		var got summary.Time
		if err := json.Unmarshal([]byte(text), &got); err != nil || !got.Equal(want) {
			t.Errorf("%s was read as %v (%v)", text, got, err)
		}
	}
	for _, text := range []string{`"yesterday"`, `12`, `""`, `{}`} {
		var got summary.Time
		if err := json.Unmarshal([]byte(text), &got); err == nil {
			t.Errorf("%s was read as %v", text, got)
		}
	}
}

func TestWhatIsNoTimeIsNotTold(t *testing.T) {
	var got summary.Time
	err := json.Unmarshal([]byte(`"+12025550111"`), &got)
	if err == nil || strings.Contains(err.Error(), "12025550111") {
		t.Errorf("the error is %v", err)
	}
}

func TestSecondsHaveOneToThreeDecimals(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                              "0.0",
		24 * time.Second:               "24.0",
		4030 * time.Millisecond:        "4.03",
		1234567 * time.Microsecond:     "1.235",
		-1500 * time.Millisecond:       "-1.5",
		-400 * time.Microsecond:        "0.0",
		4*time.Hour + time.Millisecond: "14400.001",
	} {
		got, err := json.Marshal(summary.Lasting(d))
		if err != nil || string(got) != want {
			t.Errorf("%v is written as %s (%v), want %s", d, got, err, want)
		}
	}
	if got := summary.Between(base, time.Time{}, 60); got != nil {
		t.Errorf("to a time that is not known: %v", *got)
	}
	if got := summary.Between(time.Time{}, base, 60); got != nil {
		t.Errorf("from a time that is not known: %v", *got)
	}
	if got := summary.Between(base.Add(time.Second), base, 60); got != nil {
		t.Errorf("backwards: %v", *got)
	}
	if got := summary.Between(base, base.Add(time.Minute), 60); *got != 60 {
		t.Errorf("up to the limit: %v", *got)
	}
	if got := summary.Between(base, base.Add(time.Minute+1), 60); got != nil {
		t.Errorf("beyond the limit: %v", *got)
	}
}

func TestNumbersHaveADecimal(t *testing.T) {
	for n, want := range map[summary.Number]string{0: "0.0", 4: "4.0", 4.5: "4.5", -3: "-3.0", 1e21: "1e+21", 1.25e-7: "1.25e-7"} {
		got, err := json.Marshal(n)
		if err != nil || string(got) != want {
			t.Errorf("%v is written as %s (%v), want %s", float64(n), got, err, want)
		}
	}
	if got, err := json.Marshal(summary.Number(math.Inf(1))); err == nil {
		t.Errorf("infinity is written as %s", got)
	}
}

func TestSecondsAreReadBackAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := summary.Lasting(time.Duration(rapid.Int64Range(-1e15, 1e15).Draw(t, "d")))
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var back summary.Seconds
		if err := json.Unmarshal(b, &back); err != nil || back != *s {
			t.Fatalf("%v was written as %s, read as %v (%v)", *s, b, back, err)
		}
	})
}

// Whoever imports the contract gets nothing else with it.
func TestTheContractNeedsNothingBeyondTheStandardLibrary(t *testing.T) {
	const contract = "github.com/legato-calls/legato/enrich/summary"
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", contract, contract+"/schema")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("list the imports: %v", err)
	}
	found := strings.Fields(string(out))
	if len(found) != 2 {
		t.Errorf("the contract and its schemas are made of %v", found)
	}
}
