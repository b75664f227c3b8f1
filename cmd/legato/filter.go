package main

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/call"
	"github.com/legato-calls/legato/publish"
)

// filter lets through the summaries that tail is asked for. What a subject tells is left to
// the server, the rest is read from the bodies.
type filter struct {
	// subjects are the server's filters; none: everything.
	subjects    []string
	connections []string
	outcomes    []string
}

// filter makes a filter of the flags.
func (cmd *tailCmd) filter(prefix string) (filter, error) {
	f := filter{connections: cmd.Connection, outcomes: cmd.Outcome}
	levels := []string{cmd.Level}
	if cmd.Level == "all" {
		levels = []string{summary.KindLeg, summary.KindSession}
	}
	for _, connection := range cmd.Connection {
		if !call.ValidToken(connection) {
			return f, fmt.Errorf("--connection: %.64q is no connection id", connection)
		}
	}
	switch {
	case len(cmd.Connection) == 0 && cmd.Level == "all":
	case len(cmd.Connection) == 0:
		f.subjects = []string{prefix + "." + cmd.Level + ".>"}
	default:
		// Where the connection was not known at first the subject never tells it; the body may.
		tokens := append(slices.Clone(cmd.Connection), "_")
		slices.Sort(tokens)
		for _, token := range slices.Compact(tokens) {
			for _, level := range levels {
				f.subjects = append(f.subjects, prefix+"."+level+".*."+token+".>")
			}
		}
	}
	return f, nil
}

// wants reports whether a summary is let through.
func (f filter) wants(subject string, data []byte) (bool, error) {
	if len(f.connections) == 0 && len(f.outcomes) == 0 {
		return true, nil
	}
	var body struct {
		Connection string `json:"connection_id"`
		Outcome    string `json:"outcome"`
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return false, fmt.Errorf("read a summary: %w", err)
	}
	if len(f.outcomes) > 0 && !slices.Contains(f.outcomes, body.Outcome) {
		return false, nil
	}
	if len(f.connections) == 0 || slices.Contains(f.connections, body.Connection) {
		return true, nil
	}
	of, ok := publish.ParseSubject(subject)
	return ok && slices.Contains(f.connections, of.Connection), nil
}
