package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// Result is what driving a workload gave. Times are counted from Began.
type Result struct {
	Began time.Time
	// Elapsed is the time from Began to the last answer.
	Elapsed time.Duration
	// Refused counts the answers that were not 2xx.
	Refused int

	w        *Workload
	interval time.Duration // between two events of the schedule; 0: none
	sent     []time.Duration
	answered []time.Duration
}

func newResult(w *Workload) *Result {
	return &Result{w: w, sent: make([]time.Duration, w.Len()), answered: make([]time.Duration, w.Len())}
}

// Len returns the number of events.
func (r *Result) Len() int { return r.w.Len() }

// PerSecond is the number of events that were answered in a second.
func (r *Result) PerSecond() float64 { return float64(r.w.Len()) / r.Elapsed.Seconds() }

// Answered returns when the last event of each leg of the workload was answered.
func (r *Result) Answered() []time.Time {
	last := make([]time.Time, len(r.w.Legs))
	for i, e := range r.w.events {
		last[e.leg] = r.Began.Add(r.answered[i])
	}
	return last
}

// AnsweredAt returns when an event was answered.
func (r *Result) AnsweredAt(i int) time.Time { return r.Began.Add(r.answered[i]) }

// Saturate sends the workload as fast as the server answers, over so many connections.
// It fails when a connection does.
func Saturate(ctx context.Context, addr string, w *Workload, connections int) (*Result, error) {
	conns, err := dial(ctx, addr, connections)
	if err != nil {
		return nil, err
	}
	defer closeAll(conns)
	stop := context.AfterFunc(ctx, func() { closeAll(conns) })
	defer stop()
	r := newResult(w)
	var next, refused atomic.Int64
	var g errgroup.Group
	r.Began = time.Now()
	for _, c := range conns {
		g.Go(func() error {
			for i := int(next.Add(1)) - 1; i < w.Len(); i = int(next.Add(1)) - 1 {
				r.sent[i] = time.Since(r.Began)
				if _, err := c.Write(w.requests[i]); err != nil {
					return err
				}
				status, err := c.answer()
				if err != nil {
					return err
				}
				r.answered[i] = time.Since(r.Began)
				if status/100 != 2 {
					refused.Add(1)
				}
			}
			return nil
		})
	}
	err = g.Wait()
	r.Elapsed, r.Refused = time.Since(r.Began), int(refused.Load())
	return r, err
}

// Hold sends the workload at a fixed rate a second, whether the server keeps up or not:
// event i is due at i/rate. Where all connections wait for answers, it is sent late and its
// latency counts from when it was due all the same. It fails when a connection does.
func Hold(ctx context.Context, addr string, w *Workload, connections int, rate float64) (*Result, error) {
	conns, err := dial(ctx, addr, connections)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := newResult(w)
	r.interval = time.Duration(float64(time.Second) / rate)
	p := &pacer{result: r, free: make(chan *conn, len(conns))}
	g, ctx := errgroup.WithContext(ctx)
	stop := context.AfterFunc(ctx, func() { closeAll(conns) })
	defer stop()
	r.Began = time.Now()
	for _, c := range conns {
		p.free <- c
		g.Go(func() error { return p.receive(c) })
	}
	g.Go(func() error {
		if err := p.send(ctx); err != nil {
			return err
		}
		// All connections are free again once the last answer is in.
		for range conns {
			select {
			case <-p.free:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		r.Elapsed = time.Since(r.Began)
		p.over.Store(true)
		closeAll(conns)
		return nil
	})
	err = g.Wait()
	r.Refused = int(p.refused.Load())
	return r, err
}

// pacer sends on one thread, so that a webhook is on its way as soon as it is due.
type pacer struct {
	result  *Result
	free    chan *conn // connections that wait for nothing
	over    atomic.Bool
	refused atomic.Int64
}

func (p *pacer) send(ctx context.Context) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sharpen()
	r := p.result
	for i, request := range r.w.requests {
		due := r.due(i)
		for ahead := due - time.Since(r.Began); ahead > 0; ahead = due - time.Since(r.Began) {
			pause(ahead)
		}
		var c *conn
		select {
		case c = <-p.free:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		c.current.Store(int64(i))
		r.sent[i] = time.Since(r.Began)
		if _, err := c.Write(request); err != nil {
			return err
		}
	}
	return nil
}

// receive reads the answers of a connection until it is closed.
func (p *pacer) receive(c *conn) error {
	for {
		status, err := c.answer()
		if p.over.Load() {
			return nil
		}
		if err != nil {
			return err
		}
		p.result.answered[c.current.Load()] = time.Since(p.result.Began)
		if status/100 != 2 {
			p.refused.Add(1)
		}
		p.free <- c
	}
}

// due is when an event of a schedule is to be sent.
func (r *Result) due(i int) time.Duration { return time.Duration(i) * r.interval }

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

// Latency is a distribution in milliseconds.
type Latency struct {
	P50  float64 `json:"p50_ms"`
	P99  float64 `json:"p99_ms"`
	P999 float64 `json:"p999_ms"`
	Max  float64 `json:"max_ms"`
	// Over50 counts what took more than 50 ms.
	Over50 int `json:"over_50_ms"`
}

// outlier is what a webhook must not take.
const outlier = 50 * time.Millisecond

// Latency is the time from when events were due, or were sent where there was no schedule,
// to their answers.
func (r *Result) Latency() Latency {
	return r.distribution(func(i int) time.Duration {
		if r.interval == 0 {
			return r.answered[i] - r.sent[i]
		}
		return r.answered[i] - r.due(i)
	})
}

// Lag is how late events were sent, whether for want of a free connection or of a processor.
func (r *Result) Lag() Latency {
	return r.distribution(func(i int) time.Duration { return r.sent[i] - r.due(i) })
}

func (r *Result) distribution(of func(i int) time.Duration) Latency {
	// Microseconds up to a minute, to three digits.
	h := hdrhistogram.New(1, time.Minute.Microseconds(), 3)
	var l Latency
	for i := range r.answered {
		d := of(i)
		if d > outlier {
			l.Over50++
		}
		// What is longer than a minute counts as a minute.
		_ = h.RecordValue(min(d.Microseconds(), time.Minute.Microseconds()))
	}
	ms := func(micros int64) float64 { return float64(micros) / 1000 }
	l.P50, l.P99, l.P999 = ms(h.ValueAtPercentile(50)), ms(h.ValueAtPercentile(99)), ms(h.ValueAtPercentile(99.9))
	l.Max = ms(h.Max())
	return l
}

// Spread is a value over the rounds of a run.
type Spread struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpreadOf returns the median, least and greatest of values; zero when there are none.
func SpreadOf(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	s := Spread{Median: sorted[middle], Min: sorted[0], Max: sorted[len(sorted)-1]}
	if len(sorted)%2 == 0 {
		s.Median = (sorted[middle-1] + sorted[middle]) / 2
	}
	return s
}

// Percentile returns the value below which that share of sorted values lies, from 0
// to 1; zero when there are none.
func Percentile(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}
