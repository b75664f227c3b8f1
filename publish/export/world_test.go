package export_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish"
	"github.com/legato-calls/legato/publish/export"
)

// patience bounds every wait; a loaded machine is slow, not wrong.
const patience = 60 * time.Second

// world is a NATS server with the streams of a deployment, in this process. Unlike the embedded one it
// leaves syncing to the system: thousands of summaries are published here.
type world struct {
	tb        testing.TB
	js        jetstream.JetStream
	layout    natsd.Layout
	publisher *publish.Publisher
	dir       string
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	ns, err := server.NewServer(&server.Options{
		ServerName: "export-test", DontListen: true, JetStream: true, StoreDir: tb.TempDir(), NoLog: true, NoSigs: true,
	})
	if err != nil {
		tb.Fatal(err)
	}
	go ns.Start()
	tb.Cleanup(func() {
		ns.Shutdown()
		ns.WaitForShutdown()
	})
	if !ns.ReadyForConnections(patience) {
		tb.Fatal("nats-server does not start")
	}
	nc, err := nats.Connect("", nats.InProcessServer(ns))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	w := &world{tb: tb, dir: tb.TempDir()}
	if w.js, err = jetstream.New(nc); err != nil {
		tb.Fatal(err)
	}
	if w.layout, err = natsd.NewLayout(natsd.DefaultPrefix); err != nil {
		tb.Fatal(err)
	}
	w.streams()
	return w
}

// streams makes the streams, and the publisher onto them.
func (w *world) streams() {
	w.tb.Helper()
	_, err := natsd.Manage(w.tb.Context(), w.js, w.layout, natsd.Limits{})
	if err != nil {
		w.tb.Fatal(err)
	}
	if w.publisher, err = publish.New(w.tb.Context(), w.js, w.layout); err != nil {
		w.tb.Fatal(err)
	}
}

var callsAt = time.Date(2026, 3, 14, 15, 9, 26, 535_897_000, time.UTC)

// leg is a leg as most are: answered, with a timeline of five and a cost.
func leg(i, revision int) summary.Leg {
	started := callsAt.Add(time.Duration(i) * time.Second)
	at := func(after time.Duration) *summary.Time { return summary.At(started.Add(after)) }
	yes, rate := true, int64(8000)
	mos, packets := summary.Number(4.5), int64(3000+i)
	l := summary.Leg{
		Kind: summary.KindLeg, Schema: summary.Schema, Revision: revision,
		CallSessionID: fmt.Sprintf("5f1c0a20-0000-11f1-9c00-%012d", i), CallLegID: fmt.Sprintf("5f1c0a20-0a02-11f1-9c00-%012d", i),
		CallControlID: fmt.Sprintf("v3:5f1c0a04Nq1_notARealControlId-Legato%015d", i), ConnectionID: "1700000000000000042",
		Direction: "incoming", From: fmt.Sprintf("+1202555%04d", i%10_000), To: "+12025550199", CallerName: "Ada \"Countess\", \nLovelace",
		STIRShaken: &summary.STIRShaken{Attestation: "A", Validated: &yes}, Codec: "PCMU", SamplingRate: &rate,
		Outcome: summary.OutcomeAnswered, FirstReceivedAt: *at(0), PublishedAt: *at(time.Minute), StartedAt: at(0), AnsweredAt: at(4 * time.Second), EndedAt: at(time.Minute),
		DurationSeconds: summary.Lasting(time.Minute), RingSeconds: summary.Lasting(4030 * time.Millisecond), TalkSeconds: summary.Lasting(56 * time.Second),
		Sources: map[string]summary.Source{"started_at": summary.SourceWebhook, "ended_at": summary.SourceStatus},
		Hangup:  &summary.Hangup{Cause: "normal_clearing", Source: "caller", SIPCode: "200", Party: summary.PartyRemote},
		EndedBy: summary.EndedByHangup,
		Status:  summary.Status{State: summary.StatusConfirmed, Final: true, StartTime: at(0), EndTime: at(time.Minute), RecordType: "call", Attempts: 1, HTTPStatus: 200},
		Quality: &summary.Quality{Inbound: &summary.StreamQuality{MOS: &mos, Packets: &packets}},
		Cost: &summary.Cost{
			Status: "success", Parts: []summary.CostPart{{Part: "sip-trunking", Amount: "0.0070", Currency: "USD", Rate: "0.0070"}},
			Totals: []summary.Amount{{Currency: "USD", Amount: "0.0070"}},
		},
		ClientState: "b3JkZXItNzc=", Tags: []string{"spring"},
	}
	for e, typ := range []string{"call.initiated", "call.answered", "call.bridged", "call.hangup", "call.cost"} {
		l.Events = append(l.Events, summary.Event{
			ID: fmt.Sprintf("5f1c0a04-e00%d-4a00-8a00-%012d", e, i), Type: typ, OccurredAt: at(time.Duration(e) * time.Second), ReceivedAt: *at(time.Duration(e) * time.Second), Attempt: 1,
		})
	}
	if revision > 1 {
		l.Reasons, l.Changed = []summary.Reason{summary.ReasonCost}, []string{"/cost"}
	}
	return l
}

