package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/journal"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/service"
	"github.com/legato-calls/legato/publish/parked"
)

type parkedRetryCmd struct {
	service.ReaderSettings
	Seq    []uint64 `arg:"" help:"Sequences of messages, as list prints them." optional:""`
	Reason string   `help:"All that was parked for this reason." placeholder:"REASON"`
	All    bool     `help:"All that is parked."`
	DryRun bool     `help:"Say what would become of each and change nothing."`

	TelnyxPublicKey     string `env:"TELNYX_PUBLIC_KEY" help:"Public keys of the Telnyx account, to check the signatures again; without one they are taken as checked." placeholder:"KEY"`
	TelnyxPublicKeyFile string `env:"TELNYX_PUBLIC_KEY_FILE" help:"File to read the public keys from." placeholder:"FILE" type:"path"`
}

// Run puts messages back, one after the other. It fails when any was not.
func (cmd *parkedRetryCmd) Run(ctx context.Context, c *console) error {
	if err := cmd.check(); err != nil {
		return err
	}
	verifier, err := cmd.verifier()
	if err != nil {
		return err
	}
	nc, js, layout, err := reach(ctx, cmd.ReaderSettings, "legato parked", c)
	if err != nil {
		return err
	}
	defer nc.Close()
	log, err := journal.Open(ctx, journal.Config{
		JetStream: js, Stream: layout.Events, Prefix: layout.Prefix, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer func() {
		// Each append was waited for: there is nothing left to write.
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = log.Close(closing)
	}()
	r := &retry{store: parked.New(js, layout), log: log, verifier: verifier, dryRun: cmd.DryRun, console: c}
	seqs, err := cmd.which(ctx, r.store)
	if err != nil {
		return err
	}
	stay := 0
	for _, seq := range seqs {
		left, err := r.one(ctx, seq)
		if err != nil {
			return err
		}
		if !left {
			stay++
		}
	}
	if stay > 0 {
		return fmt.Errorf("%d of %d messages were not put back", stay, len(seqs))
	}
	return nil
}

func (cmd *parkedRetryCmd) check() error {
	given := 0
	for _, is := range []bool{len(cmd.Seq) > 0, cmd.Reason != "", cmd.All} {
		if is {
			given++
		}
	}
	if given != 1 {
		return errors.New("say which messages: their sequences, --reason or --all")
	}
	return nil
}

// verifier returns nil when no key is given.
func (cmd *parkedRetryCmd) verifier() (*telnyx.Verifier, error) {
	if cmd.TelnyxPublicKey == "" && cmd.TelnyxPublicKeyFile == "" {
		return nil, nil
	}
	keys, err := service.PublicKeys(cmd.TelnyxPublicKey, cmd.TelnyxPublicKeyFile)
	if err != nil {
		return nil, err
	}
	return telnyx.NewVerifier(keys), nil
}

// which are the messages that are meant. Those that are parked meanwhile are not:
// what cannot be used comes back, and would be retried for ever.
func (cmd *parkedRetryCmd) which(ctx context.Context, store *parked.Store) ([]uint64, error) {
	if len(cmd.Seq) > 0 {
		return cmd.Seq, nil
	}
	var seqs []uint64
	err := store.List(ctx, parked.Filter{Reason: cmd.Reason}, func(k parked.Message) error {
		seqs = append(seqs, k.Seq)
		return nil
	})
	return seqs, err
}

// retry puts parked messages back.
type retry struct {
	store    *parked.Store
	log      *journal.Journal
	verifier *telnyx.Verifier
	dryRun   bool
	console  *console
}

// one puts a message back and removes it from the store only when that is stored:
// who is killed in between leaves it in both, and the next retry finds a duplicate, or an
// event that is folded once however often it stands in the log. It reports whether the message has
// left the store, or would leave it. Its error means that no other message need be tried.
func (r *retry) one(ctx context.Context, seq uint64) (left bool, err error) {
	k, err := r.store.Get(ctx, seq)
	if errors.Is(err, parked.ErrNotFound) {
		return false, r.say("%d  is not parked", seq)
	}
	if err != nil {
		return false, err
	}
	entry, err := ingest.Retry(k.Parked, k.Seq, r.verifier)
	if err != nil {
		return false, r.say("%d  %s  stays parked: %v", seq, k.Reason, err)
	}
	if r.dryRun {
		return true, r.say("%d  %s  would be stored as %s", seq, k.Reason, entry.Topic)
	}
	receipt, err := r.log.Append(ctx, entry)
	if err != nil {
		return false, fmt.Errorf("put parked message %d back: %w", seq, err)
	}
	if err := r.store.Remove(ctx, seq); err != nil {
		return false, err
	}
	became := "stored"
	if receipt.Duplicate {
		became = "stored before"
	}
	return true, r.say("%d  %s  %s as %s", seq, k.Reason, became, entry.Topic)
}

func (r *retry) say(format string, args ...any) error {
	_, err := fmt.Fprintf(r.console.stdout, format+"\n", args...)
	return err
}
