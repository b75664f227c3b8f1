package forward

import (
	"errors"
	"fmt"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// DefaultName is the name of a target that is given as a URL alone.
const DefaultName = "app"

// Mode says what a target's answer is for.
type Mode string

const (
	// After answers Telnyx once the event is stored; the target gets it then.
	After Mode = "after"
	// Proxy answers Telnyx with the target's answer.
	Proxy Mode = "proxy"
)

// Target is an application that events are handed on to.
type Target struct {
	// Name is the target's durable identity: another URL under the same name goes on where it was.
	Name string
	// URL is where events are posted.
	URL *url.URL
	// Mode says what the target's answer is for.
	Mode Mode
	// Filter says which events the target gets.
	Filter Filter
	// Header and Value are a header of the operator's own, a secret perhaps. An empty Header: none.
	Header, Value string
}

// Where returns the URL without what may be secret in it: user, query and fragment.
func (t Target) Where() string {
	return (&url.URL{Scheme: t.URL.Scheme, Host: t.URL.Host, Path: t.URL.Path}).String()
}

// Flags are the settings of targets as an operator writes them. An item of Only that names no target goes with
// the target of the item before it, so that lists may be split at their commas.
type Flags struct {
	// Targets are NAME=URL, or URL alone.
	Targets []string
	// Modes are NAME=after or NAME=proxy.
	Modes []string
	// Only are NAME=TYPE, with * at the end of TYPE for all that begin so, and NAME=connection:ID.
	Only []string
	// Headers are NAME=Header: value.
	Headers []string
}

var (
	validName   = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)
	nameAtStart = regexp.MustCompile(`^([^=:/?#]*)=(.*)$`)
)

// Parse reads the targets. It fails with an error that names the flag and the item.
// A header's value is never part of an error.
func Parse(f Flags) ([]Target, error) {
	var targets []Target
	for _, item := range f.Targets {
		t, err := parseTarget(item)
		if err != nil {
			return nil, fmt.Errorf("--forward: %w", err)
		}
		if find(targets, t.Name) != nil {
			return nil, fmt.Errorf("--forward: two targets are named %q; give each a name, as NAME=URL", t.Name)
		}
		targets = append(targets, t)
	}
	for _, item := range f.Modes {
		if err := parseMode(targets, item); err != nil {
			return nil, fmt.Errorf("--forward-mode: %w", err)
		}
	}
	if err := parseOnly(targets, f.Only); err != nil {
		return nil, fmt.Errorf("--forward-only: %w", err)
	}
	for _, item := range f.Headers {
		if err := parseHeader(targets, item); err != nil {
			return nil, fmt.Errorf("--forward-header: %w", err)
		}
	}
	return targets, nil
}

func find(targets []Target, name string) *Target {
	if i := slices.IndexFunc(targets, func(t Target) bool { return t.Name == name }); i >= 0 {
		return &targets[i]
	}
	return nil
}

func parseTarget(item string) (Target, error) {
	name, address := DefaultName, item
	if m := nameAtStart.FindStringSubmatch(item); m != nil {
		name, address = m[1], m[2]
	}
	if !validName.MatchString(name) {
		return Target{}, fmt.Errorf("the name %.40q must be 1 to 32 lower-case letters, digits, '-' and '_', beginning with a letter or digit", name)
	}
	u, err := url.Parse(address)
	if err != nil {
		// The parser's own error repeats the address, which may hold a password.
		return Target{}, fmt.Errorf("the URL of %s cannot be read", name)
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return Target{}, fmt.Errorf("the URL of %s must begin with http:// or https://", name)
	case u.Hostname() == "":
		return Target{}, fmt.Errorf("the URL of %s names no host", name)
	case u.Fragment != "":
		return Target{}, fmt.Errorf("the URL of %s has a fragment, which is never sent", name)
	}
	if u.Path == "" {
		u.Path = "/"
	}
	return Target{Name: name, URL: u, Mode: After}, nil
}

// named splits NAME=rest and finds the target.
func named(targets []Target, item string) (*Target, string, error) {
	name, rest, ok := strings.Cut(item, "=")
	if !ok {
		return nil, "", errors.New("an item must begin with a target's name, as NAME=…")
	}
	t := find(targets, strings.TrimSpace(name))
	if t == nil {
		return nil, "", fmt.Errorf("no target is named %.40q", name)
	}
	return t, strings.TrimSpace(rest), nil
}

