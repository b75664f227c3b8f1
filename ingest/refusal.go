package ingest

import (
	"cmp"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"

	"github.com/labstack/echo/v4"
)

// result is what became of a request: the label of legato_webhooks_total and,
// where it was refused, the reason in its problem.
type result string

const (
	resultStored    result = "stored"
	resultDuplicate result = "duplicate"
	resultParked    result = "parked"
	resultPassed    result = "passed" // a TeXML callback, to the application that answered it

	resultNoSignature   result = "no_signature"
	resultBadSignature  result = "bad_signature"
	resultAPIv1         result = "api_v1"
	resultClock         result = "clock"
	resultNotFound      result = "not_found"
	resultElsewhere     result = "other_path"
	resultMethod        result = "method_not_allowed"
	resultContentType   result = "content_type"
	resultTooLarge      result = "too_large"
	resultIncomplete    result = "incomplete"
	resultOverloaded    result = "overloaded"
	resultStopping      result = "stopping"
	resultLogFailed     result = "log_unavailable"
	resultParkingFailed result = "parking_unavailable"
	resultInternal      result = "internal"
)

// setAPIVersion is what to do about webhook API version 1, said wherever it is met.
const setAPIVersion = "Set the application's webhook API version to 2."

// notTeXML is what to do about a form body: TeXML is Telnyx's other way to steer calls, and posts its callbacks as forms.
const notTeXML = "A form is a callback of a TeXML application, which Legato does not take. Set this URL as the webhook URL of a " +
	"Call Control application (Voice API) with webhook API version 2, which sends JSON, and take it out of the TeXML application."

// refusal is how a result is answered and, where an operator should act on it, logged.
type refusal struct {
	status int
	// detail is for the sender, and public.
	detail string
	// level and notice are for the operator, at most once a minute. An empty notice leaves it at the debug line.
	level  slog.Level
	notice string
}

// refusals has every result that is not an acceptance.
var refusals = map[result]refusal{
	resultNoSignature: {
		status: http.StatusUnauthorized,
		detail: "The headers Telnyx-Signature-Ed25519 and Telnyx-Timestamp are required.",
	},
	resultBadSignature: {
		status: http.StatusUnauthorized,
		detail: "The signature does not match.",
		level:  slog.LevelWarn,
		notice: "webhook signature does not match; check the public key, and that nothing on the way changes the body",
	},
	resultAPIv1: {
		status: http.StatusUnauthorized,
		detail: "This webhook is signed for webhook API version 1. " + setAPIVersion,
		level:  slog.LevelWarn,
		notice: "webhook of API version 1 refused; " + setAPIVersion,
	},
	resultClock: {
		status: http.StatusServiceUnavailable,
		detail: "The signature's timestamp is outside the tolerance.",
		level:  slog.LevelWarn,
		notice: "webhook timestamp outside the tolerance; check this machine's clock",
	},
	resultNotFound: {status: http.StatusNotFound, detail: "There is nothing at this path."},
	resultElsewhere: {
		status: http.StatusNotFound,
		detail: "There is nothing at this path; webhooks are taken at another.",
		level:  slog.LevelWarn,
		notice: "a webhook that Telnyx signed came to another path and is lost; correct the application's webhook URL, or set --path",
	},
	resultMethod: {status: http.StatusMethodNotAllowed, detail: "Only POST is allowed."},
	resultContentType: {
		status: http.StatusUnsupportedMediaType,
		detail: "The body must be JSON without a content encoding.",
		level:  slog.LevelWarn,
		notice: "webhook refused whose body is not plain JSON; a form is from a TeXML application, which Legato does not take",
	},
	resultTooLarge: {
		status: http.StatusRequestEntityTooLarge,
		detail: "The body is too large.",
		level:  slog.LevelWarn,
		notice: "webhook body over the limit refused",
	},
	resultIncomplete: {status: http.StatusRequestTimeout, detail: "The body did not arrive as announced and in time."},
	resultOverloaded: {
		status: http.StatusServiceUnavailable,
		detail: "Too many webhooks at once.",
		level:  slog.LevelWarn,
		notice: "overloaded: too many webhooks in flight",
	},
	resultStopping: {status: http.StatusServiceUnavailable, detail: "The server is stopping."},
	resultLogFailed: {
		status: http.StatusServiceUnavailable,
		detail: "The event could not be stored.",
		level:  slog.LevelError,
		notice: "webhook could not be stored",
	},
	resultParkingFailed: {
		status: http.StatusServiceUnavailable,
		detail: "The input could not be stored.",
		level:  slog.LevelError,
		notice: "unusable webhook could not be parked",
	},
	resultInternal: {
		status: http.StatusInternalServerError,
		detail: "An internal error.",
		level:  slog.LevelError,
		notice: "webhook failed on an internal error",
	},
}

// problem is a refusal on its way to the error handler: the public part is
// chosen by result alone, the cause stays inside.
type problem struct {
	result result
	// cause is what failed, for the operator. Nil: there is nothing to add.
	cause error
	// detail says more to the sender than that of the result does, and is public. Empty: the result's.
	detail string
}

// refuse returns the error that answers with that result.
func refuse(why result, cause error) *problem { return &problem{result: why, cause: cause} }

// Error implements error, with the private cause.
func (p *problem) Error() string {
	text := "ingest: refused: " + string(p.result)
	if p.cause != nil {
		text += ": " + p.cause.Error()
	}
	return text
}

// Unwrap returns the private cause.
func (p *problem) Unwrap() error { return p.cause }

// toProblem makes any error of a handler or of Echo's router a problem.
func toProblem(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	switch {
	case errors.Is(err, echo.ErrNotFound):
		return refuse(resultNotFound, nil)
	case errors.Is(err, echo.ErrMethodNotAllowed):
		return refuse(resultMethod, nil)
	}
	return refuse(resultInternal, err)
}

// retryAfter is the Retry-After of every 503, in seconds: a log that works
// again, a restart or a burst that has passed is not worth waiting longer for.
const retryAfter = "1"

// problemBody is the JSON of a problem (RFC 9457). The type is left at its default,
// about:blank, which makes the title the status's own.
type problemBody struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Reason is the extension member that programs branch on.
	Reason result `json:"reason"`
}

// answerProblem is the server's only error handler.
func answerProblem(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	p := toProblem(err)
	how := refusals[p.result]
	header := c.Response().Header()
	switch how.status {
	case http.StatusMethodNotAllowed:
		header.Set(echo.HeaderAllow, http.MethodPost)
	case http.StatusServiceUnavailable:
		header.Set(echo.HeaderRetryAfter, retryAfter)
	}
	// A struct of texts and a number always marshals.
	body, _ := json.Marshal(problemBody{
		Title:  http.StatusText(how.status),
		Status: how.status,
		Detail: cmp.Or(p.detail, how.detail),
		Reason: p.result,
	})
	// A sender that is gone gets no answer; that is its own affair.
	_ = c.Blob(how.status, "application/problem+json", body)
}
