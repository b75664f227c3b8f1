package forward

import (
	"context"
	"net/http"

	"github.com/legato-calls/legato/internal/call"
)

// Answer is what Telnyx is to be answered in proxy mode.
type Answer struct {
	// Status is the application's, or 504 when it did not answer in time or could not be reached, or 502 when its answer was
	// too long.
	Status int
	// ContentType and Body are the application's. Empty: it sent none.
	ContentType string
	Body        []byte
}

// Answer hands an event that is stored to the first target in proxy mode whose filter takes it, and returns what
// Telnyx is to be answered. It returns false, and does nothing, when there is no such target. A repetition is
// handed on again: Telnyx repeats because it had no good answer.
//
// What is no event of the log, as a TeXML form, has an entry without Seq.
func (f *Forwarder) Answer(ctx context.Context, e call.Entry) (Answer, bool) {
	for _, r := range f.proxies {
		if r.wants(&e) {
			return r.answer(ctx, &e), true
		}
	}
	return Answer{}, false
}

// Proxies reports whether any target is in proxy mode.
func (f *Forwarder) Proxies() bool { return len(f.proxies) > 0 }

func (r *runner) answer(ctx context.Context, e *call.Entry) Answer {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	a := answer{result: TimedOut}
	select {
	case r.room <- struct{}{}:
		a = r.client.post(ctx, e, max(e.Attempt, 1), answerProxied+1, true)
		<-r.room
	case <-ctx.Done():
	}
	answer := Answer{Status: a.status, ContentType: a.contentType, Body: a.body}
	switch {
	case a.status == 0:
		answer = Answer{Status: http.StatusGatewayTimeout}
	case len(a.body) > answerProxied:
		answer, a.result, a.err = Answer{Status: http.StatusBadGateway}, Failed, "the answer is longer than 1 MiB"
	}
	r.meter.attempt(e, a)
	if a.result.Final() {
		r.meter.end(a.result)
	}
	if e.Seq > 0 {
		it := &item{entry: *e, attempts: max(e.Attempt, 1)}
		if a.body = a.body[:min(len(a.body), answerKept)]; a.result == Done {
			a.body = nil
		} else {
			r.report(it, a)
		}
		r.ledger.note(it, a)
	}
	return answer
}
