package load

import (
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/flat"
)

// batch is what is loaded and acknowledged together.
type batch struct {
	// replies are the subjects on which the messages are answered.
	replies []string
	bytes   int
	began   time.Time
	// full tells that it ended because it was: more messages come at once.
	full bool
	// newest are the rows by id: an older revision of the same batch is acknowledged with the newer one.
	newest map[id]Row
	// every has all rows instead, unread, where the target wants them.
	every    []Row
	wantsAll bool
	rejected []Rejected
	// pending is how many messages the consumer had not delivered after the last one; stored is when that was stored.
	pending uint64
	stored  time.Time
}

// id is what a row is known by in a warehouse.
type id struct{ kind, id string }

func (r *Row) id() id {
	if r.Key.Kind == summary.KindLeg {
		return id{r.Key.Kind, r.Key.Leg}
	}
	return id{r.Key.Kind, r.Key.Session}
}

func newBatch(of Batches) *batch {
	b := &batch{replies: make([]string, 0, of.Messages), wantsAll: of.Every}
	if b.wantsAll {
		b.every = make([]Row, 0, of.Messages)
	} else {
		b.newest = make(map[id]Row)
	}
	return b
}

// add takes a message in.
func (b *batch) add(m jetstream.Msg, meta *jetstream.MsgMetadata, origin Origin, read *Reader) {
	if len(b.replies) == 0 {
		b.began = time.Now()
	}
	b.replies = append(b.replies, m.Reply())
	b.bytes += len(m.Data())
	b.pending, b.stored = meta.NumPending, meta.Timestamp
	row, err := rowOf(origin, m.Data())
	if err == nil && b.wantsAll {
		b.every = append(b.every, row)
		return
	}
	if err == nil {
		err = read.Read(&row, make([]flat.Value, len(read.Columns(row.Key.Kind))))
	}
	if err != nil {
		b.rejected = append(b.rejected, Rejected{Origin: origin, Reason: err.Error(), Body: m.Data()})
		return
	}
	if have, ok := b.newest[row.id()]; !ok || have.Revision < row.Revision {
		b.newest[row.id()] = row
	}
}

// rows returns all rows as they came where the target wants them, else the newest revisions, in an order that all loaders
// share: two that lock rows in the same order do not wait for each other in a circle.
func (b *batch) rows() []Row {
	if b.wantsAll {
		return b.every
	}
	rows := make([]Row, 0, len(b.newest))
	for _, r := range b.newest {
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b Row) int {
		if c := strings.Compare(a.Key.Kind, b.Key.Kind); c != 0 {
			return c
		}
		return strings.Compare(a.id().id, b.id().id)
	})
	return rows
}
