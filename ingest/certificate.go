package ingest

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificateAge is how long a certificate is shown before its files are looked at again.
const certificateAge = time.Second

// certificate is the listener's, read again when its files have other content: so
// a renewal needs no restart, however the files are put in place.
type certificate struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu      sync.Mutex
	checked time.Time
	seen    string // what the files were when last looked at, to act on a change only
	current *tls.Certificate
}

// newCertificate reads the files. It fails when they are no certificate and its key.
func newCertificate(certFile, keyFile string, logger *slog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, logger: logger, checked: time.Now()}
	pair, seen, err := c.read("")
	if err != nil {
		return nil, err
	}
	c.current, c.seen = pair, seen
	return c, nil
}

// config returns the TLS of the listener. It offers HTTP/1.1 alone: a
// connection has one request at a time, which the limits of connections count on.
func (c *certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"http/1.1"},
		GetCertificate: c.get,
	}
}

// get returns the newest pair that is one.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.checked) < certificateAge {
		return c.current, nil
	}
	c.checked = time.Now()
	pair, seen, err := c.read(c.seen)
	if seen == c.seen {
		return c.current, nil
	}
	c.seen = seen
	if err != nil {
		c.logger.Error("the new certificate cannot be used; the old one stays", slog.Any("error", err))
		return c.current, nil
	}
	c.current = pair
	c.logger.Info("certificate read again", slog.Time("not_after", pair.Leaf.NotAfter))
	return c.current, nil
}

// reread makes sure of the newest pair at once.
func (c *certificate) reread() {
	c.mu.Lock()
	c.checked = time.Time{}
	c.mu.Unlock()
	_, _ = c.get(nil) // what is wrong with the files is logged
}

// read returns the pair and what tells it from another. It parses only what was
// not seen before. The error of a key names files, never content.
func (c *certificate) read(before string) (pair *tls.Certificate, seen string, err error) {
	cert, err := os.ReadFile(c.certFile)
	if err != nil {
		err = fmt.Errorf("TLS certificate: %w", err)
		return nil, err.Error(), err
	}
	key, err := os.ReadFile(c.keyFile)
	if err != nil {
		err = fmt.Errorf("TLS key: %w", err)
		return nil, err.Error(), err
	}
	// Each hashed by itself: what stands at the end of one is not the other's beginning.
	certSum, keySum := sha256.Sum256(cert), sha256.Sum256(key)
	if seen = string(certSum[:]) + string(keySum[:]); seen == before {
		return nil, seen, nil
	}
	loaded, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, seen, fmt.Errorf("TLS certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	return &loaded, seen, nil
}
