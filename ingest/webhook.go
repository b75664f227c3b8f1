package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// Journal takes an event down durably. The log implements it.
type Journal interface {
	// Append returns once the entry is stored, or was stored before, and fails when that is not certain. It returns
	// soon after ctx is done. It may keep e.Data for as long as it likes but must not change it.
	Append(ctx context.Context, e call.Entry) (call.Receipt, error)
}

// Parking keeps signed input that cannot be used.
type Parking interface {
	// Park returns once the input is stored, and fails when that is not certain. It returns soon after ctx is done.
	Park(ctx context.Context, p call.Parked) error
}

// storeTimeout bounds an append and a parking: Telnyx gives up after 2 s, and 0.5 s of these are left to the
// network, the body and the verification. Who has given up sends the same event again, to be found a duplicate.
const storeTimeout = 1500 * time.Millisecond

// Bodies of the answers 200.
var (
	answerStored    = []byte(`{"status":"stored"}`)
	answerDuplicate = []byte(`{"status":"duplicate"}`)
)

// receive handles one webhook.
func (s *Server) receive(c echo.Context) error {
	observationOf(c).webhook = true
	return s.verified(c, s.take)
}

// elsewhere answers what comes to another path. What Telnyx has signed is lost there, which an operator must know.
func (s *Server) elsewhere(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		err := next(c)
		if !errors.Is(err, echo.ErrNotFound) {
			return err
		}
		if r := c.Request(); r.Method != http.MethodPost || s.verifier.Load() == nil || checkSigned(r.Header) != nil {
			return refuse(resultNotFound, nil)
		}
		err = s.verified(c, func(echo.Context, webhook) error { return refuse(resultElsewhere, nil) })
		switch p := toProblem(err); p.result {
		case resultElsewhere, resultStopping, resultOverloaded, resultIncomplete:
			return p
		case resultClock:
			return refuse(resultElsewhere, nil)
		default:
			return refuse(resultNotFound, nil)
		}
	}
}

// probe answers a load balancer that asks for the root: with nothing, and 503 while the server stops. It is no
// webhook, and not counted as one.
func (s *Server) probe(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.URL.Path != "/" || r.Method != http.MethodGet && r.Method != http.MethodHead {
			return next(c)
		}
		if s.handling.isClosed() {
			return c.NoContent(http.StatusServiceUnavailable)
		}
		return c.NoContent(http.StatusOK)
	}
}

// webhook is a request that Telnyx has signed.
type webhook struct {
	media                string
	signature, timestamp string
	body                 []byte
	// leave gives back the place among the webhooks that are verified and stored, before that happens by itself.
	leave func()
}

// verified reads a request and calls then with what was signed. It refuses what was not.
func (s *Server) verified(c echo.Context, then func(echo.Context, webhook) error) error {
	o, r := observationOf(c), c.Request()
	if !s.handling.enter() {
		return refuse(resultStopping, nil)
	}
	defer s.handling.leave()
	media, err := checkContent(r.Header, s.app != nil)
	if err != nil {
		return err
	}
	if r.ContentLength > s.maxBody {
		return refuse(resultTooLarge, nil)
	}
	timestamp, signature := r.Header.Get(telnyx.HeaderTimestamp), r.Header.Get(telnyx.HeaderSignature)
	verifier := s.verifier.Load()
	if verifier != nil {
		if err := checkSigned(r.Header); err != nil {
			return err
		}
	}
	sender := r.Context().Value(connKey{}).(*conn)
	defer sender.release()
	body, err := readBody(r.Body, r.ContentLength, s.maxBody, sender.hold)
	if err != nil {
		return err
	}
	o.bytes = len(body)

	genuine := false
	sender.busy()
	defer func() { sender.rest(genuine) }()
	// A place is taken only now: a sender that lets its body trickle holds none.
	if !s.enter() {
		return refuse(resultOverloaded, nil)
	}
	s.metrics.inFlight.Inc()
	defer s.metrics.inFlight.Dec()
	// The place is given back before an application is asked: a slow one must not keep the webhooks of others out.
	leave := sync.OnceFunc(s.leave)
	defer leave()
	if err := s.verify(verifier, timestamp, signature, body); err != nil {
		return err
	}
	genuine = true
	if verifier == nil {
		timestamp, signature = "", "" // what nobody has checked goes no further
	}
	return then(c, webhook{media: media, signature: signature, timestamp: timestamp, body: body, leave: leave})
}

