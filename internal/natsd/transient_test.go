package natsd_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
)

func TestOnlyWhatPassesByItselfIsWaitedFor(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		err  error
		want bool
	}{
		"no answer":                           {context.DeadlineExceeded, true},
		"no connection":                       {nats.ErrReconnectBufExceeded, true},
		"a cluster without a leader":          {&jetstream.APIError{Code: 503, ErrorCode: 10008}, true},
		"too few servers for the replicas":    {&jetstream.APIError{Code: 400, ErrorCode: 10005}, true},
		"a server without JetStream":          {jetstream.ErrJetStreamNotEnabled, false},
		"an account without JetStream":        {jetstream.ErrJetStreamNotEnabledForAccount, false},
		"an account with streams enough":      {&jetstream.APIError{Code: 400, ErrorCode: 10027}, false},
		"streams that are not as wanted":      {&natsd.MismatchError{}, false},
		"a start that was broken off":         {context.Canceled, false},
		"a connection that was closed":        {nats.ErrConnectionClosed, false},
		"anything else":                       {errors.New("anything else"), false},
		"nothing":                             {nil, false},
		"a server without JetStream, as sent": {&jetstream.APIError{Code: 503, ErrorCode: jetstream.JSErrCodeJetStreamNotEnabled}, false},
	} {
		if got := natsd.Transient(row.err); got != row.want {
			t.Errorf("%s: got %v, want %v", name, got, row.want)
		}
		if row.err == nil {
			continue
		}
		if got := natsd.Transient(fmt.Errorf("wrapped: %w", row.err)); got != row.want {
			t.Errorf("%s, wrapped: got %v, want %v", name, got, row.want)
		}
	}
}

func TestWhereShowsNoSecrets(t *testing.T) {
	t.Parallel()
	if got, want := natsd.Where([]string{"nats://user:secret@one:4222", "token@two"}), "nats://one:4222,nats://two"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := natsd.Where([]string{"://secret"}); got != "" {
		t.Errorf("of what is no URL: got %q", got)
	}
}
