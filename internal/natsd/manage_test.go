package natsd_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func TestLayoutFollowsThePrefix(t *testing.T) {
	tests := []struct {
		name, prefix string
		want         natsd.Layout // Zero: refused.
	}{
		{name: "the default", prefix: "calls", want: natsd.Layout{Prefix: "calls", Events: "CALL_EVENTS", Calls: "CALLS", Parked: "CALL_PARKED", Forward: "CALL_FORWARD"}},
		{name: "a region", prefix: "emea", want: natsd.Layout{Prefix: "emea", Events: "EMEA_EVENTS", Calls: "EMEA", Parked: "EMEA_PARKED", Forward: "EMEA_FORWARD"}},
		{name: "dash, underscore and digits", prefix: "eu-west_1", want: natsd.Layout{Prefix: "eu-west_1", Events: "EU-WEST_1_EVENTS", Calls: "EU-WEST_1", Parked: "EU-WEST_1_PARKED", Forward: "EU-WEST_1_FORWARD"}},
		{name: "empty", prefix: ""},
		{name: "two tokens", prefix: "a.b"},
		{name: "a wildcard", prefix: "*"},
		{name: "a space", prefix: "a b"},
		{name: "upper case", prefix: "EMEA"},
		{name: "a digit first", prefix: "1st"},
		{name: "too long", prefix: strings.Repeat("a", 33)},
		{name: "the singular of the default, which would share its log", prefix: "call"},
		{name: "another prefix's log", prefix: "emea_events"},
		{name: "another prefix's parked messages", prefix: "emea_parked"},
		{name: "another prefix's forwarding", prefix: "emea_forward"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := natsd.NewLayout(tt.prefix)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("layout (-want +got):\n%s", diff)
			}
			if (err != nil) != (tt.want == natsd.Layout{}) {
				t.Errorf("error: %v", err)
			}
		})
	}
}

func config(t *testing.T, js jetstream.JetStream, name string) jetstream.StreamConfig {
	t.Helper()
	s, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.Metadata = nil // The server's own notes on versions.
	return cfg
}

func update(t *testing.T, js jetstream.JetStream, name string, change func(*jetstream.StreamConfig)) {
	t.Helper()
	cfg := config(t, js, name)
	change(&cfg)
	if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
}

func logSubjects() []string {
	return []string{"calls.event.>", "calls.internal.check", "calls.internal.probe", "calls.internal.repair", "calls.internal.status"}
}

func TestManageMakesTheStreamOfForwardingWhereItIsWanted(t *testing.T) {
	s := natsdtest.Run(t)
	report, err := natsd.Manage(t.Context(), s.JS, s.Layout, natsd.Limits{Forward: true})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"CALL_FORWARD"}, report.Made); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
	got := config(t, s.JS, s.Layout.Forward)
	if diff := cmp.Diff([]string{"calls.internal.forward.>", "calls.internal.later.>"}, got.Subjects); diff != "" {
		t.Errorf("subjects (-want +got):\n%s", diff)
	}
	// What is to be tried again is refused, and tried again, before it is dropped.
	if got.Discard != jetstream.DiscardNew {
		t.Errorf("discard: got %v, want new", got.Discard)
	}
}

