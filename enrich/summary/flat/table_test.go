package flat_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
	"golang.org/x/tools/txtar"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
)

func tableOf(t *testing.T, kind string) *flat.Table {
	t.Helper()
	table, err := flat.Of(kind)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// cells are the known values of a row, as text by column.
func cells(t *testing.T, table *flat.Table, body string) map[string]string {
	t.Helper()
	row := make([]flat.Value, len(table.Columns()))
	if err := table.Row(body, row); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for i, c := range table.Columns() {
		if row[i].Known {
			got[c.Name] = row[i].Text
		}
	}
	return got
}

func TestColumnsAreNamedOnceAndPlainly(t *testing.T) {
	for _, kind := range []string{summary.KindLeg, summary.KindSession} {
		seen := make(map[string]bool)
		for _, c := range tableOf(t, kind).Columns() {
			if seen[c.Name] || !regexp.MustCompile(`^[a-z][a-z0-9_]*$`).MatchString(c.Name) {
				t.Errorf("a column of a %s is named %q", kind, c.Name)
			}
			seen[c.Name] = true
		}
	}
	if _, err := flat.Of("call"); err == nil {
		t.Error("there is a table of a kind that is none")
	}
}

// TestEveryFieldOfEveryFlowStandsInItsColumn holds the rows against the JSON: no
// column invents, and none leaves out.
func TestEveryFieldOfEveryFlowStandsInItsColumn(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "testdata", "flows", "*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no flows: %v", err)
	}
	rows := 0
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range archive.Files {
			kind, _, _ := strings.Cut(strings.TrimPrefix(part.Name, "want/"), " ")
			if !strings.HasPrefix(part.Name, "want/") || kind != summary.KindLeg && kind != summary.KindSession {
				continue
			}
			rows++
			t.Run(filepath.Base(file)+"/"+part.Name, func(t *testing.T) {
				table := tableOf(t, kind)
				var body map[string]any
				if err := json.Unmarshal(part.Data, &body); err != nil {
					t.Fatal(err)
				}
				want := make(map[string]any)
				for _, c := range table.Columns() {
					if v := at(body, c); v != nil {
						want[c.Name] = v
					}
				}
				got := make(map[string]any)
				for name, text := range cells(t, table, string(part.Data)) {
					got[name] = text
					if c := columnOf(table, name); c.Type != flat.Text && c.Type != flat.Timestamp && c.Type != flat.Decimal {
						var v any
						if err := json.Unmarshal([]byte(text), &v); err != nil {
							t.Fatalf("%s: %v", name, err)
						}
						got[name] = v
					}
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
	}
	if rows < len(files) {
		t.Errorf("%d flows have %d summaries", len(files), rows)
	}
}

func columnOf(table *flat.Table, name string) flat.Column {
	for _, c := range table.Columns() {
		if c.Name == name {
			return c
		}
	}
	return flat.Column{}
}

// at finds the value of a column in a body, nil where there is none.
func at(body map[string]any, c flat.Column) any {
	var v any = body
	for _, name := range c.Path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[name]
	}
	field := strings.TrimPrefix(c.Name, "cost_")
	if field == "amount" || field == "currency" {
		totals, _ := v.([]any)
		if len(totals) != 1 {
			return nil
		}
		v = totals[0].(map[string]any)[field]
	}
	return v
}

func TestRowTypes(t *testing.T) {
	body := `{"kind":"leg","revision":3,"started_at":"2026-03-14T15:09:26.535897Z","duration_seconds":4.03,"status":{"final":true,"attempts":0},
		"quality":{"inbound":{"mos":4.5}},"hangup":{"fault":{"code":"D1"}},"tags":["a,b"],"future":{"x":1},"events":[],"answered_at":null}`
	table := tableOf(t, summary.KindLeg)
	row := make([]flat.Value, len(table.Columns()))
	if err := table.Row(body, row); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]flat.Value)
	for i, c := range table.Columns() {
		if row[i].Known {
			got[c.Name] = row[i]
		}
	}
	want := map[string]flat.Value{
		"kind":                {Known: true, Text: "leg"},
		"revision":            {Known: true, Text: "3", Int: 3},
		"started_at":          {Known: true, Text: "2026-03-14T15:09:26.535897Z", Int: time.Date(2026, 3, 14, 15, 9, 26, 535_897_000, time.UTC).UnixMicro()},
		"duration_seconds":    {Known: true, Text: "4.03", Number: 4.03},
		"status_final":        {Known: true, Text: "true", Int: 1},
		"status_attempts":     {Known: true, Text: "0"},
		"quality_inbound_mos": {Known: true, Text: "4.5", Number: 4.5},
		"hangup_fault_code":   {Known: true, Text: "D1"},
		"tags":                {Known: true, Text: `["a,b"]`},
		"events":              {Known: true, Text: "[]"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// A row is used again: nothing of the one before may stay.
	if err := table.Row(`{}`, row); err != nil {
		t.Fatal(err)
	}
	for i, v := range row {
		if v.Known {
			t.Errorf("%s stays", table.Columns()[i].Name)
		}
	}
}

func TestTimesAreThoseOfTheStandardLibrary(t *testing.T) {
	table := tableOf(t, summary.KindLeg)
	row := make([]flat.Value, len(table.Columns()))
	started := slices.IndexFunc(table.Columns(), func(c flat.Column) bool { return c.Name == "started_at" })
	check := func(text string) {
		t.Helper()
		want, invalid := time.Parse(time.RFC3339Nano, text)
		err := table.Row(`{"started_at":"`+text+`"}`, row)
		if (err != nil) != (invalid != nil) || err == nil && row[started].Int != want.UnixMicro() {
			t.Errorf("%s: %d, %v; want %d, %v", text, row[started].Int, err, want.UnixMicro(), invalid)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	const form = "2006-01-02T15:04:05.000000Z"
	for day := time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC); day.Year() < 9990; day = day.AddDate(0, 0, 1+rng.IntN(60)) {
		text := day.Add(time.Duration(rng.Int64N(int64(24 * time.Hour)))).Format(form)
		check(text)
		// One character is another.
		at := rng.IntN(len(text))
		check(text[:at] + string("0123456789.:-+TZz "[rng.IntN(18)]) + text[at+1:])
	}
	for _, text := range []string{
		"0000-02-28T00:00:00.000000Z", "1900-02-29T00:00:00.000000Z", "2000-02-29T23:59:59.999999Z", "2026-04-31T00:00:00.000000Z", "2026-03-14T24:00:00.000000Z",
		"2026-03-14T15:09:60.000000Z", "2026-03-14T15:09:26Z", "2026-03-14T15:09:26.5+02:00", "2026-03-14T15:09:26.535897999Z", "1969-12-31T23:59:59.999999Z",
	} {
		check(text)
	}
}

func TestCostInOneCurrencyHasColumnsOfItsOwn(t *testing.T) {
	tests := []struct {
		name, totals     string
		amount, currency string
	}{
		{name: "one currency", totals: `[{"currency":"USD","amount":"0.0450"}]`, amount: "0.0450", currency: "USD"},
		{name: "a currency that was not named", totals: `[{"amount":"1"}]`, amount: "1"},
		{name: "two currencies are never mixed", totals: `[{"currency":"EUR","amount":"1"},{"currency":"USD","amount":"2"}]`},
		{name: "nothing was charged", totals: `[]`},
	}
	for _, tt := range tests {
		for _, kind := range []string{summary.KindLeg, summary.KindSession} {
			t.Run(tt.name+", of a "+kind, func(t *testing.T) {
				got := cells(t, tableOf(t, kind), `{"cost":{"totals":`+tt.totals+`}}`)
				want := map[string]string{"cost_totals": tt.totals}
				if tt.amount != "" {
					want["cost_amount"] = tt.amount
				}
				if tt.currency != "" {
					want["cost_currency"] = tt.currency
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("-want +got:\n%s", diff)
				}
			})
		}
	}
}

func TestMoneyThatIsNoPlainDecimalIsNull(t *testing.T) {
	table, ok := columnOf(tableOf(t, summary.KindLeg), "cost_parts").Elements()
	if !ok {
		t.Fatal("cost_parts is no list of objects")
	}
	row := make([]flat.Value, len(table.Columns()))
	var got []string
	list := `[{"amount":"0.0070"},{"amount":"-1"},{"amount":"1e3"},{"amount":"free"},{"amount":"1.2.3"},{"amount":"--1"},{"amount":"."},{}]`
	if err := table.Each(list, row, func(int) error {
		for i, c := range table.Columns() {
			if c.Name == "amount" {
				got = append(got, row[i].Text, map[bool]string{true: "known", false: "null"}[row[i].Known])
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	want := []string{"0.0070", "known", "-1", "known", "1e3", "null", "free", "null", "1.2.3", "null", "--1", "null", ".", "null", "", "null"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestElementsOfAListAreRowsOfTheirOwn(t *testing.T) {
	legs := tableOf(t, summary.KindLeg)
	for name, want := range map[string]bool{"events": true, "recordings": true, "tags": false, "sources": false, "outcome": false} {
		if _, ok := columnOf(legs, name).Elements(); ok != want {
			t.Errorf("%s has elements: %v", name, ok)
		}
	}
	if !columnOf(legs, "tags").Texts() || columnOf(legs, "events").Texts() || columnOf(legs, "sources").Texts() {
		t.Error("which columns are lists of texts is not as it is")
	}
	events, _ := columnOf(legs, "events").Elements()
	row := make([]flat.Value, len(events.Columns()))
	places := 0
	if err := events.Each(`[{"id":"e1","attempt":2},{"id":"e2"}]`, row, func(i int) error {
		if places += i; row[0].Text != fmt.Sprint("e", i+1) {
			t.Errorf("element %d is %v", i, row[0])
		}
		return nil
	}); err != nil || places != 1 {
		t.Errorf("%v, %d", err, places)
	}
	if err := events.Each("", row, func(int) error { return errors.New("an element of no list") }); err != nil {
		t.Errorf("a list that is not there: %v", err)
	}
	for _, bad := range []string{`3`, `[3]`, `[{"id":4}]`, `[{"occurred_at":"yesterday"}]`} {
		if err := events.Each(bad, row, func(int) error { return nil }); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestMillionthsAreExactOrNone(t *testing.T) {
	tests := []struct {
		decimal string
		want    int64
		ok      bool
	}{
		{"0.0070", 7000, true},
		{"-0.000001", -1, true},
		{"12", 12_000_000, true},
		{".5", 500_000, true},
		{"1.5000000000", 1_500_000, true},
		{"999999999999.999999", 999_999_999_999_999_999, true},
		{"1000000000000", 0, false},
		{"0.0000001", 0, false},
		{"1e3", 0, false},
		{"", 0, false},
		{"99999999999999999999999", 0, false},
		{"9223372036855", 0, false},
		{"-0999999999999.9999990", -999_999_999_999_999_999, true},
		{"1.2.3", 0, false},
		{"-.", 0, false},
	}
	for _, tt := range tests {
		if got, ok := flat.Millionths(tt.decimal); got != tt.want || ok != tt.ok {
			t.Errorf("%q: %d, %v", tt.decimal, got, ok)
		}
	}
}

func TestRowRefusesWhatIsNoSummary(t *testing.T) {
	for name, body := range map[string]string{
		"not JSON":                        `{"kind":`,
		"a list":                          `[]`,
		"a number as text":                `{"duration_seconds":"4"}`,
		"a fraction as a count":           `{"revision":1.5}`,
		"a time that is none":             `{"started_at":"yesterday"}`,
		"a truth value as text":           `{"status":{"final":"yes"}}`,
		"a text where an object shall be": `{"hangup":"+12025550111"}`,
		"a number where a list shall be":  `{"events":3}`,
	} {
		t.Run(name, func(t *testing.T) {
			table := tableOf(t, summary.KindLeg)
			err := table.Row(body, make([]flat.Value, len(table.Columns())))
			if err == nil || strings.Contains(err.Error(), "+1202") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// reference reads a summary by the words of the columns alone: what a row must say of a text that is JSON.
func reference(t *testing.T, table *flat.Table, body string) map[string]string {
	t.Helper()
	got := make(map[string]string)
	for _, c := range table.Columns() {
		if c.Go == nil {
			continue // made of the totals
		}
		at := []gjson.Result{gjson.Parse(body)}
		for _, name := range c.Path {
			var next []gjson.Result
			for _, object := range at {
				object.ForEach(func(key, value gjson.Result) bool {
					if key.Str == name && value.Type != gjson.Null {
						next = append(next, value)
					}
					return true
				})
			}
			at = next
		}
		if len(at) == 0 {
			continue
		}
		last := at[len(at)-1] // of fields that stand twice
		got[c.Name] = last.Raw
		if last.Type == gjson.String {
			got[c.Name] = last.Str
		}
	}
	return got
}

func FuzzRow(f *testing.F) {
	f.Add(`{"kind":"leg","cost":{"totals":[{"amount":"1"}]},"status":{}}`)
	f.Add(`{"quality":{"inbound":{"mos":1e300}},"events":[{}],"revision":9223372036854775807}`)
	f.Add(` { "kind" : "l\"e\\g" , "tags" : [ "]" , "\\" ] , "hangup" : { "cause" : null , "fault" : { } } , "revision" : 8.0 } `)
	f.Add(`{"status":{"final":true},"status":{"final":false},"hangup":{"cause":"normal_clearing","sip_code":"200"},"caller_name":"Zoë \\ O'Hara, and more than eight"}`)
	f.Add(`{"events":[{"id":"a"},{"type":"b","x":[{"y":"}"}]}],"\u006bind":"leg","kind":"é","sources":{"a":"b"},"unknown":[1,-2.5e-3,true,null]}`)
	for _, broken := range []string{`{"a":01}`, `{"a":-}`, `{"a":1.}`, `{"a":1e}`, `{"a":tru}`, `{"a":[1,]}`, `{"a":{"b"}}`, `{"a":"\x"}`, `{"a":"\u00g0"}`, "{\"a\":\"\x01\"}", "{\"a\"\v:1}", `{"a":1}}`, `{"a":1,}`, `{"revision":"x"`} {
		f.Add(broken)
	}
	f.Fuzz(func(t *testing.T, body string) {
		table := tableOf(t, summary.KindLeg)
		row := make([]flat.Value, len(table.Columns()))
		err := table.Row(body, row)
		if valid := json.Valid([]byte(body)); valid == (err != nil && err.Error() == "not JSON") {
			t.Fatalf("%q is JSON: %v; the row: %v", body, valid, err)
		}
		if err != nil {
			return
		}
		want := reference(t, table, body)
		for i, c := range table.Columns() {
			if text, ok := want[c.Name]; c.Go != nil && (row[i].Text != text || row[i].Known != ok && c.Type != flat.Decimal) {
				t.Errorf("%s of %q is %+v, want %q, %v", c.Name, body, row[i], text, ok)
			}
			elements, ok := c.Elements()
			if !ok || !row[i].Known || row[i].Text[0] != '[' {
				continue
			}
			list := gjson.Parse(row[i].Text).Array()
			scratch := make([]flat.Value, len(elements.Columns()))
			_ = elements.Each(row[i].Text, scratch, func(n int) error {
				want := reference(t, elements, list[n].Raw)
				for i, c := range elements.Columns() {
					if scratch[i].Text != want[c.Name] && c.Go != nil {
						t.Errorf("%s of element %d of %q is %+v, want %q", c.Name, n, body, scratch[i], want[c.Name])
					}
				}
				return nil
			})
		}
	})
}
