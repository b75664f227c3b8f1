package service

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/micro"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/natsd"
	"github.com/legato-calls/legato/internal/story"
)

const (
	// apiWithin bounds an answer, and apiScanWithin the part of it that may go into reading the log.
	apiWithin, apiScanWithin = 2 * time.Second, time.Second
	// putBackWithin bounds the wait for a parked message to be put back.
	putBackWithin = 5 * time.Second
	// apiMostScanned bounds the entries that a question makes the server send: some 30 MB of headers.
	apiMostScanned = 100_000
	// apiMostBytes bounds an answer, as a summary.
	apiMostBytes = summary.MaxBody
	// apiParkedSince: parked messages are looked for in the last day.
	apiParkedSince = 24 * time.Hour
)

// apiSubject is where questions about a call are asked: legato.call.get, and, of a deployment
// with a prefix of its own, legato.<prefix>.call.get.
func apiSubject(layout natsd.Layout) string {
	if layout.Prefix == natsd.DefaultPrefix {
		return "legato.call.get"
	}
	return "legato." + layout.Prefix + ".call.get"
}

// putBackSubject is where the sequence of a parked message is said that is to be put back.
func putBackSubject(layout natsd.Layout) string {
	return strings.TrimSuffix(apiSubject(layout), "call.get") + "parked.retry"
}

// apiName is the service's: $SRV.PING finds all deployments, $SRV.PING.<name> one.
func apiName(layout natsd.Layout) string {
	if layout.Prefix == natsd.DefaultPrefix {
		return "legato"
	}
	return "legato-" + layout.Prefix
}

var semantic = regexp.MustCompile(`^v?(\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?)$`)

// apiVersion is this program's version as a micro service must state one.
func apiVersion(version string) string {
	if m := semantic.FindStringSubmatch(version); m != nil {
		return m[1]
	}
	return "0.0.0-dev"
}

// api answers questions over NATS, one after the other: each costs the server a look.
type api struct {
	sources    *story.Sources
	putBack    func(ctx context.Context, seq uint64, dryRun bool) (outcome string, left bool, err error)
	within     time.Duration
	maxPayload int64

	mu      sync.Mutex
	stopped bool
	wg      sync.WaitGroup
}

// answerQuestions registers the service. All replicas share a queue group: one of them answers. That a
// permission is missing comes later and takes nothing else down; the connection logs it.
func (s *Service) answerQuestions(ctx context.Context) error {
	if s.settings.API == "off" {
		return nil
	}
	// ctx is that of the start, which the service outlives.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	a := &api{sources: s.sources, putBack: s.putBack, within: apiWithin, maxPayload: s.nc.MaxPayload()}
	registered, err := micro.AddService(s.nc, micro.Config{
		Name: apiName(s.layout), Version: apiVersion(version), Description: "What Legato knows about a call",
		Metadata: map[string]string{"subject_prefix": s.layout.Prefix},
	})
	if err != nil {
		cancel()
		return fmt.Errorf("register the NATS service: %w", err)
	}
	s.onStop("NATS service", func(ctx context.Context) error {
		cancel()
		err := registered.Stop()
		return errors.Join(err, a.stop(ctx))
	})
	err = registered.AddEndpoint("call-get", micro.ContextHandler(ctx, a.handle), micro.WithEndpointSubject(apiSubject(s.layout)),
		micro.WithEndpointMetadata(map[string]string{"request": "a call_session_id, call_leg_id or call_control_id", "response": "the story of the call as JSON"}))
	if err != nil {
		return fmt.Errorf("register %s: %w", apiSubject(s.layout), err)
	}
	if s.embedded == nil {
		return nil // whoever may append publishes to the stream
	}
	err = registered.AddEndpoint("parked-retry", micro.ContextHandler(ctx, a.retry), micro.WithEndpointSubject(putBackSubject(s.layout)),
		micro.WithEndpointMetadata(map[string]string{"request": "the sequence of a parked message", "response": "what became of it as JSON"}))
	if err != nil {
		return fmt.Errorf("register %s: %w", putBackSubject(s.layout), err)
	}
	return nil
}

// stop waits for the answer in hand.
func (a *api) stop(ctx context.Context) error {
	a.mu.Lock()
	a.stopped = true
	a.mu.Unlock()
	done := make(chan struct{})
	go func() { a.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for the last answer: %w", ctx.Err())
	}
}

// begin reports whether a question may still be taken.
func (a *api) begin() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return false
	}
	a.wg.Add(1)
	return true
}

func (a *api) handle(ctx context.Context, r micro.Request) {
	if !a.begin() {
		return
	}
	defer a.wg.Done()
	body, code, description := a.answer(ctx, string(r.Data()))
	// Whoever asked hears nothing when the connection is gone, and asks again; the service counts it.
	if code != "" {
		_ = r.Error(code, description, nil)
		return
	}
	_ = r.Respond(body, micro.WithHeaders(micro.Headers{"Content-Type": {"application/json"}}))
}

// putBackAnswer is what became of a parked message: in words, and whether it has left what is parked.
type putBackAnswer struct {
	Outcome string `json:"outcome"`
	Left    bool   `json:"left"`
}

// retry puts a parked message back. Whoever asks says only which one: the service reads it, and checks it by its own keys.
func (a *api) retry(ctx context.Context, r micro.Request) {
	if !a.begin() {
		return
	}
	defer a.wg.Done()
	seq, err := strconv.ParseUint(string(r.Data()), 10, 64)
	if err != nil {
		_ = r.Error("400", "the body must be the sequence of a parked message", nil)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, putBackWithin)
	defer cancel()
	var answer putBackAnswer
	if answer.Outcome, answer.Left, err = a.putBack(ctx, seq, false); err != nil {
		_ = r.Error("503", err.Error(), nil)
		return
	}
	_ = r.RespondJSON(answer)
}

// answer returns the story as JSON, masked, or a code and what to say with it.
func (a *api) answer(ctx context.Context, id string) (body []byte, code, description string) {
	if !a.sources.Table.HasCaughtUp() {
		return nil, "503", "the log is being replayed, ask again in a moment"
	}
	ctx, cancel := context.WithTimeout(ctx, a.within)
	defer cancel()
	s, err := a.sources.Story(ctx, story.Query{
		ID: id, Since: time.Now().Add(-apiParkedSince), MaxScan: min(apiScanWithin, a.within/2), MaxScanned: apiMostScanned,
	})
	switch {
	case errors.Is(err, story.ErrInvalidID):
		return nil, "400", "the body must be an id: " + story.ErrInvalidID.Error()
	case errors.Is(err, story.ErrUnknownCall):
		return nil, "404", "no live call and no stored summary has this id; a control id is known only while its call is in memory, `legato explain` looks further"
	case err != nil:
		return nil, "503", "log and summaries could not be read in time"
	}
	s.Mask()
	most := apiMostBytes
	if a.maxPayload > 0 {
		most = int(min(int64(most), a.maxPayload-4096)) // headers
	}
	if body, err = s.Fit(most); err != nil {
		return nil, "500", "the answer could not be encoded"
	}
	return body, "", ""
}