func TestManageMakesTheStreamsOfTheDesign(t *testing.T) {
	s := natsdtest.Run(t, natsdtest.WithoutStreams())
	report, err := natsd.Manage(t.Context(), s.JS, s.Layout, natsd.Limits{EventsMaxBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	want := natsd.Report{Made: []string{"CALL_EVENTS", "CALLS", "CALL_PARKED"}}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
	common := jetstream.StreamConfig{
		Storage: jetstream.FileStorage, Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardNew,
		MaxBytes: -1, MaxMsgs: -1, MaxMsgsPerSubject: -1, MaxMsgSize: -1, MaxConsumers: -1,
		Duplicates: 2 * time.Minute, Replicas: 1,
	}
	events, calls, parked := common, common, common
	events.Name, events.Subjects = "CALL_EVENTS", logSubjects()
	events.MaxAge, events.MaxBytes, events.DenyDelete = 24*time.Hour, 1<<30, true
	calls.Name, calls.Subjects, calls.MaxAge = "CALLS", []string{"calls.leg.>", "calls.session.>"}, 72*time.Hour
	parked.Name, parked.Subjects, parked.MaxAge = "CALL_PARKED", []string{"calls.parked.>"}, 7*24*time.Hour
	parked.Discard = jetstream.DiscardOld
	for _, want := range []jetstream.StreamConfig{events, calls, parked} {
		got := config(t, s.JS, want.Name)
		if got.Description == "" {
			t.Errorf("stream %s has no description", want.Name)
		}
		got.Description = ""
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("stream %s (-want +got):\n%s", want.Name, diff)
		}
	}
	again, err := natsd.Manage(t.Context(), s.JS, s.Layout, natsd.Limits{EventsMaxBytes: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(natsd.Report{}, again); diff != "" {
		t.Errorf("the second time (-want +got):\n%s", diff)
	}
}

func TestManageMendsWhatLegatoDependsOnAndNothingElse(t *testing.T) {
	tests := []struct {
		name   string
		stream string
		limits natsd.Limits
		before func(*jetstream.StreamConfig)
		want   func(*jetstream.StreamConfig) // From the configuration before.
		mended bool
	}{
		{
			name: "a direct get on the summaries", stream: "CALLS", mended: true,
			before: func(c *jetstream.StreamConfig) { c.AllowDirect = true },
			want:   func(c *jetstream.StreamConfig) { c.AllowDirect = false },
		},
		{
			name: "a log that drops its oldest", stream: "CALL_EVENTS", mended: true,
			before: func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
			want:   func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardNew },
		},
		{
			name: "a limit by subject with discard by subject", stream: "CALL_EVENTS", mended: true,
			before: func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject, c.DiscardNewPerSubject = 5, true },
			want:   func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject, c.DiscardNewPerSubject = -1, false },
		},
		{
			name: "a log that lacks the internal subjects", stream: "CALL_EVENTS", mended: true,
			before: func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:1] },
			want:   func(c *jetstream.StreamConfig) { c.Subjects = logSubjects() },
		},
		{
			name: "a log that takes the internal subjects of forwarding too", stream: "CALL_EVENTS", mended: true,
			before: func(c *jetstream.StreamConfig) { c.Subjects = []string{"calls.event.>", "calls.internal.>"} },
			want:   func(c *jetstream.StreamConfig) { c.Subjects = logSubjects() },
		},
		{
			name: "an age above the wanted one", stream: "CALL_EVENTS", mended: true,
			before: func(c *jetstream.StreamConfig) { c.MaxAge = 48 * time.Hour },
			want:   func(c *jetstream.StreamConfig) { c.MaxAge = 24 * time.Hour },
		},
		{
			name: "an age below a window that the operator made longer", stream: "CALL_EVENTS", mended: true,
			limits: natsd.Limits{EventsMaxAge: time.Minute},
			before: func(c *jetstream.StreamConfig) { c.Duplicates = 10 * time.Minute },
			want:   func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = time.Minute, time.Minute },
		},
		{
			name: "a size that is set", stream: "CALL_EVENTS", mended: true, limits: natsd.Limits{EventsMaxBytes: 2 << 20},
			before: func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 },
			want:   func(c *jetstream.StreamConfig) { c.MaxBytes = 2 << 20 },
		},
		{
			name: "not: a size that is not set", stream: "CALL_EVENTS",
			before: func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 },
		},
		{
			name: "not: what Legato does not depend on", stream: "CALLS",
			before: func(c *jetstream.StreamConfig) {
				c.Description, c.Compression, c.Duplicates = "ours", jetstream.S2Compression, time.Hour
				c.DenyDelete, c.MaxConsumers = true, 12
				c.RePublish = &jetstream.RePublish{Source: "calls.leg.>", Destination: "copy.>"}
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := natsdtest.Run(t)
			update(t, s.JS, tt.stream, tt.before)
			want := config(t, s.JS, tt.stream)
			if tt.want != nil {
				tt.want(&want)
			}
			report, err := natsd.Manage(t.Context(), s.JS, s.Layout, tt.limits)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, config(t, s.JS, tt.stream)); diff != "" {
				t.Errorf("stream (-want +got):\n%s", diff)
			}
			if (len(report.Changed) > 0) != tt.mended {
				t.Errorf("report: %q", report.Changed)
			}
		})
	}
}

