package forward

import (
	"errors"
	"fmt"
	"net/textproto"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/legato-calls/legato/internal/call"
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

// errUnnamed is the error of an item that names no target. What stands there in place of a name is not part of it: of a
// header it may be the secret.
var errUnnamed = errors.New("an item must begin with a target's name, as NAME=…")

// named splits NAME=rest and finds the target.
func named(targets []Target, item string) (*Target, string, error) {
	name, rest, _ := strings.Cut(item, "=")
	t := find(targets, strings.TrimSpace(name))
	if t == nil {
		return nil, "", errUnnamed
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
			return errUnnamed
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

// Filter says which events a target gets. Conditions of one kind are alternatives, and an event must meet one of
// each kind that there is. The zero Filter takes everything.
type Filter struct {
	// Types are event types; one that ends with * takes all that begin so.
	Types []string
	// Connections are the applications whose events are taken.
	Connections []call.ConnectionID
}

func (f *Filter) add(condition string, connection bool) error {
	if connection {
		if !call.ValidToken(condition) {
			return fmt.Errorf("%.40q is no connection id", condition)
		}
		f.Connections = append(f.Connections, call.ConnectionID(condition))
		return nil
	}
	stem, open := strings.CutSuffix(condition, "*")
	if open {
		stem = strings.TrimSuffix(stem, ".")
	}
	switch {
	case condition == "":
		return errors.New("a condition is empty")
	case strings.Contains(stem, "*"):
		return fmt.Errorf("%.40q has * elsewhere than at its end", condition)
	case stem != "" && !call.ValidType(stem):
		return fmt.Errorf("%.40q is neither an event type nor connection:ID", condition)
	}
	f.Types = append(f.Types, condition)
	return nil
}

// Takes reports whether an event of a type and a connection meets the conditions.
func (f Filter) Takes(eventType string, connection call.ConnectionID) bool {
	if len(f.Connections) > 0 && !slices.Contains(f.Connections, connection) {
		return false
	}
	return len(f.Types) == 0 || slices.ContainsFunc(f.Types, func(want string) bool {
		stem, open := strings.CutSuffix(want, "*")
		return eventType == want || open && strings.HasPrefix(eventType, stem)
	})
}

// maxSubjects bounds the filters of a consumer; the server compares each message with each.
const maxSubjects = 32

// subjects returns the subjects under which the stream holds what the filter takes, and perhaps more. None of
// them overlap, which the server would refuse.
func (f Filter) subjects(prefix string) []string {
	connections := []string{"*"}
	if len(f.Connections) > 0 {
		connections = nil
		for _, c := range f.Connections {
			connections = append(connections, string(c))
		}
	}
	types := []string{">"}
	if len(f.Types) > 0 {
		types = nil
		for _, t := range f.Types {
			types = append(types, tokens(t))
		}
	}
	var all []string
	for _, c := range connections {
		for _, t := range types {
			all = append(all, prefix+"."+call.TopicEvent+c+"."+t)
		}
	}
	slices.Sort(all)
	all = slices.Compact(all)
	var kept []string
	for i, s := range all {
		covered := slices.ContainsFunc(all, func(other string) bool { return other != all[i] && covers(other, s) })
		if !covered {
			kept = append(kept, s)
		}
	}
	if len(kept) > maxSubjects {
		return []string{prefix + "." + call.TopicEvent + ">"}
	}
	return kept
}

// tokens turns a type, perhaps with * at its end, into subject tokens that take it, and perhaps more.
func tokens(eventType string) string {
	stem, open := strings.CutSuffix(eventType, "*")
	if !open {
		return eventType
	}
	if i := strings.LastIndexByte(stem, '.'); i >= 0 {
		return stem[:i] + ".>"
	}
	return ">"
}

// covers reports whether every subject that narrow takes is taken by wide.
func covers(wide, narrow string) bool {
	w, n := strings.Split(wide, "."), strings.Split(narrow, ".")
	for i, token := range w {
		switch {
		case token == ">":
			return len(n) > i
		case i >= len(n) || n[i] == ">" || n[i] == "*" && token != "*" || token != "*" && token != n[i]:
			return false
		}
	}
	return len(w) == len(n)
}
