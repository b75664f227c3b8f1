package ingest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
)

// Journal takes an event down durably. The log implements it.
type Journal interface {
	// Append returns once the entry is stored, or was stored before, and fails
	// when that is not certain. It returns soon after ctx is done. It may keep
	// e.Data for as long as it likes but must not change it.
	Append(ctx context.Context, e call.Entry) (call.Receipt, error)
}

// Parking keeps signed input that cannot be used.
type Parking interface {
	// Park returns once the input is stored, and fails when that is not
	// certain. It returns soon after ctx is done.
	Park(ctx context.Context, p call.Parked) error
}

// storeTimeout bounds an append and a parking: Telnyx gives up after 2 s, and
// 0.5 s of these are left to the network, the body and the verification. Who
// has given up sends the same event again, to be found a duplicate.
const storeTimeout = 1500 * time.Millisecond

// Bodies of the answers 200.
var (
	answerStored    = []byte(`{"status":"stored"}`)
	answerDuplicate = []byte(`{"status":"duplicate"}`)
)

// receive handles one webhook.
func (s *Server) receive(c echo.Context) error {
	o, r := observationOf(c), c.Request()
	o.webhook = true
	if !s.handling.enter() {
		return refuse(resultStopping, nil)
	}
	defer s.handling.leave()
	media, err := checkContent(r.Header)
	if err != nil {
		return err
	}
	if r.ContentLength > s.maxBody {
		return refuse(resultTooLarge, nil)
	}
	timestamp, signature := r.Header.Get(telnyx.HeaderTimestamp), r.Header.Get(telnyx.HeaderSignature)
	if s.verifier != nil {
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

	// A place is taken only now: a sender that lets its body trickle holds none.
	if !s.enter() {
		return refuse(resultOverloaded, nil)
	}
	defer s.leave()
	genuine := false
	sender.busy()
	defer func() { sender.rest(genuine) }()
	if err := s.verify(timestamp, signature, body); err != nil {
		return err
	}
	genuine = true
	s.trace(c, o)
	if s.verifier == nil {
		timestamp, signature = "", "" // what nobody has checked goes no further
	}
	entry, err := classify(signature, timestamp, body)
	if unusable, ok := errors.AsType[*telnyx.Unusable](err); ok {
		return s.park(c, unusable, call.Parked{
			Reason:      string(unusable.Reason),
			Signature:   signature,
			Timestamp:   timestamp,
			ContentType: media,
			Data:        body,
		})
	}
	if err != nil {
		return err
	}
	entry.ContentType = unless(r.Header.Get("Content-Type"), call.WebhookContentType)
	entry.UserAgent = unless(r.UserAgent(), call.WebhookUserAgent)
	o.entry = entry
	return s.store(c, entry)
}

// unless returns a header's value, empty where it is the usual one, which the log need not repeat.
func unless(value, usual string) string {
	if value == usual {
		return ""
	}
	return value
}

// checkSigned refuses a request without the headers of a signature before its
// body is read.
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
func (s *Server) verify(timestamp, signature string, body []byte) error {
	if s.verifier == nil {
		return nil
	}
	if err := s.verifier.Verify(timestamp, signature, body); err != nil {
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

// store appends the event and answers.
func (s *Server) store(c echo.Context, e call.Entry) error {
	ctx, cancel := storing(c)
	defer cancel()
	receipt, err := s.journal.Append(ctx, e)
	if err != nil {
		return refuse(resultLogFailed, fmt.Errorf("append %s: %w", e.Topic, err))
	}
	o := observationOf(c)
	o.seq, o.result = receipt.Seq, resultStored
	if receipt.Duplicate {
		o.result = resultDuplicate
		accept(c, answerDuplicate)
		return nil
	}
	accept(c, answerStored)
	return nil
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