func TestLoweringTheSizeDropsNothing(t *testing.T) {
	s := natsdtest.Run(t)
	for i := range 20 {
		for _, subject := range []string{"calls.event.x", "calls.leg.completed._.s.l" + fmt.Sprint(i)} {
			if _, err := s.JS.Publish(t.Context(), subject, make([]byte, 1000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if _, err := natsd.Manage(t.Context(), s.JS, s.Layout, natsd.Limits{EventsMaxBytes: 5000, CallsMaxBytes: 5000}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{s.Layout.Events, s.Layout.Calls} {
		stream, err := s.JS.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if got := stream.CachedInfo().State.Msgs; got != 20 {
			t.Errorf("messages in %s: got %d, want 20", name, got)
		}
	}
	var api *jetstream.APIError
	if _, err := s.JS.Publish(t.Context(), "calls.event.x", nil); !errors.As(err, &api) {
		t.Errorf("append to a full log: got error %v, want the server's refusal", err)
	}
}

func TestStreamsThatAreNotOursAreLeftAlone(t *testing.T) {
	tests := []struct {
		name    string
		foreign jetstream.StreamConfig
		want    string
	}{
		{
			name:    "other subjects under one of our names",
			foreign: jetstream.StreamConfig{Name: "CALLS", Subjects: []string{"phone.>"}},
			want:    "stream CALLS: subjects is [phone.>], want [calls.leg.> calls.session.>]: it holds other subjects",
		},
		{
			name:    "a stream in memory",
			foreign: jetstream.StreamConfig{Name: "CALLS", Subjects: []string{"calls.leg.>", "calls.session.>"}, Storage: jetstream.MemoryStorage},
			want:    "stream CALLS: storage is Memory, want File: an existing stream cannot be changed so",
		},
		{
			name:    "a log that cannot be trimmed",
			foreign: jetstream.StreamConfig{Name: "CALL_EVENTS", Subjects: []string{"calls.event.>"}, DenyPurge: true},
			want:    "stream CALL_EVENTS: deny_purge is true, want false: an existing stream cannot be changed so",
		},
		{
			name:    "a log that acknowledges before it writes",
			foreign: jetstream.StreamConfig{Name: "CALL_EVENTS", Subjects: []string{"calls.event.>"}, PersistMode: jetstream.AsyncPersistMode},
			want:    "stream CALL_EVENTS: persist_mode is Async, want Default: an existing stream cannot be changed so",
		},
		{
			name:    "our subjects under another name",
			foreign: jetstream.StreamConfig{Name: "ALL", Subjects: []string{"calls.>"}},
			want:    "stream CALL_EVENTS: its subject calls.event.> is taken by stream ALL (calls.>)",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := natsdtest.Run(t, natsdtest.WithoutStreams())
			if _, err := s.JS.CreateStream(t.Context(), tt.foreign); err != nil {
				t.Fatal(err)
			}
			before := config(t, s.JS, tt.foreign.Name)
			_, err := natsd.Manage(t.Context(), s.JS, s.Layout, natsd.Limits{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got error %v, want it to tell %q", err, tt.want)
			}
			if diff := cmp.Diff(before, config(t, s.JS, tt.foreign.Name)); diff != "" {
				t.Errorf("stream (-before +after):\n%s", diff)
			}
			if _, err := natsd.Check(t.Context(), s.JS, s.Layout, natsd.Limits{}); err == nil {
				t.Error("check: got no error")
			}
		})
	}
}

func TestCheckTellsWhatDiffersAndChangesNothing(t *testing.T) {
	s := natsdtest.Run(t, natsdtest.WithPrefix("emea"), natsdtest.WithoutStreams())
	limits := natsd.Limits{EventsMaxBytes: 1 << 30, CallsMaxAge: 36 * time.Hour}
	check := func(want *natsd.MismatchError) {
		t.Helper()
		_, err := natsd.Check(t.Context(), s.JS, s.Layout, limits)
		var got *natsd.MismatchError
		if errors.As(err, &got); err != nil && got == nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("mismatch (-want +got):\n%s", diff)
		}
	}
	// These very lines were run with natscli 0.5.1 against a server 2.15.2; Manage found nothing to change after them.
	check(&natsd.MismatchError{
		Missing: []string{"EMEA_EVENTS", "EMEA", "EMEA_PARKED"},
		Commands: []string{
			"nats stream add EMEA_EVENTS --storage=file --subjects='emea.event.>,emea.internal.check,emea.internal.probe,emea.internal.repair,emea.internal.status' --retention=limits --discard=new --max-age=24h --max-bytes=1073741824 --max-msgs-per-subject=-1 --max-msg-size=-1 --replicas=1 --dupe-window=2m --deny-delete --no-allow-direct --ack --defaults",
			"nats stream add EMEA --storage=file --subjects='emea.leg.>,emea.session.>' --retention=limits --discard=new --max-age=36h --max-bytes=-1 --max-msgs-per-subject=-1 --max-msg-size=-1 --replicas=1 --dupe-window=2m --no-allow-direct --ack --defaults",
			"nats stream add EMEA_PARKED --storage=file --subjects='emea.parked.>' --retention=limits --discard=old --max-age=168h --max-bytes=-1 --max-msgs-per-subject=-1 --max-msg-size=-1 --replicas=1 --dupe-window=2m --no-allow-direct --ack --defaults",
		},
	})
	if _, err := natsd.Manage(t.Context(), s.JS, s.Layout, limits); err != nil {
		t.Fatal(err)
	}
	check(nil)
	update(t, s.JS, "EMEA", func(c *jetstream.StreamConfig) { c.AllowDirect, c.MaxAge = true, time.Hour })
	before := config(t, s.JS, "EMEA")
	check(&natsd.MismatchError{
		Problems: []string{"stream EMEA: max_age is 1h, want 36h", "stream EMEA: allow_direct is true, want false"},
		Commands: []string{"nats stream edit EMEA --max-age=36h --no-allow-direct --force"},
	})
	if diff := cmp.Diff(before, config(t, s.JS, "EMEA")); diff != "" {
		t.Errorf("stream (-before +after):\n%s", diff)
	}
}

func TestLimitsThatMakeNoSenseAreRefused(t *testing.T) {
	s := natsdtest.Run(t, natsdtest.WithoutStreams())
	for name, l := range map[string]natsd.Limits{
		"summaries that leave before their events": {EventsMaxAge: 73 * time.Hour},
		"a negative age":                    {ParkedMaxAge: -1},
		"a negative size":                   {EventsMaxBytes: -1},
		"six replicas":                      {Replicas: 6},
		"three replicas on a single server": {Replicas: 3},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := natsd.Manage(t.Context(), s.JS, s.Layout, l); err == nil {
				t.Error("got no error")
			}
		})
	}
}

func TestReplicasAreRaisedAndNeverLowered(t *testing.T) {
	c := natsdtest.RunCluster(t)
	if _, err := natsd.Manage(t.Context(), c.JS[0], c.Layout, natsd.Limits{Replicas: 1}); err != nil {
		t.Fatal(err)
	}
	if got := config(t, c.JS[0], c.Layout.Events).Replicas; got != 3 {
		t.Errorf("replicas after wanting 1: got %d, want 3", got)
	}
	update(t, c.JS[0], c.Layout.Events, func(c *jetstream.StreamConfig) { c.Replicas = 1 })
	if _, err := natsd.Manage(t.Context(), c.JS[0], c.Layout, natsd.Limits{Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	if got := config(t, c.JS[0], c.Layout.Events).Replicas; got != 3 {
		t.Errorf("replicas after wanting 3: got %d, want 3", got)
	}
}

// A log that was the stream of an earlier release goes on as a copy.
func TestAStreamThatBecomesACopyIsKnownAsOne(t *testing.T) {
	s := natsdtest.Run(t)
	for _, limits := range []natsd.Limits{{Copy: true}, {}} { // whoever looks later, and does not know
		if _, err := natsd.Manage(t.Context(), s.JS, s.Layout, limits); err != nil {
			t.Fatal(err)
		}
		if c := config(t, s.JS, s.Layout.Events); !natsd.IsCopy(c) {
			t.Errorf("with %+v: its duplicate window is %v, and it does not count as a copy", limits, c.Duplicates)
		}
	}
}

func TestDiskLimitsCountWhatIsUsedAlready(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	empty, err := natsd.DiskLimits(dir)
	if err != nil {
		t.Fatal(err)
	}
	if empty.EventsMaxBytes <= 0 || empty.CallsMaxBytes <= 0 || empty.ParkedMaxBytes <= 0 {
		t.Errorf("got %+v, want limits", empty)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// A sparse file counts without taking any space.
	f, err := os.Create(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	const used = 100 << 30
	if err := errors.Join(f.Truncate(used), f.Close()); err != nil {
		t.Fatal(err)
	}
	full, err := natsd.DiskLimits(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Others write to the disk meanwhile, hence about.
	if got, want := full.EventsMaxBytes-empty.EventsMaxBytes, int64(used/100*40); got < want*95/100 || got > want*105/100 {
		t.Errorf("the limit grew by %d, want about %d", got, want)
	}
}

// TestASizeThatFollowsFromTheDiskIsNotChangedAtEachStart holds for sizes that moved a little, and not for one that was asked for.
func TestASizeThatFollowsFromTheDiskIsNotChangedAtEachStart(t *testing.T) {
	s := natsdtest.Run(t, natsdtest.WithoutStreams())
	limits := natsd.Limits{EventsMaxBytes: 100 << 20, CallsMaxBytes: 100 << 20, ParkedMaxBytes: 100 << 20}
	limits.Approximate = natsd.Approximate{Events: true, Calls: true, Parked: true}
	for _, start := range []struct {
		mib     int64
		exact   bool // the log's size was asked for
		changed int
	}{{100, false, 0}, {95, false, 0}, {109, false, 0}, {80, false, 3}, {84, true, 1}} {
		limits.EventsMaxBytes, limits.CallsMaxBytes, limits.ParkedMaxBytes = start.mib<<20, start.mib<<20, start.mib<<20
		limits.Approximate.Events = !start.exact
		report, err := natsd.Manage(t.Context(), s.JS, s.Layout, limits)
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Changed) != start.changed {
			t.Errorf("with %d MiB: %q changed, want %d", start.mib, report.Changed, start.changed)
		}
	}
}
