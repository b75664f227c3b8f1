package compose_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/legato-calls/legato/enrich/compose"
	"github.com/legato-calls/legato/enrich/summary"
)

// full fills every list of a leg with n entries, and every text with text.
func full(n int, text string) summary.Leg {
	var l summary.Leg
	fill(reflect.ValueOf(&l).Elem(), n, text, new(int))
	l.Changed, l.Reasons, l.Omitted, l.EventsOmitted = nil, nil, nil, 0
	l.Outcome, l.EndedBy, l.Status.State = summary.OutcomeAnswered, summary.EndedByHangup, summary.StatusConfirmed
	// As many as there can be.
	l.Discrepancies = l.Discrepancies[:min(n, 2)]
	l.Cost.Parts, l.Cost.Totals = l.Cost.Parts[:min(n, 64)], l.Cost.Totals[:min(n, 64)]
	l.UnreadFields = l.UnreadFields[:min(n, 20)]
	l.DTMF.Count = 0
	// The timeline knows what the entries are named after.
	known := make(map[string]bool)
	l.Events = nil
	add := func(id string, at *summary.Time) {
		if !known[id] {
			known[id] = true
			l.Events = append(l.Events, summary.Event{ID: id, Type: "call.something", OccurredAt: at})
		}
	}
	for _, p := range l.Playbacks {
		add(p.ID, p.At)
	}
	for _, d := range l.DTMF.Digits {
		add(d.ID, d.At)
	}
	for _, q := range l.Queues {
		add(q.ID, q.EnteredAt)
	}
	l.Events = sorted(l.Events, compose.CompareEvents)
	l.Events, l.EventsOmitted = compose.CutTimeline(l.Events)
	compose.TruncateLeg(&l)
	compose.Derive(&l)
	// What follows from these texts.
	l.Hangup.Party = summary.PartyUnknown
	l.MachineDetection.ScreenedAt, l.AnsweredBy = nil, summary.AnsweredByUnknown
	compose.Annotate(&l, nil, nil)
	return l
}

// longest is how long a text of that field can be.
func longest(field string) int {
	switch field {
	case "ClientState", "From", "To", "FromSIPURI", "ToSIPURI", "Tags":
		return 1 << 20
	case "Text", "JSON", "Content":
		return 64 << 10
	case "URLs", "PublicURLs":
		return 4 << 10
	case "Media", "Reason", "Name", "Value", "CallerName", "OfferedCodecs":
		return 512
	case "Amount", "Rate": // decimal numbers
		return 20
	}
	return 128
}

func fill(v reflect.Value, n int, text string, count *int) {
	switch v.Interface().(type) {
	case summary.Time:
		*count++
		v.Set(reflect.ValueOf(*at(time.Duration(*count) * time.Second)))
		return
	case []summary.Note, *summary.Completeness, map[string]summary.Source:
		return
	}
	switch v.Kind() {
	default:
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n, text, count)
	case reflect.Struct:
		for i := range v.NumField() {
			of := text
			if k := v.Field(i).Kind(); k == reflect.String || k == reflect.Map || v.Field(i).Type() == reflect.TypeFor[[]string]() {
				of = text[:min(len(text), longest(v.Type().Field(i).Name))]
			}
			fill(v.Field(i), n, of, count)
			if v.Type().Field(i).Name == "ID" {
				*count++
				v.Field(i).SetString(strconv.Itoa(*count))
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), n, text, count)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		if v.Type().Elem().Kind() == reflect.String {
			v.SetMapIndex(reflect.ValueOf("mp3"), reflect.ValueOf(text))
		}
	case reflect.String:
		v.SetString(text)
	}
}

