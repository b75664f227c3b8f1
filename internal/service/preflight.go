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
	case isLegato(ctx, dialable(addr)):
		return ok(name, "%s is taken by a running Legato", addr)
	}
	return fault(name, fmt.Errorf("%s is taken by another program", addr), "Stop that program, or choose another address.")
}

// dialable turns an address to listen on into one to dial.
func dialable(addr string) string {
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
	return append(found, checkNATS(ctx, set, []string{"nats://" + dialable(set.NATSListen)}, layout)...)
}

// judgeDisk says whether the log has room, and stops before the disk does.
func judgeDisk(set *Settings, state natsd.DirState) Finding {
	const name = "disk"
	f := ok(name, "%s free for %s, which takes %s", size(state.Free), set.DataDir, size(state.Used))
	switch {
	case state.Free < leastDisk:
		return f.but(VerdictFault, "Make room: a disk that has run full stops the log until a restart.")
	case set.EventsMaxBytes > state.Free+state.Used:
		return f.but(VerdictFault, fmt.Sprintf("Lower --events-max-bytes (%s) below what there is: the disk would run full before the log refuses.", size(set.EventsMaxBytes)))
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
