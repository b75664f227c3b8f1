// Command goapp is a Call Control application that answers every call, with the standard library alone. Nothing in it
// needs Legato; the one header of Legato's that it reads is there on reports that waited for it.
//
//	TELNYX_API_KEY=KEY… TELNYX_PUBLIC_KEY=… go run ./docs/applications/goapp 127.0.0.1:3000
package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strconv"
	"time"
)

// tolerance is that of Telnyx's SDKs. A report that Legato could not deliver for longer has another header beside its
// old timestamp; it is still from Telnyx, and believed for an hour.
const tolerance, reportTolerance = 5 * time.Minute, time.Hour

// application answers calls.
type application struct {
	publicKey ed25519.PublicKey
	apiKey    string
	baseURL   string
}

// ServeHTTP takes one webhook.
func (a *application) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
	if err != nil {
		http.Error(w, "the body cannot be read", http.StatusRequestTimeout)
		return
	}
	if err := a.verify(r.Header, body, time.Now()); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var event struct {
		Data struct {
			ID      string `json:"id"`
			Type    string `json:"event_type"`
			Payload struct {
				Control   string `json:"call_control_id"`
				Direction string `json:"direction"`
			} `json:"payload"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &event); err != nil {
		http.Error(w, "the body is not JSON", http.StatusBadRequest)
		return
	}
	if event.Data.Type == "call.initiated" && event.Data.Payload.Direction == "incoming" {
		if err := a.answer(r.Context(), event.Data.Payload.Control, event.Data.ID); err != nil {
			log.Printf("a call could not be answered: %v", err)
			http.Error(w, "the command failed", http.StatusServiceUnavailable) // the webhook comes again
			return
		}
	}
	w.WriteHeader(http.StatusOK)
}

// verify checks that Telnyx signed the body, and when.
func (a *application) verify(h http.Header, body []byte, now time.Time) error {
	timestamp := h.Get("Telnyx-Timestamp")
	signature, err := base64.StdEncoding.DecodeString(h.Get("Telnyx-Signature-Ed25519"))
	if err != nil || !ed25519.Verify(a.publicKey, append([]byte(timestamp+"|"), body...), signature) {
		return errors.New("the signature does not match")
	}
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	allowed := tolerance
	if h.Get("Legato-Signature-Age") != "" {
		allowed = reportTolerance
	}
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > allowed {
		return errors.New("the signature is too old")
	}
	return nil
}

// answer commands Telnyx to answer a call. The same command id twice is one command: a webhook that comes again does
// no harm.
func (a *application) answer(ctx context.Context, control, id string) error {
	command, err := json.Marshal(map[string]string{"command_id": id})
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.baseURL+"/calls/"+url.PathEscape(control)+"/actions/answer", bytes.NewReader(command))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+a.apiKey)
	r.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests {
		return fmt.Errorf("telnyx answered %d", response.StatusCode)
	}
	return nil // a 4xx: the call is over
}

func run(ctx context.Context, addr string, getenv func(string) string) error {
	key, err := base64.StdEncoding.DecodeString(getenv("TELNYX_PUBLIC_KEY"))
	if err != nil || len(key) != ed25519.PublicKeySize {
		return errors.New("TELNYX_PUBLIC_KEY must be base64 of 32 bytes")
	}
	a := &application{publicKey: key, apiKey: getenv("TELNYX_API_KEY"), baseURL: getenv("TELNYX_BASE_URL")}
	if a.baseURL == "" {
		a.baseURL = "https://api.telnyx.com/v2"
	}
	server := &http.Server{Addr: addr, Handler: a, ReadHeaderTimeout: 5 * time.Second}
	stopped := context.AfterFunc(ctx, func() { _ = server.Shutdown(context.WithoutCancel(ctx)) })
	defer stopped()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: goapp ADDRESS")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1], os.Getenv); err != nil {
		log.Fatal(err)
	}
}
