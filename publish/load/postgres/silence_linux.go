package postgres

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// boundSilence bounds how long what is sent may stay unacknowledged: keepalive probes an idle connection only, and the system sends a
// statement again for a quarter of an hour. A server that takes none of the rows that are sent for as long is given up, too.
func boundSilence(network, _ string, c syscall.RawConn) (err error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil
	}
	if failed := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(silentWithin.Milliseconds()))
	}); failed != nil {
		return failed
	}
	return err
}
