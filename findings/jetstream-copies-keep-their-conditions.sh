#!/usr/bin/env bash
# What becomes of a message that is copied on with the headers that it is stored with?
#
# Versions: nats-server 2.15.2, nats.go 1.55.0. Run on 2026-11-28.
#
# Expected: Nats-Expected-Last-Subject-Sequence is an instruction to the server for one publish, and is gone from the
#   message once it was obeyed, as an HTTP If-Match is.
# Seen: the header is stored with the message and delivered with it. Whoever passes messages on with their headers, a
#   bridge, an archive, a dead-letter queue, publishes the condition of another stream with them: the first copy to a
#   subject passes by luck, the second is refused (10071). Output:
#     delivered with the condition of its publish: "0"
#     copy 1: stored
#     copy 2: refused, 10071
#   So a consumer that republishes keeps the headers it knows, and not all.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat > go.mod <<'MOD'
module finding

go 1.26

require (
	github.com/nats-io/nats-server/v2 v2.15.2
	github.com/nats-io/nats.go v1.55.0
)
MOD
cat > main.go <<'GO'
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func main() {
	s, err := server.NewServer(&server.Options{JetStream: true, StoreDir: os.Args[1], DontListen: true, NoLog: true, NoSigs: true})
	if err != nil {
		log.Fatal(err)
	}
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		log.Fatal("the server does not get ready")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	if err != nil {
		log.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	orders, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.*"}})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "ARCHIVE", Subjects: []string{"archive"}}); err != nil {
		log.Fatal(err)
	}
	for _, subject := range []string{"orders.1", "orders.2"} {
		if _, err := js.Publish(ctx, subject, []byte("x"), jetstream.WithExpectLastSequencePerSubject(0)); err != nil {
			log.Fatal(err)
		}
	}
	consumer, err := orders.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		log.Fatal(err)
	}
	for i := range 2 {
		m, err := consumer.Next()
		if err != nil {
			log.Fatal(err)
		}
		if i == 0 {
			fmt.Printf("delivered with the condition of its publish: %q\n", m.Headers().Get("Nats-Expected-Last-Subject-Sequence"))
		}
		_, err = js.PublishMsg(ctx, &nats.Msg{Subject: "archive", Header: m.Headers(), Data: m.Data()})
		var refused *jetstream.APIError
		switch {
		case errors.As(err, &refused):
			fmt.Printf("copy %d: refused, %d\n", i+1, refused.ErrorCode)
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Printf("copy %d: stored\n", i+1)
		}
	}
}
GO
go mod tidy >/dev/null 2>&1
go run . "$dir/store" | tee output
diff output - <<'WANT'
delivered with the condition of its publish: "0"
copy 1: stored
copy 2: refused, 10071
WANT
