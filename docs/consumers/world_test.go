// Package consumers_test runs the consumers and the SQL of this directory, each
// where what it needs is at hand.
package consumers_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/export"
)

// patience bounds every wait; a loaded machine is slow, not wrong.
const patience = 6 * time.Minute

var startedAt = time.Date(2026, 3, 14, 15, 9, 26, 535_897_000, time.UTC)

// leg is a leg of which nearly every type of column has a value.
func leg(i, revision int) summary.Leg {
	at := func(after time.Duration) *summary.Time {
		return summary.At(startedAt.Add(time.Duration(i) * time.Hour).Add(after))
	}
	rate, mos := int64(8000), summary.Number(4.5)
	l := summary.Leg{
		Kind: summary.KindLeg, Schema: summary.Schema, Revision: revision,
		CallSessionID: fmt.Sprintf("session-%d", i), CallLegID: fmt.Sprintf("leg-%d", i), ConnectionID: "1700000000000000042",
		From: "+12025550111", To: "sip:ada@example.com", CallerName: "Ada \"Countess\",\nLovelace", SamplingRate: &rate,
		Outcome: summary.OutcomeAnswered, FirstReceivedAt: *at(0), PublishedAt: *at(time.Minute), StartedAt: at(0), EndedAt: at(time.Minute),
		DurationSeconds: summary.Lasting(60030 * time.Millisecond), TalkSeconds: summary.Lasting(56 * time.Second),
		EndedBy: summary.EndedByHangup, Status: summary.Status{State: summary.StatusConfirmed, Final: true},
		Quality: &summary.Quality{Inbound: &summary.StreamQuality{MOS: &mos}},
		Events: []summary.Event{
			{ID: "e1", Type: "call.initiated", OccurredAt: at(0), ReceivedAt: *at(time.Second)},
			{ID: "e2", Type: "call.hangup", OccurredAt: at(time.Minute), ReceivedAt: *at(time.Minute)},
		},
	}
	if revision > 1 {
		l.Reasons = []summary.Reason{summary.ReasonCost}
		l.Cost = &summary.Cost{Status: "success", Totals: []summary.Amount{{Currency: "USD", Amount: "0.0070"}}}
	}
	return l
}

// published runs a server with three legs, the first of which has two revisions, and their sessions.
func published(t *testing.T) *natsdtest.Server {
	t.Helper()
	s := natsdtest.Run(t, natsdtest.WithListen("127.0.0.1:0"))
	p, err := publish.New(t.Context(), s.JS, s.Layout)
	if err != nil {
		t.Fatal(err)
	}
	put := func(k summary.Key, revision int, body any, prev summary.Stored) summary.Stored {
		t.Helper()
		data, err := summary.Encode(body)
		if err != nil {
			t.Fatal(err)
		}
		stored, err := p.Publish(t.Context(), summary.Draft{
			Key: k, Connection: "1700000000000000042", Revision: revision, Position: summary.Position{Log: "test", Seq: 1}, PublishedAt: startedAt, Body: data,
		}, prev)
		if err != nil {
			t.Fatal(err)
		}
		return stored
	}
	for i := range 3 {
		l := leg(i, 1)
		first := put(summary.Key{Kind: l.Kind, Session: l.CallSessionID, Leg: l.CallLegID}, 1, l, summary.Stored{})
		put(summary.Key{Kind: summary.KindSession, Session: l.CallSessionID}, 1, summary.Session{
			Kind: summary.KindSession, Schema: summary.Schema, Revision: 1, CallSessionID: l.CallSessionID, Outcome: l.Outcome, StatusState: l.Status.State,
			FirstReceivedAt: l.FirstReceivedAt, PublishedAt: l.PublishedAt, StartedAt: l.StartedAt, LegCount: 1, AnsweredLegs: 1, Legs: []summary.SessionLeg{},
		}, summary.Stored{})
		if i == 0 {
			put(first.Key, 2, leg(0, 2), first)
		}
	}
	return s
}

// exported writes legs and sessions of the server into dir, as CSV and as Parquet.
func exported(t *testing.T, s *natsdtest.Server, dir string) {
	t.Helper()
	for _, level := range []string{summary.KindLeg, summary.KindSession} {
		for _, format := range []export.Format{export.CSV, export.Parquet} {
			plan := export.Plan{Level: level, Format: format, Output: filepath.Join(dir, level+"s."+string(format))}
			if _, err := export.Run(t.Context(), s.JS, s.Layout, plan, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// install puts packages of npm into a directory, or those that a package.json there
// names. Without Node, npm or its registry there is nothing to test with.
func install(t *testing.T, dir string, packages ...string) {
	t.Helper()
	if testing.Short() {
		t.Skip("installs packages of npm, which -short leaves out")
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not at hand: %v", program, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", append([]string{
		"install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline", "--fetch-retries=1", "--loglevel=error",
	}, packages...)...)
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		t.Skipf("npm cannot install %v: %v\n%s", packages, err, out)
	}
}

// place copies a file of this directory to another.
func place(t *testing.T, file, dir string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// node runs a script in dir and returns what it printed.
func node(t *testing.T, dir string, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node %v: %v\n%s%s", args, err, out, stderr.Bytes())
	}
	t.Logf("%s", stderr.Bytes())
	return out
}

// acknowledged waits until the Node consumer has acknowledged everything.
func acknowledged(t *testing.T, js jetstream.JetStream, ended <-chan error, output *bytes.Buffer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		consumer, err := js.Consumer(ctx, "CALLS", "warehouse-node")
		if err == nil && consumer.CachedInfo().AckFloor.Consumer >= 7 {
			return
		}
		select {
		case <-tick.C:
		case err := <-ended:
			t.Fatalf("the consumer ended: %v\n%s", err, output.String())
		case <-ctx.Done():
			t.Fatalf("not everything was acknowledged: %v", err)
		}
	}
}
