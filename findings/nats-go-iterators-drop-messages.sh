#!/usr/bin/env bash
# A reader that is slower than the server iterates over a consumer (Consumer.Messages), with a limit of messages and of bytes for what is
# asked for ahead. Does it get every message that the server has sent, in order?
#
# Versions: nats-server 2.15.2 (one server, default limits), nats.go 1.55.0 (package jetstream). Run on 2026-11-29.
#
# Expected: what is asked for ahead has room in the client, so every message comes, in order.
# Seen: now and then one is dropped (nats.ErrSlowConsumer goes to the error handler of the connection), and comes again when AckWait is
#   over, or never where nothing is acknowledged. The iterator's channel has room for as many messages as it asks for, and the server's
#   answers that close a request (409 Message Size Exceeds MaxBytes, 409 Batch Completed) stand in it, too. Which message it is
#   differs from run to run ("after message 684 of 2000 came 686"). Output:
#     a message that was asked for was dropped: nats: slow consumer, messages dropped
#   Whoever needs each one reads by Consumer.Consume, whose buffer grows, or checks the sequences.
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
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const messages = 2000

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}

func main() {
	var said atomic.Pointer[error]
	s := must(server.NewServer(&server.Options{JetStream: true, StoreDir: os.Args[1], DontListen: true, NoLog: true, NoSigs: true}))
	s.Start()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		log.Fatal("the server does not get ready")
	}
	ctx := context.Background()
	nc := must(nats.Connect("", nats.InProcessServer(s), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { said.CompareAndSwap(nil, &err) })))
	js := must(jetstream.New(nc))
	stream := must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Storage: jetstream.MemoryStorage}))
	for i := range messages {
		must(js.Publish(ctx, "s", fmt.Append(nil, "body ", i)))
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for round := 0; round < 400; round++ {
		consumer := must(stream.CreateConsumer(ctx, jetstream.ConsumerConfig{AckPolicy: jetstream.AckNonePolicy}))
		it := must(consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(100, 4000+50*(round%60))))
		pause := uint64(0)
		for last := uint64(0); last < messages; last++ {
			if last == pause { // all that the server has sent is here when it has answered
				must(consumer.Info(ctx))
				pause += 1 + rng.Uint64N(60)
			}
			m, err := it.Next(jetstream.NextMaxWait(5 * time.Second))
			if err != nil {
				log.Fatalf("after message %d of %d came nothing: %v", last, messages, err)
			}
			if seq := must(m.Metadata()).Sequence.Stream; seq != last+1 {
				log.Printf("after message %d of %d came %d", last, messages, seq)
				why := "nothing was said"
				if err := said.Load(); err != nil {
					why = (*err).Error()
				}
				fmt.Println("a message that was asked for was dropped:", why)
				return
			}
		}
		it.Stop()
	}
	fmt.Println("every message came")
}
GO
go mod tidy >/dev/null 2>&1
diff <(echo "a message that was asked for was dropped: nats: slow consumer, messages dropped") <(go run . "$dir/data")
