package natsd

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/call"
)

// Layout names the streams of one deployment, and the token that its subjects
// begin with. Several deployments share a NATS account under different prefixes.
type Layout struct {
	// Prefix is the first token of every subject.
	Prefix string
	// Events is the log: everything that Telnyx sent and Legato learned.
	Events string
	// Calls holds the summaries.
	Calls string
	// Parked holds input that could not be used.
	Parked string
	// Forward holds what became of the events that were handed on to applications,
	// and what is to be tried again later.
	Forward string
}

// DefaultPrefix is the subject prefix of a deployment that chose none.
const DefaultPrefix = "calls"

// maxPrefixLength keeps subjects and stream names readable; NATS itself allows more.
const maxPrefixLength = 32

// NewLayout derives the stream names from the subject prefix: "calls" gives CALL_EVENTS, CALLS, CALL_PARKED and
// CALL_FORWARD; any other, as "emea", EMEA_EVENTS, EMEA, EMEA_PARKED and EMEA_FORWARD. It fails when the prefix is
// not one subject token of lower-case letters, digits, '-' and '_' that begins with a letter, or when its streams
// would carry the names of another prefix's.
func NewLayout(prefix string) (Layout, error) {
	if err := validatePrefix(prefix); err != nil {
		return Layout{}, fmt.Errorf("subject prefix %q: %w", prefix, err)
	}
	stem, calls := strings.ToUpper(prefix), strings.ToUpper(prefix)
	if prefix == DefaultPrefix {
		stem = "CALL"
	}
	return Layout{Prefix: prefix, Events: stem + "_EVENTS", Calls: calls, Parked: stem + "_PARKED", Forward: stem + "_FORWARD"}, nil
}

func validatePrefix(prefix string) error {
	if prefix == "" || len(prefix) > maxPrefixLength {
		return fmt.Errorf("must have 1 to %d characters", maxPrefixLength)
	}
	for i, c := range []byte(prefix) {
		letter := 'a' <= c && c <= 'z'
		follows := letter || '0' <= c && c <= '9' || c == '-' || c == '_'
		if i == 0 && !letter || !follows {
			// Upper case is refused because "emea" and "EMEA" would share their streams.
			return errors.New("must be one token of lower-case letters, digits, '-' and '_', beginning with a letter")
		}
	}
	switch {
	case prefix == "call":
		return errors.New(`would share the streams of the prefix "calls"`)
	case strings.HasSuffix(prefix, "_events"), strings.HasSuffix(prefix, "_parked"), strings.HasSuffix(prefix, "_forward"):
		return errors.New("would give a stream the name of another prefix's log, parked messages or forwarding")
	}
	return nil
}

// Limits bound the streams.
type Limits struct {
	// EventsMaxAge, CallsMaxAge and ParkedMaxAge are how long messages are kept. Zero: 24 h, 72 h and 7 days.
	EventsMaxAge, CallsMaxAge, ParkedMaxAge time.Duration
	// EventsMaxBytes, CallsMaxBytes, ParkedMaxBytes and ForwardMaxBytes bound the size of each
	// copy of a stream. Zero: unlimited on a stream that is made, left alone on one that exists.
	EventsMaxBytes, CallsMaxBytes, ParkedMaxBytes, ForwardMaxBytes int64
	// Approximate names the streams' sizes that follow from the disk: it is never quite as full as at the last start,
	// and a size that stands is kept where it is within a tenth of such a limit.
	Approximate Approximate
	// Replicas is how many servers hold a copy, 1 to 5; more than 1 needs a cluster.
	// A stream that has more keeps them. Zero: 1.
	Replicas int
	// Copy says that the stream of events is a copy of a log on the local disk.
	Copy bool
	// Forward wants the stream of forwarding; without it that stream is neither made nor looked at.
	Forward bool
}

// Approximate tells which sizes are no more exact than the free space of a disk.
type Approximate struct {
	// Events is the log's size, Calls that of the summaries and Parked that of parked messages.
	Events, Calls, Parked bool
}

// near reports whether the size of one of the layout's streams is approximate.
func (l Limits) near(n Layout, stream string) bool {
	switch stream {
	case n.Events:
		return l.Approximate.Events
	case n.Calls:
		return l.Approximate.Calls
	case n.Parked:
		return l.Approximate.Parked
	}
	return false
}

// Default ages of the streams.
const (
	defaultEventsMaxAge = 24 * time.Hour
	defaultCallsMaxAge  = 72 * time.Hour
	defaultParkedMaxAge = 7 * 24 * time.Hour
)

// duplicateWindow is how long a server refuses a second message of the same id. Telnyx repeats a webhook for about
// a minute, so two minutes stop nearly all redeliveries at the door; those that come later are folded once all the
// same. The server holds every id of the window in memory, and reads them back from the stream at each start, which
// is why it is not longer.
const duplicateWindow = 2 * time.Minute

