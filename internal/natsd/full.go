package natsd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/nats-io/nats.go/jetstream"
)

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
