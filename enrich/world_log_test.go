package enrich_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/internal/call"
)

// duplicateWindow is how long the log refuses an id that it has stored.
const duplicateWindow = 2 * time.Minute

var errDown = errors.New("the server is out of reach")

// fakeLog is the log: it stores each id once within the window, numbers and
// stamps entries, and hands them to whoever follows.
type fakeLog struct {
	mu      sync.Mutex
	life    int
	first   uint64
	entries []call.Entry
	known   map[string]call.Entry
	changed chan struct{} // closed by the next change
	// untrimmed keeps everything, for tests that compare with all of it.
	untrimmed bool

	// need is what was last said to be needed, and scarce what that is answered.
	need   call.Need
	scarce bool
	// unreadable is how many more times entries cannot be read by their places.
	unreadable int
	// refuse is asked before an entry of a replica is stored. Nil: never.
	refuse func(r *replica, e call.Entry) error
}

func newFakeLog() *fakeLog {
	return &fakeLog{life: 1, first: 1, known: make(map[string]call.Entry), changed: make(chan struct{})}
}

// describe is the log's description. The lock is held.
func (l *fakeLog) describe() call.Log {
	return call.Log{ID: fmt.Sprintf("log-%d", l.life), First: l.first, Last: l.first + uint64(len(l.entries)) - 1}
}

func (l *fakeLog) tell() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *fakeLog) store(e call.Entry) call.Receipt {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now().UTC()
	if before, ok := l.known[e.ID]; ok && e.ID != "" && now.Sub(before.ReceivedAt) < duplicateWindow {
		return call.Receipt{Seq: before.Seq, Duplicate: true}
	}
	e.Seq, e.ReceivedAt = l.first+uint64(len(l.entries)), now
	l.entries = append(l.entries, e)
	if e.ID != "" {
		l.known[e.ID] = e
	}
	l.tell()
	return call.Receipt{Seq: e.Seq}
}

// recreate puts another log in the place of this one: empty, counting from 1.
func (l *fakeLog) recreate() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.life++
	l.first, l.entries, l.known = 1, nil, make(map[string]call.Entry)
	l.tell()
}

// refusing sets refuse.
func (l *fakeLog) refusing(refuse func(r *replica, e call.Entry) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refuse = refuse
}

// all returns the entries that the log holds.
func (l *fakeLog) all() []call.Entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.entries)
}

// read returns the entries at some places.
func (l *fakeLog) read(seqs []uint64) (entries []*call.Entry, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unreadable > 0 {
		l.unreadable--
		return nil, errDown
	}
	for _, seq := range seqs {
		if seq < l.first || seq >= l.first+uint64(len(l.entries)) {
			return nil, fmt.Errorf("there is no entry %d", seq)
		}
		e := l.entries[seq-l.first]
		entries = append(entries, &e)
	}
	return entries, nil
}

// get returns the entry at seq, and a channel that is closed when something
// changes; ok is false when it is not there yet, and gone when it never will be.
func (l *fakeLog) get(life int, seq uint64) (e call.Entry, ok, gone bool, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case life != l.life, seq < l.first:
		return e, false, true, nil
	case seq < l.first+uint64(len(l.entries)):
		return l.entries[seq-l.first], true, false, nil
	}
	return e, false, false, l.changed
}

// follow folds the log into a replica's table until ctx ends.
func (l *fakeLog) follow(ctx context.Context, r *replica) {
	for ctx.Err() == nil {
		l.mu.Lock()
		log, life, kick := l.describe(), l.life, r.kick()
		r.worker.Table().Restart(log)
		var stands []*call.Entry
		for _, e := range l.entries {
			stands = append(stands, &e)
		}
		l.mu.Unlock()
		r.worker.Table().Skim(stands)
		wants := r.worker.Table().Skimmed()
		next := func(seq uint64) uint64 {
			for seq <= log.Last && wants != nil && !wants(seq) {
				seq++
			}
			return seq
		}
		for seq := next(log.First); l.fold(ctx, r, life, seq, kick); seq = next(seq + 1) {
		}
	}
}

