package service

import (
	"context"
	"errors"
	"fmt"

	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/publish/parked"
)

// PutBack puts parked messages back into the log.
type PutBack struct {
	Store *parked.Store
	Log   interface {
		Append(ctx context.Context, e call.Entry) (call.Receipt, error)
	}
	// Verifier checks signatures again. Nil: they are taken as checked.
	Verifier *telnyx.Verifier
}

// handedIn is the log for entries that come by no webhook. Events among them are counted, since the sums of webhooks know
// nothing of them.
type handedIn struct{ *Service }

// Append is that of the log.
func (h handedIn) Append(ctx context.Context, e call.Entry) (call.Receipt, error) {
	receipt, err := h.journal.Append(ctx, e)
	if err == nil && e.EventType() != "" {
		h.handed.Add(1)
	}
	return receipt, err
}

// One puts a message back and removes it from the store only when that is stored: who is killed in between leaves it
// in both, and the next retry finds a duplicate, or an event that is folded once however often it stands in the log.
// It says what became of the message, or on a dry run would become of it, and whether it has left the store. Its error
// means that no other message need be tried.
func (r *PutBack) One(ctx context.Context, seq uint64, dryRun bool) (outcome string, left bool, err error) {
	k, err := r.Store.Get(ctx, seq)
	if errors.Is(err, parked.ErrNotFound) {
		return "is not parked", false, nil
	}
	if err != nil {
		return "", false, err
	}
	entry, err := ingest.Retry(k.Parked, k.Seq, r.Verifier)
	if err != nil {
		return fmt.Sprintf("%s  stays parked: %v", k.Reason, err), false, nil
	}
	if dryRun {
		return fmt.Sprintf("%s  would be stored as %s", k.Reason, entry.Topic), true, nil
	}
	receipt, err := r.Log.Append(ctx, entry)
	if err != nil {
		return "", false, fmt.Errorf("put parked message %d back: %w", seq, err)
	}
	if err := r.Store.Remove(ctx, seq); err != nil {
		return "", false, err
	}
	became := "stored"
	if receipt.Duplicate {
		became = "stored before"
	}
	return fmt.Sprintf("%s  %s as %s", k.Reason, became, entry.Topic), true, nil
}
