package natsd

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// config keeps the table below short.
type config = jetstream.StreamConfig

// rule is one property of a stream that Legato depends on. What no rule names
// is the operator's: description, placement, compression, republish, metadata, ….
type rule struct {
	// name is the property in the server's JSON.
	name string
	// ok reports whether have serves as well as want.
	ok func(have, want *config) bool
	// show returns the property's value for people.
	show func(c *config) string
	// set makes have serve. Nil: an existing stream cannot be changed so.
	set func(have, want *config)
	// flag is natscli's for the wanted value. Empty: the default is wanted. Nil with set nil only.
	flag func(want *config) string
	// soft properties cost speed, not correctness: Check tolerates them.
	soft bool
}

// maxMessage is the least max_msg_size under which every message of Legato
// fits: the default max_payload of a server.
const maxMessage = 1 << 20

var rules = []rule{
	property("subjects", func(c *config) *[]string { return &c.Subjects },
		func(have, want []string) bool {
			return slices.Equal(slices.Sorted(slices.Values(have)), slices.Sorted(slices.Values(want)))
		},
		func(want []string) string { return "--subjects=" + strings.Join(want, ",") }),
	property("storage", func(c *config) *jetstream.StorageType { return &c.Storage }, equal, nil),
	property("retention", func(c *config) *jetstream.RetentionPolicy { return &c.Retention }, equal,
		func(jetstream.RetentionPolicy) string { return "--retention=limits" }),
	property("discard", func(c *config) *jetstream.DiscardPolicy { return &c.Discard }, equal, discardFlag),
	property("max_age", func(c *config) *time.Duration { return &c.MaxAge }, equal, valueFlag[time.Duration]("--max-age=")),
	// Wanting no limit leaves an operator's limit alone.
	property("max_bytes", func(c *config) *int64 { return &c.MaxBytes },
		func(have, want int64) bool { return want < 0 || have == want }, valueFlag[int64]("--max-bytes=")),
	// A limit by subject drops the oldest even where discard is new.
	property("max_msgs_per_subject", func(c *config) *int64 { return &c.MaxMsgsPerSubject },
		func(have, _ int64) bool { return have <= 0 }, valueFlag[int64]("--max-msgs-per-subject=")),
	property("max_msg_size", func(c *config) *int32 { return &c.MaxMsgSize },
		func(have, _ int32) bool { return have <= 0 || have >= maxMessage }, valueFlag[int32]("--max-msg-size=")),
	// A count that somebody raised by hand is not lowered by a default.
	property("num_replicas", func(c *config) *int { return &c.Replicas }, atLeast, valueFlag[int]("--replicas=")),
	// A server may allow none as long, and says so only when it is asked for: what comes again is folded once all the
	// same. Of a copy of a log the window is of no use, whoever looks at it.
	soft(property("duplicate_window", func(c *config) *time.Duration { return &c.Duplicates },
		func(have, want time.Duration) bool { return have >= want || have == copyWindow }, valueFlag[time.Duration]("--dupe-window="))),
	property("deny_delete", func(c *config) *bool { return &c.DenyDelete }, implied, whenTrue("--deny-delete")),
	property("allow_direct", func(c *config) *bool { return &c.AllowDirect }, equal, func(bool) string { return "--no-allow-direct" }),
	property("no_ack", func(c *config) *bool { return &c.NoAck }, equal, func(bool) string { return "--ack" }),
	// The log is trimmed by purging.
	property("deny_purge", func(c *config) *bool { return &c.DenyPurge }, equal, nil),
	property("sealed", func(c *config) *bool { return &c.Sealed }, equal, nil),
	// Asynchronous streams acknowledge what is not yet written.
	property("persist_mode", func(c *config) *jetstream.PersistModeType { return &c.PersistMode },
		func(have, _ jetstream.PersistModeType) bool { return have != jetstream.AsyncPersistMode }, nil),
}

func soft(r rule) rule {
	r.soft = true
	return r
}

// property makes the rule of one field. Without a flag an existing stream cannot be changed so.
func property[T any](name string, at func(*config) *T, ok func(have, want T) bool, flag func(want T) string) rule {
	r := rule{
		name: name,
		ok:   func(have, want *config) bool { return ok(*at(have), *at(want)) },
		show: func(c *config) string { return show(*at(c)) },
	}
	if flag != nil {
		r.set = func(have, want *config) { *at(have) = *at(want) }
		r.flag = func(want *config) string { return flag(*at(want)) }
	}
	return r
}

func equal[T comparable](have, want T) bool    { return have == want }
func atLeast[T cmp.Ordered](have, want T) bool { return have >= want }
func implied(have, want bool) bool             { return have || !want }
func valueFlag[T any](flag string) func(T) string {
	return func(want T) string { return flag + show(want) }
}

func whenTrue(flag string) func(bool) string {
	return func(want bool) string {
		if !want {
			return ""
		}
		return flag
	}
}

// show writes a value for people and for natscli.
func show(value any) string {
	if d, ok := value.(time.Duration); ok {
		return brief(d)
	}
	return fmt.Sprint(value)
}

func discardFlag(d jetstream.DiscardPolicy) string {
	if d == jetstream.DiscardNew {
		return "--discard=new"
	}
	return "--discard=old"
}

// brief writes a duration without zero minutes and seconds: 24h, 2m, 90s.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