// fold folds the next entry as soon as it is there; false when there is no next.
func (l *fakeLog) fold(ctx context.Context, r *replica, life int, seq uint64, kick <-chan struct{}) bool {
	for {
		e, ok, gone, changed := l.get(life, seq)
		if gone || ctx.Err() != nil {
			return false
		}
		if ok {
			select {
			case <-kick:
				return false
			default:
			}
			if !r.mayFold(ctx, e) {
				return false
			}
			r.worker.Table().Fold(e)
			return true
		}
		select {
		case <-changed:
		case <-kick:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// logOf is the log as one replica has it.
type logOf struct {
	*fakeLog
	r *replica
}

// Append implements enrich.Log.
func (l logOf) Append(ctx context.Context, e call.Entry) (call.Receipt, error) {
	if err := l.r.alive(ctx); err != nil {
		return call.Receipt{}, err
	}
	l.mu.Lock()
	refuse := l.refuse
	l.mu.Unlock()
	if refuse != nil {
		if err := refuse(l.r, e); err != nil {
			return call.Receipt{}, err
		}
	}
	return l.store(e), nil
}

// State implements enrich.Log.
func (l logOf) State(ctx context.Context) (call.Log, error) {
	if err := l.r.alive(ctx); err != nil {
		return call.Log{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.describe(), nil
}

// Reserve implements enrich.Log.
func (l logOf) Reserve(n call.Need) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.need = n
	return l.scarce
}

// Trim implements enrich.Log.
func (l logOf) Trim(ctx context.Context, seq uint64) error {
	if err := l.r.alive(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq > l.first && !l.untrimmed {
		n := min(seq-l.first, uint64(len(l.entries)))
		l.entries = slices.Clone(l.entries[n:])
		l.first += n
	}
	return nil
}

// ackWait is how long the queue waits for word of a task.
const ackWait = 15 * time.Second

// fakeQueue hands each entry of the log to one replica, again when it is given
// back or when nothing is heard of it.
type fakeQueue struct {
	log *fakeLog

	mu    sync.Mutex
	life  int
	next  uint64 // the next entry never handed out
	tasks map[uint64]*queued
	order []uint64 // of tasks, by sequence
	done  map[uint64]bool
	moved chan struct{} // closed by the next change

	// route says which replica is to get an entry; nil, or an answer of nil: any.
	route func(e call.Entry) *replica
	// most is how many tasks may be held; 0: any number.
	most int
	// acked, naked and ended are what was answered, in order.
	acked, naked, ended []uint64
}

// queued is a task that is not done.
type queued struct {
	entry      call.Entry
	deliveries int
	due        time.Time // when it may be handed out (again)
}

func newFakeQueue(l *fakeLog) *fakeQueue {
	return &fakeQueue{
		log: l, life: 1, next: 1, tasks: make(map[uint64]*queued), done: make(map[uint64]bool), moved: make(chan struct{}),
	}
}

func (q *fakeQueue) tell() {
	close(q.moved)
	q.moved = make(chan struct{})
}

// routed sets route.
func (q *fakeQueue) routed(route func(e call.Entry) *replica) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.route = route
	q.tell()
}

// pull takes up what is new in the log. The lock is held.
func (q *fakeQueue) pull() (changed <-chan struct{}) {
	q.log.mu.Lock()
	defer q.log.mu.Unlock()
	if q.life != q.log.life {
		q.life, q.next, q.order = q.log.life, 1, nil
		q.tasks, q.done = make(map[uint64]*queued), make(map[uint64]bool)
	}
	q.next = max(q.next, q.log.first)
	for ; q.next < q.log.first+uint64(len(q.log.entries)); q.next++ {
		e := q.log.entries[q.next-q.log.first]
		if e.Topic != call.TopicHeartbeat {
			q.tasks[e.Seq] = &queued{entry: e}
			q.order = append(q.order, e.Seq)
		}
	}
	return q.log.changed
}

// take returns a task for the replica, or what to wait for.
func (q *fakeQueue) take(r *replica) (t *task, wait time.Duration, moved, changed <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	changed = q.pull()
	now := time.Now()
	wait = time.Hour
	full := q.most > 0 && len(q.holding()) >= q.most
	for _, seq := range q.order {
		w := q.tasks[seq]
		if w.due.After(now) {
			wait = min(wait, w.due.Sub(now))
			continue
		}
		if full && w.deliveries == 0 {
			continue
		}
		if q.route != nil {
			if to := q.route(w.entry); to != nil && to != r {
				continue
			}
		}
		w.deliveries++
		w.due = now.Add(ackWait)
		return &task{q: q, r: r, life: q.life, entry: w.entry, delivery: w.deliveries}, 0, nil, nil
	}
	return nil, wait, q.moved, changed
}

// end removes a task. The lock is held.
func (q *fakeQueue) end(seq uint64) {
	delete(q.tasks, seq)
	q.done[seq] = true
	for i, s := range q.order {
		if s == seq {
			q.order = append(q.order[:i:i], q.order[i+1:]...)
			break
		}
	}
}

// atMost bounds the tasks that are held, as the real queue's MaxAckPending.
func (q *fakeQueue) atMost(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.most = n
}

// held returns the tasks that were handed out and are not done.
func (q *fakeQueue) held() []uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.holding()
}

// holding is held. The lock is held.
func (q *fakeQueue) holding() []uint64 {
	var held []uint64
	for _, seq := range q.order {
		if q.tasks[seq].deliveries > 0 {
			held = append(held, seq)
		}
	}
	return held
}

// open returns the sequences of the tasks that are not done.
func (q *fakeQueue) open() []uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pull()
	return append([]uint64(nil), q.order...)
}

// givenBack returns the tasks that were given back so far.
func (q *fakeQueue) givenBack() []uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.naked)
}

