// Command gofeed reads the raw feed, and says of each event whether it is from Telnyx.
//
//	TELNYX_PUBLIC_KEY=… NATS_URL=nats://127.0.0.1:4222 go run ./docs/consumers/gofeed 2201234567890123456
//
// The signature is over what Telnyx sent, and good however long the event waited in the log. What Legato filled in from
// Telnyx's history has none.
package main

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Getenv, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// origin says where an event comes from: "telnyx", the "history" that Legato asked for, or "unknown".
func origin(header nats.Header, body []byte, key ed25519.PublicKey) string {
	if header.Get("Legato-Source") == "backfill" {
		return "history"
	}
	signature, err := base64.StdEncoding.DecodeString(header.Get("Telnyx-Signature-Ed25519"))
	if err != nil || !ed25519.Verify(key, append([]byte(header.Get("Telnyx-Timestamp")+"|"), body...), signature) {
		return "unknown"
	}
	return "telnyx"
}

func run(ctx context.Context, getenv func(string) string, args []string, out io.Writer) error {
	key, err := base64.StdEncoding.DecodeString(getenv("TELNYX_PUBLIC_KEY"))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return errors.New("TELNYX_PUBLIC_KEY is no key")
	}
	connection := "*"
	if len(args) > 0 {
		connection = args[0]
	}
	nc, err := nats.Connect(getenv("NATS_URL"), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	consumer, err := js.CreateOrUpdateConsumer(ctx, "CALL_EVENTS", jetstream.ConsumerConfig{
		Durable: "feed-go", AckPolicy: jetstream.AckExplicitPolicy, FilterSubject: "calls.event." + connection + ".>",
	})
	if err != nil {
		return fmt.Errorf("make the consumer: %w", err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, messages.Stop)()
	for {
		m, err := messages.Next()
		if errors.Is(err, jetstream.ErrMsgIteratorClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		_, eventType, _ := strings.Cut(strings.TrimPrefix(m.Subject(), "calls.event."), ".")
		fmt.Fprintln(out, eventType, origin(m.Headers(), m.Data(), key)) // do your work here; an event can come twice
		if err := m.Ack(); err != nil {
			return err
		}
	}
}
