package natsd_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/natsd/natsdtest"
)

func layoutOf(t *testing.T) natsd.Layout {
	t.Helper()
	layout, err := natsd.NewLayout(natsd.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	return layout
}

// A server that allows no duplicate window of two minutes gets the one that it allows.
func TestTheDuplicateWindowIsTheServersWhereThatIsShorter(t *testing.T) {
	t.Parallel()
	_, js, _ := natsdtest.RunConfig(t, "jetstream { limits { duplicate_window: 30s } }")
	layout := layoutOf(t)
	for range 2 { // made, and found
		if _, err := natsd.Manage(t.Context(), js, layout, natsd.Limits{Forward: true}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{layout.Events, layout.Calls, layout.Parked, layout.Forward} {
			stream, err := js.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			if got := stream.CachedInfo().Config.Duplicates; got != 30*time.Second {
				t.Errorf("the window of %s is %v", name, got)
			}
		}
	}
	report, err := natsd.Check(t.Context(), js, layout, natsd.Limits{Forward: true})
	if err != nil || len(report.Lesser) != 4 || !strings.Contains(report.Lesser[0], "duplicate_window is 30s, want 2m") {
		t.Errorf("a check says %q, %v", report.Lesser, err)
	}
}

// An account that wants a size for every stream gets one for each, and so do the lines that would make them.
func TestEveryStreamHasASizeWhereTheAccountWantsThat(t *testing.T) {
	t.Parallel()
	_, js, _ := natsdtest.RunConfig(t, `accounts { A { users: [ { user: u, password: p } ]
		jetstream { max_file: 200MB, max_bytes_required: true } } }
		no_auth_user: u`)
	layout := layoutOf(t)
	account, err := js.AccountInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, lacking := range []natsd.Limits{{}, {EventsMaxBytes: 64 << 20}, {CallsMaxBytes: 64 << 20}} {
		if _, err := lacking.Sized(account); !errors.Is(err, natsd.ErrSizeWanted) {
			t.Errorf("of %+v: got error %v, want ErrSizeWanted", lacking, err)
		}
	}
	limits, err := natsd.Limits{EventsMaxBytes: 64 << 20, CallsMaxBytes: 64 << 20, Forward: true}.Sized(account)
	if err != nil {
		t.Fatal(err)
	}
	_, err = natsd.Check(t.Context(), js, layout, limits)
	mismatch, ok := errors.AsType[*natsd.MismatchError](err)
	if !ok || len(mismatch.Commands) != 4 {
		t.Fatalf("a check says %v", err)
	}
	for _, line := range mismatch.Commands {
		if !strings.Contains(line, "--max-bytes=67108864") && !strings.Contains(line, "--max-bytes=4194304") {
			t.Errorf("no size: %s", line)
		}
	}
	if _, err := natsd.Manage(t.Context(), js, layout, limits); err != nil {
		t.Fatal(err)
	}
	if _, err := natsd.Check(t.Context(), js, layout, limits); err != nil {
		t.Error(err)
	}
}

// A stream of others that takes our subjects is named, with what to do.
func TestAStreamThatTakesOurSubjectsIsNamed(t *testing.T) {
	t.Parallel()
	_, js, _ := natsdtest.RunConfig(t, "")
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVERYTHING", Subjects: []string{"orders.>", "calls.leg.>"}}); err != nil {
		t.Fatal(err)
	}
	layout := layoutOf(t)
	_, managed := natsd.Manage(t.Context(), js, layout, natsd.Limits{})
	_, checked := natsd.Check(t.Context(), js, layout, natsd.Limits{})
	for how, err := range map[string]error{"made": managed, "checked": checked} {
		mismatch, ok := errors.AsType[*natsd.MismatchError](err)
		if !ok || len(mismatch.Permanent) != 1 {
			t.Fatalf("%s: %v", how, err)
		}
		for _, want := range []string{"stream CALLS", "calls.leg.>", "stream EVERYTHING", "orders.>", "nats stream edit EVERYTHING", "--subject-prefix"} {
			if !strings.Contains(mismatch.Permanent[0], want) {
				t.Errorf("%s: %q does not say %s", how, mismatch.Permanent[0], want)
			}
		}
	}
}

// More than the server allows is not asked for, of pulls and of consumers.
func TestPullsAndConsumersStayWithinTheServersLimits(t *testing.T) {
	t.Parallel()
	_, js, _ := natsdtest.RunConfig(t, "jetstream { limits { max_request_batch: 7, max_ack_pending: 50 } }")
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}})
	if err != nil {
		t.Fatal(err)
	}
	const messages = 40
	for range messages {
		if _, err := js.Publish(t.Context(), "s", nil); err != nil {
			t.Fatal(err)
		}
	}
	consumer, err := natsd.WithAckPending(32_768, func(pending int) (jetstream.Consumer, error) {
		return stream.CreateOrUpdateConsumer(t.Context(), jetstream.ConsumerConfig{Durable: "c", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: pending})
	})
	if err != nil || consumer.CachedInfo().Config.MaxAckPending != 50 {
		t.Fatalf("the consumer: %v, %v", consumer, err)
	}
	if got := natsd.Batch(consumer, 4000); got != 7 {
		t.Errorf("a batch is %d", got)
	}
	all := make(chan struct{})
	n := 0
	c, err := natsd.Consume(consumer, 4000, func(m jetstream.Msg) error {
		if n++; n == messages {
			close(all)
		}
		return m.Ack()
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop()
	select {
	case <-all:
	case err := <-c.Ended():
		t.Errorf("it ended: %v", err)
	case <-time.After(time.Minute):
		t.Error("not all was handed over")
	}
	scanned := 0
	if err := (natsd.Scan{Stream: "S"}).Each(t.Context(), js, func(*jetstream.RawStreamMsg) error { scanned++; return nil }); err != nil || scanned != messages {
		t.Errorf("a scan has read %d: %v", scanned, err)
	}
}
