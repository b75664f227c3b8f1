package postgres_test

import (
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/legato-calls/legato/publish/load/postgres"
)

func TestAServerThatAcknowledgesNothingIsGivenUp(t *testing.T) {
	server, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = server.Close() }()
	target, err := postgres.New("postgres://user@host/database")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := target.Dial(t.Context(), server.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	option := func(level, name int) (value int) {
		var err error
		if failed := raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, name) }); failed != nil {
			err = failed
		}
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	if option(unix.SOL_SOCKET, unix.SO_KEEPALIVE) == 0 {
		t.Error("an idle connection is not probed")
	}
	idle, every, count := option(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE), option(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL), option(unix.IPPROTO_TCP, unix.TCP_KEEPCNT)
	if within := time.Duration(idle+every*count) * time.Second; within != 75*time.Second {
		t.Errorf("an idle connection is given up after %v", within)
	}
	if within := time.Duration(option(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)) * time.Millisecond; within != 75*time.Second {
		t.Errorf("what is sent is sent again for %v", within)
	}
}
