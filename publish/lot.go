package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/ingest/call"
	"github.com/legato-calls/legato/publish/natsd"
)

// Headers of a parked message, beside Content-Type. The two of Telnyx are as
// received, so that the signature can be checked again over the body.
const (
	HeaderReason    = "Legato-Reason"
	HeaderSignature = "Telnyx-Signature-Ed25519"
	HeaderTimestamp = "Telnyx-Timestamp"
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

// Park stores the input under <prefix>.parked.<reason>. The same bytes are stored
// once within the stream's duplicate window, and parking them again succeeds. It
// fails with ErrInvalid when the reason is no token or the bytes are more than
// the server takes, and with a wrapped infrastructure error otherwise.
func (l *Lot) Park(ctx context.Context, p call.Parked) error {
	if !call.ValidToken(p.Reason) {
		return fmt.Errorf("park: %w: reason %.64q is no subject token", ErrInvalid, p.Reason)
	}
	digest := sha256.Sum256(p.Data)
	m := &nats.Msg{
		Subject: l.layout.Prefix + ".parked." + p.Reason,
		Data:    p.Data,
		Header: nats.Header{
			jetstream.MsgIDHeader: {"sha256:" + hex.EncodeToString(digest[:])},
			HeaderReason:          {p.Reason},
		},
	}
	for header, value := range map[string]string{
		"Content-Type":  p.ContentType,
		HeaderSignature: p.Signature,
		HeaderTimestamp: p.Timestamp,
	} {
		if value = headerValue(value); value != "" {
			m.Header[header] = []string{value}
		}
	}
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
