package postgres

import (
	"context"
	"net"
)

// Dial connects as the target does, to an address.
func (t *Target) Dial(ctx context.Context, to net.Addr) (net.Conn, error) {
	return t.config.DialFunc(ctx, to.Network(), to.String())
}
