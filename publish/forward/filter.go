package forward

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/legato-calls/legato/internal/call"
)

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