func parseMode(targets []Target, item string) error {
	t, mode, err := named(targets, item)
	if err != nil {
		return err
	}
	switch m := Mode(mode); m {
	case After, Proxy:
		t.Mode = m
		return nil
	default:
		return fmt.Errorf("the mode of %s is %.40q, want %s or %s", t.Name, mode, After, Proxy)
	}
}

func parseOnly(targets []Target, items []string) error {
	var t *Target
	connection := false // whether the item before named a connection
	for _, item := range items {
		condition := strings.TrimSpace(item)
		if strings.Contains(item, "=") {
			var err error
			if t, condition, err = named(targets, item); err != nil {
				return err
			}
			connection = false
		}
		if t == nil {
			return errors.New("the first item must begin with a target's name, as NAME=…")
		}
		id, prefixed := strings.CutPrefix(condition, "connection:")
		connection = prefixed || connection && digits(condition)
		if err := t.Filter.add(id, connection); err != nil {
			return fmt.Errorf("%s: %w", t.Name, err)
		}
	}
	return nil
}

// digits reports whether s is a number, which no event type is.
func digits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

func parseHeader(targets []Target, item string) error {
	t, line, err := named(targets, item)
	if err != nil {
		return err
	}
	name, value, ok := strings.Cut(line, ":")
	name, value = textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)), strings.TrimSpace(value)
	switch {
	case !ok || !httpguts.ValidHeaderFieldName(name) || value == "" || !httpguts.ValidHeaderFieldValue(value):
		return fmt.Errorf("the header of %s must be written as Name: value", t.Name)
	case ours(name):
		return fmt.Errorf("the header %s of %s is one that Legato sets itself", name, t.Name)
	case t.Header != "":
		return fmt.Errorf("%s has two headers; there can be one", t.Name)
	}
	t.Header, t.Value = name, value
	return nil
}

// ours reports whether a request's header is not the operator's to set.
func ours(name string) bool {
	switch name {
	case "Content-Type", "Content-Length", "User-Agent", "Host", "Traceparent", "Connection", "Transfer-Encoding", "Cookie":
		return true
	}
	return strings.HasPrefix(name, "Telnyx-") || strings.HasPrefix(name, "Legato-")
}

const (
	// breakAfter consecutive failures, of whatever sessions, say that the target is dead.
	breakAfter = 5
	// firstProbe doubles to lastProbe between probes: a target that comes back has the calls of the last second waiting.
	firstProbe, lastProbe = 250 * time.Millisecond, time.Second
	// maxHold bounds how long a target's Retry-After holds all back.
	maxHold = time.Minute
)

// breaker decides whether a target may be tried. While it is open one probe at a time is let through.
type breaker struct {
	failures int
	open     bool
	since    time.Time // when it opened
	probing  bool
	probeAt  time.Time
	pause    time.Duration
}

// allow reports whether an attempt may begin. One that is allowed while the breaker is open is the probe.
func (b *breaker) allow(now time.Time) bool {
	switch {
	case !b.open:
		return true
	case b.probing || now.Before(b.probeAt):
		return false
	}
	b.probing = true
	return true
}

// unused gives back what allow gave: no attempt came of it.
func (b *breaker) unused() { b.probing = false }

// note takes the result of an attempt, and reports whether the breaker opened or closed by it. probe tells that
// allow let the attempt through while the breaker was open.
func (b *breaker) note(now time.Time, r Result, after time.Duration, probe bool) (changed bool) {
	if r == Done || r == Refused {
		changed = b.open
		*b = breaker{}
		return changed
	}
	b.failures++
	switch {
	case b.open && probe:
		b.probing = false
		b.pause = min(2*b.pause, lastProbe)
	case b.open:
		return false // an attempt that was under way when it opened
	case b.failures >= breakAfter || after > 0:
		b.open, b.since, b.pause, changed = true, now, firstProbe, true
	default:
		return false
	}
	b.probeAt = now.Add(max(b.pause, min(after, maxHold)))
	return changed
}
