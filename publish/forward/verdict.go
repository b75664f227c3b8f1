package forward

import (
	"net/http"
	"strconv"
	"time"

	"github.com/legato-calls/legato/internal/call"
)

// Result is what became of an attempt, or of an event in the end.
type Result string

// Results. Done, Refused, Stale and Expired end an event; the others are followed by another attempt.
const (
	// Done: the target answered 2xx.
	Done Result = "done"
	// Refused: the target answered what trying again would not change, a redirect too.
	Refused Result = "refused"
	// Stale: the application would command a leg that is over.
	Stale Result = "stale"
	// Expired: the event's time was over.
	Expired Result = "expired"
	// Failed: the target answered 408, 429 or 5xx.
	Failed Result = "failed"
	// TimedOut: the target did not answer in time.
	TimedOut Result = "timeout"
	// Unreachable: there was no connection, or it broke.
	Unreachable Result = "unreachable"
)

// Final reports whether the result ends an event.
func (r Result) Final() bool {
	switch r {
	case Done, Refused, Stale, Expired:
		return true
	default:
		return false
	}
}

// judge says what a status means.
func judge(status int) Result {
	switch {
	case status >= 200 && status < 300:
		return Done
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, status >= 500:
		return Failed
	}
	return Refused
}

// maxRetryAfter bounds what a target may ask for: longer than any patience is of no use.
const maxRetryAfter = time.Hour

// retryAfter reads the header of an answer: seconds or a date. Zero: nothing is asked for.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if value == "" {
		return 0
	}
	wait := time.Duration(0)
	if seconds, err := strconv.Atoi(value); err == nil {
		wait = time.Duration(min(seconds, int(maxRetryAfter/time.Second))) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}

// reports are the event types that only report: nobody answers the call by them, so that late is better than
// never. Events of every other type, unknown ones too, are such that the application commands on.
var reports = map[string]bool{
	call.TypeHangup:                   true,
	call.TypeCost:                     true,
	call.TypeRecordingSaved:           true,
	call.TypeRecordingError:           true,
	call.TypeRecordingTranscription:   true,
	call.TypeTranscription:            true,
	call.TypeInsights:                 true,
	call.TypeConferenceEnded:          true,
	call.TypeConferenceRecordingSaved: true,
}

// Reports reports whether events of a type only report, and may arrive late. The application commands on all
// others, unknown types included: they are of no use once their leg is over.
func Reports(eventType string) bool { return reports[eventType] }

// Times of the attempts.
const (
	// firstPause doubles to lastPause between the attempts at an event that commands: the far end of the
	// call waits, and hangs up after some 10 to 30 s.
	firstPause, lastPause = 250 * time.Millisecond, 2 * time.Second
	// signatureOld is when Telnyx's SDKs are about to refuse a signature (300 s).
	signatureOld = 240 * time.Second
)

// defaultPauses are the growing pauses between the attempts at an event that only reports.
func defaultPauses() []time.Duration {
	return []time.Duration{10 * time.Second, time.Minute, 5 * time.Minute}
}
