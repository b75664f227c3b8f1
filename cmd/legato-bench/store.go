package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// runNATS runs a server in this process; where it does not listen, only this process reaches it.
func runNATS(dir string, listens, syncs bool) (*server.Server, error) {
	ns, err := server.NewServer(&server.Options{
		ServerName: "bench", NoSigs: true, NoLog: true, DontListen: !listens, Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: dir, SyncAlways: syncs,
	})
	if err != nil {
		return nil, fmt.Errorf("make NATS: %w", err)
	}
	ns.Start()
	if !ns.ReadyForConnections(10 * time.Second) {
		stopNATS(ns)
		return nil, errors.New("NATS does not get ready")
	}
	return ns, nil
}

func stopNATS(ns *server.Server) {
	ns.Shutdown()
	ns.WaitForShutdown()
}

// startNATS is the NATS server of a service that brings none.
func (cmd *targetCmd) startNATS() (targetHello, func(context.Context) error, error) {
	ns, err := runNATS(cmd.DataDir, true, false)
	if err != nil {
		return targetHello{}, nil, err
	}
	return targetHello{NATS: ns.ClientURL()}, func(ctx context.Context) error {
		<-ctx.Done()
		stopNATS(ns)
		return nil
	}, nil
}

// stream makes a stream on a server in this process.
func stream(ctx context.Context, ns *server.Server) (jetstream.JetStream, error) {
	nc, err := nats.Connect("", nats.InProcessServer(ns))
	if err != nil {
		return nil, fmt.Errorf("connect to embedded NATS: %w", err)
	}
	js, err := jetstream.New(nc)
	if err == nil {
		_, err = js.CreateStream(ctx, jetstream.StreamConfig{Name: "BENCH", Subjects: []string{"bench.>"}})
	}
	return js, err
}

// publishing returns a publish that is awaited, to a JetStream in this process that syncs each message.
func publishing(ctx context.Context, dir string) (store func(context.Context, []byte) error, stop func() error, err error) {
	ns, err := runNATS(dir, false, true)
	if err != nil {
		return nil, nil, err
	}
	js, err := stream(ctx, ns)
	if err != nil {
		stopNATS(ns)
		return nil, nil, err
	}
	store = func(ctx context.Context, body []byte) error {
		_, err := js.Publish(ctx, "bench.event", body)
		return err
	}
	return store, func() error { stopNATS(ns); return nil }, nil
}

// logging returns a write to a local log whose sync concurrent writes share, as pebble does it by itself, with a copy
// published to a JetStream in this process that nobody waits for. The log's options are those of the service's.
func logging(ctx context.Context, dir string) (store func(context.Context, []byte) error, stop func() error, err error) {
	ns, err := runNATS(filepath.Join(dir, "nats"), false, false)
	if err != nil {
		return nil, nil, err
	}
	js, err := stream(ctx, ns)
	if err != nil {
		stopNATS(ns)
		return nil, nil, err
	}
	opts := &pebble.Options{MemTableSize: 8 << 20, FormatMajorVersion: pebble.FormatNewest}
	for i := range opts.Levels {
		opts.Levels[i].Compression = func() *block.CompressionProfile { return block.NoCompression }
	}
	db, err := pebble.Open(filepath.Join(dir, "log"), opts)
	if err != nil {
		stopNATS(ns)
		return nil, nil, fmt.Errorf("open a log: %w", err)
	}
	var last atomic.Uint64
	store = func(_ context.Context, body []byte) error {
		if err := db.Set(binary.BigEndian.AppendUint64(nil, last.Add(1)), body, pebble.Sync); err != nil {
			return err
		}
		_, err := js.PublishAsync("bench.event", body, jetstream.WithStallWait(time.Minute))
		return err
	}
	return store, func() error {
		<-js.PublishAsyncComplete()
		stopNATS(ns)
		return db.Close()
	}, nil
}

const (
	// otherWork is what other work writes to the disk in a second, in pieces of writePiece with a sync each.
	otherWork  = 50_000_000
	writePiece = 1_000_000
	// writeSpan is after how much it begins again at the beginning of its file.
	writeSpan = 256_000_000
)

// writeAndSync writes and syncs at a fixed rate, or as fast as the disk allows where that is less, until ctx ends.
func (cmd *targetCmd) writeAndSync(ctx context.Context) error {
	if err := os.MkdirAll(cmd.DataDir, 0o750); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(cmd.DataDir, "work"))
	if err != nil {
		return err
	}
	defer f.Close()
	piece := make([]byte, writePiece)
	tick := time.NewTicker(time.Second * writePiece / otherWork)
	defer tick.Stop()
	for at := int64(0); ; at = (at + writePiece) % writeSpan {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		if _, err := f.WriteAt(piece, at); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		written.Add(writePiece)
	}
}

// written is how many bytes writeAndSync has written and synced.
var written atomic.Uint64
