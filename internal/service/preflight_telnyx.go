package service

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
)

// inventedCall is a control id of the right form that no call has.
const inventedCall = "v3:legato-check-no-such-call"

// slightSkew is what a clock that is kept right does not differ by.
const slightSkew = 5 * time.Second

// checkTelnyx looks at the keys, and asks the status API for a call that there
// is not: the answer tells whether the key is accepted, and what time it is there.
func checkTelnyx(ctx context.Context, set *Settings) []Finding {
	found := []Finding{checkPublicKeys(set)}
	const name = "API key"
	key, err := set.readAPIKey()
	if err != nil {
		return append(found, fault(name, err, "Set it, or name a file that holds it and nothing else."))
	}
	watch := &watchedTransport{base: http.DefaultTransport}
	client, err := status.New(status.Config{
		BaseURL: set.TelnyxBaseURL, APIKey: key, UserAgent: "legato/" + version + " check", Transport: watch,
	})
	if err != nil {
		return append(found, fault(name, err, "Copy the key again; look at --telnyx-base-url."))
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	answer, err := client.Fetch(ctx, call.Ref{Control: inventedCall})
	if err != nil {
		return append(found, fault(name, err, "Try again.").but(VerdictWarning, "Try again."))
	}
	skew, err := watch.skew()
	found = append(found, judgeAnswer(answer, set.TelnyxBaseURL), judgeClock(skew, err, set.SignatureTolerance))
	if answer.HTTPStatus != 0 {
		found = append(found, judgeRate(watch.header, set.StatusRate))
	}
	return found
}

func checkPublicKeys(set *Settings) Finding {
	const name = "public key"
	keys, err := set.publicKeys()
	switch {
	case err != nil:
		return fault(name, err, "Copy it from the Telnyx portal: API keys, Public key. It is another thing than the API key.")
	case len(keys) == 0:
		return ok(name, "none: webhooks are not checked").but(VerdictWarning, "For tests only: anybody can invent calls.")
	case len(keys) == 1:
		return ok(name, "1 key of 32 bytes; whether it is your account's only a webhook can tell")
	}
	return ok(name, "%d keys of 32 bytes; whether one is your account's only a webhook can tell", len(keys))
}

// judgeAnswer says what the answer about a call that does not exist tells of the key.
func judgeAnswer(a status.Answer, base string) Finding {
	const name = "API key"
	switch a.Result {
	case status.NotFound:
		return ok(name, "accepted: %s answers %d for a call that does not exist", base, a.HTTPStatus)
	case status.Denied:
		return fault(name, fmt.Errorf("refused: %s answers %d", base, a.HTTPStatus),
			"Make a new key in the Telnyx portal under API keys, or look whether this one was disabled or is another account's.")
	case status.RateLimited:
		return ok(name, "not known: %s answers 429, too many requests", base).
			but(VerdictWarning, "Try again later; something else uses up this account's limit.")
	case status.Answered, status.Unreachable:
	}
	detail := fmt.Sprintf("not known: no usable answer from %s (%s)", base, a.Problem)
	if a.HTTPStatus != 0 {
		detail = fmt.Sprintf("not known: %s answers %d (%s)", base, a.HTTPStatus, a.Problem)
	}
	return Finding{
		Name: name, Verdict: VerdictWarning, Detail: detail,
		Do: "Look at --telnyx-base-url, HTTPS_PROXY and what the network lets out. Calls are summarised without the API too, as unconfirmed.",
	}
}

// judgeClock says whether webhooks would be taken for too old or too new.
func judgeClock(skew time.Duration, err error, tolerance time.Duration) Finding {
	const name = "clock"
	const do = "Let NTP set this machine's clock."
	if err != nil {
		return ok(name, "not compared: %v", err).but(VerdictWarning, "Look whether this machine's clock is kept by NTP.")
	}
	f := ok(name, "within a second of the status API's")
	if skew != 0 {
		where := "ahead of"
		if skew < 0 {
			where = "behind"
		}
		f = ok(name, "at least %v %s the status API's", skew.Abs().Round(10*time.Millisecond), where)
	}
	switch {
	case skew.Abs() > tolerance/2:
		return f.but(VerdictFault, fmt.Sprintf("%s Webhooks that differ by more than --signature-tolerance (%v) are refused.", do, tolerance))
	case skew.Abs() > slightSkew:
		return f.but(VerdictWarning, do)
	}
	return f
}

// judgeRate says what the answer tells of the rate limit, and whether a rate that is set exceeds it.
func judgeRate(header http.Header, set StatusRate) Finding {
	const name = "status rate"
	q, stated := status.ReadQuota(header)
	if !stated {
		return ok(name, "%v; the answer states no rate limit", set)
	}
	f := ok(name, "%v; %g of %g requests are left for the next %v to all users of the key", set, q.Left, max(q.Limit, q.Left), q.Reset)
	if most := max(q.Limit, q.Left) / q.Reset.Seconds(); float64(set) > most {
		return f.but(VerdictWarning, fmt.Sprintf("Leave --status-rate at auto: Telnyx may allow no more than %.3g a second.", most))
	}
	return f
}

// watchedTransport keeps what an exchange tells about the other side's clock and rate limit.
type watchedTransport struct {
	base http.RoundTripper

	sent, received time.Time
	date           string
	header         http.Header
}

// RoundTrip implements http.RoundTripper.
func (t *watchedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	t.sent = time.Now()
	response, err := t.base.RoundTrip(r)
	t.received = time.Now()
	if err == nil {
		t.header = response.Header
		t.date = t.header.Get("Date")
	}
	return response, err
}

// skew is the least by which this clock is ahead of the other, negative when
// it is behind. Date has whole seconds and was written at some time between
// sending and receiving: less than that proves nothing.
func (t *watchedTransport) skew() (time.Duration, error) {
	if t.date == "" {
		return 0, errors.New("there was no answer with a Date")
	}
	date, err := http.ParseTime(t.date)
	if err != nil {
		return 0, errors.New("the answer's Date is none")
	}
	if ahead := t.sent.Sub(date.Add(time.Second)); ahead > 0 {
		return ahead, nil
	}
	return min(t.received.Sub(date), 0), nil
}
