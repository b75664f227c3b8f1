package ingest

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"
)

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
