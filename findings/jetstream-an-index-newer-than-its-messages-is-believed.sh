#!/usr/bin/env bash
# A power cut that keeps a stream's index and loses the end of its messages: what does the server take the stream for?
#
# The file store writes messages into blocks, and syncs those every two minutes (sync_interval). Its index, index.db, is
# written anew and renamed over the old one. A rename may be on the disk before a block's last pages are, and a power cut
# in between leaves a newer index beside an older block. Here that is made without one: the block is put back as an
# earlier stop in order had left it, the index stays.
#
# Versions: nats-server 2.15.2 (one server, file storage, defaults), nats.go 1.55.0. Run on 2026-11-30.
#
# Expected: the index is a shortcut to what the blocks hold. Where it tells of messages that no block has, the blocks are
#   read, the stream ends where they end, and the loss is said.
# Seen: the server warns that the index is outdated, since "last block has additional entries", where it has fewer, and
#   reads the blocks. But the last sequence of the index stays: the ten lost messages count as deleted, as if somebody had
#   removed them; "lost", which the state of a stream has for damaged blocks, is not among what it says; the next message
#   gets the sequence behind them, and a reader goes on there without a sign. Output:
#     published as 90
#     published as 100
#     the server warns: Filestore [ORDERS] Stream state outdated, last block has additional entries, will rebuild
#     the server warns: Filestore [ORDERS] Recovering stream state from index errored: prior state file
#     after the cut: 90 messages, the last is 100, deleted are 10, of lost ones it says nothing: true
#     message 91: nats: API error: code=404 err_code=10037 description=message not found
#     the next is published as 101
#     a reader gets 90: order 90
#     a reader gets 101: order 101
#     without the index: 90 messages, the last is 90, deleted are 0; the next is published as 91
#   So a copy that is resumed at the stream's last sequence, or a reader that takes every gap for deleted messages, never
#   makes good what a power cut took.
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
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// warnings are what the server says beyond notices.
type warnings struct{ server.Logger }

func (warnings) Noticef(string, ...any) {}
func (warnings) Debugf(string, ...any)  {}
func (warnings) Tracef(string, ...any)  {}
func (warnings) Warnf(f string, v ...any) { fmt.Printf("the server warns: "+f+"\n", v...) }
func (warnings) Errorf(f string, v ...any) { fmt.Printf("the server has an error: "+f+"\n", v...) }
func (warnings) Fatalf(f string, v ...any) { log.Fatalf(f, v...) }

// with runs something on a server that is stopped in order afterwards.
func with(dir string, do func(context.Context, jetstream.Stream, jetstream.JetStream)) {
	s, err := server.NewServer(&server.Options{JetStream: true, StoreDir: dir, DontListen: true, NoSigs: true})
	must(err)
	s.SetLoggerV2(warnings{}, false, false, false)
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		log.Fatal("the server does not get ready")
	}
	nc, err := nats.Connect("", nats.InProcessServer(s))
	must(err)
	js, err := jetstream.New(nc)
	must(err)
	ctx := context.Background()
	stream, err := js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders"}})
	must(err)
	do(ctx, stream, js)
	nc.Close()
	s.Shutdown()
	s.WaitForShutdown()
}

func publish(ctx context.Context, js jetstream.JetStream, from, to int) (last uint64) {
	for i := from; i <= to; i++ {
		ack, err := js.Publish(ctx, "orders", fmt.Appendf(nil, "order %d", i))
		must(err)
		last = ack.Sequence
	}
	return last
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	dir := os.Args[1]
	block := filepath.Join(dir, "jetstream", "$G", "streams", "ORDERS", "msgs", "1.blk")
	with(dir, func(ctx context.Context, _ jetstream.Stream, js jetstream.JetStream) {
		fmt.Printf("published as %d\n", publish(ctx, js, 1, 90))
	})
	before, err := os.ReadFile(block)
	must(err)
	with(dir, func(ctx context.Context, _ jetstream.Stream, js jetstream.JetStream) {
		fmt.Printf("published as %d\n", publish(ctx, js, 91, 100))
	})
	must(os.WriteFile(block, before, 0o600)) // what the disk had of it
	bare := dir + "-without-index"
	must(os.CopyFS(bare, os.DirFS(dir)))
	must(os.Remove(filepath.Join(bare, "jetstream", "$G", "streams", "ORDERS", "msgs", "index.db")))
	with(dir, func(ctx context.Context, s jetstream.Stream, js jetstream.JetStream) {
		raw, err := js.Conn().RequestWithContext(ctx, "$JS.API.STREAM.INFO.ORDERS", nil)
		must(err)
		var info struct {
			State map[string]any `json:"state"`
		}
		must(json.Unmarshal(raw.Data, &info))
		fmt.Printf("after the cut: %v messages, the last is %v, deleted are %v, of lost ones it says nothing: %v\n",
			info.State["messages"], info.State["last_seq"], info.State["num_deleted"], info.State["lost"] == nil)
		_, err = s.GetMsg(ctx, 91)
		fmt.Printf("message 91: %v\n", err)
		fmt.Printf("the next is published as %d\n", publish(ctx, js, 101, 101))
		c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: 90})
		must(err)
		for range 2 {
			m, err := c.Next()
			must(err)
			meta, err := m.Metadata()
			must(err)
			fmt.Printf("a reader gets %d: %s\n", meta.Sequence.Stream, m.Data())
		}
	})
	with(bare, func(ctx context.Context, s jetstream.Stream, js jetstream.JetStream) {
		info := s.CachedInfo().State
		fmt.Printf("without the index: %d messages, the last is %d, deleted are %d; the next is published as %d\n",
			info.Msgs, info.LastSeq, info.NumDeleted, publish(ctx, js, 101, 101))
	})
}
GO
go mod tidy >/dev/null 2>&1
go run . "$dir/store" | tee output
diff output - <<'WANT'
published as 90
published as 100
the server warns: Filestore [ORDERS] Stream state outdated, last block has additional entries, will rebuild
the server warns: Filestore [ORDERS] Recovering stream state from index errored: prior state file
after the cut: 90 messages, the last is 100, deleted are 10, of lost ones it says nothing: true
message 91: nats: API error: code=404 err_code=10037 description=message not found
the next is published as 101
a reader gets 90: order 90
a reader gets 101: order 101
without the index: 90 messages, the last is 90, deleted are 0; the next is published as 91
WANT