func TestAnyLegFits(t *testing.T) {
	for name, l := range map[string]summary.Leg{
		"many short entries":         full(200, "some words"),
		"few long texts":             full(4, strings.Repeat("text ", 100_000)),
		"many long ones":             full(130, strings.Repeat("x", 500)),
		"what takes six bytes a one": full(130, strings.Repeat("\x01", 120)),
		"a state as long as a book":  {ClientState: strings.Repeat("A", 900_000), From: strings.Repeat("ü", 500_000)},
	} {
		t.Run(name, func(t *testing.T) {
			whole := contentOf(t, l)
			if len(whole) <= compose.MaxContent {
				t.Fatalf("%d bytes are not too many", len(whole))
			}
			got, content, err := compose.FitLeg(l)
			if err != nil || len(content) > compose.MaxContent {
				t.Fatalf("%d bytes of %d are left (%v)", len(content), len(whole), err)
			}
			t.Logf("%d bytes of %d are left", len(content), len(whole))
			if contentOf(t, l) != whole {
				t.Error("the leg itself was changed")
			}
			if !strings.Contains(string(content), "omitted") && got.AI == nil {
				t.Error("it does not say that something is missing")
			}
			if _, again, _ := compose.FitLeg(got); !bytes.Equal(again, content) {
				t.Error("it is shed of more the second time")
			}
			// Whoever has the whole again makes the same of it.
			_, merged, err := compose.FitLeg(compose.MergeLeg(got, l))
			if diff := cmp.Diff(decoded(t, content), decoded(t, merged)); diff != "" || err != nil {
				t.Errorf("merged with what it was made of (-want +got):\n%s", diff)
			}
		})
	}
}

func decoded(t *testing.T, content []byte) map[string]any {
	t.Helper()
	var v map[string]any
	if err := json.Unmarshal(content, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestASmallLegIsLeftAlone(t *testing.T) {
	l := full(3, "a")
	_, content, err := compose.FitLeg(l)
	if err != nil || string(content) != contentOf(t, l) {
		t.Errorf("%s was made of %s (%v)", content, contentOf(t, l), err)
	}
}

func TestWhatIsShedFirst(t *testing.T) {
	l := full(120, "some words")
	last := len(contentOf(t, l))
	var order []string
	for {
		got, content, err := compose.FitTo(l, last-1)
		if err != nil {
			t.Fatal(err)
		}
		if len(content) >= last {
			break
		}
		last = len(content)
		order = append(order, strings.Join(shrunk(l, got), " "))
	}
	want := []string{
		"ai.messages",
		"ai.insights ai.messages",
		"ai.insights ai.messages transcript",
		"ai.insights ai.messages headers transcript",
		"ai.insights ai.messages headers playbacks transcript",
		"ai.insights ai.messages digits gathers headers playbacks transcript",
		"ai.insights ai.messages digits events gathers headers playbacks transcript",
		"ai.insights ai.messages digits events gathers headers playbacks recordings transcript",
	}
	var got []string
	for _, o := range order {
		if len(got) == 0 || got[len(got)-1] != o {
			got = append(got, o)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\nthe steps are:\n%s", diff, strings.Join(compose.Truncations(), "\n"))
	}
}

// shrunk names what is less in b than in a.
func shrunk(a, b summary.Leg) []string {
	messages := func(l summary.Leg) (n int) {
		if l.AI != nil {
			for _, g := range l.AI.Gathers {
				n += len(g.Messages)
			}
		}
		return n
	}
	insights := func(l summary.Leg) int {
		if l.AI == nil {
			return 0
		}
		return len(l.AI.Insights)
	}
	headers := func(l summary.Leg) int {
		if l.Headers == nil {
			return 0
		}
		return len(l.Headers.Custom)
	}
	var names []string
	for _, c := range []struct {
		name          string
		before, after int
	}{
		{"ai.insights", insights(a), insights(b)},
		{"ai.messages", messages(a), messages(b)},
		{"digits", len(a.DTMF.Digits), len(b.DTMF.Digits)},
		{"events", len(a.Events), len(b.Events)},
		{"gathers", len(a.Gathers), len(b.Gathers)},
		{"headers", headers(a), headers(b)},
		{"playbacks", len(a.Playbacks), len(b.Playbacks)},
		{"recordings", len(a.Recordings), len(b.Recordings)},
		{"transcript", len(a.Transcript.Pieces), len(b.Transcript.Pieces)},
	} {
		if c.after < c.before {
			names = append(names, c.name)
		}
	}
	return names
}
