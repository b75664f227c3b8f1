package service

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/legato-calls/legato/enrich"
	"github.com/legato-calls/legato/enrich/session"
	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/natsd"
)

// Settings are the flags of the service, shared by serve and check; demo starts from their defaults.
type Settings struct {
	Listen      string `default:":8080" env:"LEGATO_LISTEN" help:"Address of the webhook listener; it serves nothing but webhooks."`
	Path        string `default:"/webhooks/telnyx" env:"LEGATO_PATH" help:"Path at which webhooks are taken."`
	AdminListen string `default:"127.0.0.1:8081" env:"LEGATO_ADMIN_LISTEN" help:"Address of /healthz, /readyz, /metrics and /schemas/."`

	TelnyxPublicKey     string `env:"TELNYX_PUBLIC_KEY" help:"Public key of the Telnyx account (portal: API keys), base64 of 32 bytes; several, separated by commas, for a rotation. Required, but for --insecure-skip-verify." placeholder:"KEY"`
	TelnyxPublicKeyFile string `env:"TELNYX_PUBLIC_KEY_FILE" help:"File to read the public key from." placeholder:"FILE" type:"path"`
	TelnyxAPIKey        string `env:"TELNYX_API_KEY" help:"Bearer token of the status API. Required." name:"telnyx-api-key" placeholder:"KEY"`
	TelnyxAPIKeyFile    string `env:"TELNYX_API_KEY_FILE" help:"File to read the API key from." name:"telnyx-api-key-file" placeholder:"FILE" type:"path"`
	TelnyxBaseURL       string `default:"https://api.telnyx.com/v2" env:"TELNYX_BASE_URL" help:"Root of the status API." name:"telnyx-base-url"`

	TLSCert            string `env:"LEGATO_TLS_CERT" help:"Certificate chain of the webhook listener, in PEM; empty: plain HTTP. Read again when it changes." name:"tls-cert" placeholder:"FILE" type:"path"`
	TLSKey             string `env:"LEGATO_TLS_KEY" help:"Key of the certificate, in PEM." name:"tls-key" placeholder:"FILE" type:"path"`
	MaxConnections     int    `default:"4096" env:"LEGATO_MAX_CONNECTIONS" help:"Most connections to the webhook listener; at the limit a new one takes the place of the one that has waited longest."`
	InsecureSkipVerify bool   `env:"LEGATO_INSECURE_SKIP_VERIFY" help:"Take webhooks without checking signature and timestamp: anybody can then invent calls. For tests only."`

	StatusRate StatusRate `default:"auto" env:"LEGATO_STATUS_RATE" help:"Most status requests a second; auto: as many as Telnyx allows, beginning with 100. A 429 slows them down."`

	NATSSettings

	NATSListen     string        `default:"127.0.0.1:4222" env:"LEGATO_NATS_LISTEN" help:"Where the embedded NATS serves subscribers; empty: nowhere." name:"nats-listen"`
	DataDir        string        `default:"legato-data" env:"LEGATO_DATA_DIR" help:"The log, and the storage of the embedded NATS." type:"path"`
	NATSReplicas   int           `default:"1" env:"LEGATO_NATS_REPLICAS" help:"Copies of each stream on a cluster." name:"nats-replicas"`
	Streams        string        `default:"manage" enum:"manage,check" env:"LEGATO_STREAMS" help:"manage: create and update the streams; check: refuse to start when they are not as wanted."`
	EventsMaxAge   time.Duration `default:"24h" env:"LEGATO_EVENTS_MAX_AGE" help:"How long the log keeps events."`
	EventsMaxBytes int64         `default:"0" env:"LEGATO_EVENTS_MAX_BYTES" help:"Size at which the log refuses more; 0: 40 % of the free disk when embedded, where the log and its copy take as much each, else unlimited."`
	CallsMaxAge    time.Duration `default:"72h" env:"LEGATO_CALLS_MAX_AGE" help:"How long summaries are kept."`
	CallsMaxBytes  int64         `default:"0" env:"LEGATO_CALLS_MAX_BYTES" help:"Size at which no more summaries are taken, before which webhooks are refused; 0: 14 % of the free disk when embedded, else unlimited."`

	Settle             time.Duration `default:"1s" env:"LEGATO_SETTLE" help:"Wait after a hangup, for stragglers."`
	SessionSettle      time.Duration `default:"5s" env:"LEGATO_SESSION_SETTLE" help:"Quiet time before a session counts as over."`
	StatusDeadline     time.Duration `default:"10s" env:"LEGATO_STATUS_DEADLINE" help:"After this a summary goes out with status pending."`
	StatusWindow       time.Duration `default:"10m" env:"LEGATO_STATUS_WINDOW" help:"How long after the end of a call the status API can answer."`
	SweepAfter         time.Duration `default:"5m" env:"LEGATO_SWEEP_AFTER" help:"Silence after which a live leg is checked."`
	AmendWindow        time.Duration `default:"15m" env:"LEGATO_AMEND_WINDOW" help:"How long a finished session stays in memory and log."`
	GapRepair          string        `default:"auto" enum:"auto,off" env:"LEGATO_GAP_REPAIR" help:"auto: complete legs of which webhooks are missing from Telnyx's history of call events; off: leave them as they are."`
	GapRepairAfter     time.Duration `default:"30s" env:"LEGATO_GAP_REPAIR_AFTER" help:"How long after the end of a leg the history is asked first."`
	SignatureTolerance time.Duration `default:"5m" env:"LEGATO_SIGNATURE_TOLERANCE" help:"Age and skew accepted for a signature."`

	ForwardSettings

	ConsoleSettings

	API string `default:"on" enum:"on,off" env:"LEGATO_API" help:"on: answer questions about calls over NATS, at legato.call.get; off: do not." name:"api"`

	Include []string `enum:"dtmf" env:"LEGATO_INCLUDE" help:"Secrets that summaries shall show: dtmf, the digits that callers entered, PINs and cards among them. The same on all replicas." placeholder:"WHAT"`

	Pprof bool `env:"LEGATO_PPROF" help:"Serve Go's profiles on the admin listener, under /debug/pprof/."`

	LogSettings
}

