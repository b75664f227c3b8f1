// Package parked keeps input that is genuine and of no use: signed webhooks that are no call events,
// and entries of the log on which the work has failed. In goes a [call.Parked] with the reason; out come the same
// bytes and headers, until they are put back and removed, or have aged out of the stream.
//
// What it guarantees:
//   - The body is stored byte for byte, beside what checks its signature again.
//   - The same bytes of the same entry are stored once within the stream's duplicate window.
//   - "There is no such message" is an answer of its own ([ErrNotFound]), never an infrastructure error.
//
// It does not know why something is parked, nor what would become of it now.
package parked

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

var (
	// ErrInvalid is wrapped by the error of what can never be parked, or asked for.
	ErrInvalid = errors.New("not valid as parked input")
	// ErrNotFound is wrapped by the error of a look-up that found no such message.
	ErrNotFound = errors.New("no such parked message")
)

// timeout bounds one exchange with NATS where the caller's context allows more.
const timeout = 5 * time.Second

// Store keeps the parked input of one deployment, byte for byte. It is safe for concurrent use.
type Store struct {
	js     jetstream.JetStream
	layout natsd.Layout
	sync   func() error
	// syncing has a value for each sync under way.
	syncing chan struct{}
}

// New returns the store of a deployment.
func New(js jetstream.JetStream, layout natsd.Layout) *Store {
	return &Store{js: js, layout: layout, syncing: make(chan struct{}, maxSyncing)}
}

// maxSyncing bounds the syncs under way: each takes a thread while the disk does not answer, whether or not anybody still
// waits for it.
const maxSyncing = 16

// Synced makes Park return only after sync, for a server that acknowledges before it syncs.
func (s *Store) Synced(sync func() error) { s.sync = sync }

