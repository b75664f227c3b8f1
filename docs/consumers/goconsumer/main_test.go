package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go/jetstream"

	contract "github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish"
)

// Example runs the consumer over a leg with two revisions and its session; then
// again over everything, as if it had crashed before it acknowledged anything.
func Example() {
	dir, err := os.MkdirTemp("", "consumer-")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	js, stop, err := deployment(dir)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer stop()
	ctx := context.Background()
	file := filepath.Join(dir, "calls.ndjson")

	consumeAll(ctx, js, file, 3)
	if err := js.DeleteConsumer(ctx, stream, durable); err != nil {
		fmt.Println(err)
	}
	consumeAll(ctx, js, file, 3)
	data, err := os.ReadFile(file)
	fmt.Print(string(data), err)
	// Output:
	// {"kind":"leg","call_session_id":"7a1c","call_leg_id":"7a1d","revision":1}
	// {"kind":"session","call_session_id":"7a1c","revision":1}
	// {"kind":"leg","call_session_id":"7a1c","call_leg_id":"7a1d","revision":2}
	// <nil>
}

// consumeAll runs the consumer until it has acknowledged so many messages.
func consumeAll(ctx context.Context, js jetstream.JetStream, file string, messages uint64) {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	kept, err := open(file)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer kept.close()
	consumed := make(chan error, 1)
	consuming, enough := context.WithCancel(ctx)
	defer enough()
	go func() { consumed <- consume(consuming, slog.New(slog.DiscardHandler), js, kept) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		consumer, err := js.Consumer(ctx, stream, durable)
		if err == nil && consumer.CachedInfo().AckFloor.Consumer >= messages {
			break
		}
		if ctx.Err() != nil {
			fmt.Println("the consumer did not get on:", err)
			break
		}
	}
	enough()
	if err := <-consumed; err != nil {
		fmt.Println(err)
	}
}

// deployment is a NATS server with three summaries.
func deployment(dir string) (jetstream.JetStream, func(), error) {
	layout, err := natsd.NewLayout(natsd.DefaultPrefix)
	if err != nil {
		return nil, nil, err
	}
	server, err := natsd.Start(natsd.Config{DataDir: filepath.Join(dir, "nats")})
	if err != nil {
		return nil, nil, err
	}
	nc, err := server.Connect("example")
	if err != nil {
		return nil, nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, nil, err
	}
	ctx := context.Background()
	if _, err := natsd.Manage(ctx, js, layout, natsd.Limits{}); err != nil {
		return nil, nil, err
	}
	publisher, err := publish.New(ctx, js, layout)
	if err != nil {
		return nil, nil, err
	}
	leg, call := summaryOf("leg", "7a1d"), summaryOf("session", "")
	first, err := publisher.Publish(ctx, leg(1), publishedNothing)
	if err != nil {
		return nil, nil, err
	}
	if _, err := publisher.Publish(ctx, call(1), publishedNothing); err != nil {
		return nil, nil, err
	}
	if _, err := publisher.Publish(ctx, leg(2), first); err != nil {
		return nil, nil, err
	}
	return js, func() {
		nc.Close()
		_ = server.Shutdown(ctx)
	}, nil
}

func TestTheFileHasEachRevisionOnceWhateverComes(t *testing.T) {
	body := func(revision int) string {
		return fmt.Sprintf(`{"kind":"leg","call_session_id":"s","call_leg_id":"l","revision":%d}`, revision)
	}
	tests := []struct {
		name, before string
		put          []string
		want         []string
	}{
		{name: "in order", put: []string{body(1), body(2)}, want: []string{body(1), body(2)}},
		{name: "twice", put: []string{body(1), body(1)}, want: []string{body(1)}},
		{name: "an older one later", put: []string{body(2), body(1)}, want: []string{body(2)}},
		{name: "again after a restart", before: body(2) + "\n", put: []string{body(1), body(2), body(3)}, want: []string{body(2), body(3)}},
		{name: "after a crash in the middle of a line", before: body(1) + "\n" + body(2)[:20], put: []string{body(2)}, want: []string{body(1), body(2)}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "calls.ndjson")
			if err := os.WriteFile(path, []byte(tt.before), 0o600); err != nil {
				t.Fatal(err)
			}
			s, err := open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			for _, body := range tt.put {
				if err := s.put([]byte(body)); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.sync(); err != nil {
				t.Fatal(err)
			}
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, strings.Fields(string(data))); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if err := s.put([]byte(`{"kind":"leg"}`)); err == nil {
				t.Error("it took what is no summary")
			}
		})
	}
}

// publishedNothing stands before a first revision.
var publishedNothing contract.Stored

// summaryOf returns the revisions of a leg or session.
func summaryOf(kind, leg string) func(revision int) contract.Draft {
	return func(revision int) contract.Draft {
		id := ""
		if leg != "" {
			id = fmt.Sprintf(`"call_leg_id":%q,`, leg)
		}
		return contract.Draft{
			Key: contract.Key{Kind: kind, Session: "7a1c", Leg: leg}, Revision: revision, PublishedAt: time.Now(),
			Position: contract.Position{Log: "example", Seq: 1},
			Body:     fmt.Appendf(nil, `{"kind":%q,"call_session_id":"7a1c",%s"revision":%d}`, kind, id, revision),
		}
	}
}
