package natsd

import (
	"context"
	"errors"
	"net/http"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// codeNoPeers: too few servers of the cluster are up for the replicas that are wanted.
const codeNoPeers jetstream.ErrorCode = 10005

// Transient reports whether an exchange with NATS failed for what ends without anybody changing the configuration:
// a server that is away, a cluster without a quorum. It is false for the rest: JetStream that is not enabled, an
// account's limits, permissions, streams that are not as wanted.
func Transient(err error) bool {
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return false
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return api.Code == http.StatusServiceUnavailable || api.ErrorCode == codeNoPeers
	}
	for _, transient := range []error{
		context.DeadlineExceeded, nats.ErrTimeout, nats.ErrDisconnected, nats.ErrReconnectBufExceeded, nats.ErrStaleConnection,
	} {
		if errors.Is(err, transient) {
			return true
		}
	}
	return false
}

// Where names servers for people, without their secrets; empty when a URL is none.
func Where(urls []string) string {
	where, _, err := inspectURLs(urls)
	if err != nil {
		return ""
	}
	return where
}