// take stores a webhook, and answers it.
func (s *Server) take(c echo.Context, w webhook) error {
	o, r := observationOf(c), c.Request()
	s.trace(c, o)
	if w.media == mediaForm {
		w.leave()
		return s.passForm(c, w.signature, w.timestamp, w.body)
	}
	e, err := s.classify(w)
	if unusable, ok := errors.AsType[*telnyx.Unusable](err); ok {
		return s.park(c, unusable, call.Parked{
			Reason:      string(unusable.Reason),
			Signature:   w.signature,
			Timestamp:   w.timestamp,
			ContentType: w.media,
			Data:        w.body,
		})
	}
	if err != nil {
		return err
	}
	complete(&e, r)
	o.entry = e
	answer, err := s.store(c, &e)
	if err != nil {
		return err
	}
	w.leave()
	if s.passed(c, e) {
		return nil
	}
	accept(c, answer)
	return nil
}

// complete writes into an entry what the request's header says beside the signature.
func complete(e *call.Entry, r *http.Request) {
	e.ContentType = unless(r.Header.Get("Content-Type"), call.WebhookContentType)
	e.UserAgent = unless(r.UserAgent(), call.WebhookUserAgent)
}

// unless returns a header's value, empty where it is the usual one, which need not be repeated.
func unless(value, usual string) string {
	if value == usual {
		return ""
	}
	return value
}

var (
	keptContentType = regexp.MustCompile(`^application/[a-z.+-]{1,40}(; ?charset=[a-zA-Z0-9-]{1,12})?$`)
	keptUserAgent   = regexp.MustCompile(`^telnyx[a-zA-Z-]{0,30}(/[0-9.]{1,8})?$`)
)

// forLog returns an entry as it goes into the log. The two headers are not signed, so that anything might stand in
// them, a person's number too: they are kept only as far as they look like Telnyx's.
func forLog(e call.Entry) call.Entry {
	if !keptContentType.MatchString(e.ContentType) {
		e.ContentType = ""
	}
	if !keptUserAgent.MatchString(e.UserAgent) {
		e.UserAgent = ""
	}
	return e
}

// checkSigned refuses a request without the headers of a signature before its body is read.
func checkSigned(header http.Header) error {
	signature := header.Get(telnyx.HeaderSignature)
	switch {
	case signature == "" && header.Get(telnyx.HeaderSignatureV1) != "":
		return refuse(resultAPIv1, nil)
	case signature == "" || header.Get(telnyx.HeaderTimestamp) == "":
		return refuse(resultNoSignature, nil)
	}
	return nil
}

// verify refuses what Telnyx has not signed, or not lately.
func (s *Server) verify(verifier *telnyx.Verifier, timestamp, signature string, body []byte) error {
	if verifier == nil {
		return nil
	}
	if err := verifier.Verify(timestamp, signature, body); err != nil {
		return refuse(resultBadSignature, nil)
	}
	if err := s.checkAge(timestamp); err != nil {
		return refuse(resultClock, err)
	}
	return nil
}

// checkAge fails when a verified timestamp is too far from this clock, in
// either direction. A timestamp that is no time at all has no age to trust.
func (s *Server) checkAge(timestamp string) error {
	at, err := telnyx.ParseTimestamp(timestamp)
	if err != nil {
		return err
	}
	now := s.now()
	age := now.Sub(at)
	if age.Abs() <= s.tolerance {
		return nil
	}
	s.skew.note(now, age)
	return fmt.Errorf("%s, tolerance %s", signedAt(age), s.tolerance)
}

// signedAt says how far a signature's timestamp lies from this clock.
func signedAt(age time.Duration) string {
	if age < 0 {
		return fmt.Sprintf("signed %s after now by this clock", -age)
	}
	return fmt.Sprintf("signed %s before now by this clock", age)
}

// skew remembers the last webhook that was refused for its timestamp.
type skew struct {
	mu  sync.Mutex
	at  time.Time
	age time.Duration
}

func (s *skew) note(now time.Time, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at, s.age = now, age
}

// skewTold is how long a refusal is worth telling about: a clock that is wrong refuses every webhook.
const skewTold = time.Minute

// Skew says how far the timestamp of a genuine webhook was from this machine's
// clock, when one was refused for that within the last minute; empty: none was.
func (s *Server) Skew() string {
	s.skew.mu.Lock()
	defer s.skew.mu.Unlock()
	// A clock that was set back since has been seen to.
	if since := s.now().Sub(s.skew.at); s.skew.at.IsZero() || since < 0 || since > skewTold {
		return ""
	}
	return signedAt(s.skew.age)
}

