package fake_test

import (
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var start = time.Date(2031, time.March, 4, 12, 0, 0, 123456000, time.UTC)

func TestTheSameSeedGivesTheSameCalls(t *testing.T) {
	one, same, other := fake.Generator{Seed: 7}, fake.Generator{Seed: 7}, fake.Generator{Seed: 8}
	for n := range uint64(50) {
		want := one.Call(n, start)
		if diff := cmp.Diff(want, same.Call(n, start)); diff != "" {
			t.Fatalf("call %d (-want +got):\n%s", n, diff)
		}
		if got := other.Call(n, start); got.Deliveries[0].EventID == want.Deliveries[0].EventID {
			t.Errorf("call %d: another seed gave the same event", n)
		}
	}
}

func TestAnotherStartMovesTheTimesOnly(t *testing.T) {
	g := fake.Generator{Seed: 7}
	for n := range uint64(50) {
		one, other := g.Call(n, start), g.Call(n, start.Add(36*time.Hour))
		if len(one.Deliveries) != len(other.Deliveries) || one.Length != other.Length || one.Scenario != other.Scenario {
			t.Fatalf("call %d is another call", n)
		}
		for i, d := range one.Deliveries {
			o := other.Deliveries[i]
			if d.EventID != o.EventID || d.Type != o.Type || d.Offset != o.Offset || o.OccurredAt.Sub(d.OccurredAt) != 36*time.Hour {
				t.Errorf("call %d, delivery %d: %s at %s became %s at %s", n, i, d.Type, d.OccurredAt, o.Type, o.OccurredAt)
			}
		}
	}
}

func TestNoTwoCallsShareAnID(t *testing.T) {
	seen := map[string]uint64{}
	claim := func(n uint64, id string) {
		if other, taken := seen[id]; taken {
			t.Errorf("calls %d and %d share the id %s", other, n, id)
		}
		seen[id] = n
	}
	for n := range uint64(400) {
		c := fake.Generator{Seed: 7}.Call(n, start)
		claim(n, string(c.Session))
		for _, l := range c.Legs {
			claim(n, string(l.Ref.Leg))
			claim(n, string(l.Ref.Control))
		}
		for _, d := range c.Deliveries {
			claim(n, d.EventID)
		}
	}
}

func TestTheMixPlaysEveryScenario(t *testing.T) {
	played := map[fake.Scenario]bool{}
	for n := range uint64(500) {
		played[fake.Generator{Seed: 7}.Call(n, start).Scenario] = true
	}
	for _, s := range fake.Scenarios() {
		if !played[s] {
			t.Errorf("500 calls without %s", s)
		}
	}
}

// every plays some calls of every scenario.
func every(t *testing.T, check func(t *testing.T, c fake.Call)) {
	t.Helper()
	for _, scenario := range fake.Scenarios() {
		t.Run(string(scenario), func(t *testing.T) {
			for n := range uint64(12) {
				check(t, fake.Generator{Seed: 3}.Of(scenario, n, start))
			}
		})
	}
}

func decode(t *testing.T, d fake.Delivery) call.Event {
	t.Helper()
	event, err := telnyx.Decode(d.Body(d.Attempt, "https://hooks.example.com/telnyx"))
	if err != nil {
		t.Fatalf("decode %s: %v", d.Type, err)
	}
	return event
}

func payload(t *testing.T, d fake.Delivery) map[string]any {
	t.Helper()
	var data struct {
		Payload map[string]any `json:"payload"`
	}
	if err := json.Unmarshal(d.Data, &data); err != nil {
		t.Fatalf("data of %s: %v", d.Type, err)
	}
	return data.Payload
}

func TestEveryEventIsReadAsItWasMeant(t *testing.T) {
	every(t, func(t *testing.T, c fake.Call) {
		refs := map[call.LegID]call.Ref{}
		for _, l := range c.Legs {
			refs[l.Ref.Leg] = l.Ref
		}
		for _, d := range c.Deliveries {
			event := decode(t, d)
			event.Facts, event.Detail = call.Facts{}, nil
			want := call.Event{ID: d.EventID, Type: d.Type, OccurredAt: d.OccurredAt, Ref: refs[d.LegID], Attempt: 1}
			if diff := cmp.Diff(want, event); diff != "" {
				t.Errorf("%s (-want +got):\n%s", d.Type, diff)
			}
			if !call.ValidType(d.Type) || !call.ValidToken(d.EventID) {
				t.Errorf("type %q or id %q cannot stand in a subject", d.Type, d.EventID)
			}
		}
	})
}

var (
	uuid1     = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-1[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	controlID = regexp.MustCompile(`^v3:[A-Za-z0-9_-]{54}$`)
	digits19  = regexp.MustCompile(`^[1-9][0-9]{18}$`)
	number    = regexp.MustCompile(`\+?\d{11}`)
	fiction   = regexp.MustCompile(`^\+120255501\d\d$`)
)

func TestIDsHaveTelnyxsForms(t *testing.T) {
	every(t, func(t *testing.T, c fake.Call) {
		ids := []string{string(c.Session)}
		for _, l := range c.Legs {
			ids = append(ids, string(l.Ref.Leg))
			if l.Ref.Session != c.Session || !controlID.MatchString(string(l.Ref.Control)) || !digits19.MatchString(string(l.Ref.Connection)) {
				t.Errorf("odd ids: %+v", l.Ref)
			}
			if !fiction.MatchString(l.From) || !fiction.MatchString(l.To) {
				t.Errorf("numbers %s and %s are not fictional", l.From, l.To)
			}
		}
		for _, id := range ids {
			if !uuid1.MatchString(id) || !call.ValidToken(id) {
				t.Errorf("odd id %s", id)
			}
		}
		slices.Sort(ids)
		if len(slices.Compact(ids)) != len(c.Legs)+1 {
			t.Errorf("ids repeat: %v", ids)
		}
	})
}

func TestAllNumbersAreFictional(t *testing.T) {
	every(t, func(t *testing.T, c fake.Call) {
		for _, d := range c.Deliveries {
			for _, field := range []string{"from", "to", "caller_id_name", "from_sip_uri", "to_sip_uri"} {
				text, _ := payload(t, d)[field].(string)
				for _, n := range number.FindAllString(text, -1) {
					if !fiction.MatchString(n) {
						t.Errorf("%s of %s holds %s", field, d.Type, n)
					}
				}
			}
		}
	})
}

func TestALegsEventsAgreeWithItsTruth(t *testing.T) {
	every(t, func(t *testing.T, c fake.Call) {
		for _, l := range c.Legs {
			checkLeg(t, c, l)
		}
		last := slices.MaxFunc(c.Legs, func(a, b fake.Leg) int { return a.End.Compare(b.End) })
		if got := last.End.Sub(c.Start); got != c.Length {
			t.Errorf("the last leg ends after %s, the call is %s long", got, c.Length)
		}
	})
}

// checkLeg compares what the webhooks of a leg say with what is true of it.
func checkLeg(t *testing.T, c fake.Call, l fake.Leg) {
	t.Helper()
	hangups, answers := 0, 0
	for _, d := range c.Deliveries {
		if d.LegID != l.Ref.Leg {
			continue
		}
		event := decode(t, d)
		body := payload(t, d)
		if _, states := body["direction"]; states != (d.Type == call.TypeInitiated) {
			t.Errorf("%s: states a direction: %v", d.Type, states)
		}
		if s := event.Facts.StartTime; d.Type != call.TypeRecordingSaved && !s.IsZero() && !s.Equal(l.Start) {
			t.Errorf("%s: start_time %s, want %s", d.Type, s, l.Start)
		}
		if got := event.Facts.ClientState; got != l.ClientState {
			t.Errorf("%s: client_state %q, want %q", d.Type, got, l.ClientState)
		}
		switch d.Type {
		case call.TypeInitiated:
			if _, states := body["start_time"]; states != (l.Direction == "incoming") {
				t.Errorf("call.initiated of a leg %s states a start: %v", l.Direction, states)
			}
		case call.TypeAnswered:
			answers++
			if !d.OccurredAt.Equal(l.AnsweredAt) {
				t.Errorf("answered at %s, want %s", d.OccurredAt, l.AnsweredAt)
			}
		case call.TypeHangup:
			hangups++
			checkHangup(t, l, d, event)
		}
	}
	if want := map[bool]int{true: 1}[l.Answered()]; hangups != 1 || answers != want {
		t.Errorf("got %d hangups and %d answers, want 1 and %d", hangups, answers, want)
	}
	if l.Answered() && (!l.Start.Before(l.AnsweredAt) || !l.AnsweredAt.Before(l.End)) || !l.Start.Before(l.End) {
		t.Errorf("start %s, answer %s, end %s are not in order", l.Start, l.AnsweredAt, l.End)
	}
}

func checkHangup(t *testing.T, l fake.Leg, d fake.Delivery, event call.Event) {
	t.Helper()
	hangup, ok := event.Detail.(*call.Hangup)
	if !ok {
		t.Fatalf("the hangup has the detail %T", event.Detail)
	}
	if (hangup.Quality != nil) != l.Answered() {
		t.Errorf("quality stated: %v, answered: %v", hangup.Quality != nil, l.Answered())
	}
	want := call.Hangup{Cause: l.Cause, Source: l.Source, SIPCode: l.SIPCode, EndTime: l.End, Quality: hangup.Quality}
	if diff := cmp.Diff(want, *hangup); diff != "" {
		t.Errorf("hangup (-want +got):\n%s", diff)
	}
	if !d.OccurredAt.Equal(l.End) {
		t.Errorf("the hangup occurred at %s, the leg ended at %s", d.OccurredAt, l.End)
	}
}

func TestEachScenarioTellsItsStory(t *testing.T) {
	const bridgedLegs = "call.initiated call.answered call.initiated call.answered call.bridged call.bridged "
	tests := []struct {
		scenario fake.Scenario
		// story is how the types must begin, and tail what must occur later on.
		story string
		tail  []string
		cause string
		sip   string
	}{
		{fake.IVR, "call.initiated call.answered call.speak.started call.speak.ended call.dtmf.received", []string{"call.gather.ended"}, "normal_clearing", "200"},
		{fake.InboundBridged, bridgedLegs + "call.hangup call.hangup", []string{"call.recording.saved"}, "normal_clearing", "unspecified"},
		{fake.OutboundBridged, bridgedLegs + "call.hangup call.hangup", nil, "normal_clearing", "200"},
		{
			fake.Queue, "call.initiated call.answered call.enqueued call.playback.started call.initiated call.answered call.playback.ended " +
				"call.dequeued call.bridged call.bridged call.hold call.unhold call.hangup call.hangup", nil, "normal_clearing", "200",
		},
		{
			fake.Voicemail, "call.initiated call.answered call.machine.premium.detection.ended call.machine.premium.greeting.ended " +
				"call.playback.started call.playback.ended call.hangup", []string{"call.cost"}, "normal_clearing", "unspecified",
		},
		{fake.NoAnswer, "call.initiated call.hangup", nil, "timeout", "unspecified"},
		{fake.Busy, "call.initiated call.hangup", nil, "user_busy", "486"},
		{fake.Canceled, "call.initiated call.hangup", nil, "originator_cancel", "487"},
		{fake.Rejected, "call.initiated call.hangup", nil, "call_rejected", "603"},
		{fake.Failed, "call.initiated call.hangup", nil, "not_found", "404"},
	}
	if len(tests) != len(fake.Scenarios()) {
		t.Errorf("%d of %d scenarios are tested", len(tests), len(fake.Scenarios()))
	}
	for _, tt := range tests {
		t.Run(string(tt.scenario), func(t *testing.T) {
			for n := range uint64(30) {
				c := fake.Generator{Seed: 5}.Of(tt.scenario, n, start)
				types := make([]string, len(c.Deliveries))
				for i, d := range c.Deliveries {
					types[i] = d.Type
				}
				got := strings.Join(types, " ")
				if !strings.HasPrefix(got, tt.story) {
					t.Errorf("got the story %q, want %q…", got, tt.story)
				}
				for _, want := range tt.tail {
					if !slices.Contains(types, want) {
						t.Errorf("got %q, want a %s", got, want)
					}
				}
				sips := []string{}
				for _, l := range c.Legs {
					sips = append(sips, l.SIPCode)
					if l.Cause != tt.cause {
						t.Errorf("cause %s, want %s", l.Cause, tt.cause)
					}
				}
				if !slices.Contains(sips, tt.sip) {
					t.Errorf("SIP codes %v, want %s among them", sips, tt.sip)
				}
			}
		})
	}
}

func TestBridgedLegsShareInstantAndPartTogether(t *testing.T) {
	for n := range uint64(100) {
		c := fake.Generator{Seed: 5}.Of(fake.InboundBridged, n, start)
		var bridged []time.Time
		for _, d := range c.Deliveries {
			if d.Type == call.TypeBridged {
				bridged = append(bridged, d.OccurredAt)
			}
		}
		if len(bridged) != 2 || !bridged[0].Equal(bridged[1]) {
			t.Errorf("bridged at %v, want one instant twice", bridged)
		}
		if apart := c.Legs[0].End.Sub(c.Legs[1].End).Abs(); apart == 0 || apart > 80*time.Millisecond {
			t.Errorf("the hangups are %s apart", apart)
		}
	}
}

func TestCostsAddUp(t *testing.T) {
	succeeded, failed := 0, 0
	for n := range uint64(300) {
		for _, d := range (fake.Generator{Seed: 5}).Of(fake.InboundBridged, n, start).Deliveries {
			if d.Type != call.TypeCost {
				continue
			}
			cost, ok := decode(t, d).Detail.(*call.Cost)
			if !ok || cost.Status == "error" {
				failed++
				continue
			}
			succeeded++
			sum := 0
			for _, part := range cost.Parts {
				sum += hundredThousandths(t, part.Amount)
			}
			if total := hundredThousandths(t, cost.Total); total != sum || total == 0 {
				t.Errorf("the parts add up to %d, the total says %d", sum, total)
			}
		}
	}
	if succeeded == 0 || failed == 0 {
		t.Errorf("%d costs and %d failures, want some of each", succeeded, failed)
	}
}

// hundredThousandths reads decimal text of five places as a whole number.
func hundredThousandths(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.Replace(text, ".", "", 1))
	if err != nil || len(text)-strings.Index(text, ".") != 6 {
		t.Fatalf("%q is no amount", text)
	}
	return n
}

func TestABodyIsAnEnvelopeOfVersion2(t *testing.T) {
	c := fake.Generator{Seed: 1, Connection: "1000000000000000001"}.Of(fake.Busy, 4, start)
	d := c.Deliveries[1]
	l := c.Legs[0]
	want := `{"data":{"event_type":"call.hangup","id":"` + d.EventID + `","occurred_at":"` + d.OccurredAt.Format("2006-01-02T15:04:05.000000Z") +
		`","payload":{"call_control_id":"` + string(l.Ref.Control) + `","call_leg_id":"` + string(l.Ref.Leg) +
		`","call_quality_stats":null,"call_session_id":"` + string(c.Session) + `","calling_party_type":"pstn","client_state":"` + l.ClientState +
		`","connection_id":"1000000000000000001","end_time":"` + l.End.Format("2006-01-02T15:04:05.000000Z") + `","from":"` + l.From +
		`","hangup_cause":"user_busy","hangup_source":"unknown","sip_hangup_cause":"486","start_time":"` +
		l.Start.Format("2006-01-02T15:04:05.000000Z") + `","to":"` + l.To + `"},"record_type":"event"},` +
		`"meta":{"attempt":2,"delivered_to":"https://hooks.example.com/?a=1&b=2"}}`
	if diff := cmp.Diff(want, string(d.Body(2, "https://hooks.example.com/?a=1&b=2"))); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}
