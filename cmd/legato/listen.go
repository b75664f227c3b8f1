package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/legato-calls/legato/ingest/telnyx"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/internal/service"
	"github.com/legato-calls/legato/publish/forward"
)

type listenCmd struct {
	service.ReaderSettings
	ForwardTo string        `required:"" help:"Where to post each webhook, as http://127.0.0.1:3000/webhooks." placeholder:"URL"`
	Since     string        `help:"Begin with what was received since then, as 2h, 2026-03-14 (UTC) or 2026-03-14T15:00:00Z; otherwise only new ones are posted." placeholder:"TIME"`
	Session   string        `help:"Only the webhooks of this call_session_id." placeholder:"ID"`
	SignWith  string        `help:"Sign anew, with the Ed25519 key in this file (PEM, as openssl genpkey makes it): an old signature is refused by Telnyx's SDK." placeholder:"FILE" type:"path"`
	Timeout   time.Duration `default:"10s" help:"Time limit of one attempt."`
}

// Run posts the raw feed to an application on this machine until ctx ends.
func (cmd *listenCmd) Run(ctx context.Context, c *console) error {
	targets, err := forward.Parse(forward.Flags{Targets: []string{forward.DefaultName + "=" + cmd.ForwardTo}})
	if err != nil {
		return fmt.Errorf("--forward-to: %w", errors.Unwrap(err))
	}
	since, err := parsePast(cmd.Since, time.Now())
	if err != nil {
		return fmt.Errorf("--since: %w", err)
	}
	if cmd.Timeout <= 0 {
		return errors.New("--timeout must be more than 0")
	}
	sign, err := cmd.signer(c)
	if err != nil {
		return fmt.Errorf("--sign-with: %w", err)
	}
	nc, js, layout, err := reach(ctx, cmd.ReaderSettings, "legato listen", c)
	if err != nil {
		return err
	}
	defer nc.Close()
	l := forward.Listener{
		JetStream: js, Layout: layout, URL: targets[0].URL, Since: since, Session: call.SessionID(cmd.Session),
		Timeout: cmd.Timeout, Sign: sign,
		Sent: func(e call.Entry, a forward.Attempt) error {
			_, err := fmt.Fprintf(c.stdout, "%s  %-36s  %s  %s\n", e.ReceivedAt.Local().Format("15:04:05.000"), e.EventType(),
				paintResult(c.stdout, a), paint(c.stdout, dim, fmt.Sprintf("%d ms  seq %d  %s", a.Millis, a.Seq, e.Ref.Session)))
			return err
		},
	}
	fmt.Fprintf(c.stderr, "legato: posting to %s; they have personal data\n", targets[0].Where())
	return l.Run(ctx)
}

// signer signs with the key in the file, and says by which public key it is checked.
func (cmd *listenCmd) signer(c *console) (func([]byte) (string, string), error) {
	if cmd.SignWith == "" {
		return nil, nil
	}
	text, err := os.ReadFile(cmd.SignWith)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file; make one with: openssl genpkey -algorithm ed25519 -out %s", cmd.SignWith, cmd.SignWith)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s holds no private key in PKCS #8", cmd.SignWith)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("the key in %s is not of Ed25519", cmd.SignWith)
	}
	public := base64.StdEncoding.EncodeToString(key.Public().(ed25519.PublicKey))
	fmt.Fprintf(c.stderr, "legato: signed anew; the application checks with the public key %s\n", public)
	return func(body []byte) (string, string) { return telnyx.Sign(key, time.Now(), body) }, nil
}
