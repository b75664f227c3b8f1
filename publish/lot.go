package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

// Headers of a parked message, beside Content-Type. The two of Telnyx are as
// received, so that the signature can be checked again over the body. Those of a
// log's entry are there when it was one, so that it can be put back.
const (
	HeaderReason    = "Legato-Reason"
	HeaderSignature = "Telnyx-Signature-Ed25519"
	HeaderTimestamp = "Telnyx-Timestamp"

	headerSequence   = "Legato-Sequence"
	headerTopic      = "Legato-Topic"
	headerSession    = "Legato-Session"
	headerLeg        = "Legato-Leg"
	headerControl    = "Legato-Control"
	headerConnection = "Legato-Connection"
	headerSource     = "Legato-Source"

	sourceBackfill = "backfill"
)

// maxHeaderValue bounds what a sender may put into a header of a parked message: the
// server refuses headers over 64 KiB, and what cannot be parked would come again and again.
const maxHeaderValue = 1024

// Lot is where input is parked that is genuine and of no use, byte for byte. It is safe for concurrent use.
type Lot struct {
	js     jetstream.JetStream
	layout natsd.Layout
}

// NewLot returns the lot of a deployment.
func NewLot(js jetstream.JetStream, layout natsd.Layout) *Lot {
	return &Lot{js: js, layout: layout}
}

// Park stores the input under <prefix>.parked.<reason>. The same bytes, of the same
// entry of the log, are stored once within the stream's duplicate window, and
// parking them again succeeds. It fails with ErrInvalid when the reason is no token or the
// bytes are more than the server takes, and with a wrapped infrastructure error otherwise.
func (l *Lot) Park(ctx context.Context, p call.Parked) error {
	if !call.ValidToken(p.Reason) {
		return fmt.Errorf("park: %w: reason %.64q is no subject token", ErrInvalid, p.Reason)
	}
	m := &nats.Msg{Subject: l.subject(p.Reason), Data: p.Data, Header: parkedHeader(p)}
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	_, err := l.js.PublishMsg(ctx, m, jetstream.WithExpectStream(l.layout.Parked))
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("park %s: %w: %d bytes and headers are more than the server takes (%d)",
			p.Reason, ErrInvalid, len(p.Data), l.js.Conn().MaxPayload())
	}
	if err != nil {
		return fmt.Errorf("park %s: %w", p.Reason, err)
	}
	return nil
}

func (l *Lot) subject(reason string) string { return l.layout.Prefix + ".parked." + reason }

func parkedHeader(p call.Parked) nats.Header {
	digest := sha256.Sum256(p.Data)
	id := "sha256:" + hex.EncodeToString(digest[:])
	header := nats.Header{HeaderReason: {p.Reason}}
	set := func(name, value string) {
		if value = headerValue(value); value != "" {
			header[name] = []string{value}
		}
	}
	set("Content-Type", p.ContentType)
	set(HeaderSignature, p.Signature)
	set(HeaderTimestamp, p.Timestamp)
	if p.Seq > 0 {
		// What was put back and is parked again has another place in the log. Were it taken
		// for what was parked before, which is removed by now, it would be lost.
		id += "/" + strconv.FormatUint(p.Seq, 10)
		set(headerSequence, strconv.FormatUint(p.Seq, 10))
	}
	set(headerTopic, p.Topic)
	set(headerSession, string(p.Ref.Session))
	set(headerLeg, string(p.Ref.Leg))
	set(headerControl, string(p.Ref.Control))
	set(headerConnection, string(p.Ref.Connection))
	if p.Backfill {
		set(headerSource, sourceBackfill)
	}
	header[jetstream.MsgIDHeader] = []string{id}
	return header
}

// headerValue returns s as it can stand in a header: on one line, of bounded length.
func headerValue(s string) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, s))
	if len(s) > maxHeaderValue {
		s = strings.ToValidUTF8(s[:maxHeaderValue], "")
	}
	return s
}

// headerSafe reports whether s is stored in a header unchanged.
func headerSafe(s string) bool { return headerValue(s) == s }

// ErrNotParked is wrapped by the error of a look-up that found no such message.
var ErrNotParked = errors.New("no such parked message")

// Kept is parked input as the lot keeps it.
type Kept struct {
	// Seq is its place in the lot, At when it was parked.
	Seq uint64
	At  time.Time
	// Size is the length of the body in bytes.
	Size int
	// Parked is the input. From List it comes without its body.
	call.Parked
	// Header is the message's.
	Header nats.Header
}

// Get returns one parked message, whole. It fails with ErrNotParked when there is
// none at seq, and with a wrapped infrastructure error otherwise.
func (l *Lot) Get(ctx context.Context, seq uint64) (Kept, error) {
	stream, err := l.stream(ctx)
	if err != nil {
		return Kept{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	m, err := stream.GetMsg(ctx, seq)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Kept{}, fmt.Errorf("%w: %d", ErrNotParked, seq)
	case err != nil:
		return Kept{}, fmt.Errorf("read parked message %d: %w", seq, err)
	}
	return l.kept(m.Subject, m.Sequence, m.Time, m.Header, m.Data), nil
}

// Remove takes a message out of the lot. That it is gone already is a success.
func (l *Lot) Remove(ctx context.Context, seq uint64) error {
	stream, err := l.stream(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
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

func (l *Lot) stream(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, DefaultTimeout)
	defer cancel()
	stream, err := l.js.Stream(ctx, l.layout.Parked)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", l.layout.Parked, err)
	}
	return stream, nil
}

func (l *Lot) kept(subject string, seq uint64, at time.Time, h nats.Header, data []byte) Kept {
	// Get knows only the canonical form of a name, which not all of these are in.
	get := func(name string) string {
		if v := h[name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	// A sequence that is no number was never written by us; it counts as not stated.
	entry, _ := strconv.ParseUint(get(headerSequence), 10, 64)
	return Kept{
		Seq: seq, At: at.UTC(), Size: len(data), Header: h,
		Parked: call.Parked{
			Reason:    strings.TrimPrefix(subject, l.subject("")),
			Signature: get(HeaderSignature), Timestamp: get(HeaderTimestamp), ContentType: get("Content-Type"),
			Seq: entry, Topic: get(headerTopic), Backfill: get(headerSource) == sourceBackfill,
			Ref: call.Ref{
				Session:    call.SessionID(get(headerSession)),
				Leg:        call.LegID(get(headerLeg)),
				Control:    call.ControlID(get(headerControl)),
				Connection: call.ConnectionID(get(headerConnection)),
			},
			Data: data,
		},
	}
}
