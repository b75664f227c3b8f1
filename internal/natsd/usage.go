package natsd

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

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
