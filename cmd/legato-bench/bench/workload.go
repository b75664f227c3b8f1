// Package bench is the measuring stick of `go run ./cmd/legato-bench`: it builds signed webhooks,
// drives a server with them, and makes a report of what was measured.
//
// In go a shape and a key, and the address of any server that takes webhooks; out come
// a [Workload], the [Result] of driving it, and a [Report] with its table and goals.
//
// Everything that costs is done before the clock starts: a request is bytes that are
// written, an answer a status that is read. Latency at a fixed rate counts from the time that the
// schedule said, not from the time that the request could be sent, so a server that
// stalls cannot hide the webhooks that would have come meanwhile.
//
// It does not know what it drives, and starts no process.
package bench

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// Shape says which calls a Workload consists of.
type Shape struct {
	// Tag makes the ids of a workload its own: two of the same tag have the same ids.
	Tag uint32
	// Events is about how many events there are; a workload consists of whole sessions.
	Events int
	// PerLeg is how many events a leg has, at least 2: initiated first, hangup last.
	// Zero: DefaultPerLeg.
	PerLeg int
	// Open leaves the hangup out: the first PerLeg events of a longer call.
	Open bool
	// Calmly builds it on one core and with pauses, over some ten seconds, since something is measured meanwhile.
	Calmly bool
}

// DefaultPerLeg is how many events a leg of the workload has.
const DefaultPerLeg = 7

// bodyLength is how long bodies are at least: those of Telnyx are about 1.1 KB.
const bodyLength = 1100

// stride is how many sessions begin between two events of a leg. With more events
// in between than there are connections, events of a leg do not overtake each other.
const stride = 50

// Leg is a leg of a Workload.
type Leg struct {
	// Ref are its ids.
	Ref call.Ref
	// Start and End are what its webhooks state. End is set for open legs, too; nothing states it.
	Start, End time.Time
}

// Workload is webhooks that are ready to be written to a connection, in order.
// Their signatures are valid for as long as the receiver tolerates, five minutes by default.
type Workload struct {
	// Legs are its legs. A third of the sessions have two.
	Legs []Leg
	// Sessions are the ids of its sessions.
	Sessions []call.SessionID

	open     bool
	events   []event
	requests [][]byte
}

// event is number step of a leg.
type event struct{ leg, step int32 }

// Len returns the number of events.
func (w *Workload) Len() int { return len(w.requests) }

// Ends reports whether its calls end, and so have summaries.
func (w *Workload) Ends() bool { return !w.open }

// Split divides a workload into all that comes before the hangups, and the hangups. Both have all its legs.
func (w *Workload) Split() (before, hangups *Workload) {
	before, hangups = &Workload{Legs: w.Legs, open: true}, &Workload{Legs: w.Legs, Sessions: w.Sessions}
	last := make([]int32, len(w.Legs))
	for _, e := range w.events {
		last[e.leg] = max(last[e.leg], e.step)
	}
	for i, e := range w.events {
		part := before
		if e.step == last[e.leg] {
			part = hangups
		}
		part.events, part.requests = append(part.events, e), append(part.requests, w.requests[i])
	}
	return before, hangups
}

// Request returns the bytes of a request.
func (w *Workload) Request(i int) []byte { return w.requests[i] }

// Signature returns the signature of a request, which no other has.
func (w *Workload) Signature(i int) string {
	const before = "Telnyx-Signature-Ed25519: "
	_, rest, _ := bytes.Cut(w.requests[i], []byte(before))
	signature, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return string(signature)
}

// Build makes the webhooks of a shape, posted to path and signed now. It uses all cores, unless it is to be calm.
func Build(s Shape, key ed25519.PrivateKey, path string) *Workload {
	if s.PerLeg == 0 {
		s.PerLeg = DefaultPerLeg
	}
	b := &builder{Shape: s, key: key, path: path, signedAt: time.Now()}
	w := b.plan()
	w.requests = make([][]byte, len(w.events))
	// Chunks share a buffer each: one allocation for hundreds of requests.
	chunk, workers, pause := 256, runtime.GOMAXPROCS(0), time.Duration(0)
	if s.Calmly {
		chunk, workers, pause = max(32, len(w.events)/1000), 1, 10*time.Millisecond // at 19 µs an event
	}
	var wg sync.WaitGroup
	starts := make(chan int)
	for range workers {
		wg.Go(func() {
			for start := range starts {
				b.chunk(w, start, min(start+chunk, len(w.events)))
				time.Sleep(pause)
			}
		})
	}
	for start := 0; start < len(w.events); start += chunk {
		starts <- start
	}
	close(starts)
	wg.Wait()
	return w
}

type builder struct {
	Shape
	key      ed25519.PrivateKey
	path     string
	signedAt time.Time
}

