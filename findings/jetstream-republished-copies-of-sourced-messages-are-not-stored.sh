#!/usr/bin/env bash
# A stream republishes what it stores under other subjects, and another stream captures these. Does that stream store
# it, whether the messages were published to the first one or came to it from a source?
#
# Versions: nats-server 2.15.2 (one server), nats.go 1.55.0 (package jetstream). Run on 2026-11-29.
#
# Expected: a republished message is a message: subscribers and streams that listen to its subject get it, however it
#   came into the first stream.
# Seen: of messages that were published to the first stream, the second one stores every one. Of messages that the
#   first stream took in from a source, subscribers get every one, and the second stream stores none, without an error
#   anywhere. Output:
#     published: 20 stored, 20 received by a subscriber, 20 stored by the stream behind
#     sourced: 20 stored, 20 received by a subscriber, 0 stored by the stream behind
#   So a chain of a source and a republishing stream feeds programs that listen, and no stream.
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
	"sync/atomic"
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
	nc := must(nats.Connect("", nats.InProcessServer(s)))
	js := must(jetstream.New(nc))
	count := func(stream string) uint64 {
		return must(must(js.Stream(ctx, stream)).Info(ctx)).State.Msgs
	}
	try := func(what, first string, subjects []string, sources []*jetstream.StreamSource, publish string) {
		behind, to := first+"_BEHIND", "republished."+what
		must(js.CreateStream(ctx, jetstream.StreamConfig{Name: behind, Subjects: []string{to + ".>"}}))
		must(js.CreateStream(ctx, jetstream.StreamConfig{
			Name: first, Subjects: subjects, Sources: sources, RePublish: &jetstream.RePublish{Source: ">", Destination: to + ".>"},
		}))
		var received atomic.Int64
		must(nc.Subscribe(to+".>", func(*nats.Msg) { received.Add(1) }))
		for range 20 {
			must(js.Publish(ctx, publish, []byte("x")))
		}
		// Whatever comes has ten seconds for it.
		for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			if count(first) == 20 && received.Load() == 20 && count(behind) == 20 {
				break
			}
		}
		fmt.Printf("%s: %d stored, %d received by a subscriber, %d stored by the stream behind\n", what, count(first), received.Load(), count(behind))
	}
	try("published", "DIRECT", []string{"direct.>"}, nil, "direct.x")
	must(js.CreateStream(ctx, jetstream.StreamConfig{Name: "ORIGIN", Subjects: []string{"origin.>"}}))
	try("sourced", "SOURCED", nil, []*jetstream.StreamSource{{Name: "ORIGIN"}}, "origin.x")
}
GO
go mod tidy >/dev/null 2>&1
go run . "$dir/store" | tee output
diff output - <<'WANT'
published: 20 stored, 20 received by a subscriber, 20 stored by the stream behind
sourced: 20 stored, 20 received by a subscriber, 0 stored by the stream behind
WANT
