package legatotest

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/enrich/summary/schema/schematest"
	"github.com/legato-calls/legato/internal/fake"
)

// NATSServer builds nats-server once and returns its path.
var NATSServer = sync.OnceValues(func() (string, error) {
	path := filepath.Join(built.dir, "nats-server")
	out, err := exec.Command("go", "build", stripped, "-o", path, "github.com/nats-io/nats-server/v2").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build nats-server: %w\n%s", err, out)
	}
	return path, nil
})

// NATSProcess is a nats-server that can be stopped and come back where it was.
type NATSProcess struct {
	*Process
	t    *testing.T
	Addr string
	URL  string
	args []string
}

// StartNATS runs a nats-server with JetStream on a port that stays its own.
func StartNATS(t *testing.T, addr string, flags ...string) *NATSProcess {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	n := &NATSProcess{t: t, Addr: addr, URL: "nats://" + addr}
	n.args = append([]string{"--addr=" + host, "--port=" + port}, flags...)
	n.Start()
	return n
}

// Start runs the server again where it was, and waits until it listens.
func (n *NATSProcess) Start() {
	n.t.Helper()
	path, err := NATSServer()
	if err != nil {
		n.t.Fatal(err)
	}
	n.Process = Launch(n.t, nil, path, n.args...)
	Eventually(n.t, "nats-server listens", func() error {
		c, err := net.Dial("tcp", n.Addr)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// Freeze stops the process where it stands: its sockets stay open and say nothing.
func (n *NATSProcess) Freeze() { n.signal(syscall.SIGSTOP) }

// Thaw lets a frozen server go on.
func (n *NATSProcess) Thaw() { n.signal(syscall.SIGCONT) }

func (n *NATSProcess) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.Cmd.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// FreeAddr is an address on which nobody listens.
func FreeAddr(t *testing.T) string {
	t.Helper()
	return FreeAddrs(t, 1)[0]
}

// Stored reads all messages of a stream.
func Stored(t *testing.T, js jetstream.JetStream, name string) []jetstream.Msg {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	stream, err := js.Stream(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	state := stream.CachedInfo().State
	if state.Msgs == 0 {
		return nil
	}
	consumer, err := js.OrderedConsumer(ctx, name, jetstream.OrderedConsumerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		t.Fatal(err)
	}
	// The library leaves its consumer to the server, which forgets it after minutes and has a thousand for a stream at most.
	defer func() {
		messages.Stop()
		_ = js.DeleteConsumer(context.WithoutCancel(ctx), name, consumer.CachedInfo().Name)
	}()
	var all []jetstream.Msg
	for {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			t.Fatalf("read the stream %s: %v", name, err)
		}
		meta, err := m.Metadata()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
		if meta.Sequence.Stream >= state.LastSeq {
			return all
		}
	}
}

// Dial connects to a NATS server until the end of the test.
func Dial(t *testing.T, url string) jetstream.JetStream {
	t.Helper()
	nc, js := connect(t, url)
	t.Cleanup(nc.Close)
	return js
}

func connect(t *testing.T, url string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(Patience))
	if err != nil {
		nc.Close()
		t.Fatal(err)
	}
	return nc, js
}

// ExternalNATS runs a nats-server of its own process.
func ExternalNATS(t *testing.T, flags ...string) string {
	t.Helper()
	path, err := NATSServer()
	if err != nil {
		t.Fatal(err)
	}
	// nats-server tells its port only in a file; it is read back from there.
	dir := t.TempDir()
	Launch(t, nil, path, append([]string{
		"--addr=127.0.0.1", "--port=-1", "--jetstream", "--store_dir=" + t.TempDir(), "--ports_file_dir=" + dir,
	}, flags...)...)
	var url string
	Eventually(t, "nats-server listens", func() error {
		url, err = portsFile(dir)
		return err
	})
	if _, _, err := net.SplitHostPort(strings.TrimPrefix(url, "nats://")); err != nil {
		t.Fatalf("nats-server listens at %q", url)
	}
	return url
}

// portsFile reads the client URL that nats-server wrote into its directory.
func portsFile(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.ports"))
	if err != nil {
		return "", err
	}
	if len(files) == 0 {
		return "", errors.New("no ports file yet")
	}
	data, err := os.ReadFile(files[0])
	if err != nil {
		return "", err
	}
	var ports struct {
		NATS []string `json:"nats"`
	}
	if err := json.Unmarshal(data, &ports); err != nil {
		return "", err
	}
	if len(ports.NATS) == 0 {
		return "", errors.New("no client port yet")
	}
	return ports.NATS[0], nil
}

// FreeAddrs returns loopback addresses for processes that are started at them again
// and again. They lie below the ports that systems give out by themselves: there nobody
// takes one while its process is down.
func FreeAddrs(t *testing.T, n int) []string {
	t.Helper()
	var addrs []string
	for range 100 * n {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(12_000+rand.IntN(20_000))))
		if err != nil {
			continue
		}
		// Held until all are found, so that none is given twice.
		defer l.Close()
		if addrs = append(addrs, l.Addr().String()); len(addrs) == n {
			return addrs
		}
	}
	t.Fatalf("only %d of %d free ports found", len(addrs), n)
	return nil
}

