package legatotest

import (
	"encoding/json"
	"testing"

	"github.com/legato-calls/legato/enrich/summary/schema/schematest"
	"github.com/nats-io/nats.go/jetstream"
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
