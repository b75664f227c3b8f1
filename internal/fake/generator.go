// Package fake plays Telnyx: it invents phone calls, posts their signed webhooks, and answers what is
// asked of the API about them; for tests, for "legato simulate" and for "legato demo".
//
// Its parts can be used apart:
//   - A [Generator] invents calls: what Telnyx would send about them, and the truth that its API would know.
//     It is a pure function of seed, number and start, so that a run can be repeated.
//   - [Disorder] makes the deliveries of a call as untidy as the real ones: twice, out of order, late, never.
//   - A [Player] posts the deliveries of many calls to a webhook URL at their time, tries again what
//     Telnyx would try again, and keeps a [Ledger] of what was accepted.
//   - An [API] answers GET /calls/{call_control_id}, GET /call_events and
//     GET /connections/{connection_id}/active_calls. It knows the truth about calls and gives it away only as Telnyx
//     would: to who has the key, for ten minutes after the end, and with the failures that it is
//     asked to have, scripted for a call or at random. It counts what it is asked, so that a test can say "once".
//
// Bodies have the event types, fields and id forms of Telnyx's Call Control webhooks, API version 2; errors have
// Telnyx's codes and shapes. All numbers are from the block that is reserved for fiction, all hosts
// from the names and addresses reserved for documentation.
//
// The package knows nothing of the service that it tests.
package fake

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
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

// uuidEpoch is where the clock of UUID version 1 begins: the Gregorian calendar.
var uuidEpoch = time.Date(1582, time.October, 15, 0, 0, 0, 0, time.UTC)

// ids mints the ids of one call.
type ids struct {
	rng *rand.Rand
	// number keeps calls apart that begin at the same instant.
	number uint64
	// host is the part of the node that all ids of a generator share.
	host byte
}

// timed returns a UUID version 1 of the instant, as Telnyx gives to legs and sessions. The call's number stands in
// clock sequence and node, 14 and 16 bits, so two calls of one generator have different ids whatever their start.
func (i ids) timed(at time.Time) string {
	// A Duration holds 292 years only: count seconds and the rest apart.
	ticks := uint64(at.Unix()-uuidEpoch.Unix())*1e7 + uint64(at.Nanosecond()/100)
	var b [16]byte
	binary.BigEndian.PutUint32(b[0:], uint32(ticks))
	binary.BigEndian.PutUint16(b[4:], uint16(ticks>>32))
	binary.BigEndian.PutUint16(b[6:], uint16(ticks>>48)&0x0fff|0x1000)
	binary.BigEndian.PutUint16(b[8:], uint16(i.number)&0x3fff|0x8000)
	copy(b[10:], []byte{0x02, 0x42, 0xac, i.host})
	binary.BigEndian.PutUint16(b[14:], uint16(i.number>>14))
	return uuidText(b)
}

// random returns a UUID version 4, as Telnyx gives to events and recordings.
func (i ids) random() string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[0:], i.rng.Uint64())
	binary.BigEndian.PutUint64(b[8:], i.rng.Uint64())
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return uuidText(b)
}

func uuidText(b [16]byte) string {
	h := hex.EncodeToString(b[:])
	return h[0:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

const urlSafe = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

// token returns n characters of URL-safe base64.
func (i ids) token(n int) string {
	b := make([]byte, n)
	for j := range b {
		b[j] = urlSafe[i.rng.IntN(len(urlSafe))]
	}
	return string(b)
}

// control returns a call control id of the current form.
func (i ids) control() call.ControlID { return call.ControlID("v3:" + i.token(54)) }

// phone returns a number of the block 555-0100 to 555-0199, which is reserved for fiction.
func phone(line int) string { return fmt.Sprintf("+12025550%03d", 100+line%100) }

// Key returns the signing key of a seed. The same seed gives the same key, so that a fake Telnyx can be stopped and
// started without configuring the service anew. It protects nothing.
func Key(seed uint64) ed25519.PrivateKey {
	material := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("legato simulate "), seed))
	return ed25519.NewKeyFromSeed(material[:])
}

// PublicKey returns the public half of a key in the form in which Telnyx shows it: base64 of 32 bytes.
func PublicKey(key ed25519.PrivateKey) string {
	return base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
}
