package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/service"
	"github.com/legato-calls/legato/publish/parked"
)

// parkedCmd is about what could not be used: signed webhooks that are no call
// events, and entries of the log that could not be worked on.
type parkedCmd struct {
	List  parkedListCmd  `cmd:"" help:"List what is parked, without any personal data."`
	Show  parkedShowCmd  `cmd:"" help:"Show one parked message with its body, which has personal data."`
	Retry parkedRetryCmd `cmd:"" help:"Put parked messages back through the intake; what is taken down leaves the parked ones."`
}

// reachWithin bounds the wait for NATS: a person is waiting.
const reachWithin = 10 * time.Second

// reach connects for a command that a person waits for.
func reach(ctx context.Context, set service.ReaderSettings, name string, c *console) (*nats.Conn, jetstream.JetStream, natsd.Layout, error) {
	return set.Reach(ctx, name, reachWithin, service.LogSettings{LogLevel: "warn", LogFormat: "text"}.Logger(c.stderr))
}

type parkedListCmd struct {
	service.ReaderSettings
	JSON   bool          `help:"One JSON object a line."`
	Reason string        `help:"Only what was parked for this reason, as api_v1." placeholder:"REASON"`
	Since  time.Duration `help:"Only what was parked within this time, as 2h." placeholder:"DURATION"`
	Limit  int           `help:"Print at most so many, the oldest; 0: all."`
}

// Run lists what is parked, oldest first. Everything is counted, also beyond the limit.
func (cmd *parkedListCmd) Run(ctx context.Context, c *console) error {
	if cmd.Since < 0 || cmd.Limit < 0 {
		return errors.New("--since and --limit must not be negative")
	}
	nc, js, layout, err := reach(ctx, cmd.ReaderSettings, "legato parked", c)
	if err != nil {
		return err
	}
	defer nc.Close()
	now := time.Now()
	which := parked.Filter{Reason: cmd.Reason}
	if cmd.Since > 0 {
		which.Since = now.Add(-cmd.Since)
	}
	printed, counts := 0, make(map[string]int)
	err = parked.New(js, layout).List(ctx, which, func(k parked.Message) error {
		counts[k.Reason]++
		if cmd.Limit > 0 && printed == cmd.Limit {
			return nil
		}
		printed++
		if cmd.JSON {
			return printKeptJSON(c.stdout, k, now)
		}
		return printKept(c.stdout, k, now)
	})
	if err != nil || cmd.JSON {
		return err
	}
	_, err = fmt.Fprintln(c.stderr, countedByReason(counts, printed))
	return err
}

// printKept prints one line for a person.
func printKept(w io.Writer, k parked.Message, now time.Time) error {
	_, err := fmt.Fprintf(w, "%8d  %s  %-14s %9d B  %s ago\n",
		k.Seq, k.At.Local().Format(time.DateTime), k.Reason, k.Size, max(now.Sub(k.At), 0).Round(time.Second))
	return err
}

func printKeptJSON(w io.Writer, k parked.Message, now time.Time) error {
	return json.NewEncoder(w).Encode(struct {
		Seq        uint64    `json:"seq"`
		ParkedAt   time.Time `json:"parked_at"`
		Reason     string    `json:"reason"`
		Size       int       `json:"size"`
		AgeSeconds int64     `json:"age_seconds"`
	}{k.Seq, k.At, k.Reason, k.Size, int64(max(now.Sub(k.At), 0).Seconds())})
}

// countedByReason says how many there are, the most frequent reason first.
func countedByReason(counts map[string]int, printed int) string {
	all, parts := 0, make([]string, 0, len(counts))
	reasons := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(counts[b]-counts[a], strings.Compare(a, b))
	})
	for _, reason := range reasons {
		all += counts[reason]
		parts = append(parts, fmt.Sprintf("%d %s", counts[reason], reason))
	}
	text := fmt.Sprintf("%d parked", all)
	if printed < all {
		text += fmt.Sprintf(", %d shown", printed)
	}
	if all > 0 {
		text += ": " + strings.Join(parts, ", ")
	}
	return text
}

type parkedShowCmd struct {
	service.ReaderSettings
	Seq uint64 `arg:"" help:"Sequence of the message, as list prints it."`
	Raw bool   `help:"The body byte for byte and nothing else."`
}

// Run shows one message.
func (cmd *parkedShowCmd) Run(ctx context.Context, c *console) error {
	nc, js, layout, err := reach(ctx, cmd.ReaderSettings, "legato parked", c)
	if err != nil {
		return err
	}
	defer nc.Close()
	k, err := parked.New(js, layout).Get(ctx, cmd.Seq)
	if err != nil {
		return err
	}
	fmt.Fprintln(c.stderr, "legato: the body has personal data: phone numbers, names, client_state")
	if cmd.Raw {
		_, err = c.stdout.Write(k.Data)
		return err
	}
	_, err = io.WriteString(c.stdout, pretty(k))
	return err
}

// pretty is a message for a person: its headers, and its body indented where it is JSON.
func pretty(k parked.Message) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Sequence: %d\nReason: %s\nParked: %s\nSize: %d\n", k.Seq, k.Reason, k.At.Format(time.RFC3339Nano), k.Size)
	for _, name := range slices.Sorted(maps.Keys(k.Header)) {
		for _, value := range k.Header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, printable(value))
		}
	}
	body := string(k.Data)
	var indented strings.Builder
	if json.Valid(k.Data) && printIndented(&indented, json.RawMessage(k.Data)) == nil {
		body = indented.String()
	}
	return b.String() + "\n" + strings.TrimRight(printable(body), "\n") + "\n"
}

// printable escapes what would do something to a terminal: a sender chose these bytes.
func printable(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(r)):
			fmt.Fprintf(&b, `\x%02x`, s[i]) // no character at all
		case r == '\n' || r == '\t' || strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

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
	r := service.NewPutBack(nc, js, layout, verifier)
	seqs, err := cmd.which(ctx, r.Store)
	if err != nil {
		return err
	}
	stay := 0
	for _, seq := range seqs {
		outcome, left, err := r.One(ctx, seq, cmd.DryRun)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(c.stdout, "%d  %s\n", seq, outcome); err != nil {
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