// publish stores revision 1 of the legs from up to to, and up to revisions of each third one
// afterwards, and a session of each.
func (w *world) publish(from, to, revisions int) {
	w.tb.Helper()
	stored := make([]summary.Stored, to)
	for revision := 1; revision <= revisions; revision++ {
		group, ctx := errgroup.WithContext(w.tb.Context())
		group.SetLimit(64)
		for i := from; i < to; i++ {
			if revision > 1 && i%3 != 0 {
				continue
			}
			group.Go(func() (err error) {
				stored[i], err = w.revise(ctx, i, revision, stored[i])
				return err
			})
		}
		if err := group.Wait(); err != nil {
			w.tb.Fatal(err)
		}
	}
}

func (w *world) revise(ctx context.Context, i, revision int, prev summary.Stored) (summary.Stored, error) {
	l := leg(i, revision)
	body, err := summary.Encode(l)
	if err != nil {
		return prev, err
	}
	if revision == 1 {
		s := summary.Session{
			Kind: summary.KindSession, Schema: summary.Schema, Revision: 1, CallSessionID: l.CallSessionID, Outcome: l.Outcome,
			FirstReceivedAt: l.FirstReceivedAt, PublishedAt: l.PublishedAt, LegCount: 1, StatusState: summary.StatusConfirmed, Legs: []summary.SessionLeg{},
			Hangup: &summary.SessionHangup{CallLegID: l.CallLegID, Hangup: *l.Hangup},
		}
		text, err := summary.Encode(s)
		if err != nil {
			return prev, err
		}
		if _, err := w.publisher.Publish(ctx, draft(summary.Key{Kind: s.Kind, Session: s.CallSessionID}, 1, text), summary.Stored{}); err != nil {
			return prev, err
		}
	}
	return w.publisher.Publish(ctx, draft(summary.Key{Kind: l.Kind, Session: l.CallSessionID, Leg: l.CallLegID}, revision, body), prev)
}

func draft(k summary.Key, revision int, body []byte) summary.Draft {
	return summary.Draft{
		Key: k, Connection: "1700000000000000042", Revision: revision, Body: body, PublishedAt: callsAt,
		Position: summary.Position{Log: "2026-03-14T00:00:00Z", Seq: 1},
	}
}

func (w *world) plan(level string, format export.Format, name string) export.Plan {
	return export.Plan{Level: level, Format: format, Output: filepath.Join(w.dir, name)}
}

// export runs a plan to its end and returns the file.
func (w *world) export(p export.Plan) ([]byte, export.Result) {
	w.tb.Helper()
	ctx, cancel := context.WithTimeout(w.tb.Context(), 5*patience)
	defer cancel()
	result, err := export.Run(ctx, w.js, w.layout, p, nil)
	if err != nil {
		w.tb.Fatal(err)
	}
	data, err := os.ReadFile(p.Output)
	if err != nil {
		w.tb.Fatal(err)
	}
	return data, result
}

// beside lists what lies in the directory of the exports.
func (w *world) beside() (names []string) {
	w.tb.Helper()
	entries, err := os.ReadDir(w.dir)
	if err != nil {
		w.tb.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
