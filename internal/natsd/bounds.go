package natsd

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
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

// withinWindow does what is wanted of a stream, and again with a shorter duplicate window where the server does not allow
// one that long: a message that comes again after it is folded once all the same.
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

// Error codes with which nats-server refuses a message for want of room.
const (
	codeAccountFull jetstream.ErrorCode = 10002 // the account's storage is used up
	codeServerFull  jetstream.ErrorCode = 10023 // the server's storage is used up
	codeStreamFull  jetstream.ErrorCode = 10077 // the stream's is; failures of the disk are never answered, so it means nothing else
)

// IsFull reports whether a server refused a message because the stream, the account or the server itself has no room.
func IsFull(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.ErrorCode == codeAccountFull || api.ErrorCode == codeServerFull || api.ErrorCode == codeStreamFull)
}

// Pauses of a Breaker.
const (
	breakerFirstPause = time.Second
	breakerMaxPause   = 30 * time.Second
)

// Breaker keeps what was refused for want of room from being tried by everybody at once: after a refusal one
// caller tries again when a pause has passed, which doubles up to half a minute, and the others are refused here.
// The zero value lets everybody through. It is safe for concurrent use.
type Breaker struct {
	mu      sync.Mutex
	refusal error
	until   time.Time
	pauses  *backoff.ExponentialBackOff
}

// Allow returns nil for a caller that may try, and the last refusal for one that is to wait.
func (b *Breaker) Allow() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.refusal == nil {
		return nil
	}
	if time.Now().Before(b.until) {
		return b.refusal
	}
	// This one tries; the others wait for what comes of it.
	b.until = time.Now().Add(b.pauses.NextBackOff())
	return nil
}

// Note takes what came of a try: a refusal for want of room, or nil for a message that was stored.
func (b *Breaker) Note(refusal error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case refusal == nil:
		b.refusal, b.pauses = nil, nil
		return
	case b.pauses == nil:
		b.pauses = &backoff.ExponentialBackOff{
			InitialInterval: breakerFirstPause, Multiplier: 2, MaxInterval: breakerMaxPause, RandomizationFactor: 0.2,
		}
	case b.refusal != nil && time.Now().Before(b.until):
		b.refusal = refusal
		return // one of several that were under way when the first was refused
	}
	b.refusal, b.until = refusal, time.Now().Add(b.pauses.NextBackOff())
}

// Open reports whether the last try was refused, and why.
func (b *Breaker) Open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refusal
}

// AccountStorage is how much of its storage an account has used, as far as it concerns streams of one number of
// copies. Max is negative without a limit. Every copy counts.
type AccountStorage struct {
	Used, Max int64
}

// Storage returns the part of the account's figures that bounds streams with so many copies: that of their tier
// where the account has tiers, the whole otherwise.
func Storage(account *jetstream.AccountInfo, copies int) AccountStorage {
	copies = max(copies, 1)
	tier, isTier := account.Tiers[fmt.Sprintf("R%d", copies)]
	switch {
	case !isTier && len(account.Tiers) > 0:
		return AccountStorage{Max: -1} // no limit is stated for such streams: the server refuses them as a whole
	case !isTier:
		return AccountStorage{Used: int64(account.Store), Max: account.Limits.MaxStore}
	}
	s := AccountStorage{Used: int64(tier.Store), Max: tier.Limits.MaxStore}
	if s.Max > 0 {
		s.Max *= int64(copies) // a tier's limit is stated for one copy, and its usage for all
	}
	return s
}

// LookUpStorage asks the server for the account's storage.
func LookUpStorage(ctx context.Context, js jetstream.JetStream, copies int) (AccountStorage, error) {
	account, err := js.AccountInfo(ctx)
	if err != nil {
		return AccountStorage{}, fmt.Errorf("ask for the account's storage: %w", err)
	}
	return Storage(account, copies), nil
}