// StatusRate is how many status requests a second are made at most; 0: as many as Telnyx allows.
type StatusRate float64

// UnmarshalText reads a number above 0, or auto.
func (r *StatusRate) UnmarshalText(text []byte) error {
	if string(text) == "auto" {
		*r = 0
		return nil
	}
	n, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(n > 0) {
		return errors.New("it is auto, or a number of requests a second above 0")
	}
	*r = StatusRate(n)
	return nil
}

// String returns what UnmarshalText reads.
func (r StatusRate) String() string {
	if r == 0 {
		return "auto"
	}
	return strconv.FormatFloat(float64(r), 'g', -1, 64)
}

// Defaults returns the settings of a service that nobody has configured: what the flags say by themselves,
// whatever the environment says.
func Defaults() *Settings {
	set, err := Environment(kong.PostBuild(func(k *kong.Kong) error {
		for _, f := range k.Model.Flags {
			f.Tag.Envs = nil
		}
		return nil
	}))
	if err != nil {
		panic(fmt.Sprintf("the defaults of the settings: %v", err)) // they are tags above
	}
	return set
}

// Environment returns what serve would read from the environment alone. It fails when that is none of its settings.
func Environment(options ...kong.Option) (*Settings, error) {
	set := new(Settings)
	parser, err := kong.New(set, options...)
	if err == nil {
		_, err = parser.Parse(nil)
	}
	if err != nil {
		return nil, fmt.Errorf("read the settings of serve from the environment: %w", err)
	}
	return set, nil
}

func (s *Settings) readAPIKey() (string, error) {
	return Secret(s.TelnyxAPIKey, s.TelnyxAPIKeyFile, "TELNYX_API_KEY", "--telnyx-api-key",
		"It is made in the Telnyx portal under API keys.")
}

// publicKeys reads the keys that webhooks are checked with: none when they are not checked.
func (s *Settings) publicKeys() ([]ed25519.PublicKey, error) {
	if s.InsecureSkipVerify {
		if s.TelnyxPublicKey != "" || s.TelnyxPublicKeyFile != "" {
			return nil, errors.New("--insecure-skip-verify and a public key (TELNYX_PUBLIC_KEY) exclude each other: with the key signatures are checked, without it nothing is; unset one")
		}
		return nil, nil
	}
	return PublicKeys(s.TelnyxPublicKey, s.TelnyxPublicKeyFile)
}

