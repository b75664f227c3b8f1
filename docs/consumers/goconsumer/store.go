package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

var errUnreadable = errors.New("not a summary")

// store is a file of summaries, a body a line, of each id in the order of its
// revisions. In a database it would be one statement:
//
//	INSERT INTO calls (kind, session, leg, revision, body) VALUES (…)
//	ON CONFLICT (kind, session, leg) DO UPDATE SET revision = excluded.revision, body = excluded.body
//	WHERE excluded.revision > calls.revision
type store struct {
	file *os.File
	out  *bufio.Writer
	// newest is the highest revision of each id.
	newest map[string]int
}

// open reads what the file has, and cuts off a line that a crash left unfinished.
func open(path string) (*store, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	s := &store{file: f, out: bufio.NewWriter(f), newest: make(map[string]int)}
	in, whole := bufio.NewReader(f), int64(0)
	for {
		line, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		whole += int64(len(line))
		one, err := read(line)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
		s.newest[one.id()] = max(s.newest[one.id()], one.Revision)
	}
	if err := f.Truncate(whole); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if _, err := f.Seek(whole, io.SeekStart); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return s, nil
}

// put keeps a summary, unless this revision or a higher one is there.
func (s *store) put(body []byte) error {
	one, err := read(body)
	if err != nil {
		return err
	}
	if one.Revision <= s.newest[one.id()] {
		return nil
	}
	var line bytes.Buffer
	if err := json.Compact(&line, body); err != nil {
		return errUnreadable
	}
	line.WriteByte('\n')
	if _, err := s.out.Write(line.Bytes()); err != nil {
		return err
	}
	s.newest[one.id()] = one.Revision
	return nil
}

// sync puts on disk what was put.
func (s *store) sync() error {
	if err := s.out.Flush(); err != nil {
		return err
	}
	return s.file.Sync()
}

func (s *store) close() { _ = s.file.Close() }

func read(body []byte) (summary, error) {
	var one summary
	if json.Unmarshal(body, &one) != nil || one.Kind == "" || one.Session == "" || one.Revision < 1 {
		return summary{}, errUnreadable
	}
	return one, nil
}