// plan lays out the legs and the order of their events: session s says its event k
// when session s + k×stride begins, so that at any time legs of every age are open.
func (b *builder) plan() *Workload {
	// Three sessions have four legs.
	sessions := max(1, b.Events*3/4/b.PerLeg)
	w := &Workload{open: b.Open}
	first := make([]int32, sessions+1)
	for s := range sessions {
		first[s] = int32(len(w.Legs))
		id := call.SessionID(b.id(0, s))
		w.Sessions = append(w.Sessions, id)
		w.Legs = append(w.Legs, b.leg(id, len(w.Legs)))
		if s%3 == 0 {
			w.Legs = append(w.Legs, b.leg(id, len(w.Legs)))
		}
	}
	first[sessions] = int32(len(w.Legs))
	w.events = make([]event, 0, len(w.Legs)*b.PerLeg)
	for slot := range sessions + (b.PerLeg-1)*stride {
		for k := range b.PerLeg {
			s := slot - k*stride
			if s < 0 || s >= sessions {
				continue
			}
			for leg := first[s]; leg < first[s+1]; leg++ {
				w.events = append(w.events, event{leg, int32(k)})
			}
		}
	}
	return w
}

// id is in the form of a UUID, unique by tag, kind and number.
func (b *builder) id(kind, n int) string {
	return fmt.Sprintf("%08x-%04x-11f0-8000-%012x", b.Tag, kind, n)
}

func (b *builder) leg(session call.SessionID, n int) Leg {
	end := b.signedAt.UTC().Truncate(time.Microsecond).Add(-time.Duration(n%1000) * time.Millisecond)
	return Leg{
		Ref: call.Ref{
			Session: session, Leg: call.LegID(b.id(1, n)), Connection: "1684641123236054244",
			Control: call.ControlID(fmt.Sprintf("v3:MdI91X4lWFEs7IgbBEOT9M4AigoY08M0WWZFISt1Yw2axZ_IiE4pqg%08x%08x", b.Tag, n)),
		},
		Start: end.Add(-time.Duration(b.PerLeg) * time.Second), End: end,
	}
}

// chunk makes the requests from start up to end.
func (b *builder) chunk(w *Workload, start, end int) {
	buf := make([]byte, 0, (end-start)*(bodyLength+512))
	body := make([]byte, 0, 2*bodyLength)
	for i := start; i < end; i++ {
		e := w.events[i]
		body = b.body(body[:0], &w.Legs[e.leg], int(e.leg), int(e.step))
		timestamp, signature := telnyx.Sign(b.key, b.signedAt, body)
		from := len(buf)
		buf = append(buf, "POST "...)
		buf = append(buf, b.path...)
		buf = append(buf, " HTTP/1.1\r\nHost: legato.test\r\nUser-Agent: telnyx-webhooks\r\nContent-Type: application/json\r\nContent-Length: "...)
		buf = strconv.AppendInt(buf, int64(len(body)), 10)
		buf = append(buf, "\r\nTelnyx-Timestamp: "...)
		buf = append(buf, timestamp...)
		buf = append(buf, "\r\nTelnyx-Signature-Ed25519: "...)
		buf = append(buf, signature...)
		buf = append(buf, "\r\n\r\n"...)
		buf = append(buf, body...)
		// Full: what grows past the chunk's buffer must not overwrite the next request.
		w.requests[i] = buf[from:len(buf):len(buf)]
	}
}

// between are the types of the events between initiated and hangup, repeated as needed.
var between = []string{
	call.TypeAnswered, call.TypeBridged, "call.playback.started", "call.playback.ended", "call.speak.started", "call.speak.ended",
}

// eventType is the type of event number step of a leg.
func (b *builder) eventType(step int) string {
	switch {
	case step == 0:
		return call.TypeInitiated
	case step == b.PerLeg-1 && !b.Open:
		return call.TypeHangup
	case step <= len(between):
		return between[step-1]
	}
	// A leg is answered and bridged once.
	return between[2+(step-1)%(len(between)-2)]
}

// body appends the JSON of an event: the fields of Telnyx's bodies in their order.
func (b *builder) body(to []byte, leg *Leg, n, step int) []byte {
	eventType := b.eventType(step)
	from := len(to)
	to = fmt.Appendf(to, `{"data":{"event_type":%q,"id":"%08x-%04x-4%03x-8000-%012x","occurred_at":%q,"payload":{"call_control_id":%q,"call_leg_id":%q,`,
		eventType, b.Tag, step>>12, step&0xfff, n, stamp(leg.Start.Add(time.Duration(step)*time.Second)), leg.Ref.Control, leg.Ref.Leg)
	if eventType == call.TypeHangup {
		to = append(to, `"call_quality_stats":{"inbound":{"jitter_max_variance":"12.54","jitter_packet_count":"3","mos":"4.21",`+
			`"packet_count":"1994","skip_packet_count":"7"},"outbound":{"packet_count":"1991","skip_packet_count":"0"}},`...)
	}
	to = fmt.Appendf(to, `"call_session_id":%q,"calling_party_type":"pstn","client_state":"eyJ0aWNrZXQiOjI5ODQxfQ==","connection_id":%q,`,
		leg.Ref.Session, leg.Ref.Connection)
	to = b.detail(to, eventType, leg, n)
	to = append(to, `"tags":["campaign","callback"],"to":"+12025550199"},"record_type":"event"},"meta":{"attempt":1,"delivered_to":"https://hooks.example.com/webhooks/telnyx`...)
	const closing = `"}}`
	// Telnyx repeats the whole URL here, so that is where the length is made up.
	if missing := bodyLength - len(closing) - (len(to) - from); missing > 1 {
		to = append(append(to, '?'), padding[:missing-1]...)
	}
	return append(to, closing...)
}