// store appends the event and returns what Legato answers to it.
func (s *Server) store(c echo.Context, e *call.Entry) ([]byte, error) {
	ctx, cancel := storing(c)
	defer cancel()
	receipt, err := s.journal.Append(ctx, forLog(*e))
	if err != nil {
		return nil, refuse(resultLogFailed, fmt.Errorf("append %s: %w", e.Topic, err))
	}
	e.Seq = receipt.Seq
	o := observationOf(c)
	o.seq, o.result = receipt.Seq, resultStored
	if receipt.Duplicate {
		o.result = resultDuplicate
		return answerDuplicate, nil
	}
	return answerStored, nil
}

// park stores the unusable input and answers.
func (s *Server) park(c echo.Context, why *telnyx.Unusable, p call.Parked) error {
	o := observationOf(c)
	o.parked = why
	ctx, cancel := storing(c)
	defer cancel()
	if err := s.parking.Park(ctx, p); err != nil {
		return refuse(resultParkingFailed, fmt.Errorf("park %s: %w", p.Reason, err))
	}
	o.result = resultParked
	// A Reason is a subject token: nothing in it needs escaping.
	accept(c, []byte(`{"status":"parked","reason":"`+p.Reason+`"}`))
	return nil
}

// storing returns the context of a write: bounded, and not ended by a sender
// that hangs up, since a write that is under way may as well be completed.
func storing(c echo.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(c.Request().Context()), storeTimeout)
}

// accept answers 200. A sender that is gone misses its answer and sends the
// event again; it is stored all the same, so that is no error here.
func accept(c echo.Context, body []byte) {
	_ = c.JSONBlob(http.StatusOK, body)
}

// classify decides what a body whose signature was checked becomes: an entry of the
// log. It fails with *telnyx.Unusable when the body is to be parked.
func classify(signature, timestamp string, body []byte) (call.Entry, error) {
	envelope, err := telnyx.ParseEnvelope(body)
	if err != nil {
		return call.Entry{}, err
	}
	return entry(envelope, signature, timestamp, body), nil
}

func entry(envelope telnyx.Envelope, signature, timestamp string, body []byte) call.Entry {
	return call.Entry{
		Topic:     call.KnownTopic(call.TopicEvent + envelope.Type),
		ID:        envelope.Key(),
		Ref:       envelope.Ref,
		Attempt:   envelope.Attempt,
		Signature: signature,
		Timestamp: timestamp,
		Data:      body,
	}
}

// classify is the same, with the event itself where the fold is in this process: that costs hardly more than its
// envelope, and the fold need not read the body again.
func (s *Server) classify(w webhook) (call.Entry, error) {
	if s.decode != nil {
		if e, ok := s.decoded(w); ok {
			return e, nil
		}
	}
	return classify(w.signature, w.timestamp, w.body)
}

// decoded is false where the body is no event, and where the decoder has a fault: what it cannot take is stored as well.
func (s *Server) decoded(w webhook) (e call.Entry, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	event, err := s.decode(w.body)
	if err != nil {
		return call.Entry{}, false
	}
	envelope := telnyx.Envelope{ID: event.ID, Type: event.Type, Ref: event.Ref, Attempt: event.Attempt}
	e = entry(envelope, w.signature, w.timestamp, w.body)
	e.Event = &event
	return e, true
}

// Retry decides what parked input becomes now; seq is its place in the parked store. A webhook becomes what it
// would become if it came in now, except that its age is not held against it: that was checked when it came. It
// fails with *telnyx.Unusable when that still is no event, and with the verifier's error when the signature does
// not match; a nil verifier checks none.
//
// Input that was an entry of the log becomes one again, under an id made of seq and not under its own: the log
// would take it for a redelivery, and nobody would be handed the work that was given up. What is folded twice
// counts once, for the fold goes by what the bytes say.
func Retry(p call.Parked, seq uint64, verifier *telnyx.Verifier) (call.Entry, error) {
	again := "retry/" + strconv.FormatUint(seq, 10) + "/"
	if p.Topic != "" && !strings.HasPrefix(p.Topic, call.TopicEvent) {
		return call.Entry{Topic: p.Topic, ID: again + p.Topic, Ref: p.Ref, Data: p.Data}, nil
	}
	// What came from the provider's history was never signed.
	if verifier != nil && !p.Backfill {
		if err := verifier.Verify(p.Timestamp, p.Signature, p.Data); err != nil {
			return call.Entry{}, fmt.Errorf("verify parked message %d: %w", seq, err)
		}
	}
	e, err := classify(p.Signature, p.Timestamp, p.Data)
	if err != nil {
		return call.Entry{}, err
	}
	if p.Topic != "" {
		e.ID, e.Backfill = again+e.ID, p.Backfill
	}
	return e, nil
}
