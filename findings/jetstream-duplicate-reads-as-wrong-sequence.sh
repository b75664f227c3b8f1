#!/usr/bin/env bash
# A publish with a condition and a message id that is stored already: is it a duplicate, or is its condition wrong?
#
# Versions: nats-server 2.15.2 (one server, file storage), nats.go 1.55.0. Run on 2026-11-28.
#
# Expected: the duplicate window is looked at first, so that a publisher that repeats itself after a lost
#   acknowledgement gets "duplicate", with the sequence of its own message.
# Seen: with Nats-Expected-Last-Subject-Sequence the repetition is refused with "wrong last sequence" (10071), as if
#   somebody else had published; without the condition the same id is answered as a duplicate. Output:
#     first: stored at 1, duplicate false
#     the same again: refused, 10071
#     the same again without a condition: stored at 1, duplicate true
#   So a refusal does not tell "mine already" from "somebody else's": only reading the subject's last message does.
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
	if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}, Duplicates: time.Minute}); err != nil {
		log.Fatal(err)
	}
	publish := func(what string, opts ...jetstream.PublishOpt) {
		ack, err := js.Publish(ctx, "s", []byte("x"), append(opts, jetstream.WithMsgID("id"))...)
		var refused *jetstream.APIError
		switch {
		case errors.As(err, &refused):
			fmt.Printf("%s: refused, %d\n", what, refused.ErrorCode)
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Printf("%s: stored at %d, duplicate %v\n", what, ack.Sequence, ack.Duplicate)
		}
	}
	nothingYet := jetstream.WithExpectLastSequencePerSubject(0)
	publish("first", nothingYet)
	publish("the same again", nothingYet)
	publish("the same again without a condition")
}
GO
go mod tidy >/dev/null 2>&1
go run . "$dir/store" | tee output
diff output - <<'WANT'
first: stored at 1, duplicate false
the same again: refused, 10071
the same again without a condition: stored at 1, duplicate true
WANT