var padding = strings.Repeat("application=legato&", bodyLength/19+1)

// detail appends the fields of a type, up to those that begin with t.
func (b *builder) detail(to []byte, eventType string, leg *Leg, n int) []byte {
	from, start := fmt.Sprintf("+120255501%02d", n%100), stamp(leg.Start)
	switch eventType {
	case call.TypeInitiated:
		return fmt.Appendf(to, `"caller_id_name":%q,"connection_codecs":"G722,PCMU,PCMA","direction":"incoming","from":%q,"from_sip_uri":"%s@198.51.100.7:5060",`+
			`"offered_codecs":"PCMU,PCMA,G729","shaken_stir_attestation":"A","shaken_stir_validated":true,"start_time":%q,"state":"parked",`, from, from, from, start)
	case call.TypeAnswered:
		return fmt.Appendf(to, `"codec":"PCMU","from":%q,"sampling_rate":8000,"start_time":%q,"state":"answered",`, from, start)
	case call.TypeHangup:
		return fmt.Appendf(to, `"end_time":%q,"from":%q,"hangup_cause":"normal_clearing","hangup_source":"caller","sip_hangup_cause":"200","start_time":%q,`,
			stamp(leg.End), from, start)
	case call.TypeBridged:
		return fmt.Appendf(to, `"from":%q,"start_time":%q,`, from, start)
	case "call.playback.ended":
		return fmt.Appendf(to, `"from":%q,"media_name":"waiting","overlay":false,"status":"completed",`, from)
	case "call.speak.ended":
		return fmt.Appendf(to, `"from":%q,"speak_id":"%010d","status":"completed",`, from, n)
	case "call.speak.started":
		return fmt.Appendf(to, `"from":%q,"speak_id":"%010d",`, from, n)
	}
	return fmt.Appendf(to, `"from":%q,"media_name":"waiting","overlay":false,`, from)
}

// stamp writes an instant as Telnyx does.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000000Z") }

// Ledger tells which legs and sessions were completed, and when. It is safe for concurrent use.
type Ledger struct {
	mu      sync.Mutex
	pending map[string]bool      // legs and sessions that have no summary yet
	seen    map[string]time.Time // those that have
	doubled int
	done    chan struct{} // closed when nothing is pending
}

// Expect begins to wait for the summaries of all legs and sessions of a workload.
// What was completed before is forgotten.
func (l *Ledger) Expect(w *Workload) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending, l.seen = make(map[string]bool, len(w.Legs)+len(w.Sessions)), map[string]time.Time{}
	l.done = make(chan struct{})
	l.expect(w)
}

// ExpectToo waits for those of one more workload.
func (l *Ledger) ExpectToo(w *Workload) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) == 0 {
		l.done = make(chan struct{}) // That of the workloads before is closed.
	}
	l.expect(w)
}

func (l *Ledger) expect(w *Workload) {
	for _, leg := range w.Legs {
		l.pending[string(leg.Ref.Leg)] = true
	}
	for _, id := range w.Sessions {
		l.pending[string(id)] = true
	}
}

// Completed takes the first summary of a leg or session.
func (l *Ledger) Completed(id string, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		return // nothing was expected yet
	}
	if _, twice := l.seen[id]; twice {
		l.doubled++
		return
	}
	l.seen[id] = at
	if !l.pending[id] {
		return // a late one of an earlier workload
	}
	if delete(l.pending, id); len(l.pending) == 0 {
		close(l.done)
	}
}

// Wait waits until everything expected is there. It fails when that does not
// happen within the patience, and when something came twice.
func (l *Ledger) Wait(ctx context.Context, patience time.Duration) error {
	l.mu.Lock()
	done := l.done
	l.mu.Unlock()
	select {
	case <-done:
	case <-time.After(patience):
	case <-ctx.Done():
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.pending) > 0 {
		return fmt.Errorf("%d legs and sessions have no summary %v after the last webhook", len(l.pending), patience)
	}
	if l.doubled > 0 {
		return fmt.Errorf("%d summaries were published as completed more than once", l.doubled)
	}
	return nil
}

// At returns when a leg or session was completed; zero: it was not.
func (l *Ledger) At(id string) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[id]
}
