package natsd

import (
	"errors"
	"log/slog"
	"regexp"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	"golang.org/x/time/rate"
)

// asyncErrors says what NATS reports about a connection outside of any exchange; what the user may not do at most
// once a minute for each operation, since it is refused with every message.
type asyncErrors struct {
	log     *slog.Logger
	refused func(error) // nil: nobody asks

	mu   sync.Mutex
	said map[string]*rate.Sometimes
}

func (a *asyncErrors) handle(sub *nats.Subscription, err error) {
	say := func() {
		attrs := []any{slog.Any("error", err)}
		if sub != nil {
			attrs = append(attrs, slog.String("subject", sub.Subject))
		}
		a.log.Error("NATS reported an error", attrs...)
	}
	if !errors.Is(err, nats.ErrPermissionViolation) {
		say()
		return
	}
	if a.refused != nil {
		a.refused(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	of := operation(err)
	if a.said[of] == nil {
		a.said[of] = &rate.Sometimes{Interval: warnEvery}
	}
	a.said[of].Do(say)
}

// quoted is the subject in a server's refusal.
var quoted = regexp.MustCompile(`(?i)(publish|subscription)[^"]*"([^"]*)"`)

// operation is what a refusal is about, without the tokens of the subject that differ from message to message.
func operation(err error) string {
	found := quoted.FindStringSubmatch(err.Error())
	if found == nil {
		return "permission"
	}
	tokens := strings.SplitN(found[2], ".", 4)
	return strings.ToLower(found[1]) + " " + strings.Join(tokens[:min(len(tokens), 3)], ".")
}

// RefusedAck reports whether an error is the refusal of an acknowledgement, for want of the permission to publish it.
func RefusedAck(err error) bool {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return false
	}
	found := quoted.FindStringSubmatch(err.Error())
	return found != nil && strings.HasPrefix(found[2], "$JS.ACK.")
}
