package fake

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Scenario is a kind of call.
type Scenario string

// Scenarios.
const (
	// IVR: an incoming call that a menu answers: speech, digits, hangup by the caller.
	IVR Scenario = "ivr"
	// InboundBridged: an incoming call that is put through to a second leg and recorded.
	InboundBridged Scenario = "inbound_bridged"
	// OutboundBridged: a call to a customer, joined with a second leg to an agent.
	OutboundBridged Scenario = "outbound_bridged"
	// Queue: an incoming call that waits in a queue, is bridged and put on hold.
	Queue Scenario = "queue"
	// Voicemail: an outgoing call that an answering machine takes.
	Voicemail Scenario = "voicemail"
	// NoAnswer: an outgoing call that rings until its time is over.
	NoAnswer Scenario = "no_answer"
	// Busy: an outgoing call to a busy line.
	Busy Scenario = "busy"
	// Canceled: an incoming call whose caller gives up before the answer.
	Canceled Scenario = "canceled"
	// Rejected: an outgoing call that is refused.
	Rejected Scenario = "rejected"
	// Failed: an outgoing call to a number that does not exist.
	Failed Scenario = "failed"
)

// mix is how often each scenario is played: out of 100 calls, about as many as on a busy contact centre's line.
var mix = []struct {
	scenario Scenario
	share    int
	play     func(*script)
}{
	{IVR, 22, (*script).ivr},
	{InboundBridged, 25, (*script).inboundBridged},
	{OutboundBridged, 13, (*script).outboundBridged},
	{Queue, 6, (*script).queue},
	{Voicemail, 8, (*script).voicemail},
	{NoAnswer, 10, (*script).noAnswer},
	{Busy, 5, (*script).busy},
	{Canceled, 6, (*script).canceled},
	{Rejected, 3, (*script).rejected},
	{Failed, 2, (*script).failed},
}

// Scenarios returns all scenarios.
func Scenarios() []Scenario {
	all := make([]Scenario, len(mix))
	for i, m := range mix {
		all[i] = m.scenario
	}
	return all
}

// Generator invents calls. It has no state: the same seed, number and start give the same call, byte for byte, and
// another start moves its times and the ids that carry them and nothing else. It is safe for concurrent use.
type Generator struct {
	// Seed makes a generator's calls its own.
	Seed uint64
	// Connection is the connection_id of all calls. Empty: one made from the seed.
	Connection call.ConnectionID
}

// Call returns the call of a number, of a scenario that the seed chooses.
func (g Generator) Call(number uint64, start time.Time) Call {
	rng := g.source(number)
	left := rng.IntN(100)
	for _, m := range mix {
		if left -= m.share; left < 0 {
			return g.play(m.scenario, m.play, number, start, rng)
		}
	}
	panic("the shares of the mix do not add up to 100")
}

// Of returns the call of a number, of the given scenario. An unknown scenario
// is a mistake in the program: it panics.
func (g Generator) Of(scenario Scenario, number uint64, start time.Time) Call {
	i := slices.Index(Scenarios(), scenario)
	if i < 0 {
		panic("unknown scenario " + strconv.Quote(string(scenario)))
	}
	return g.play(scenario, mix[i].play, number, start, g.source(number))
}

func (g Generator) source(number uint64) *rand.Rand {
	return rand.New(rand.NewPCG(g.Seed, number))
}

func (g Generator) play(scenario Scenario, play func(*script), number uint64, start time.Time, rng *rand.Rand) Call {
	start = start.UTC().Truncate(time.Microsecond)
	connection := g.Connection
	if connection == "" {
		// Nineteen digits, as Telnyx's are: 10^18 and something below it.
		connection = call.ConnectionID(strconv.FormatUint(1e18+rand.New(rand.NewPCG(g.Seed, 0)).Uint64N(1e18), 10))
	}
	s := &script{
		rng:        rng,
		ids:        ids{rng: rng, number: number, host: byte(g.Seed)},
		connection: connection,
		call:       Call{Number: number, Scenario: scenario, Start: start},
	}
	// Telnyx mints the session's id some hundred nanoseconds before the leg's.
	s.call.Session = call.SessionID(s.ids.timed(start))
	play(s)
	return s.finish()
}
