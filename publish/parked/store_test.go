package parked_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
	"github.com/legato-calls/legato/publish/parked"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

func TestParkKeepsInputByteForByte(t *testing.T) {
	s := natsdtest.Run(t)
	store := parked.New(s.JS, s.Layout)
	raw := []byte("\x00\xff not JSON \r\n")
	p := call.Parked{
		Reason: "not_json", Signature: "c2ln\r\nX-Evil: 1", Timestamp: "1773500966",
		ContentType: " application/json" + strings.Repeat("x", 2000), Data: raw,
	}
	for range 2 { // A redelivery parks once.
		if err := store.Park(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	stream, err := s.JS.Stream(t.Context(), s.Layout.Parked)
	if err != nil {
		t.Fatal(err)
	}
	if got := stream.CachedInfo().State.Msgs; got != 1 {
		t.Errorf("messages: got %d, want 1", got)
	}
	m, err := stream.GetMsg(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if m.Subject != "calls.parked.not_json" {
		t.Errorf("subject: got %s", m.Subject)
	}
	if diff := cmp.Diff(raw, m.Data); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
	delete(m.Header, jetstream.ExpectedStreamHeader)
	want := nats.Header{
		"Nats-Msg-Id":              {"sha256:d76bf67b1ead0ebae22c6afe87b661af40e8413812906d2f6e3b52ddd4f22df2"},
		"Legato-Reason":            {"not_json"},
		"Telnyx-Signature-Ed25519": {"c2lnX-Evil: 1"},
		"Telnyx-Timestamp":         {"1773500966"},
		"Content-Type":             {"application/json" + strings.Repeat("x", 1024-len("application/json"))},
	}
	if diff := cmp.Diff(want, m.Header); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
}

func TestParkWaitsForTheDiskNoLongerThanItMay(t *testing.T) {
	s := natsdtest.Run(t)
	store := parked.New(s.JS, s.Layout)
	stuck := make(chan struct{})
	defer close(stuck)
	store.Synced(func() error { <-stuck; return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	parked := make(chan error, 1)
	go func() { parked <- store.Park(ctx, call.Parked{Reason: "not_json", Data: []byte("x")}) }()
	select {
	case err := <-parked:
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
		}
	case <-time.After(10 * time.Second):
		t.Error("it still waits for the disk after ten seconds")
	}
}

func TestParkFails(t *testing.T) {
	s := natsdtest.Run(t)
	store := parked.New(s.JS, s.Layout)
	tests := []struct {
		name        string
		p           call.Parked
		wantInvalid bool
	}{
		{name: "a reason with a dot", p: call.Parked{Reason: "a.b"}, wantInvalid: true},
		{name: "more than the server takes", p: call.Parked{Reason: "large", Data: make([]byte, 1<<20)}, wantInvalid: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := store.Park(t.Context(), tt.p); err == nil || errors.Is(err, parked.ErrInvalid) != tt.wantInvalid {
				t.Errorf("got error %v, want ErrInvalid: %v", err, tt.wantInvalid)
			}
		})
	}
	s.Stop()
	if err := store.Park(t.Context(), call.Parked{Reason: "not_json"}); err == nil || errors.Is(err, parked.ErrInvalid) {
		t.Errorf("without a server: got error %v, want one of infrastructure", err)
	}
}

func TestParkedIsReadBackAsItWas(t *testing.T) {
	s := natsdtest.Run(t)
	store := parked.New(s.JS, s.Layout)
	webhook := call.Parked{
		Reason: "not_json", Signature: "c2ln", Timestamp: "1773500966", ContentType: "application/json", Data: []byte("\x00\xff"),
	}
	entry := call.Parked{
		Reason: "poison", Signature: "c2ln", Timestamp: "1773500967", ContentType: "application/json", Seq: 12, Topic: "event.call.hangup",
		Ref:      call.Ref{Session: "ses", Leg: "leg", Control: "v3:c+/=", Connection: "42"},
		Backfill: true, Data: []byte("\x00\xff"),
	}
	again := entry
	again.Seq = 13 // put back, and of no use again
	for i, p := range []call.Parked{webhook, entry, again} {
		// Parked twice, it is one.
		for range 2 {
			if err := store.Park(t.Context(), p); err != nil {
				t.Fatal(err)
			}
		}
		got, err := store.Get(t.Context(), uint64(i+1))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(p, got.Parked); diff != "" {
			t.Errorf("parked (-want +got):\n%s", diff)
		}
		if got.Seq != uint64(i+1) || got.Size != len(p.Data) || got.At.IsZero() {
			t.Errorf("got sequence %d, size %d, parked at %v", got.Seq, got.Size, got.At)
		}
	}
}

func TestListTellsWhatIsParkedWithoutBodies(t *testing.T) {
	s := natsdtest.Run(t)
	store := parked.New(s.JS, s.Layout)
	list := func(filter parked.Filter) (seqs []uint64) {
		t.Helper()
		err := store.List(t.Context(), filter, func(k parked.Message) error {
			if k.Data != nil || k.Size != 1000 {
				t.Errorf("message %d came with %d bytes and size %d", k.Seq, len(k.Data), k.Size)
			}
			seqs = append(seqs, k.Seq)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return seqs
	}
	if got := list(parked.Filter{}); got != nil {
		t.Errorf("an empty store lists %v", got)
	}
	// More than are asked for at a time, with a hole.
	const n = 600
	var half time.Time
	for i := range n {
		p := call.Parked{Reason: []string{"api_v1", "not_json"}[i%2], Data: fmt.Appendf(nil, "%01000d", i)}
		if err := store.Park(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if i == n/2 {
			k, err := store.Get(t.Context(), n/2+1)
			if err != nil {
				t.Fatal(err)
			}
			half = k.At
		}
	}
	for range 2 { // Somebody else may have been quicker.
		if err := store.Remove(t.Context(), 5); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Get(t.Context(), 5); !errors.Is(err, parked.ErrNotFound) {
		t.Errorf("a removed message: got %v, want ErrNotFound", err)
	}
	var all, odd, late []uint64
	for seq := uint64(1); seq <= n; seq++ {
		if seq == 5 {
			continue
		}
		all = append(all, seq)
		if seq%2 == 1 {
			odd = append(odd, seq)
		}
		if seq > n/2 {
			late = append(late, seq)
		}
	}
	for name, row := range map[string]struct {
		filter parked.Filter
		want   []uint64
	}{
		"all":         {parked.Filter{}, all},
		"of a reason": {parked.Filter{Reason: "api_v1"}, odd},
		"since then":  {parked.Filter{Since: half}, late},
		"of none":     {parked.Filter{Reason: "poison"}, nil},
	} {
		if diff := cmp.Diff(row.want, list(row.filter)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	if err := store.List(t.Context(), parked.Filter{Reason: "a.b"}, nil); !errors.Is(err, parked.ErrInvalid) {
		t.Errorf("a reason that is none: got %v, want ErrInvalid", err)
	}
	stop := errors.New("stop")
	if err := store.List(t.Context(), parked.Filter{}, func(parked.Message) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the error of who was told", err)
	}
	if err := store.List(t.Context(), parked.Filter{}, func(k parked.Message) error {
		// Removed while it is read: the end is still found.
		return store.Remove(t.Context(), n+1-k.Seq)
	}); err != nil {
		t.Error(err)
	}
	stream, err := s.JS.Stream(t.Context(), s.Layout.Parked)
	if err != nil {
		t.Fatal(err)
	}
	for name := range stream.ConsumerNames(t.Context()).Name() {
		t.Errorf("the consumer %s was left behind", name)
	}
}
