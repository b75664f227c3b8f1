package natsd

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Error codes of a server whose operator has set limits that nobody can ask for: only a refusal tells them, in words.
const (
	codeAckPendingExcess jetstream.ErrorCode = 10121
	codeInvalidStream    jetstream.ErrorCode = 10052
	codeSubjectsOverlap  jetstream.ErrorCode = 10065
)

var (
	ackPendingLimit = regexp.MustCompile(`exceeds system limit of (\d+)`)
	windowLimit     = regexp.MustCompile(`duplicates window .*server limit of (\S+)`)
)

// Batch returns how many messages to ask of a consumer at once: as many as are wanted, or as the server allows
// (max_request_batch).
func Batch(consumer jetstream.Consumer, want int) int {
	if limit := consumer.CachedInfo().Config.MaxRequestBatch; limit > 0 {
		return min(want, limit)
	}
	return want
}

// WithAckPending makes a consumer with as many unacknowledged messages as are wanted, or as the server, the account or
// the stream allows (max_ack_pending). Errors are those of create.
func WithAckPending(want int, create func(maxAckPending int) (jetstream.Consumer, error)) (jetstream.Consumer, error) {
	consumer, err := create(want)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == codeAckPendingExcess {
		if m := ackPendingLimit.FindStringSubmatch(api.Description); m != nil {
			if limit, bad := strconv.Atoi(m[1]); bad == nil && limit > 0 && limit < want {
				return create(limit)
			}
		}
	}
	return consumer, err
}

// allowedWindow returns the longest duplicate window that a server allows, by its refusal of a longer one.
func allowedWindow(refusal error) (time.Duration, bool) {
	api, ok := errors.AsType[*jetstream.APIError](refusal)
	if !ok || api.ErrorCode != codeInvalidStream {
		return 0, false
	}
	m := windowLimit.FindStringSubmatch(api.Description)
	if m == nil {
		return 0, false
	}
	limit, err := time.ParseDuration(m[1])
	return limit, err == nil && limit > 0
}

// withinWindow does what is wanted of a stream, and again with a shorter duplicate window where the server allows none as
// long: a message that comes again after it is folded once all the same.
func withinWindow(want *jetstream.StreamConfig, do func(jetstream.StreamConfig) (jetstream.Stream, error)) (jetstream.Stream, error) {
	made, err := do(*want)
	if limit, ok := allowedWindow(err); ok && limit < want.Duplicates {
		want.Duplicates = limit
		made, err = do(*want)
	}
	return made, err
}

// taken names the streams that take subjects which a stream of ours wants, and what to do about it; empty: none does.
func taken(ctx context.Context, js jetstream.JetStream, want *jetstream.StreamConfig) (string, error) {
	for _, subject := range want.Subjects {
		names := js.StreamNames(ctx, jetstream.WithStreamListSubject(subject))
		for name := range names.Name() {
			if name == want.Name {
				continue
			}
			other, found, err := lookUp(ctx, js, name)
			if err != nil || !found {
				return "", err
			}
			return fmt.Sprintf("its subject %s is taken by stream %s (%s): narrow the subjects of that stream (nats stream edit %s "+
				"--subjects=…), remove it, or choose another --subject-prefix", subject, name, strings.Join(other.Subjects, ", "), name), nil
		}
		if err := names.Err(); err != nil {
			return "", fmt.Errorf("look for streams that take %s: %w", subject, err)
		}
	}
	return "", nil
}

// Sizes of streams that nobody has set, where an account wants one for every stream: of parked messages and of
// forwarding, as parts of the log's.
const (
	sizedPart = 16
	leastSize = 1 << 20
)

// ErrSizeWanted says that the account wants a size for every stream, and that the sizes of log and summaries are not set.
var ErrSizeWanted = errors.New("the account wants a size for every stream (max_bytes_required): set --events-max-bytes and --calls-max-bytes")

// Sized returns the limits with a size for every stream where the account wants that. It fails with ErrSizeWanted.
func (l Limits) Sized(account *jetstream.AccountInfo) (Limits, error) {
	tier := account.Limits
	if t, ok := account.Tiers[fmt.Sprintf("R%d", max(l.Replicas, 1))]; ok {
		tier = t.Limits
	}
	if !tier.MaxBytesRequired {
		return l, nil
	}
	if l.EventsMaxBytes == 0 || l.CallsMaxBytes == 0 {
		return l, ErrSizeWanted
	}
	size := max(l.EventsMaxBytes/sizedPart, leastSize)
	if tier.StoreMaxStreamBytes > 0 {
		size = min(size, tier.StoreMaxStreamBytes)
	}
	if l.ParkedMaxBytes == 0 {
		l.ParkedMaxBytes = size
	}
	if l.ForwardMaxBytes == 0 {
		l.ForwardMaxBytes = size
	}
	return l, nil
}
