package fake

import (
	"strconv"
	"strings"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

const (
	ms  = time.Millisecond
	sec = time.Second
)

// numbers returns two different numbers of the fictional block: somebody outside, and a line of the customer's.
func (s *script) numbers() (outside, line string) {
	first := s.rng.IntN(100)
	return phone(first), phone(first + 1 + s.rng.IntN(99))
}

// ivr is answered by a menu that gathers digits, until the caller hangs up.
func (s *script) ivr() {
	caller, line := s.numbers()
	a := s.incoming(0, caller, line)
	now := s.between(400*ms, 1500*ms)
	a.answer(now)
	for range 1 + s.rng.IntN(3) {
		now = a.speak(now+s.between(50*ms, 400*ms), s.between(2*sec, 6*sec))
		now = a.gather(now + s.between(800*ms, 3*sec))
	}
	now = a.speak(now+s.between(50*ms, 400*ms), s.between(5*sec, 20*sec))
	now += s.between(1*sec, 8*sec)
	a.hangup(now, "normal_clearing", "caller", "200")
	if s.chance(60) {
		a.cost(now+s.between(2*sec, 4*sec), false)
	}
}

// speak writes the two events of a spoken text and returns its end.
func (a *actor) speak(at, length time.Duration) time.Duration {
	id := a.ids.token(10)
	a.say(at, "call.speak.started", fields{"speak_id": id})
	a.say(at+length, "call.speak.ended", fields{"speak_id": id, "status": "completed"})
	return at + length
}

// gather writes the digits that the caller enters and what was gathered of them.
func (a *actor) gather(at time.Duration) time.Duration {
	var digits strings.Builder
	for range 1 + a.rng.IntN(4) {
		digit := string("0123456789"[a.rng.IntN(10)])
		digits.WriteString(digit)
		a.say(at, "call.dtmf.received", a.parties(fields{"digit": digit}))
		at += a.between(300*ms, 900*ms)
	}
	a.say(at, "call.gather.ended", a.parties(fields{"digits": digits.String(), "status": "valid"}))
	return at
}

// inboundBridged puts a caller through to a second leg and records the two.
func (s *script) inboundBridged() {
	caller, line := s.numbers()
	a := s.incoming(0, caller, line)
	now := s.between(300*ms, 1500*ms)
	a.answer(now)
	b := s.outgoing(now+s.between(200*ms, 4*sec), line, phone(s.rng.IntN(100)))
	now = b.Start.Sub(s.call.Start) + s.between(2*sec, 14*sec)
	b.answer(now)
	now += s.between(30*ms, 120*ms)
	s.bridge(now, a, b)
	recorded := now + s.between(200*ms, 900*ms)
	now += s.between(8*sec, 150*sec)
	s.part(now, a, b)
	a.recording(recorded, now)
}

// outboundBridged calls a customer and then joins an agent.
func (s *script) outboundBridged() {
	customer, line := s.numbers()
	a := s.outgoing(0, line, customer)
	a.tags = []string{"campaign", "callback"}
	now := s.between(3*sec, 18*sec)
	a.answer(now)
	b := s.outgoing(now+s.between(100*ms, 600*ms), line, phone(s.rng.IntN(100)))
	now = b.Start.Sub(s.call.Start) + s.between(1*sec, 5*sec)
	b.answer(now)
	now += s.between(30*ms, 120*ms)
	s.bridge(now, a, b)
	now += s.between(6*sec, 120*sec)
	s.part(now, b, a)
}

// queue lets a caller wait for an agent, who later puts the call on hold.
func (s *script) queue() {
	caller, line := s.numbers()
	a := s.incoming(0, caller, line)
	now := s.between(300*ms, 1200*ms)
	a.answer(now)
	entered := now + s.between(300*ms, 2*sec)
	name := []string{"support", "sales", "billing"}[s.rng.IntN(3)]
	a.say(entered, call.TypeEnqueued, fields{
		"current_position": 1 + s.rng.IntN(6), "queue": name, "queue_avg_wait_time_secs": 20 + s.rng.IntN(120),
	})
	a.say(entered+s.between(50*ms, 200*ms), "call.playback.started", fields{"media_name": "waiting", "overlay": false})
	now = entered + s.between(20*sec, 180*sec)
	b := s.outgoing(now, line, phone(s.rng.IntN(100)))
	now = b.Start.Sub(s.call.Start) + s.between(1*sec, 6*sec)
	b.answer(now)
	now += s.between(20*ms, 80*ms)
	a.say(now, "call.playback.ended", fields{"media_name": "waiting", "overlay": false, "status": "cancelled"})
	a.say(now+5*ms, call.TypeDequeued, fields{
		"queue": name, "queue_position": 1, "reason": "bridged", "wait_time_secs": int((now - entered) / sec),
	})
	now += s.between(20*ms, 80*ms)
	s.bridge(now, a, b)
	now += s.between(10*sec, 60*sec)
	a.say(now, call.TypeHold, a.parties(fields{}))
	now += s.between(10*sec, 90*sec)
	a.say(now, call.TypeUnhold, a.parties(fields{}))
	now += s.between(5*sec, 60*sec)
	s.part(now, a, b)
}

// part hangs up two bridged legs, the other some milliseconds after the one, and bills both.
func (s *script) part(now time.Duration, one, other *actor) {
	source := []string{"caller", "callee"}[s.rng.IntN(2)]
	one.hangup(now, "normal_clearing", source, "200")
	other.hangup(now+s.between(5*ms, 80*ms), "normal_clearing", source, "unspecified")
	if s.chance(70) {
		one.cost(now+s.between(2*sec, 4*sec), false)
		other.cost(now+s.between(2*sec, 5*sec), s.chance(5))
	}
}

// voicemail reaches a machine, waits for its beep and leaves a message.
func (s *script) voicemail() {
	customer, line := s.numbers()
	a := s.outgoing(0, line, customer)
	now := s.between(8*sec, 25*sec)
	a.answer(now)
	now += s.between(2*sec, 4*sec)
	a.say(now, call.TypeMachinePremium, a.parties(fields{"result": "machine"}))
	now += s.between(5*sec, 15*sec)
	a.say(now, call.TypeMachinePremiumGreet, a.parties(fields{"result": "beep_detected"}))
	now += s.between(100*ms, 400*ms)
	a.say(now, "call.playback.started", fields{"media_name": "message", "overlay": false})
	now += s.between(6*sec, 20*sec)
	a.say(now, "call.playback.ended", fields{"media_name": "message", "overlay": false, "status": "completed"})
	now += s.between(100*ms, 500*ms)
	// On an outgoing leg the caller is the application itself.
	a.hangup(now, "normal_clearing", "caller", "unspecified")
	a.cost(now+s.between(2*sec, 4*sec), false)
}

// noAnswer rings until the time given to the dial is over.
func (s *script) noAnswer() {
	s.unanswered(s.between(20*sec, 35*sec), "timeout", "caller", "unspecified")
}

func (s *script) busy() { s.unanswered(s.between(1500*ms, 5*sec), "user_busy", "unknown", "486") }

func (s *script) rejected() { s.unanswered(s.between(2*sec, 12*sec), "call_rejected", "callee", "603") }

func (s *script) failed() { s.unanswered(s.between(800*ms, 3*sec), "not_found", "unknown", "404") }

// unanswered dials a number that nobody answers.
func (s *script) unanswered(after time.Duration, cause, source, sip string) {
	customer, line := s.numbers()
	s.outgoing(0, line, customer).hangup(after, cause, source, sip)
}

// canceled rings until the caller gives up.
func (s *script) canceled() {
	caller, line := s.numbers()
	s.incoming(0, caller, line).hangup(s.between(3*sec, 20*sec), "originator_cancel", "caller", "487")
}

// Call is one invented phone call: its truth and the webhooks that tell of it.
type Call struct {
	// Number is the call's number within its generator.
	Number uint64
	// Scenario is what kind of call it is.
	Scenario Scenario
	// Session is the call_session_id that its legs share.
	Session call.SessionID
	// Start is when the first event occurs, UTC, to the microsecond.
	Start time.Time
	// Length is the time from Start to the last hangup.
	Length time.Duration
	// Legs are its legs in order of appearance.
	Legs []Leg
	// Deliveries are its webhooks by Offset.
	Deliveries []Delivery
}

// Leg is the truth about one leg.
type Leg struct {
	// Ref are its ids.
	Ref call.Ref
	// Direction is "incoming" or "outgoing".
	Direction string
	// From and To are fictional phone numbers, E.164.
	From, To string
	// Start is the start_time that its webhooks state: when it began to ring.
	Start time.Time
	// AnsweredAt is when it was answered. Zero: never.
	AnsweredAt time.Time
	// End is when it was hung up: occurred_at and end_time of its hangup.
	End time.Time
	// Duration is the call_duration of the status API: whole seconds from the answer, 0 without one.
	Duration int
	// ClientState is base64 of what the application attached. Empty: nothing.
	ClientState string
	// Cause, Source and SIPCode are those of its hangup.
	Cause, Source, SIPCode string
}

// Answered reports whether the leg was answered.
func (l Leg) Answered() bool { return !l.AnsweredAt.IsZero() }

// Delivery is one webhook that is posted, with retries, or was lost on its way.
type Delivery struct {
	// Offset is when it is first posted, from the call's Start.
	Offset time.Duration
	// OccurredAt is the event's occurred_at.
	OccurredAt time.Time
	// EventID and Type are the event's identity: data.id and data.event_type.
	EventID, Type string
	// LegID is the leg that it tells of.
	LegID call.LegID
	// Data is the JSON of the body's "data": the same however often the event is delivered.
	Data []byte
	// Attempt is meta.attempt of its first post, from 1.
	Attempt int
	// Duplicate marks a second delivery of an event: same Data, other meta.
	Duplicate bool
	// Dropped marks a delivery that never arrives: it is not posted.
	Dropped bool
}

// Body returns the body of one post. Its meta differs from attempt to attempt, so
// the bytes of a redelivery are never those of the first.
func (d Delivery) Body(attempt int, deliveredTo string) []byte {
	b := make([]byte, 0, len(d.Data)+len(deliveredTo)+64)
	b = append(b, `{"data":`...)
	b = append(b, d.Data...)
	b = append(b, `,"meta":{"attempt":`...)
	b = strconv.AppendInt(b, int64(attempt), 10)
	b = append(b, `,"delivered_to":`...)
	b = append(b, encode(deliveredTo)...)
	return append(b, `}}`...)
}
