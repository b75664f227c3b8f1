package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
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
	// Logged reads the log. What no signature speaks for is put back only as it stands there. Nil: whoever may publish among
	// what is parked is believed.
	Logged func(seqs []uint64) ([]*call.Entry, error)
	// Service puts messages back where it runs, and fails with nats.ErrNoResponders where not. Nil: it is this process.
	Service func(ctx context.Context, seq uint64) (outcome string, left bool, err error)
}

// NewPutBack returns what puts messages back from outside the service.
func NewPutBack(nc *nats.Conn, js jetstream.JetStream, layout natsd.Layout, verifier *telnyx.Verifier) *PutBack {
	l := &outside{nc, js, layout}
	return &PutBack{Store: parked.New(js, layout), Log: l, Verifier: verifier, Service: l.putBack}
}

// outside is a deployment as seen from outside its service.
type outside struct {
	nc     *nats.Conn
	js     jetstream.JetStream
	layout natsd.Layout
}

// putBack has the service put a message back.
func (o *outside) putBack(ctx context.Context, seq uint64) (outcome string, left bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, putBackWithin)
	defer cancel()
	m, err := o.nc.RequestWithContext(ctx, putBackSubject(o.layout), strconv.AppendUint(nil, seq, 10))
	if err != nil {
		return "", false, fmt.Errorf("ask the service to put parked message %d back: %w", seq, err)
	}
	if why := m.Header.Get(micro.ErrorHeader); why != "" {
		return "", false, fmt.Errorf("the service does not put parked message %d back: %s", seq, why)
	}
	var answer putBackAnswer
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return "", false, fmt.Errorf("read what became of parked message %d: %w", seq, err)
	}
	return answer.Outcome, answer.Left, nil
}

// errDiskLog: an entry can be appended by the service alone.
var errDiskLog = errors.New("the log is on the disk of the service, which does not answer: is it run with --api off?")

// Append publishes an entry into the stream that is the log. It fails with what kept it from being stored there.
func (o *outside) Append(ctx context.Context, e call.Entry) (receipt call.Receipt, err error) {
	ctx, cancel := context.WithTimeout(ctx, putBackWithin)
	defer cancel()
	events, err := o.js.Stream(ctx, o.layout.Events)
	switch {
	case err != nil:
		return receipt, fmt.Errorf("look at the log: %w", err)
	case natsd.IsCopy(events.CachedInfo().Config):
		return receipt, errDiskLog
	}
	ack, err := o.js.PublishMsg(ctx, &nats.Msg{Subject: e.Subject(o.layout.Prefix), Header: e.Header(), Data: e.Data})
	if err == nil {
		err = natsd.StoredIn(ack, o.layout.Events)
	}
	if err != nil {
		return receipt, fmt.Errorf("append to the log: %w", err)
	}
	return call.Receipt{Seq: ack.Sequence, Duplicate: ack.Duplicate}, nil
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
	if err == nil && r.Logged != nil && (k.Backfill || entry.EventType() == "") {
		err = r.isLogged(k.Parked)
	}
	if err != nil {
		return fmt.Sprintf("%s  stays parked: %v", k.Reason, err), false, nil
	}
	if dryRun {
		return fmt.Sprintf("%s  would be stored as %s", k.Reason, entry.Topic), true, nil
	}
	if r.Service != nil {
		if outcome, left, err = r.Service(ctx, seq); !errors.Is(err, nats.ErrNoResponders) {
			return outcome, left, err
		}
	}
	entry.PutBack = entry.EventType() != ""
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

// errNotLogged: nothing but the log says that Legato has made it.
var errNotLogged = errors.New("it has no signature of Telnyx, and the log does not have it (any more)")

// isLogged fails where the log has no such entry at its place.
func (r *PutBack) isLogged(p call.Parked) error {
	found, err := r.Logged([]uint64{p.Seq})
	if err != nil {
		return fmt.Errorf("%w: %w", errNotLogged, err)
	}
	e := found[0]
	if e.Foreign || e.Topic != p.Topic || e.Ref != p.Ref || e.Backfill != p.Backfill || !bytes.Equal(e.Data, p.Data) {
		return errNotLogged
	}
	return nil
}
