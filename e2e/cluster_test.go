package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/e2e/legatotest"
	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/fake"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/publish/parked"
)

// natsCluster is three nats-servers, each a process of its own.
type natsCluster struct {
	t     *testing.T
	path  string
	nodes []*natsNode
}

type natsNode struct {
	name, url string
	args      []string
	*legatotest.Process
}

// newNATSCluster starts a cluster and waits until it takes streams in three copies.
func newNATSCluster(t *testing.T) *natsCluster {
	t.Helper()
	path, err := legatotest.NATSServer()
	if err != nil {
		t.Fatal(err)
	}
	c := &natsCluster{t: t, path: path}
	const size = 3
	addrs := legatotest.FreeAddrs(t, 2*size)
	routes := make([]string, size)
	for i := range size {
		routes[i] = "nats://" + addrs[size+i]
	}
	for i := range size {
		_, port, err := net.SplitHostPort(addrs[i])
		if err != nil {
			t.Fatal(err)
		}
		n := &natsNode{name: fmt.Sprintf("n%d", i), url: "nats://" + addrs[i], args: []string{
			"--name", fmt.Sprintf("n%d", i), "--addr", "127.0.0.1", "--port", port, "--jetstream", "--store_dir", t.TempDir(),
			"--cluster_name", "legato", "--cluster", routes[i], "--routes", strings.Join(routes, ","),
		}}
		c.nodes = append(c.nodes, n)
		c.start(n)
	}
	c.usable()
	return c
}

func (c *natsCluster) start(n *natsNode) { n.Process = legatotest.Launch(c.t, nil, c.path, n.args...) }

func (c *natsCluster) urls() string {
	var urls []string
	for _, n := range c.nodes {
		urls = append(urls, n.url)
	}
	return strings.Join(urls, ",")
}

// usable waits until the nodes have found each other.
func (c *natsCluster) usable() {
	c.t.Helper()
	var nc *nats.Conn
	legatotest.Eventually(c.t, "a node listens", func() (err error) {
		nc, err = nats.Connect(c.urls())
		return err
	})
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		c.t.Fatal(err)
	}
	legatotest.Eventually(c.t, "the cluster takes a stream", func() error {
		// Until there is a leader each request runs into its time limit.
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		defer cancel()
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "TRIAL", Replicas: len(c.nodes), Storage: jetstream.MemoryStorage})
		if err != nil && !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
			return err
		}
		return js.DeleteStream(ctx, "TRIAL")
	})
}

// leader returns the node that leads a stream.
func (c *natsCluster) leader(stream string) *natsNode {
	c.t.Helper()
	js := legatotest.Dial(c.t, c.urls())
	var leads *natsNode
	legatotest.Eventually(c.t, "the stream has a leader", func() error {
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		defer cancel()
		s, err := js.Stream(ctx, stream)
		if err != nil {
			return err
		}
		for _, n := range c.nodes {
			if info := s.CachedInfo().Cluster; info != nil && info.Leader == n.name {
				leads = n
				return nil
			}
		}
		return errors.New("none of the nodes leads it")
	})
	return leads
}

// balancer hands a request to the other replica when one does not answer.
type balancer struct{ spray }

// RoundTrip implements http.RoundTripper.
func (b *balancer) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.spray.RoundTrip(r)
	if err == nil || r.Context().Err() != nil {
		return response, err
	}
	again := r.Clone(r.Context())
	if again.Body, err = r.GetBody(); err != nil {
		return nil, err
	}
	return b.spray.RoundTrip(again)
}

func TestAClusterLosesANodeAndAReplica(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	cluster := newNATSCluster(t)
	world := legatotest.NewTelnyx(t)
	flags := append([]string{
		"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + cluster.urls(), "--nats-replicas=3",
	}, legatotest.Quick...)
	a, b := legatotest.Serve(t, world.Env(), flags...), legatotest.Serve(t, world.Env(), flags...)
	transport := balancer{spray{hosts: []string{a.Webhooks, b.Webhooks}}}

	first := world.Player(t, a.Target(), 20, 31, over(&transport))
	if err := first.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, cluster.urls(), first.Ledger())
	for _, c := range world.Calls {
		for _, l := range c.Legs {
			if n := world.API.Requests(l.Ref.Control); n != 1 {
				t.Errorf("the status of a leg of a call %s was asked for %d times", c.Scenario, n)
			}
		}
	}

	// The node that leads the log goes and comes back, and then a replica goes.
	second := world.Player(t, a.Target(), 60, 32, over(&transport), func(c *fake.SenderConfig) {
		c.Backoff, c.Attempts = 100*time.Millisecond, 10 // as far as 51 s: an election takes seconds
	})
	played := make(chan error, 1)
	go func() { played <- second.Run(t.Context()) }()
	accepted(t, second, 40)
	node := cluster.leader("CALL_EVENTS")
	node.Kill()
	accepted(t, second, 70)
	cluster.start(node)
	accepted(t, second, 110)
	b.Kill()
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, cluster.urls(), first.Ledger(), second.Ledger())
	wantWhole(t, world, cluster.urls(), first.Ledger(), second.Ledger())
	legatotest.StopsCleanly(t, a)
}

