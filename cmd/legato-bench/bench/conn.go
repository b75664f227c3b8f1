package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
)

// conn is a connection on which requests follow each other. net/http's client costs about
// as much as the server that is to be measured; this one writes bytes and reads a status.
type conn struct {
	net.Conn
	answers *bufio.Reader
	current atomic.Int64 // the event whose answer is awaited
}

func dial(ctx context.Context, addr string, n int) ([]*conn, error) {
	conns := make([]*conn, 0, n)
	for range n {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err != nil {
			closeAll(conns)
			return nil, fmt.Errorf("connect to what is measured: %w", err)
		}
		conns = append(conns, &conn{Conn: c, answers: bufio.NewReaderSize(c, 4<<10)})
	}
	return conns, nil
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		_ = c.Close() // nothing is on its way
	}
}

var contentLength = []byte("content-length:")

// answer reads one response and returns its status. It fails when the connection does, and on a
// response without a length, which none of the servers here gives.
func (c *conn) answer() (int, error) {
	line, err := c.answers.ReadSlice('\n')
	if err != nil {
		return 0, fmt.Errorf("read an answer: %w", err)
	}
	if len(line) < len("HTTP/1.1 200\r\n") {
		return 0, errors.New("read an answer: no status line")
	}
	status, err := strconv.Atoi(string(line[9:12]))
	if err != nil {
		return 0, errors.New("read an answer: no status")
	}
	length := -1
	for {
		line, err = c.answers.ReadSlice('\n')
		if err != nil {
			return 0, fmt.Errorf("read the headers of an answer: %w", err)
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		if len(line) > len(contentLength) && bytes.EqualFold(line[:len(contentLength)], contentLength) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil {
				return 0, errors.New("read an answer: no length")
			}
		}
	}
	if length < 0 {
		return 0, errors.New("read an answer: it states no length")
	}
	if _, err = c.answers.Discard(length); err != nil {
		return 0, fmt.Errorf("read the body of an answer: %w", err)
	}
	return status, nil
}
