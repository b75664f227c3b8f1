package natsd

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Erase takes the messages of a scan out of their stream that do wants to be erased, overwrites them where they are
// stored, and returns how many they were. A stream that does not exist has none. Nothing is changed where dryRun is set.
func Erase(ctx context.Context, js jetstream.JetStream, s Scan, dryRun bool, do func(*jetstream.RawStreamMsg) (bool, error)) (n int, err error) {
	stream, err := js.Stream(ctx, s.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("erase from stream %s: %w", s.Stream, err)
	}
	// Collected first: a scan that goes on while messages before it go would take them for lost.
	var seqs []uint64
	if err := s.Each(ctx, js, func(m *jetstream.RawStreamMsg) error {
		wanted, err := do(m)
		if wanted {
			seqs = append(seqs, m.Sequence)
		}
		return err
	}); err != nil || dryRun {
		return len(seqs), err
	}
	for _, seq := range seqs {
		if err := stream.SecureDeleteMsg(ctx, seq); err != nil {
			// The server has one code for a failed deletion, whatever failed: only a read tells.
			if _, get := stream.GetMsg(ctx, seq); errors.Is(get, jetstream.ErrMsgNotFound) {
				continue
			}
			return n, fmt.Errorf("erase message %d of stream %s: %w", seq, s.Stream, err)
		}
		n++
	}
	return n, nil
}
