package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/labstack/echo/v4"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/legato-calls/legato/cmd/legato-bench/bench"
	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/service"
)

// What bench measures, each in a process of its own.
const (
	// targetFloor reads the body, verifies it with the standard library and answers.
	targetFloor = bench.Floor
	// targetOurs does so with the service's verifier.
	targetOurs = bench.Ours
	// targetSynced also publishes to an embedded JetStream that syncs each message.
	targetSynced = bench.Synced
	// targetLocal writes to a log on the disk with a sync that concurrent webhooks share, and has a copy published.
	targetLocal = bench.Local
	// targetPipeline is the service, with an embedded NATS unless it is told of another.
	targetPipeline = bench.Pipeline
	// targetNATS is a NATS server with its own defaults.
	targetNATS = "nats"
	// targetWriter writes and syncs as other work on the disk does.
	targetWriter = "writer"
)

// targetWord is the argument that makes this program a target.
const targetWord = "bench-target"

// targetCmd is a process that bench measures. It serves until its standard
// input ends, and takes commands there.
type targetCmd struct {
	Target string `arg:"" enum:"floor,floor-ours,publish-synced,floor-local,pipeline,nats,writer" help:"What to be."`
	service.Settings
}

// targetHello is the first line that a target prints.
type targetHello struct {
	// Listen, Admin and NATS are addresses; only the pipeline has all.
	Listen string `json:"listen"`
	Admin  string `json:"admin,omitempty"`
	NATS   string `json:"nats,omitempty"`
	// Console is the address of the console, where there is one.
	Console string `json:"console,omitempty"`
}