// PublicKeys reads the keys that must be there, from a value or from a file. Its errors are those of [Secret], and
// what is wrong with a key, without it.
func PublicKeys(value, file string) ([]ed25519.PublicKey, error) {
	text, err := Secret(value, file, "TELNYX_PUBLIC_KEY", "--telnyx-public-key",
		"It is shown in the Telnyx portal under API keys, Public key.")
	if err != nil {
		return nil, err
	}
	keys, err := telnyx.ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("TELNYX_PUBLIC_KEY: %w", err)
	}
	return keys, nil
}

// Secret reads a secret that must be there, from a value or from a file. Its error names the variable and the flag
// to set, and never what is in them.
func Secret(value, file, env, flag, hint string) (string, error) {
	value, err := optionalSecret(value, file, env)
	if err == nil && value == "" {
		err = fmt.Errorf("%s is not set (or %s, or %s_FILE). %s", env, flag, env, hint)
	}
	return value, err
}

// check refuses settings that cannot work together.
func (s *Settings) check() error {
	positive := map[string]time.Duration{
		"--events-max-age": s.EventsMaxAge, "--calls-max-age": s.CallsMaxAge, "--session-settle": s.SessionSettle,
		"--status-deadline": s.StatusDeadline, "--status-window": s.StatusWindow, "--sweep-after": s.SweepAfter,
		"--amend-window": s.AmendWindow, "--signature-tolerance": s.SignatureTolerance, "--gap-repair-after": s.GapRepairAfter,
	}
	for flag, d := range positive {
		if d <= 0 {
			return fmt.Errorf("%s must be more than 0", flag)
		}
	}
	if s.Settle < 0 || s.EventsMaxBytes < 0 || s.CallsMaxBytes < 0 {
		return errors.New("--settle, --events-max-bytes and --calls-max-bytes must not be negative")
	}
	// A late event for a call that has left the log is merged onto the stored summary: it must still be there.
	if s.CallsMaxAge < s.EventsMaxAge+s.AmendWindow {
		return fmt.Errorf("--calls-max-age (%v) must be at least --events-max-age plus --amend-window (%v)",
			s.CallsMaxAge, s.EventsMaxAge+s.AmendWindow)
	}
	if (s.TLSCert == "") != (s.TLSKey == "") {
		return errors.New("--tls-cert and --tls-key belong together; set both")
	}
	if !ingest.ValidPath(s.Path) {
		return errors.New("--path begins with a slash, and has letters, digits and ._~- between its slashes, as /webhooks/telnyx")
	}
	if s.MaxConnections <= 0 {
		return errors.New("--max-connections must be more than 0")
	}
	if _, err := s.targets(); err != nil {
		return err
	}
	if _, err := s.access(); err != nil {
		return err
	}
	if s.NATSURL != "" {
		return nil
	}
	if s.NATSReplicas > 1 {
		return errors.New("--nats-replicas needs a cluster: set --nats-url")
	}
	return s.checkEmbedded()
}

// Rules are the times by which the fold decides.
func (s *Settings) Rules() session.Rules {
	r := session.Rules{
		SessionSettle: s.SessionSettle, StatusWindow: s.StatusWindow,
		SweepAfter: s.SweepAfter, AmendWindow: s.AmendWindow, Outage: outage,
	}
	if s.GapRepair != "off" {
		r.BackfillAfter = s.GapRepairAfter
	}
	return r
}

// secretsKept are the secrets of events that summaries show.
func (s *Settings) secretsKept() []telnyx.Secret {
	var kept []telnyx.Secret
	if slices.Contains(s.Include, "dtmf") {
		kept = append(kept, telnyx.Digits)
	}
	return kept
}

func (s *Settings) timing() enrich.Timing {
	return enrich.Timing{Settle: s.Settle, StatusDeadline: s.StatusDeadline}
}

func (s *Settings) limits() (natsd.Limits, error) {
	var limits natsd.Limits
	if s.NATSURL == "" {
		var err error
		if limits, err = natsd.DiskLimits(s.DataDir); err != nil {
			return limits, err
		}
	}
	limits.Forward, limits.Copy = len(s.Forward) > 0, s.NATSURL == ""
	limits.EventsMaxAge, limits.CallsMaxAge, limits.Replicas = s.EventsMaxAge, s.CallsMaxAge, s.NATSReplicas
	if s.EventsMaxBytes > 0 {
		limits.EventsMaxBytes, limits.Approximate.Events = s.EventsMaxBytes, false
	}
	if s.CallsMaxBytes > 0 {
		limits.CallsMaxBytes, limits.Approximate.Calls = s.CallsMaxBytes, false
	}
	return limits, nil
}