// Completed waits for the one message on a subject.
func Completed(t *testing.T, url, subject string) *jetstream.RawStreamMsg {
	t.Helper()
	js := Dial(t, url)
	var m *jetstream.RawStreamMsg
	Eventually(t, "a message on "+subject, func() error {
		stream, err := js.Stream(t.Context(), "CALLS")
		if err != nil {
			return err
		}
		m, err = stream.GetLastMsgForSubject(t.Context(), subject)
		return err
	})
	var head struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(m.Data, &head); err != nil {
		t.Fatal(err)
	}
	schematest.Check(t, head.Kind, m.Data)
	return m
}

// Summaries reads everything that stands in the stream of summaries.
func Summaries(t *testing.T, url string) map[string][]Published {
	t.Helper()
	found := make(map[string][]Published)
	nc, js := connect(t, url)
	defer nc.Close()
	for _, m := range Stored(t, js, "CALLS") {
		var p Published
		if err := json.Unmarshal(m.Data(), &p); err != nil {
			t.Fatal(err)
		}
		schematest.Check(t, p.Kind, m.Data())
		p.Subject = m.Subject()
		id := p.Session + "/" + p.Leg
		found[id] = append(found[id], p)
	}
	return found
}

// Published is a stored summary, as far as tests read it.
type Published struct {
	Subject  string
	Kind     string `json:"kind"`
	Revision int    `json:"revision"`
	Session  string `json:"call_session_id"`
	Leg      string `json:"call_leg_id"`
	Outcome  string `json:"outcome"`
	Legs     int    `json:"leg_count"`
	Events   []struct {
		ID string `json:"id"`
	} `json:"events"`
	Status struct {
		State    string `json:"state"`
		Final    bool   `json:"final"`
		Attempts int    `json:"attempts"`
	} `json:"status"`
}

// WantOutcome is what a call of each kind comes to.
var WantOutcome = map[fake.Scenario]summary.Outcome{
	fake.IVR: summary.OutcomeAnswered, fake.InboundBridged: summary.OutcomeAnswered,
	fake.OutboundBridged: summary.OutcomeAnswered, fake.Queue: summary.OutcomeAnswered,
	fake.Voicemail: summary.OutcomeAnswered, fake.NoAnswer: summary.OutcomeNoAnswer,
	fake.Busy: summary.OutcomeBusy, fake.Canceled: summary.OutcomeCanceled,
	fake.Rejected: summary.OutcomeRejected, fake.Failed: summary.OutcomeFailed,
}

// Facts is what a fake call knows about a leg.
type Facts struct {
	Direction, From, To, Control, Connection string
	Outcome                                  summary.Outcome
	Cause, Source, SIPCode                   string
	Start, Answer, End                       time.Time
	Status                                   summary.StatusState
	EndedBy                                  summary.EndedBy
	Duration                                 time.Duration
}

// TruthOf is what the summary of a fake leg must state.
func TruthOf(s fake.Scenario, l fake.Leg) Facts {
	return Facts{
		Direction: l.Direction, From: l.From, To: l.To, Control: string(l.Ref.Control), Connection: string(l.Ref.Connection),
		Outcome: WantOutcome[s], Cause: l.Cause, Source: l.Source, SIPCode: l.SIPCode,
		Start: l.Start, Answer: l.AnsweredAt, End: l.End, Status: summary.StatusConfirmed,
		EndedBy: summary.EndedByHangup, Duration: l.End.Sub(l.Start),
	}
}

// LegFacts is what a summary tells of it.
func LegFacts(l *summary.Leg) Facts {
	f := Facts{
		Direction: l.Direction, From: l.From, To: l.To, Control: l.CallControlID, Connection: l.ConnectionID,
		Outcome: l.Outcome, Start: l.StartedAt.Known(), Answer: l.AnsweredAt.Known(), End: l.EndedAt.Known(),
		Status: l.Status.State, EndedBy: l.EndedBy,
	}
	if l.Hangup != nil {
		f.Cause, f.Source, f.SIPCode = l.Hangup.Cause, l.Hangup.Source, l.Hangup.SIPCode
	}
	f.Duration = f.End.Sub(f.Start)
	return f
}

// Ask puts a question to the service over NATS.
func Ask(t *testing.T, nc *nats.Conn, subject, id string) (body []byte, code string) {
	t.Helper()
	m, err := nc.Request(subject, []byte(id), Patience)
	if err != nil {
		t.Fatalf("%s %q: %v", subject, id, err)
	}
	return m.Data, m.Header.Get(micro.ErrorCodeHeader)
}

// ValidPublicKey is one whose private half nobody has.
func ValidPublicKey() string {
	private := ed25519.NewKeyFromSeed(slices.Repeat([]byte{7}, ed25519.SeedSize))
	return base64.StdEncoding.EncodeToString(private.Public().(ed25519.PublicKey))
}
