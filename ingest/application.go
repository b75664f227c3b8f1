package ingest

import (
	"context"
	"net/url"

	"github.com/labstack/echo/v4"

	"github.com/legato-calls/legato/internal/call"
)

// Application answers an event in place of Legato, once it is stored: its answer is Telnyx's. It returns false where
// no application is to answer this one. What is no event of the log has an entry without Seq.
type Application func(ctx context.Context, e call.Entry) (Answer, bool)

// Answer is what an application says to a webhook.
type Answer struct {
	// Status is the HTTP status.
	Status int
	// ContentType and Body are those of the answer. Empty: there is none.
	ContentType string
	Body        []byte
}

// TypeTeXML stands for the event type of a TeXML callback, which has none.
const TypeTeXML = "texml"

// passed hands an entry to the application that is to answer it, and reports whether there is one.
func (s *Server) passed(c echo.Context, e call.Entry) bool {
	if s.app == nil {
		return false
	}
	if e.ReceivedAt.IsZero() {
		e.ReceivedAt = observationOf(c).began // the log's own time is some milliseconds later
	}
	// Not ended by a sender that hangs up: the application may as well finish what it has begun.
	a, ok := s.app(context.WithoutCancel(c.Request().Context()), e)
	if !ok {
		return false
	}
	// A sender that is gone misses its answer, and sends the event again.
	if len(a.Body) == 0 && a.ContentType == "" {
		_ = c.NoContent(a.Status)
	} else {
		_ = c.Blob(a.Status, a.ContentType, a.Body)
	}
	return true
}

// passForm hands a TeXML callback to the application that is to answer it. Nothing of it is kept.
func (s *Server) passForm(c echo.Context, signature, timestamp string, body []byte) error {
	e := call.Entry{Topic: call.TopicEvent + TypeTeXML, Signature: signature, Timestamp: timestamp, Data: body}
	// What cannot be read names no connection.
	if form, err := url.ParseQuery(string(body)); err == nil {
		e.Ref.Connection = call.ConnectionID(form.Get("ConnectionId"))
	}
	complete(&e, c.Request())
	if !s.passed(c, e) {
		return refuseForm()
	}
	observationOf(c).result = resultPassed
	return nil
}
