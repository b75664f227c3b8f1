package service

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/legato-calls/legato/enrich/status"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

// checkWithin bounds a look at something far away; several are done in turn.
const checkWithin = 6 * time.Second

// Verdict is how one look ended.
type Verdict string

const (
	// VerdictOK says that it works.
	VerdictOK Verdict = "ok"
	// VerdictWarning says that it works, but not as well as it could.
	VerdictWarning Verdict = "warning"
	// VerdictFault says that the service would not start, or would lose or misjudge calls.
	VerdictFault Verdict = "fault"
)

// Finding is one line of the report.
type Finding struct {
	// Name says what was looked at: one of a fixed set of words.
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	// Detail is what was found, without secrets.
	Detail string `json:"detail"`
	// Do is what to do about it. Empty when it is ok.
	Do string `json:"do,omitempty"`
}

func ok(name, format string, args ...any) Finding {
	return Finding{Name: name, Verdict: VerdictOK, Detail: fmt.Sprintf(format, args...)}
}

func (f Finding) but(v Verdict, do string) Finding {
	f.Verdict, f.Do = v, do
	return f
}

func fault(name string, err error, do string) Finding {
	return Finding{Name: name, Verdict: VerdictFault, Detail: err.Error(), Do: do}
}

// Preflight looks at everything that serve depends on with the settings of serve, and changes nothing. It
// returns the findings in the order in which serve meets their subjects.
func Preflight(ctx context.Context, set *Settings) []Finding {
	found := []Finding{checkSettings(set)}
	layout, err := natsd.NewLayout(set.SubjectPrefix)
	if err != nil {
		found = append(found, fault("subject prefix", err, "Choose another --subject-prefix."))
	}
	found = append(found, checkTelnyx(ctx, set)...)
	found = append(found, checkListeners(ctx, set)...)
	if set.NATSURL == "" {
		found = append(found, checkEmbedded(ctx, set, layout)...)
	} else {
		found = append(found, checkNATS(ctx, set, set.URLs(), layout)...)
	}
	return found
}

func checkSettings(set *Settings) Finding {
	const name = "settings"
	if err := set.check(); err != nil {
		return fault(name, err, "Change the flag, or its variable.")
	}
	return ok(name, "they go together")
}

// checkListeners looks whether the addresses can be listened on.
func checkListeners(ctx context.Context, set *Settings) []Finding {
	return []Finding{
		checkListener(ctx, "webhook listener", set.Listen, func(ctx context.Context, addr string) bool {
			return isWebhookListener(ctx, addr+set.Path)
		}),
		checkListener(ctx, "admin listener", set.AdminListen, isAdminListener),
	}
}

// checkListener binds the address for a moment. When it is taken, isLegato
// tells whether a running service has it.
func checkListener(ctx context.Context, name, addr string, isLegato func(context.Context, string) bool) Finding {
	if addr == "" {
		return ok(name, "none is wanted")
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	switch {
	case err == nil:
		if err := l.Close(); err != nil {
			return fault(name, err, "Try again.")
		}
		return ok(name, "%s is free", addr)
	case !errors.Is(err, syscall.EADDRINUSE):
		return fault(name, err, "Choose an address of this machine, as :8080, and a port that this user may listen on.")
	case isLegato(ctx, Dialable(addr)):
		return ok(name, "%s is taken by a running Legato", addr)
	}
	return fault(name, fmt.Errorf("%s is taken by another program", addr), "Stop that program, or choose another address.")
}

// Dialable turns an address to listen on into one to dial.
func Dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

// isWebhookListener asks in a way that is always refused, and looks for Legato's refusal.
func isWebhookListener(ctx context.Context, place string) bool {
	for _, scheme := range []string{"http://", "https://"} {
		status, body := ask(ctx, http.MethodDelete, scheme+place)
		if status == http.StatusMethodNotAllowed && strings.Contains(body, `"reason":"method_not_allowed"`) {
			return true
		}
	}
	return false
}

func isAdminListener(ctx context.Context, addr string) bool {
	_, body := ask(ctx, http.MethodGet, "http://"+addr+"/readyz")
	return strings.HasPrefix(body, "ready") || strings.HasPrefix(body, "not ready: ")
}

// ask returns an answer's status and the beginning of its body, zero and nothing without one.
func ask(ctx context.Context, method, url string) (status int, body string) {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return 0, ""
	}
	transport := &http.Transport{
		// It is asked by the address that it listens on, which no certificate names; nothing is sent to it.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	data, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return 0, ""
	}
	return response.StatusCode, string(data)
}

// Free space on the disk of the embedded log: below the first it is worth a
// word, below the second some thousand calls fill it.
const (
	scantDisk = 1 << 30
	leastDisk = 64 << 20
)

// checkEmbedded looks at what an embedded NATS needs, and at the one that runs already.
func checkEmbedded(ctx context.Context, set *Settings, layout natsd.Layout) []Finding {
	state, err := natsd.InspectDir(set.DataDir)
	if err != nil {
		return []Finding{fault("data directory", err, "Give the service's user a directory that it may write to: --data-dir.")}
	}
	dir := ok("data directory", "%s can be written to", set.DataDir)
	switch {
	case state.InUse:
		dir = ok("data directory", "%s is held by a running Legato", set.DataDir)
	case !state.Exists:
		dir = ok("data directory", "%s can be made", set.DataDir)
	}
	found := []Finding{dir, judgeDisk(set, state)}
	if !state.InUse {
		listener := checkListener(ctx, "NATS listener", set.NATSListen, func(context.Context, string) bool { return false })
		return append(found, listener, ok("NATS version", "nats-server %s is built in; its streams are made when it starts", natsd.EmbeddedVersion))
	}
	if set.NATSListen == "" {
		return append(found, ok("NATS", "embedded in the running Legato, and not to be reached from outside of it"))
	}
	return append(found, checkNATS(ctx, set, []string{"nats://" + Dialable(set.NATSListen)}, layout)...)
}

// judgeDisk says whether the log has room, and stops before the disk does.
func judgeDisk(set *Settings, state natsd.DirState) Finding {
	const name = "disk"
	f := ok(name, "%s free for %s, which takes %s", size(state.Free), set.DataDir, size(state.Used))
	switch {
	case state.Free < leastDisk:
		return f.but(VerdictFault, "Make room: a disk that has run full stops the log until a restart.")
	case set.EventsMaxBytes > (state.Free+state.Used)/2:
		return f.but(VerdictFault, fmt.Sprintf("Lower --events-max-bytes (%s) below half of what there is: the log and its copy take as much each, and the disk would run full before the log refuses.", size(set.EventsMaxBytes)))
	case state.Free < scantDisk:
		return f.but(VerdictWarning, "Make room: events need some 1.5 KB each.")
	}
	return f
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

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