// Two of three servers are away for most of a minute, so that nothing is acknowledged and no stream can be asked for:
// readiness says why, a stop ends in the promised time all the same, and what was under way is finished later.
func TestAStopDuringALostQuorumEndsInTime(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	cluster := newNATSCluster(t)
	world := legatotest.NewTelnyx(t)
	flags := []string{
		"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + cluster.urls(), "--nats-replicas=3",
		"--settle=20s", // the call is under way when the servers go
	}
	s := legatotest.Serve(t, world.Env(), flags...)
	c := rings(t, world, s, 5)
	for _, n := range cluster.nodes[1:] {
		n.Kill()
	}
	legatotest.Eventually(t, "the log to be out of reach for 45 s", func() error {
		if got := legatotest.Scrape(t, s.Admin).Sum("legato_failing_seconds", `part="append"`); got < 45 {
			return fmt.Errorf("legato_failing_seconds is %v", got)
		}
		return nil
	})
	says(t, s.Admin, http.StatusServiceUnavailable, "the log")
	t.Logf("readyz: %s", s.Get(t, "/readyz"))
	legatotest.StopsCleanly(t, s)
	for _, n := range cluster.nodes[1:] {
		cluster.start(n)
	}
	cluster.usable()
	s = legatotest.Serve(t, world.Env(), flags...)
	legatotest.Completed(t, cluster.urls(), "calls.session.completed.*."+string(c.Session))
	legatotest.StopsCleanly(t, s)
}

// wantWhole checks that every event that was accepted stands in the newest summary of its leg.
func wantWhole(t *testing.T, w *legatotest.Telnyx, url string, ledgers ...*fake.Ledger) {
	t.Helper()
	type event struct{ summary, id string }
	var want []event
	for _, l := range ledgers {
		fates := l.Fates()
		for _, c := range w.Calls {
			for _, d := range c.Deliveries {
				if !d.Duplicate && d.LegID != "" && fates[d.EventID].Accepted > 0 {
					want = append(want, event{string(c.Session) + "/" + string(d.LegID), d.EventID})
				}
			}
		}
	}
	if len(want) < 3*len(w.Calls) {
		t.Fatalf("only %d events of %d calls were accepted: the play itself failed", len(want), len(w.Calls))
	}
	legatotest.Eventually(t, "every accepted event is in the summary of its leg", func() error {
		newest := make(map[string]map[string]bool)
		for id, revisions := range legatotest.Summaries(t, url) {
			newest[id] = make(map[string]bool)
			for _, e := range revisions[len(revisions)-1].Events {
				newest[id][e.ID] = true
			}
		}
		for _, e := range want {
			if len(newest[e.summary]) > 0 && !newest[e.summary][e.id] {
				return fmt.Errorf("event %s is missing in %s", e.id, e.summary)
			}
		}
		return nil
	})
}

// spray sends each request to another replica than the one before.
type spray struct {
	hosts []string
	next  atomic.Uint64
}

// RoundTrip implements http.RoundTripper.
func (s *spray) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.Host = s.hosts[s.next.Add(1)%uint64(len(s.hosts))]
	return http.DefaultTransport.RoundTrip(r)
}