// keyEvery is how often the file of the API key is read: it is small, and no
// way to be told of a change works for every kind of mount.
const keyEvery = 2 * time.Second

// watchFiles reads the file of the API key again and again, so that a key can be put right without a restart, and all
// that can be read again whenever reload says so. It ends with ctx.
func (s *Service) watchFiles(ctx context.Context, reload <-chan os.Signal) error {
	tick := time.NewTicker(keyEvery)
	defer tick.Stop()
	file := apiKeyFile{key: s.apiKey}
	for {
		select {
		case <-tick.C:
			s.rereadAPIKey(&file)
		case <-reload:
			s.rereadAPIKey(&file)
			s.rereadPublicKeys()
			s.ingest.RereadCertificate()
			s.log.Info("files of keys and certificates were read again")
		case <-ctx.Done():
			return nil
		}
	}
}

// apiKeyFile is what was last found in the file of the API key.
type apiKeyFile struct{ key, trouble string }

func (s *Service) rereadAPIKey(f *apiKeyFile) {
	path := s.settings.TelnyxAPIKeyFile
	if path == "" {
		return
	}
	data, err := os.ReadFile(path)
	now := strings.TrimSpace(string(data))
	if err == nil && now == f.key {
		f.trouble = ""
		return
	}
	if err == nil {
		err = s.status.SetAPIKey(now)
	}
	switch {
	case err == nil:
		f.key, f.trouble = now, ""
		s.log.Info("the API key was read again from its file")
	case err.Error() != f.trouble:
		// Half a file is seen when it is written in place: the key of before stays.
		f.trouble = err.Error()
		s.log.Warn("the file of the API key holds no key; the one of before stays", "error", err)
	}
}

// rereadPublicKeys takes the keys that are in their file now. Where the file holds none, those of before stay.
func (s *Service) rereadPublicKeys() {
	if s.settings.TelnyxPublicKeyFile == "" {
		return
	}
	keys, err := s.publicKeys()
	if err == nil {
		err = s.ingest.SetKeys(keys)
	}
	if err != nil {
		s.log.Warn("the file of the public key holds no key; those of before stay", "error", err)
		return
	}
	s.log.Info("the public keys were read again from their file", "keys", len(keys))
}

// ReaderSettings say which NATS a command reads that is not the service, and how to log in to it. Beside what the service
// knows they take what other clients of NATS take: its context, and NATS_URL.
type ReaderSettings struct {
	NATSSettings
	NATSContext string `help:"Context of the nats command-line client to connect by, or the path of its file; instead of --nats-url and a login." name:"nats-context" placeholder:"NAME"`
}

// config says how to reach NATS: by the context, at --nats-url, at NATS_URL, or where an embedded NATS listens by default.
func (s ReaderSettings) config(name string, log *slog.Logger) (natsd.ConnectConfig, error) {
	urls := s.URLs()
	switch {
	case s.NATSContext != "":
		urls = nil
	case len(urls) > 0:
	case os.Getenv("NATS_URL") != "":
		urls = strings.Split(os.Getenv("NATS_URL"), ",")
	default:
		urls = []string{nats.DefaultURL}
	}
	config, err := s.External(urls, name, log)
	config.Context = s.NATSContext
	return config, err
}

// Reach connects to the NATS of a deployment, under a name, and says how its streams are called. It waits for NATS
// until within is over; 0: as long as ctx.
func (s ReaderSettings) Reach(ctx context.Context, name string, within time.Duration, log *slog.Logger) (nc *nats.Conn, js jetstream.JetStream, layout natsd.Layout, err error) {
	if layout, err = natsd.NewLayout(s.SubjectPrefix); err != nil {
		return nil, nil, layout, fmt.Errorf("--subject-prefix: %w", err)
	}
	config, err := s.config(name, log)
	if err != nil {
		return nil, nil, layout, err
	}
	if within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, within)
		defer cancel()
	}
	if nc, js, err = natsd.Connect(ctx, config); err != nil {
		return nil, nil, layout, err
	}
	return nc, js, layout, nil
}