// IsCopy reports whether a stream of events is the copy of a log on the disk of a service, into which nobody else may
// publish.
func IsCopy(c jetstream.StreamConfig) bool { return c.Duplicates == copyWindow }

// copyWindow is the shortest duplicate window that the server allows.
const copyWindow = 100 * time.Millisecond

func (l Limits) withDefaults() (Limits, error) {
	l.EventsMaxAge = cmp.Or(l.EventsMaxAge, defaultEventsMaxAge)
	l.CallsMaxAge = cmp.Or(l.CallsMaxAge, defaultCallsMaxAge)
	l.ParkedMaxAge = cmp.Or(l.ParkedMaxAge, defaultParkedMaxAge)
	l.Replicas = cmp.Or(l.Replicas, 1)
	switch {
	case min(l.EventsMaxAge, l.CallsMaxAge, l.ParkedMaxAge) < 0, min(l.EventsMaxBytes, l.CallsMaxBytes, l.ParkedMaxBytes, l.ForwardMaxBytes) < 0:
		return l, errors.New("stream limits: negative age or size")
	case l.Replicas < 1 || l.Replicas > 5:
		return l, fmt.Errorf("stream limits: %d replicas, want 1 to 5", l.Replicas)
	case l.CallsMaxAge < l.EventsMaxAge:
		// A summary that leaves before its events would be published a second time.
		return l, fmt.Errorf("stream limits: summaries are kept %v, less than the log's %v", l.CallsMaxAge, l.EventsMaxAge)
	}
	return l, nil
}

// LogSubjects are the subjects of the log's stream.
func (n Layout) LogSubjects() []string {
	subjects := []string{n.Prefix + ".event.>"}
	for _, topic := range call.InternalTopics() {
		subjects = append(subjects, n.Prefix+"."+topic)
	}
	return subjects
}

// streams returns the configurations that a deployment wants.
func (n Layout) streams(l Limits) []jetstream.StreamConfig {
	events := baseStream(n.Events, l.EventsMaxAge, l.EventsMaxBytes, l.Replicas)
	events.Description = "Legato's log: call webhooks byte for byte, status answers and checks."
	events.Subjects = n.LogSubjects()
	if l.Copy {
		// The log drops what it has stored; the copy is made in order, each message on condition of the one before.
		events.Description = "The copy of Legato's log: call webhooks byte for byte, status answers and checks."
		events.Duplicates = min(copyWindow, l.EventsMaxAge)
	}
	// A hole in the log would look like a lost event to every follower. Purging
	// from the front stays allowed: that is how the log is trimmed.
	events.DenyDelete = true

	calls := baseStream(n.Calls, l.CallsMaxAge, l.CallsMaxBytes, l.Replicas)
	calls.Description = "Legato's summaries of legs and sessions."
	calls.Subjects = []string{n.Prefix + ".leg.>", n.Prefix + ".session.>"}

	parked := baseStream(n.Parked, l.ParkedMaxAge, l.ParkedMaxBytes, l.Replicas)
	parked.Description = "Signed input that Legato could not use, byte for byte."
	parked.Subjects = []string{n.Prefix + ".parked.>"}
	// A full log and full summaries refuse, so that nothing is lost unnoticed. What is parked is
	// already out of the way, and refusing it would make its sender or queue repeat it for ever.
	parked.Discard = jetstream.DiscardOld
	streams := []jetstream.StreamConfig{events, calls, parked}
	if l.Forward {
		streams = append(streams, n.forward(l))
	}
	return streams
}

// forward returns the stream of forwarding. It is kept as long as the log.
func (n Layout) forward(l Limits) jetstream.StreamConfig {
	c := baseStream(n.Forward, l.EventsMaxAge, l.ForwardMaxBytes, l.Replicas)
	c.Description = "What Legato forwarded to applications, and what it will try again."
	c.Subjects = []string{n.Prefix + ".internal.forward.>", n.Prefix + ".internal.later.>"}
	return c
}

func baseStream(name string, age time.Duration, bytes int64, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              name,
		Storage:           jetstream.FileStorage,
		Retention:         jetstream.LimitsPolicy,
		Discard:           jetstream.DiscardNew,
		MaxAge:            age,
		MaxBytes:          cmp.Or(bytes, -1),
		MaxMsgs:           -1,
		MaxMsgsPerSubject: -1,
		MaxMsgSize:        -1,
		MaxConsumers:      -1,
		Duplicates:        min(duplicateWindow, age), // The server refuses a window longer than the age.
		Replicas:          replicas,
		// Direct gets are answered by any replica, also by one that lags; what
		// decides about a publication is read from the leader.
		AllowDirect: false,
	}
}
