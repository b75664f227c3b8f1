package forward_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/publish/forward"
)

type parsed struct {
	Name, URL     string
	Mode          forward.Mode
	Filter        forward.Filter
	Header, Value string
}

func TestParseReadsTargets(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		flags forward.Flags
		want  []parsed
	}{
		{name: "none"},
		{
			name:  "a URL alone is named app",
			flags: forward.Flags{Targets: []string{"http://127.0.0.1:3000/webhooks?key=1"}},
			want:  []parsed{{Name: "app", URL: "http://127.0.0.1:3000/webhooks?key=1", Mode: forward.After}},
		},
		{
			name:  "a URL without a path has the root's",
			flags: forward.Flags{Targets: []string{"https://ivr.example"}},
			want:  []parsed{{Name: "app", URL: "https://ivr.example/", Mode: forward.After}},
		},
		{
			name: "two, with modes, conditions and a header",
			flags: forward.Flags{
				Targets: []string{"ivr=http://ivr:3000/w", "crm=https://crm.example/w"},
				Modes:   []string{"ivr=proxy"},
				Only:    []string{"crm=call.hangup", "call.recording.*", "connection:22", "ivr=connection:1", "2", "call.*"},
				Headers: []string{"crm=x-secret: a: b"},
			},
			want: []parsed{
				{Name: "ivr", URL: "http://ivr:3000/w", Mode: forward.Proxy, Filter: forward.Filter{
					Types: []string{"call.*"}, Connections: []call.ConnectionID{"1", "2"},
				}},
				{
					Name: "crm", URL: "https://crm.example/w", Mode: forward.After, Header: "X-Secret", Value: "a: b",
					Filter: forward.Filter{Types: []string{"call.hangup", "call.recording.*"}, Connections: []call.ConnectionID{"22"}},
				},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			targets, err := forward.Parse(tt.flags)
			if err != nil {
				t.Fatal(err)
			}
			var got []parsed
			for _, x := range targets {
				got = append(got, parsed{x.Name, x.URL.String(), x.Mode, x.Filter, x.Header, x.Value})
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("targets (-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	one := []string{"http://app:3000/"}
	tests := []struct {
		name  string
		flags forward.Flags
		want  string
	}{
		{"another scheme", forward.Flags{Targets: []string{"ftp://app/"}}, "--forward: the URL of app must begin with http"},
		{"no scheme", forward.Flags{Targets: []string{"app:3000"}}, "--forward: the URL of app must begin with http"},
		{"no host", forward.Flags{Targets: []string{"http:///path"}}, "names no host"},
		{"a fragment", forward.Flags{Targets: []string{"http://app/#x"}}, "fragment"},
		{"no URL at all", forward.Flags{Targets: []string{"http://app:secret pass@x/"}}, "cannot be read"},
		{"a bad name", forward.Flags{Targets: []string{"My App=http://app/"}}, `the name "My App"`},
		{"two of a name", forward.Flags{Targets: []string{"http://a/", "http://b/"}}, `two targets are named "app"`},
		{"a mode of nobody", forward.Flags{Targets: one, Modes: []string{"x=proxy"}}, "--forward-mode: an item must begin with a target's name"},
		{"an unknown mode", forward.Flags{Targets: one, Modes: []string{"app=before"}}, `"before", want after or proxy`},
		{"a mode without a name", forward.Flags{Targets: one, Modes: []string{"proxy"}}, "must begin with a target's name"},
		{"a condition without a name", forward.Flags{Targets: one, Only: []string{"call.*"}}, "must begin with a target's name"},
		{"a star in the middle", forward.Flags{Targets: one, Only: []string{"app=call.*.saved"}}, "elsewhere than at its end"},
		{"no type", forward.Flags{Targets: one, Only: []string{"app=call hangup"}}, "neither an event type nor"},
		{"no connection", forward.Flags{Targets: one, Only: []string{"app=connection:"}}, "is no connection id"},
		{"an empty condition", forward.Flags{Targets: one, Only: []string{"app="}}, "a condition is empty"},
		{"a header without a value", forward.Flags{Targets: one, Headers: []string{"app=X-Secret"}}, "must be written as Name: value"},
		{"a header of Telnyx", forward.Flags{Targets: one, Headers: []string{"app=telnyx-timestamp: 1"}}, "one that Legato sets itself"},
		{"a header without a name", forward.Flags{Targets: one, Headers: []string{"Authorization: Basic secret-pass=="}}, "--forward-header: an item must begin with a target's name"},
		{"two headers", forward.Flags{Targets: one, Headers: []string{"app=A: 1", "app=B: 2"}}, "has two headers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := forward.Parse(tt.flags)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q in it", err, tt.want)
			}
			if err != nil && (strings.Contains(err.Error(), "secret pass") || strings.Contains(err.Error(), "secret-pass")) {
				t.Errorf("the error repeats a secret: %v", err)
			}
		})
	}
}

func TestWhereHidesWhatMayBeSecret(t *testing.T) {
	t.Parallel()
	got := targets(t, "https://user:word@app.example/w?token=1", nil)[0].Where()
	if want := "https://app.example/w"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestFilterTakes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		filter     forward.Filter
		typ        string
		connection call.ConnectionID
		want       bool
	}{
		{"no conditions", forward.Filter{}, "call.hangup", "", true},
		{"its type", forward.Filter{Types: []string{"call.hangup"}}, "call.hangup", "1", true},
		{"another type", forward.Filter{Types: []string{"call.hangup"}}, "call.hangup.more", "1", false},
		{"the beginning of its type", forward.Filter{Types: []string{"call.rec*"}}, "call.recording.saved", "1", true},
		{"one of several", forward.Filter{Types: []string{"a", "call.*"}}, "call.hangup", "1", true},
		{"its connection", forward.Filter{Connections: []call.ConnectionID{"1", "2"}}, "call.hangup", "2", true},
		{"an unknown connection", forward.Filter{Connections: []call.ConnectionID{"1"}}, "call.hangup", "", false},
		{"type without connection", forward.Filter{Types: []string{"*"}, Connections: []call.ConnectionID{"1"}}, "call.hangup", "2", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.filter.Takes(tt.typ, tt.connection); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestReportsAreThoseThatNobodyCommandsOn(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]struct{ reports, outlives bool }{
		"call.hangup": {true, true}, "call.cost": {true, true}, "call.recording.saved": {true, true}, "call.conversation_insights.generated": {true, true},
		"conference.ended": {true, true}, "call.transcription": {true, true},
		"conference.participant.left": {false, true}, "call.conversation.ended": {false, true}, "call.dequeued": {false, true}, "streaming.stopped": {false, true},
		"siprec.stopped": {false, true}, "call.fork.stopped": {false, true},
		"call.initiated": {}, "call.answered": {}, "call.gather.ended": {}, "call.machine.detection.ended": {}, "call.of.tomorrow": {},
	} {
		if reports, outlives := forward.Reports(typ), forward.Outlives(typ); reports != want.reports || outlives != want.outlives {
			t.Errorf("%s: reports %v, outlives its leg %v; want %v", typ, reports, outlives, want)
		}
	}
}
