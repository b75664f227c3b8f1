package parked

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd"
)

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
