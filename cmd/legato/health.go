package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/legato-calls/legato/internal/service"
)

// healthCmd is what a container's health check runs: the image has no shell and no curl.
type healthCmd struct {
	AdminListen string `default:"127.0.0.1:8081" env:"LEGATO_ADMIN_LISTEN" help:"Address of the admin listener to ask."`
}

// Run asks /readyz once.
func (cmd *healthCmd) Run(ctx context.Context, c *console) error {
	if _, _, err := net.SplitHostPort(cmd.AdminListen); err != nil {
		return fmt.Errorf("--admin-listen: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+service.Dialable(cmd.AdminListen)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("--admin-listen: %w", err)
	}
	// Whatever the environment says of proxies: it asks its own service.
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask for readiness: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	if err != nil {
		return fmt.Errorf("ask for readiness: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", strings.TrimSpace(string(body)))
	}
	_, err = fmt.Fprint(c.stdout, string(body))
	return err
}
