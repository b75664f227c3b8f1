package legatotest

import (
	"crypto/ed25519"
	"encoding/base64"
	"slices"
	"testing"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/fake"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
)

// WantOutcome is what a call of each kind comes to.
var WantOutcome = map[fake.Scenario]summary.Outcome{
	fake.IVR: summary.OutcomeAnswered, fake.InboundBridged: summary.OutcomeAnswered,
	fake.OutboundBridged: summary.OutcomeAnswered, fake.Queue: summary.OutcomeAnswered,
	fake.Voicemail: summary.OutcomeAnswered, fake.NoAnswer: summary.OutcomeNoAnswer,
	fake.Busy: summary.OutcomeBusy, fake.Canceled: summary.OutcomeCanceled,
	fake.Rejected: summary.OutcomeRejected, fake.Failed: summary.OutcomeFailed,
}

// Facts is what a fake call knows about a leg.
type Facts struct {
	Direction, From, To, Control, Connection string
	Outcome                                  summary.Outcome
	Cause, Source, SIPCode                   string
	Start, Answer, End                       time.Time
	Status                                   summary.StatusState
	EndedBy                                  summary.EndedBy
	Duration                                 time.Duration
}

// TruthOf is what a leg of a fake call must be told of.
func TruthOf(s fake.Scenario, l fake.Leg) Facts {
	return Facts{
		Direction: l.Direction, From: l.From, To: l.To, Control: string(l.Ref.Control), Connection: string(l.Ref.Connection),
		Outcome: WantOutcome[s], Cause: l.Cause, Source: l.Source, SIPCode: l.SIPCode,
		Start: l.Start, Answer: l.AnsweredAt, End: l.End, Status: summary.StatusConfirmed,
		EndedBy: summary.EndedByHangup, Duration: l.End.Sub(l.Start),
	}
}

// LegFacts is what a summary tells of it.
func LegFacts(l *summary.Leg) Facts {
	f := Facts{
		Direction: l.Direction, From: l.From, To: l.To, Control: l.CallControlID, Connection: l.ConnectionID,
		Outcome: l.Outcome, Start: l.StartedAt.Known(), Answer: l.AnsweredAt.Known(), End: l.EndedAt.Known(),
		Status: l.Status.State, EndedBy: l.EndedBy,
	}
	if l.Hangup != nil {
		f.Cause, f.Source, f.SIPCode = l.Hangup.Cause, l.Hangup.Source, l.Hangup.SIPCode
	}
	f.Duration = f.End.Sub(f.Start)
	return f
}

// Ask puts a question to the service over NATS.
func Ask(t *testing.T, nc *nats.Conn, subject, id string) (body []byte, code string) {
	t.Helper()
	m, err := nc.Request(subject, []byte(id), Patience)
	if err != nil {
		t.Fatalf("%s %q: %v", subject, id, err)
	}
	return m.Data, m.Header.Get(micro.ErrorCodeHeader)
}

// ValidPublicKey is one whose private half nobody has.
func ValidPublicKey() string {
	private := ed25519.NewKeyFromSeed(slices.Repeat([]byte{7}, ed25519.SeedSize))
	return base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey))
}