// targetReply answers one command.
type targetReply struct {
	// HeapBytes is the live heap after a collection.
	HeapBytes uint64 `json:"heap_bytes,omitempty"`
	// LiveBytes is what the last collection found alive.
	LiveBytes uint64 `json:"live_bytes,omitempty"`
	// Written is what the writer has written and synced.
	Written uint64 `json:"written,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Commands of a target.
const (
	askHeap     = "heap"
	askLive     = "live"
	askWritten  = "written"
	askProfile  = "profile" // followed by a file name
	askProfiled = "profiled"
)

// Run serves until standard input ends or ctx does.
func (cmd *targetCmd) Run(ctx context.Context, c *console) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hello, serve, err := cmd.start(ctx, c)
	if err != nil {
		return err
	}
	out := json.NewEncoder(c.stdout)
	if err := out.Encode(hello); err != nil {
		return fmt.Errorf("tell the addresses: %w", err)
	}
	// Not waited for: a read of standard input ends with the process.
	go func() {
		defer cancel()
		var p profile
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			if out.Encode(p.obey(lines.Text())) != nil {
				return // whoever asked is gone
			}
		}
	}()
	return serve(ctx)
}

func (cmd *targetCmd) start(ctx context.Context, c *console) (targetHello, func(context.Context) error, error) {
	switch cmd.Target {
	case targetPipeline:
	case targetNATS:
		return cmd.startNATS()
	case targetWriter:
		return targetHello{}, cmd.writeAndSync, nil
	default:
		service.TuneCollector(cmd.Logger(c.stderr)) // as the service does: else the floors would look dearer than they are
		return cmd.startFloor(ctx)
	}
	s, err := service.Start(ctx, &cmd.Settings, cmd.Logger(c.stderr))
	if err != nil {
		return targetHello{}, nil, err
	}
	return targetHello{Listen: s.WebhookAddr(), Admin: s.AdminAddr(), NATS: s.NATSURL(), Console: strings.TrimSuffix(s.ConsoleURL(), "/")}, func(ctx context.Context) error { return s.Run(ctx, nil) }, nil
}

// profile is the CPU profile that is being written, if any.
type profile struct{ file *os.File }

func (p *profile) obey(line string) targetReply {
	command, file, _ := strings.Cut(line, " ")
	var err error
	switch command {
	case askHeap:
		// Twice: what a finalizer or a pool held is gone after the second.
		runtime.GC()
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return targetReply{HeapBytes: stats.HeapAlloc}
	case askLive:
		return targetReply{LiveBytes: service.LiveHeap()}
	case askWritten:
		return targetReply{Written: written.Load()}
	case askProfile:
		err = p.begin(file)
	case askProfiled:
		err = p.end()
	default:
		err = fmt.Errorf("unknown command %q", command)
	}
	if err != nil {
		return targetReply{Error: err.Error()}
	}
	return targetReply{}
}

func (p *profile) begin(file string) (err error) {
	if p.file, err = os.Create(file); err != nil {
		return fmt.Errorf("write a profile: %w", err)
	}
	return pprof.StartCPUProfile(p.file)
}

// end completes the CPU profile and writes that of allocations beside it.
func (p *profile) end() error {
	if p.file == nil {
		return errors.New("no profile was begun")
	}
	pprof.StopCPUProfile()
	err := p.file.Close()
	allocs, failed := os.Create(strings.TrimSuffix(p.file.Name(), ".cpu.pprof") + ".allocs.pprof")
	if failed != nil {
		return errors.Join(err, fmt.Errorf("write a profile: %w", failed))
	}
	p.file = nil
	return errors.Join(err, pprof.Lookup("allocs").WriteTo(allocs, 0), allocs.Close())
}

// startFloor serves the least that a webhook can cost, alone or with a store.
func (cmd *targetCmd) startFloor(ctx context.Context) (targetHello, func(context.Context) error, error) {
	keys, err := telnyx.ParseKeys(cmd.TelnyxPublicKey)
	if err != nil {
		return targetHello{}, nil, err
	}
	verify, store, stop := standard(keys[0]), func(context.Context, []byte) error { return nil }, func() error { return nil }
	switch cmd.Target {
	case targetOurs:
		verify = telnyx.NewVerifier(keys).Verify
	case targetSynced:
		store, stop, err = publishing(ctx, cmd.DataDir)
	case targetLocal:
		store, stop, err = logging(ctx, cmd.DataDir)
	}
	if err != nil {
		return targetHello{}, nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", cmd.Listen)
	if err != nil {
		return targetHello{}, nil, errors.Join(fmt.Errorf("listen: %w", err), stop())
	}
	e := echo.New()
	e.POST(ingest.Path, floor(verify, store)) //nolint:contextcheck // each request has its own
	// The limits of the service's server, so that a slow rate does not close the connections.
	srv := &http.Server{Handler: e, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 90 * time.Second}
	serve := func(ctx context.Context) error {
		var g errgroup.Group
		g.Go(func() error {
			if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				return err
			}
			return nil
		})
		<-ctx.Done()
		return errors.Join(srv.Close(), g.Wait(), stop())
	}
	return targetHello{Listen: listener.Addr().String()}, serve, nil
}

// floor takes a webhook, verifies it, stores it and answers.
func floor(verify func(timestamp, signature string, body []byte) error, store func(context.Context, []byte) error) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		if verify(r.Header.Get(telnyx.HeaderTimestamp), r.Header.Get(telnyx.HeaderSignature), body) != nil {
			return echo.ErrUnauthorized
		}
		if err := store(r.Context(), body); err != nil {
			return err
		}
		return c.JSONBlob(http.StatusOK, []byte(`{"status":"stored"}`))
	}
}

// standard verifies with the standard library.
func standard(key ed25519.PublicKey) func(timestamp, signature string, body []byte) error {
	return func(timestamp, signature string, body []byte) error {
		raw, err := base64.StdEncoding.DecodeString(signature)
		if err != nil {
			return err
		}
		message := make([]byte, 0, len(timestamp)+1+len(body))
		message = append(append(append(message, timestamp...), '|'), body...)
		if !ed25519.Verify(key, message, raw) {
			return telnyx.ErrBadSignature
		}
		return nil
	}
}

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
	opts := &pebble.Options{MemTableSize: 2 << 20, MemTableStopWritesThreshold: 8, FormatMajorVersion: pebble.FormatNewest}
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
