// Command goconsumer is a consumer of Legato's summaries to copy from: it keeps every
// leg and session in a file, each revision once, the newest one last.
//
//	NATS_URL=nats://127.0.0.1:4222 go run ./docs/consumers/goconsumer calls.ndjson
//
// Messages are delivered at least once and not always in the order of their
// revisions. The file has the effect exactly once: a revision that is not higher than what the file
// has of that id changes nothing, and a message is acknowledged when it is on disk.
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
)

const (
	// stream is where Legato publishes; it follows --subject-prefix.
	stream = "CALLS"
	// durable names this consumer: the server remembers how far it came.
	durable = "warehouse-go"
	// atOnce is how many messages share one sync of the disk.
	atOnce = 500
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(ctx, log, os.Getenv("NATS_URL"), os.Args[1:]); err != nil {
		log.Error("the consumer ends", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, log *slog.Logger, url string, args []string) error {
	if len(args) != 1 {
		return errors.New("usage: consumer FILE")
	}
	if url == "" {
		url = nats.DefaultURL
	}
	nc, err := nats.Connect(url, nats.Name(durable), nats.MaxReconnects(-1))
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	store, err := open(args[0])
	if err != nil {
		return err
	}
	defer store.close()
	return consume(ctx, log, js, store)
}

// Pauses after a disturbance; they double.
const (
	firstPause = time.Second
	maxPause   = 30 * time.Second
)

// consume takes summaries down until ctx ends, or the store fails. What NATS does not do passes: a server restarts, a
// leader steps down, the stream is removed and made anew. Then the consumer is made sure of, after a pause.
func consume(ctx context.Context, log *slog.Logger, js jetstream.JetStream, store *store) error {
	for pause := firstPause; ; {
		took, err := take(ctx, log, js, store)
		switch {
		case errors.Is(err, errStore):
			return err
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was asked to end
		case took:
			pause = firstPause
		}
		log.Warn("interrupted; trying again", "in", pause, "error", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		pause = min(2*pause, maxPause)
	}
}

// take takes summaries down until something goes wrong, and reports whether it took any.
func take(ctx context.Context, log *slog.Logger, js jetstream.JetStream, store *store) (took bool, err error) {
	consumer, err := js.CreateOrUpdateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable:       durable,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       30 * time.Second, // not acknowledged within this time, it comes again
		MaxAckPending: 2 * atOnce,
		// For one message a call and nothing else: calls.leg.completed.> alone.
		FilterSubjects: []string{"calls.leg.>", "calls.session.>"},
	})
	if err != nil {
		return false, fmt.Errorf("make the consumer: %w", err)
	}
	for ctx.Err() == nil {
		batch, err := consumer.Fetch(atOnce, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			return took, fmt.Errorf("fetch: %w", err)
		}
		var taken []jetstream.Msg
		for m := range batch.Messages() {
			if err := store.put(m.Data()); errors.Is(err, errUnreadable) {
				log.Warn("not a summary", "subject", m.Subject()) // never the body: it has phone numbers
				_ = m.Term()
				continue
			} else if err != nil {
				return took, fmt.Errorf("%w: %w", errStore, err)
			}
			taken = append(taken, m)
		}
		if err := store.sync(); err != nil {
			return took, fmt.Errorf("%w: %w", errStore, err)
		}
		for _, m := range taken {
			// One that is lost brings the message again, which then changes nothing.
			_ = m.Ack()
		}
		took = took || len(taken) > 0
		if err := batch.Error(); err != nil {
			return took, fmt.Errorf("the batch broke off: %w", err)
		}
	}
	return took, ctx.Err()
}

var (
	errUnreadable = errors.New("not a summary")
	// errStore is wrapped by what only somebody who looks at the disk can mend.
	errStore = errors.New("the file cannot be written")
)

// store is a file of summaries, a body a line, of each id in the order of its
// revisions. In a database it would be one statement:
//
//	INSERT INTO calls (kind, session, leg, revision, body) VALUES (…)
//	ON CONFLICT (kind, session, leg) DO UPDATE SET revision = excluded.revision, body = excluded.body
//	WHERE excluded.revision > calls.revision
type store struct {
	file *os.File
	out  *bufio.Writer
	// newest is the highest revision of each id.
	newest map[summary.Key]int
}

// open reads what the file has, and cuts off a line that a crash left unfinished.
func open(path string) (*store, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	s := &store{file: f, out: bufio.NewWriter(f), newest: make(map[summary.Key]int)}
	in, whole := bufio.NewReader(f), int64(0)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		whole += int64(len(line))
		key, revision, err := read(line)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
		s.newest[key] = max(s.newest[key], revision)
	}
	if err := f.Truncate(whole); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(whole, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// put keeps a summary, unless this revision or a higher one is there.
func (s *store) put(body []byte) error {
	key, revision, err := read(body)
	if err != nil {
		return err
	}
	if revision <= s.newest[key] {
		return nil
	}
	var line bytes.Buffer
	if err := json.Compact(&line, body); err != nil {
		return errUnreadable
	}
	line.WriteByte('\n')
	if _, err := s.out.Write(line.Bytes()); err != nil {
		return err
	}
	s.newest[key] = revision
	return nil
}

// sync puts on disk what was put.
func (s *store) sync() error {
	if err := s.out.Flush(); err != nil {
		return err
	}
	return s.file.Sync()
}

func (s *store) close() { _ = s.file.Close() }

// read decodes a summary by the types of its kind, and returns what it is about and its revision.
func read(body []byte) (key summary.Key, revision int, err error) {
	var head struct {
		Kind string `json:"kind"`
	}
	if json.Unmarshal(body, &head) != nil {
		return key, 0, errUnreadable
	}
	switch head.Kind {
	case summary.KindLeg:
		var leg summary.Leg // with everything that docs/messages.md explains
		err = json.Unmarshal(body, &leg)
		key, revision = summary.Key{Kind: leg.Kind, Session: leg.CallSessionID, Leg: leg.CallLegID}, leg.Revision
	case summary.KindSession:
		var session summary.Session
		err = json.Unmarshal(body, &session)
		key, revision = summary.Key{Kind: session.Kind, Session: session.CallSessionID}, session.Revision
	}
	if err != nil || key.Session == "" || revision < 1 || (key.Kind == summary.KindLeg) != (key.Leg != "") {
		return key, 0, errUnreadable
	}
	return key, revision, nil
}