func TestTwoReplicasShareTheWorkOfEveryCall(t *testing.T) {
	t.Parallel()
	legatotest.Slow(t)
	url := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	flags := append([]string{"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + url}, legatotest.Quick...)
	a, b := legatotest.Serve(t, world.Env(), flags...), legatotest.Serve(t, world.Env(), flags...)
	transport := &balancer{spray{hosts: []string{a.Webhooks, b.Webhooks}}}

	// Every webhook of a call goes to another replica than the one before it.
	first := world.Player(t, a.Target(), 40, 21, over(transport))
	if err := first.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, url, first.Ledger())
	for _, c := range world.Calls {
		for _, l := range c.Legs {
			if n := world.API.Requests(l.Ref.Control); n != 1 {
				t.Errorf("the status of a leg of a call %s was asked for %d times", c.Scenario, n)
			}
		}
	}

	// Then one of them is killed in the middle.
	second := world.Player(t, a.Target(), 40, 22, over(transport))
	played := make(chan error, 1)
	go func() { played <- second.Run(t.Context()) }()
	legatotest.Eventually(t, "60 webhooks are accepted", func() error {
		if n := second.Ledger().Totals().Accepted; n < 60 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	b.Kill()
	if err := <-played; err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, url, first.Ledger(), second.Ledger())
	legatotest.StopsCleanly(t, a)
}

func over(transport http.RoundTripper) func(*fake.SenderConfig) {
	return func(c *fake.SenderConfig) { c.Transport = transport }
}

func TestDigitsAreShownOnlyWhereTheyAreIncluded(t *testing.T) {
	t.Parallel()
	for _, flags := range [][]string{nil, {"--include=dtmf"}} {
		world := legatotest.NewTelnyx(t)
		s := legatotest.Serve(t, world.Env(), append(legatotest.EmbeddedFlags(t.TempDir()), flags...)...)
		sender, err := fake.NewSender(fake.SenderConfig{Target: s.Target(), Sign: world.Sign, Attempts: 30})
		if err != nil {
			t.Fatal(err)
		}
		defer sender.Close()
		c := fake.Generator{Seed: 9}.Of(fake.IVR, 1, time.Now().UTC().Add(-10*time.Minute))
		world.Know(c)
		var want []string
		for _, d := range c.Deliveries {
			if out := sender.Send(t.Context(), d); !out.Accepted {
				t.Fatalf("%s was not accepted: %+v", d.Type, out)
			}
			var data struct {
				Payload struct{ Digit string }
			}
			if err := json.Unmarshal(d.Data, &data); err != nil {
				t.Fatal(err)
			}
			if data.Payload.Digit != "" {
				want = append(want, data.Payload.Digit)
			}
		}
		m := legatotest.Completed(t, s.NATS, "calls.leg.completed.*."+string(c.Session)+"."+string(c.Legs[0].Ref.Leg))
		var got struct {
			DTMF    summary.DTMF
			Gathers []struct {
				Digits *string
				Count  int `json:"digit_count"`
			}
		}
		if err := json.Unmarshal(m.Data, &got); err != nil {
			t.Fatal(err)
		}
		if len(want) == 0 || len(got.Gathers) == 0 {
			t.Fatalf("a call without digits: %s", m.Data)
		}
		if got.DTMF.Count != len(want) {
			t.Errorf("%d of %d keys are counted", got.DTMF.Count, len(want))
		}
		if flags == nil {
			want = nil
		}
		var shown []string
		for _, d := range got.DTMF.Digits {
			shown = append(shown, d.Digit)
		}
		if diff := cmp.Diff(want, shown); diff != "" {
			t.Errorf("digits with %v (-want +got):\n%s", flags, diff)
		}
		for _, g := range got.Gathers {
			if (g.Digits != nil) != (flags != nil) || g.Digits != nil && len(*g.Digits) != g.Count {
				t.Errorf("a gather with %v: %s", flags, m.Data)
			}
		}
		legatotest.StopsCleanly(t, s)
	}
}

// pages is a replica's console, read as a program reads it.
type pages struct {
	t  *testing.T
	at string
}

func pagesOf(t *testing.T, s *legatotest.Server) pages {
	t.Helper()
	at, _ := s.Logged("console")["url"].(string)
	if at == "" {
		t.Fatal("the replica has no console")
	}
	return pages{t, strings.TrimSuffix(at, "/")}
}

func (p pages) body(response *http.Response, err error) string {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		p.t.Fatalf("%s answers %d: %s", response.Request.URL.Path, response.StatusCode, body)
	}
	return string(body)
}

func (p pages) get(path string) string { p.t.Helper(); return p.body(http.Get(p.at + path)) }

func (p pages) post(path string, form url.Values) string {
	p.t.Helper()
	return p.body(http.PostForm(p.at+path, form))
}

// find waits for the end of a search, whose page the form leads to.
func (p pages) find(q string) (page string) {
	p.t.Helper()
	response, err := http.PostForm(p.at+"/find", url.Values{"q": {q}})
	page = p.body(response, err)
	path := response.Request.URL.Path
	legatotest.Eventually(p.t, "the search ends", func() error {
		if page = p.get(path); strings.Contains(page, "hx-trigger") {
			return errors.New("it goes on")
		}
		return nil
	})
	return page
}

// parts are all parts of a page that match, in order.
func parts(page, expression string) []string {
	return regexp.MustCompile(expression).FindAllString(page, -1)
}

// TestAnyReplicasConsoleAnswersForEveryCall asks two replicas for the same, whichever took the webhooks.
func TestAnyReplicasConsoleAnswersForEveryCall(t *testing.T) {
	t.Parallel()
	nats := legatotest.ExternalNATS(t)
	world := legatotest.NewTelnyx(t)
	var attempts atomic.Int64
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		attempts.Add(1)
		w.WriteHeader(http.StatusBadRequest)
	}))
	defer app.Close()
	flags := append([]string{
		"--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-url=" + nats, "--console-listen=127.0.0.1:0", "--forward=app=" + app.URL,
	}, legatotest.Quick...)
	a, b := legatotest.Serve(t, world.Env(), flags...), legatotest.Serve(t, world.Env(), flags...)
	both := []pages{pagesOf(t, a), pagesOf(t, b)}

	play := world.Player(t, a.Target(), 10, 23, over(&spray{hosts: []string{a.Webhooks, b.Webhooks}}))
	if err := play.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	world.WantOnce(t, nats, play.Ledger())
	// What both show must be the same, but for times that are of the question.
	same := func(what, expression, path string, least int) {
		t.Helper()
		legatotest.Eventually(t, what+" is the same", func() error {
			one, other := parts(both[0].get(path), expression), parts(both[1].get(path), expression)
			if !slices.Equal(one, other) || len(one) < least {
				return fmt.Errorf("%d and %d of at least %d: %.2000s and %.2000s", len(one), len(other), least, one, other)
			}
			return nil
		})
	}
	for _, c := range world.Calls {
		session := string(c.Session)
		same("the ladder of a call", `(?s)<tr.*?</tr>`, "/calls/"+session, len(c.Legs)*3)
		for _, p := range both {
			if !strings.Contains(p.get("/calls/"+session), "▶ session r1") {
				t.Errorf("%s does not know of the summary of %s", p.at, session)
			}
			if !strings.Contains(p.find(c.Legs[0].From), "/calls/"+session) {
				t.Errorf("%s does not find %s by its number", p.at, session)
			}
		}
	}
	same("the list of last calls", `href="/calls/[^"]+"`, "/", len(world.Calls))

	// A leg that rings is live at both, though one took its only webhook.
	world.Deliver(t, a.Target(), legatotest.Ringing(1))
	same("the list of live legs", `<td data-name="(Leg|Last event|Connection)".*?</td>`, "/live", 3)

	same("what is not taken", `(?s)<h3>app: .*?</h3>`, "/forward", 1)
	// Of a leg that is over only what reports is tried once more.
	seqs := func(page string) []string {
		all := parts(page, `name="seq" value="\d+"`)
		for i := range all {
			all[i] = strings.Trim(strings.TrimPrefix(all[i], `name="seq" value=`), `"`)
		}
		slices.Sort(all)
		return slices.Compact(all)
	}
	dry := both[1].post("/forward/retry", url.Values{"target": {"app"}, "seq": seqs(both[1].get("/forward"))})
	if !strings.Contains(dry, "Dry run: one more attempt at app") || len(seqs(dry)) == 0 {
		t.Fatalf("a dry run says %s", dry)
	}
	before := attempts.Load()
	both[1].post("/forward/retry", url.Values{"target": {"app"}, "seq": seqs(dry)[:1], "sure": {"1"}})
	legatotest.Eventually(t, "the event is tried once more", func() error {
		if attempts.Load() == before {
			return errors.New("it is not")
		}
		return nil
	})

	body := []byte(`{"data":{"record_type":"event","id":"put-back","event_type":"call.initiated","occurred_at":"` + time.Now().UTC().Format(time.RFC3339Nano) +
		`","payload":{"call_control_id":"v3:put-back","call_leg_id":"put-back-leg","call_session_id":"put-back-session"}}}`)
	timestamp, signature := world.Sign(time.Now(), body)
	layout, err := natsd.NewLayout(natsd.DefaultPrefix)
	if err != nil {
		t.Fatal(err)
	}
	if err := parked.New(legatotest.Dial(t, nats), layout).Park(t.Context(), call.Parked{Reason: "no_type", Signature: signature, Timestamp: timestamp, Data: body}); err != nil {
		t.Fatal(err)
	}
	same("what is parked", `<td data-name="(Parked|Reason|Bytes)".*?</td>`, "/parked", 3)
	if page := both[1].post("/parked/retry", url.Values{"seq": {"1"}, "sure": {"1"}}); !strings.Contains(page, "stored as event.call.initiated") {
		t.Errorf("putting back says %s", page)
	}
	same("what is not parked any more", `Nothing is parked`, "/parked", 1)
	legatotest.Eventually(t, "both replicas know the call that was put back", func() error {
		for _, p := range both {
			if page := p.get("/calls/put-back-session"); !strings.Contains(page, "initiated") {
				return fmt.Errorf("%s: %.500s", p.at, page)
			}
		}
		return nil
	})

	for _, p := range both {
		if n := len(parts(p.get("/health"), `<li><span class="id">`)); n != 2 {
			t.Errorf("%s sees %d of two replicas", p.at, n)
		}
	}
	legatotest.StopsCleanly(t, a)
	legatotest.StopsCleanly(t, b)
}