// deliveries tells how often a task was handed out, -1 when it is done.
func (q *fakeQueue) deliveries(seq uint64) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if w, ok := q.tasks[seq]; ok {
		return w.deliveries
	}
	return -1
}

// queueOf is the queue as one replica has it.
type queueOf struct {
	*fakeQueue
	r *replica
}

// Work implements enrich.Queue.
func (q queueOf) Work(ctx context.Context, do func(enrich.Task)) error {
	for ctx.Err() == nil {
		t, wait, moved, changed := q.take(q.r)
		if t != nil {
			do(t)
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-moved:
		case <-changed:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	return ctx.Err()
}

// Depth implements enrich.Queue.
func (q queueOf) Depth(ctx context.Context, folded uint64) (call.Depth, error) {
	if err := q.r.alive(ctx); err != nil {
		return call.Depth{}, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pull()
	d := call.Depth{Floor: q.next - 1}
	for _, seq := range q.order {
		if q.tasks[seq].deliveries == 0 {
			d.Waiting++
		} else {
			d.Held++
		}
		d.Floor = min(d.Floor, seq-1)
	}
	if d.Waiting == 0 && d.Held == 0 {
		d.Floor = max(d.Floor, folded)
	}
	return d, nil
}

// task is one handing out of an entry.
type task struct {
	q        *fakeQueue
	r        *replica
	life     int
	entry    call.Entry
	delivery int
}

func (t *task) Entry() call.Entry { return t.entry }
func (t *task) Again() bool       { return t.delivery > 1 }

// answer lets f do to the task what the replica asks for. What a dead replica
// asks for is not heard; nor is what is asked of a task that is done.
func (t *task) answer(current bool, f func(w *queued)) error {
	if t.r.dead.Load() {
		return errDown
	}
	t.q.mu.Lock()
	defer t.q.mu.Unlock()
	w := t.q.tasks[t.entry.Seq]
	if w == nil || t.life != t.q.life || current && w.deliveries != t.delivery {
		return nil
	}
	f(w)
	t.q.tell()
	return nil
}

func (t *task) Ack() error {
	return t.answer(false, func(*queued) { t.q.acked = append(t.q.acked, t.entry.Seq); t.q.end(t.entry.Seq) })
}

func (t *task) Term() error {
	return t.answer(false, func(*queued) { t.q.ended = append(t.q.ended, t.entry.Seq); t.q.end(t.entry.Seq) })
}

func (t *task) Nak(delay time.Duration) error {
	return t.answer(true, func(w *queued) {
		t.q.naked = append(t.q.naked, t.entry.Seq)
		w.due = time.Now().Add(delay)
	})
}

func (t *task) InProgress() error {
	return t.answer(true, func(w *queued) { w.due = time.Now().Add(ackWait) })
}
