package legatotest

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/schema/schematest"
	"github.com/legato-calls/legato/internal/fake"
)

// Completed waits for the one message on a subject.
func Completed(t *testing.T, url, subject string) *jetstream.RawStreamMsg {
	t.Helper()
	js := Dial(t, url)
	var m *jetstream.RawStreamMsg
	Eventually(t, "a message on "+subject, func() error {
		stream, err := js.Stream(t.Context(), "CALLS")
		if err != nil {
			return err
		}
		m, err = stream.GetLastMsgForSubject(t.Context(), subject)
		return err
	})
	var head struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(m.Data, &head); err != nil {
		t.Fatal(err)
	}
	schematest.Check(t, head.Kind, m.Data)
	return m
}

// Summaries reads everything that stands in the stream of summaries.
func Summaries(t *testing.T, url string) map[string][]Published {
	t.Helper()
	found := make(map[string][]Published)
	nc, js := connect(t, url)
	defer nc.Close()
	for _, m := range Stored(t, js, "CALLS") {
		var p Published
		if err := json.Unmarshal(m.Data(), &p); err != nil {
			t.Fatal(err)
		}
		schematest.Check(t, p.Kind, m.Data())
		p.Subject = m.Subject()
		id := p.Session + "/" + p.Leg
		found[id] = append(found[id], p)
	}
	return found
}

// Published is a stored summary, as far as tests read it.
type Published struct {
	Subject  string
	Kind     string `json:"kind"`
	Revision int    `json:"revision"`
	Session  string `json:"call_session_id"`
	Leg      string `json:"call_leg_id"`
	Outcome  string `json:"outcome"`
	Legs     int    `json:"leg_count"`
	Events   []struct {
		ID string `json:"id"`
	} `json:"events"`
	Status struct {
		State    string `json:"state"`
		Final    bool   `json:"final"`
		Attempts int    `json:"attempts"`
	} `json:"status"`
}

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

// TruthOf is what the summary of a fake leg must state.
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