// synced waits for what is stored to be synced, or for ctx.
func (s *Store) synced(ctx context.Context) error {
	if s.sync == nil {
		return nil
	}
	select {
	case s.syncing <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		done <- s.sync()
		<-s.syncing
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Park stores the input under <prefix>.parked.<reason>. The same bytes, of the same
// entry of the log, are stored once within the stream's duplicate window, and
// parking them again succeeds. It fails with ErrInvalid when the reason is no token or the
// bytes are more than the server takes, and with a wrapped infrastructure error otherwise.
func (s *Store) Park(ctx context.Context, p call.Parked) error {
	if !call.ValidToken(p.Reason) {
		return fmt.Errorf("park: %w: reason %.64q is no subject token", ErrInvalid, p.Reason)
	}
	m := &nats.Msg{Subject: s.subject(p.Reason), Data: p.Data, Header: p.Header(messageID(p))}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ack, err := s.js.PublishMsg(ctx, m)
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("park %s: %w: %d bytes and headers are more than the server takes (%d)",
			p.Reason, ErrInvalid, len(p.Data), s.js.Conn().MaxPayload())
	}
	if err == nil {
		err = natsd.StoredIn(ack, s.layout.Parked)
	}
	if err == nil {
		err = s.synced(ctx)
	}
	if err != nil {
		return fmt.Errorf("park %s: %w", p.Reason, err)
	}
	return nil
}

func (s *Store) subject(reason string) string { return s.layout.Prefix + ".parked." + reason }

// messageID returns the idempotency key: the digest of the bytes, and the place in the log of an entry. What was put back
// and is parked again has another place. Were it taken for what was parked before, which is removed by then, it would be lost.
func messageID(p call.Parked) string {
	digest := sha256.Sum256(p.Data)
	id := "sha256:" + hex.EncodeToString(digest[:])
	if p.Seq > 0 {
		id += "/" + strconv.FormatUint(p.Seq, 10)
	}
	return id
}

// Message is parked input as the store keeps it.
type Message struct {
	// Seq is its place in the store, At when it was parked.
	Seq uint64
	At  time.Time
	// Size is the length of the body in bytes.
	Size int
	// Parked is the input. From List it comes without its body.
	call.Parked
	// Header is the message's.
	Header nats.Header
}

// Get returns one parked message, whole. It fails with ErrNotFound when there is
// none at seq, and with a wrapped infrastructure error otherwise.
func (s *Store) Get(ctx context.Context, seq uint64) (Message, error) {
	stream, err := s.stream(ctx)
	if err != nil {
		return Message{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	m, err := stream.GetMsg(ctx, seq)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Message{}, fmt.Errorf("%w: %d", ErrNotFound, seq)
	case err != nil:
		return Message{}, fmt.Errorf("read parked message %d: %w", seq, err)
	}
	return s.message(m), nil
}

// Remove takes a message out of the store. That it is gone already is a success.
func (s *Store) Remove(ctx context.Context, seq uint64) error {
	stream, err := s.stream(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err = stream.DeleteMsg(ctx, seq)
	// The server has one code for a failed deletion, whatever failed: only a read tells.
	if err != nil {
		if _, get := stream.GetMsg(ctx, seq); errors.Is(get, jetstream.ErrMsgNotFound) {
			return nil
		}
		return fmt.Errorf("remove parked message %d: %w", seq, err)
	}
	return nil
}

// Erase takes what is parked out of the store where header or body names one of these ids, overwrites it where it is
// stored, and returns how many messages they were; a dry run only counts.
func (s *Store) Erase(ctx context.Context, ids []string, dryRun bool) (int, error) {
	scan := natsd.Scan{Stream: s.layout.Parked, Subjects: []string{s.subject("*")}}
	return natsd.Erase(ctx, s.js, scan, dryRun, func(m *jetstream.RawStreamMsg) (bool, error) {
		k := s.message(m)
		return slices.ContainsFunc(ids, func(id string) bool {
			return string(k.Ref.Session) == id || string(k.Ref.Leg) == id || string(k.Ref.Control) == id || names(m.Data, id)
		}), nil
	})
}

// names reports whether a body has an id, and not as a part of another one: what is begun to be typed, or half copied, is
// a part of many.
func names(body []byte, id string) bool {
	for at := 0; ; at++ {
		next := bytes.Index(body[at:], []byte(id))
		if next < 0 {
			return false
		}
		at += next
		before, after := body[:at], body[at+len(id):]
		if (at == 0 || !goesOn(before[at-1])) && (len(after) == 0 || after[0] != ':' && !goesOn(after[0])) {
			return true
		}
	}
}

// goesOn reports whether an id that has c beside it is a part of another one. A colon may stand before it, as after the
// name of a field.
func goesOn(c byte) bool { return c != ':' && call.ValidToken("a"+string(rune(c))) }

func (s *Store) stream(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	stream, err := s.js.Stream(ctx, s.layout.Parked)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", s.layout.Parked, err)
	}
	return stream, nil
}

// message makes a Message of what the stream has. The subject decides about the reason.
func (s *Store) message(m *jetstream.RawStreamMsg) Message {
	p := call.ReadParked(m.Header)
	p.Reason, p.Data = strings.TrimPrefix(m.Subject, s.subject("")), m.Data
	return Message{Seq: m.Sequence, At: m.Time.UTC(), Size: len(m.Data), Header: m.Header, Parked: p}
}

// Filter says which parked messages are meant. The zero value means all.
type Filter struct {
	// Reason is the one that they were parked for. Empty: any.
	Reason string
	// Since is when the first of them was parked. Zero: whenever.
	Since time.Time
}

// List hands what is parked to do, oldest first, without the bodies, which are
// not even read from the server; what is parked meanwhile is left out. It returns do's error
// as it is, ErrInvalid for a reason that is no token, and a wrapped infrastructure error otherwise.
func (s *Store) List(ctx context.Context, filter Filter, do func(Message) error) error {
	scan := natsd.Scan{Stream: s.layout.Parked, Since: filter.Since, Subjects: []string{s.subject("*")}, HeadersOnly: true}
	if filter.Reason != "" {
		if !call.ValidToken(filter.Reason) {
			return fmt.Errorf("list what is parked: %w: reason %.64q is no subject token", ErrInvalid, filter.Reason)
		}
		scan.Subjects[0] = s.subject(filter.Reason)
	}
	return scan.Each(ctx, s.js, func(m *jetstream.RawStreamMsg) (err error) {
		listed := s.message(m)
		if listed.Size, err = strconv.Atoi(m.Header.Get(nats.MsgSize)); err != nil {
			return fmt.Errorf("list what is parked: size of message %d: %w", listed.Seq, err)
		}
		return do(listed)
	})
}
