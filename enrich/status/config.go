package status

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Defaults of a Config.
const (
	// DefaultBaseURL is Telnyx's API.
	DefaultBaseURL = "https://api.telnyx.com/v2"
	// DefaultTimeout bounds one request; Telnyx suggests 0.5 s to 5 s.
	DefaultTimeout = 5 * time.Second
	// MaxTimeout bounds one request while answers do not come within DefaultTimeout.
	MaxTimeout = 45 * time.Second
	// minConcurrent and maxConcurrent bound the default of MaxConcurrent. One in flight takes some 60 KB.
	minConcurrent, maxConcurrent = 32, 1024
	// DefaultBurst lets as many requests go at once after a silence: fewer than
	// the some 35 after which a sister endpoint was seen to answer 429.
	DefaultBurst = 30
)

// Config says whom to ask and how hard. The zero value of each field but APIKey
// stands for its default.
type Config struct {
	// BaseURL is the API's root, with its version: http or https, without
	// credentials, query or fragment. Default DefaultBaseURL.
	BaseURL string
	// APIKey is the bearer token. Required. No formatting of a Config shows it.
	APIKey string `json:"-"`
	// UserAgent is sent with each request: "legato/" and a version. Default "legato/dev".
	UserAgent string
	// Transport carries the requests. Default: one of its own.
	Transport http.RoundTripper
	// Timeout bounds one request from sending to the body's last byte, not the
	// wait for its turn. Default DefaultTimeout. For a leg whose answer was awaited in vain before, and for all while no
	// answer comes within it, it is MaxTimeout, or Timeout where that is more.
	Timeout time.Duration
	// MaxConcurrent bounds the requests in flight. Default: as many as the rate needs where every answer takes
	// MaxTimeout, from 32 to 1,024; 1,024 where the rate is found out.
	MaxConcurrent int
	// Rate bounds the requests per second; math.Inf(1) lifts the bound. Telnyx publishes no limit for this request, so by
	// default the rate is found out: it begins with StartRate, grows while requests wait and none is refused, and leaves
	// others a part of what x-ratelimit-remaining states. A 429 slows down either.
	Rate float64
	// Burst is how many requests may go at once after a silence. Default: DefaultBurst.
	Burst int
	// Now is the clock of FetchedAt and of Retry-After dates. Default time.Now.
	Now func() time.Time
	// Logger takes one line per request at debug, and an error once a minute while the
	// key is refused. Default: none.
	Logger *slog.Logger
	// Registerer takes the metrics. Default: none.
	Registerer prometheus.Registerer
}

// String describes the config without its key.
func (c Config) String() string {
	key := "none"
	if c.APIKey != "" {
		key = "set"
	}
	return fmt.Sprintf("status.Config{BaseURL: %q, APIKey: %s, Timeout: %s, MaxConcurrent: %d, Rate: %g, Burst: %d}",
		withoutCredentials(c.BaseURL), key, c.Timeout, c.MaxConcurrent, c.Rate, c.Burst)
}

// GoString keeps %#v from showing the key.
func (c Config) GoString() string { return c.String() }

// LogValue keeps every slog handler from showing the key.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// withDefaults fills in what was left out, and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	if err := c.checkKey(); err != nil {
		return Config{}, err
	}
	if c.Timeout < 0 || c.MaxConcurrent < 0 || c.Burst < 0 || c.Rate < 0 || math.IsNaN(c.Rate) {
		return Config{}, errors.New("timeout, concurrency, rate and burst must not be negative")
	}
	c.BaseURL = cmp.Or(c.BaseURL, DefaultBaseURL)
	if err := checkBaseURL(c.BaseURL); err != nil {
		return Config{}, err
	}
	c.BaseURL = strings.TrimRight(c.BaseURL, "/")
	c.Timeout = cmp.Or(c.Timeout, DefaultTimeout)
	c.Burst = cmp.Or(c.Burst, DefaultBurst)
	switch {
	case c.MaxConcurrent > 0:
	case c.Rate == 0:
		c.MaxConcurrent = maxConcurrent
	default:
		c.MaxConcurrent = int(min(max(c.Rate*max(c.Timeout, MaxTimeout).Seconds(), minConcurrent), maxConcurrent))
	}
	c.UserAgent = cmp.Or(c.UserAgent, "legato/dev")
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c, nil
}

// checkKey refuses a key that could not travel in a header, without showing it.
func (c Config) checkKey() error {
	if c.APIKey == "" {
		return errors.New("no API key")
	}
	for i := range len(c.APIKey) {
		if c.APIKey[i] <= ' ' || c.APIKey[i] > '~' {
			return errors.New("the API key contains a space, a line break or another character that no key has")
		}
	}
	return nil
}

func checkBaseURL(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		// The parser's error quotes the text, and with it what credentials it may hold.
		return errors.New("the base URL is not a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("the base URL %q is neither http nor https", u.Redacted())
	case u.Host == "":
		return fmt.Errorf("the base URL %q names no host", u.Redacted())
	case u.User != nil || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return fmt.Errorf("the base URL of host %s has credentials, a query or a fragment", u.Host)
	}
	return nil
}

func withoutCredentials(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "not a URL"
	}
	return u.Redacted()
}

// missedInARow is how many answers have to stay away, with none between, for all to be awaited longer.
const missedInARow = 3

// timeouts is how long answers are awaited: not long as a rule, since a request that is lost is better made again; as
// long as is bearable while no answer comes within that, since an API that is slow answers nobody who does not wait.
type timeouts struct {
	usual, most time.Duration
	missed      atomic.Int32
}

// of returns how long to await an answer, after an earlier one about the same leg was awaited in vain or not.
func (t *timeouts) of(patient bool) time.Duration {
	if patient || t.missed.Load() >= missedInARow {
		return t.most
	}
	return t.usual
}

// note takes note of how a request ended, and after how long.
func (t *timeouts) note(a *Answer, took time.Duration) {
	switch {
	case a.Problem == ProblemTimeout:
		t.missed.Add(1)
	case took <= t.usual:
		t.missed.Store(0)
	}
}
