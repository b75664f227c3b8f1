#!/usr/bin/env bash
# A consumer with a pinned client (priority groups): the client that holds messages dies, another takes its place
# after the pin's time. When does it get what the dead one held?
#
# Versions: nats-server 2.15.2 (one server), nats.go 1.55.0 (package jetstream). Run on 2026-11-28.
#
# Expected: the server gives the pin away because it holds the old client to be dead, so what that one held and did not
#   acknowledge is delivered to the new one at once.
# Seen: the new client is pinned after the pin's time (1 s here) and gets what is new, but what the dead one held only
#   when its AckWait (6 s here) is over. So messages are overtaken by later ones at each change of the pinned client,
#   for as long as AckWait: an order that one client at a time seemed to promise is lost. Output:
#     a message that came after the death: within 3 s
#     the messages that the dead client held: after 5 s or more, after the newer one
#   Whoever needs the order keeps AckWait short and extends it, or sorts out what was overtaken.
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
	"fmt"
	"log"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func main() {
	s := must(server.NewServer(&server.Options{JetStream: true, StoreDir: os.Args[1], DontListen: true, NoLog: true, NoSigs: true}))
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		log.Fatal("the server does not get ready")
	}
	ctx := context.Background()
	connect := func() (*nats.Conn, jetstream.JetStream) {
		nc := must(nats.Connect("", nats.InProcessServer(s)))
		return nc, must(jetstream.New(nc))
	}
	_, js := connect()
	must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}))
	must(js.CreateConsumer(ctx, "S", jetstream.ConsumerConfig{
		Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, AckWait: 6 * time.Second,
		PriorityPolicy: jetstream.PriorityPolicyPinned, PriorityGroups: []string{"g"}, PinnedTTL: time.Second,
	}))
	messages := func(js jetstream.JetStream) jetstream.MessagesContext {
		consumer := must(js.Consumer(ctx, "S", "c"))
		return must(consumer.Messages(jetstream.PullPriorityGroup("g"), jetstream.PullExpiry(time.Second)))
	}
	for range 3 {
		must(js.Publish(ctx, "s", []byte("held")))
	}
	first, firstJS := connect()
	held := messages(firstJS)
	for range 3 {
		must(held.Next())
	}
	first.Close()
	died := time.Now()
	_, secondJS := connect()
	taken := messages(secondJS)
	must(js.Publish(ctx, "s", []byte("new")))
	var newAfter, heldAfter time.Duration
	for newAfter == 0 || heldAfter == 0 {
		m, err := taken.Next(jetstream.NextMaxWait(20 * time.Second))
		if err != nil {
			continue
		}
		switch string(m.Data()) {
		case "new":
			newAfter = time.Since(died)
		default:
			if heldAfter == 0 {
				heldAfter = time.Since(died)
			}
		}
		if err := m.Ack(); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Fprintf(os.Stderr, "new after %v, held after %v\n", newAfter, heldAfter)
	if newAfter < 3*time.Second {
		fmt.Println("a message that came after the death: within 3 s")
	}
	if heldAfter >= 5*time.Second && heldAfter > newAfter {
		fmt.Println("the messages that the dead client held: after 5 s or more, after the newer one")
	}
}
GO
go mod tidy >/dev/null 2>&1
go run . "$dir/store" | tee output
diff output - <<'WANT'
a message that came after the death: within 3 s
the messages that the dead client held: after 5 s or more, after the newer one
WANT
