#!/usr/bin/env bash
# A reader that polls a stream with the client's ordered consumer, stops it and closes its connection each time: how
# often can it do that?
#
# Versions: nats-server 2.15.2 (one server, default limits), nats.go 1.55.0 (package jetstream). Run on 2026-11-28.
#
# Expected: an ordered consumer is the client's own ephemeral thing, so Stop removes it, or the end of the connection
#   does; polling can go on for ever.
# Seen: neither removes it. It stays with the server for five minutes, the client's default, and a stream has room for
#   1,000 consumers, the server's default. The 1,001st poll within five minutes is refused with 10026, and so is every
#   other program that wants a consumer of that stream in the meantime: a service's own, too. Output:
#     consumers after one poll, stopped, its connection closed: 1
#     poll 1001: refused, 10026
#   Whoever polls deletes the consumer after Stop, sets InactiveThreshold, or keeps one iterator open.
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
	ctx := context.Background()
	connect := func() (*nats.Conn, jetstream.JetStream) {
		nc, err := nats.Connect("", nats.InProcessServer(s))
		if err != nil {
			log.Fatal(err)
		}
		js, err := jetstream.New(nc)
		if err != nil {
			log.Fatal(err)
		}
		return nc, js
	}
	_, js := connect()
	stream, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := js.Publish(ctx, "s", []byte("x")); err != nil {
		log.Fatal(err)
	}
	poll := func() error {
		nc, js := connect()
		defer nc.Close()
		consumer, err := js.OrderedConsumer(ctx, "S", jetstream.OrderedConsumerConfig{})
		if err != nil {
			return err
		}
		messages, err := consumer.Messages()
		if err != nil {
			return err
		}
		defer messages.Stop()
		_, err = messages.Next(jetstream.NextMaxWait(10 * time.Second))
		return err
	}
	if err := poll(); err != nil {
		log.Fatal(err)
	}
	// Whatever removes it has ten seconds for it.
	count := func() int {
		info, err := stream.Info(ctx)
		if err != nil {
			log.Fatal(err)
		}
		return info.State.Consumers
	}
	for end := time.Now().Add(10 * time.Second); count() > 0 && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
	}
	fmt.Printf("consumers after one poll, stopped, its connection closed: %d\n", count())
	for n := 2; n <= 1100; n++ {
		var refused *jetstream.APIError
		if err := poll(); errors.As(err, &refused) {
			fmt.Printf("poll %d: refused, %d\n", n, refused.ErrorCode)
			return
		} else if err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("1,100 polls were served")
}
GO
go mod tidy >/dev/null 2>&1
go run . "$dir/store" | tee output
diff output - <<'WANT'
consumers after one poll, stopped, its connection closed: 1
poll 1001: refused, 10026
WANT
