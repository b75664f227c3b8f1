package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/legato-calls/legato/enrich/summary"
)

var (
	errUnreadable = errors.New("not a summary")
	// errStore is wrapped by what only somebody who looks at the disk can mend.
	errStore = errors.New("the file cannot be written")
)

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
	newest map[summary.Key]int
}

// open reads what the file has, and cuts off a line that a crash left unfinished.
func open(path string) (*store, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	s := &store{file: f, out: bufio.NewWriter(f), newest: make(map[summary.Key]int)}
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
		key, revision, err := read(line)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
		}
		s.newest[key] = max(s.newest[key], revision)
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
	key, revision, err := read(body)
	if err != nil {
		return err
	}
	if revision <= s.newest[key] {
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
	s.newest[key] = revision
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

// read decodes a summary by the types of its kind, and returns what it is about and its revision.
func read(body []byte) (key summary.Key, revision int, err error) {
	var head struct {
		Kind string `json:"kind"`
	}
	if json.Unmarshal(body, &head) != nil {
		return key, 0, errUnreadable
	}
	switch head.Kind {
	case summary.KindLeg:
		var leg summary.Leg // with everything that docs/messages.md explains
		err = json.Unmarshal(body, &leg)
		key, revision = summary.Key{Kind: leg.Kind, Session: leg.CallSessionID, Leg: leg.CallLegID}, leg.Revision
	case summary.KindSession:
		var session summary.Session
		err = json.Unmarshal(body, &session)
		key, revision = summary.Key{Kind: session.Kind, Session: session.CallSessionID}, session.Revision
	}
	if err != nil || key.Session == "" || revision < 1 || (key.Kind == summary.KindLeg) != (key.Leg != "") {
		return key, 0, errUnreadable
	}
	return key, revision, nil
}
