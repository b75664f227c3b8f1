package load

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
)

// Row is one revision of a leg or a session.
type Row struct {
	Key summary.Key
	// Revision counts from 1. It is 0 while the row is not read.
	Revision int64
	// Body is the summary as it was published: in valid UTF-8, and once it is read valid JSON.
	Body string
	// Cells are the values of the columns of its kind, as package flat has them. Nil: the row is not read.
	Cells []flat.Value
	// Origin is where the message stands.
	Origin Origin
	// data is the message as it came, said the revision that its header says.
	data []byte
	said int64
}

// ID is what the row is known by among those of its kind: its call_leg_id or call_session_id.
func (r *Row) ID() string {
	if r.Key.Kind == summary.KindSession {
		return r.Key.Session
	}
	return r.Key.Leg
}

// Release lets go of what a row says. A target that has written it down needs it no more, even when it fails afterwards.
func (r *Row) Release() { r.Body, r.Cells, r.data = "", nil, nil }

// Origin is the place of a message in the stream. Repeated deliveries have the same.
type Origin struct {
	// Stream is the stream's name, Created when it was made: a stream that was made anew counts from 1 again.
	Stream  string
	Created time.Time
	// Seq is the sequence of the message, At when the stream took it: a stream that has lost its end gives a sequence once more, later.
	Seq uint64
	At  time.Time
	// Subject is the message's. It names ids and no numbers.
	Subject string
}

// Rejected is a message that is no row, or one that the target refuses.
type Rejected struct {
	Origin
	// Reason says why, without anything of the content.
	Reason string
	// Body is the message as it came.
	Body []byte
}

// Target is a warehouse. Its methods are called by one goroutine at a time.
type Target interface {
	// Open connects, makes or completes the tables, and returns the identity of the warehouse: what it was given when
	// it was first used. Opening again checks that it can still be reached. It fails with ErrConfig when trying again cannot help, and
	// with ErrStandby while another loader has to end first.
	Open(ctx context.Context) (identity string, err error)
	// Load makes the rows last, each whole or not at all. Of each leg and session there is one row at most, unless the target is a
	// Batching that wants every message. A row replaces what stands under its id only if its revision is higher, or the
	// same and it was published later. It returns how many
	// did, with a Refusal, too. It fails with a Refusal when the content of rows keeps them from being stored, and then, if it says
	// which they are, has stored all others; any other error is worth another try. Rows that were stored before it failed may come again.
	Load(ctx context.Context, rows []Row) (applied int, err error)
	// Reject keeps messages that could not be loaded, each once by its Origin.
	Reject(ctx context.Context, rejected []Rejected) error
	// Close releases what Open took.
	Close(ctx context.Context) error
}

// Batching is what a Target has that wants other batches than the loader makes by itself.
type Batching interface {
	Batches() Batches
}

// Committing is what a Target has that makes several batches last at once. Load alone need not do that.
type Committing interface {
	// Commit makes last what Load was given since the last Commit: only then is it acknowledged. When it fails, all of that comes again.
	Commit(ctx context.Context) error
}

// Batches say what is handed to a target together.
type Batches struct {
	// Messages and Bytes bound a batch: it ends at whichever comes first.
	Messages, Bytes int
	// Linger is how long a batch waits for more messages, and, for a Committing target, how long a full one may wait to be committed
	// together with later ones. It is well below the time after which they are delivered again.
	Linger time.Duration
	// Commit is how many messages are committed together while many come, to a Committing target.
	Commit int
	// Every lets Load have every message, as it came: it may get several revisions of a leg or session, and the same one twice. The rows
	// are not read, since what they say needs more room than their bodies; a Reader reads them, or finds that they are none.
	Every bool
}

// ErrConfig is wrapped by errors that only somebody who changes settings, permissions or tables can put right.
var ErrConfig = errors.New("it has to be put right first")

// ErrStandby is wrapped by the error of Open while another loader has the warehouse. Nothing is wrong then.
var ErrStandby = errors.New("this one takes over when that one ends")

// Refusal is the error of a target that does not take the content of rows.
type Refusal struct {
	// Reason says why, without anything of the content.
	Reason string
	// Rows are the reasons by the places of the rows that are refused, where the target knows them: all others are stored.
	Rows map[int]string
}

// Error implements error.
func (r *Refusal) Error() string { return r.Reason }

// Child is a list in a summary that a warehouse keeps as a table of its own.
type Child struct {
	// Table is its name.
	Table string
	// Column is the place of the list among the columns of its kind.
	Column int
	// Elements are the columns of its elements.
	Elements *flat.Table
}

// children are the lists that become tables of their own, by kind of summary: the columns that hold them.
var children = map[string][]string{
	summary.KindLeg:     {"recordings", "events", "cost_parts", "refers"},
	summary.KindSession: {"recordings", "events", "bridges"},
}

// tableNames are the tables of lists that have another name than their column. Handing a leg over by REFER is a transfer.
var tableNames = map[string]string{"refers": "transfers"}

// Children returns the lists of a kind of summary that become tables, in a fixed order.
func Children(kind string) ([]Child, error) {
	table, err := flat.Of(kind)
	if err != nil {
		return nil, err
	}
	var found []Child
	for _, name := range children[kind] {
		for i, c := range table.Columns() {
			if c.Name != name {
				continue
			}
			elements, ok := c.Elements()
			if !ok {
				return nil, fmt.Errorf("column %s of a %s is no list of objects", name, kind)
			}
			found = append(found, Child{Table: cmp.Or(tableNames[name], name), Column: i, Elements: elements})
		}
	}
	if len(found) != len(children[kind]) {
		return nil, fmt.Errorf("a %s has %d of the lists %v", kind, len(found), children[kind])
	}
	return found, nil
}
