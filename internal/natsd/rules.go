package natsd

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// rule is one property of a stream that Legato depends on. What no rule names
// is the operator's: description, placement, compression, republish, metadata, ….
type rule struct {
	// name is the property in the server's JSON.
	name string
	// ok reports whether have serves as well as want.
	ok func(have, want *jetstream.StreamConfig) bool
	// show returns the property's value for people.
	show func(c *jetstream.StreamConfig) string
	// set makes have serve. Nil: an existing stream cannot be changed so.
	set func(have, want *jetstream.StreamConfig)
	// flags are natscli's for the wanted value. Nil with set nil only.
	flags func(want *jetstream.StreamConfig) []string
	// soft properties cost speed, not correctness: Check tolerates them.
	soft bool
}

// maxMessage is the least max_msg_size under which every message of Legato
// fits: the default max_payload of a server.
const maxMessage = 1 << 20

var rules = []rule{
	{
		name: "subjects",
		ok: func(have, want *jetstream.StreamConfig) bool {
			return slices.Equal(slices.Sorted(slices.Values(have.Subjects)), slices.Sorted(slices.Values(want.Subjects)))
		},
		show: func(c *jetstream.StreamConfig) string { return "[" + strings.Join(c.Subjects, " ") + "]" },
		set:  func(have, want *jetstream.StreamConfig) { have.Subjects = want.Subjects },
		flags: func(w *jetstream.StreamConfig) []string {
			return []string{"--subjects=" + strings.Join(w.Subjects, ",")}
		},
	},
	{
		name: "storage",
		ok:   func(have, want *jetstream.StreamConfig) bool { return have.Storage == want.Storage },
		show: func(c *jetstream.StreamConfig) string { return c.Storage.String() },
	},
	{
		name:  "retention",
		ok:    func(have, want *jetstream.StreamConfig) bool { return have.Retention == want.Retention },
		show:  func(c *jetstream.StreamConfig) string { return c.Retention.String() },
		set:   func(have, want *jetstream.StreamConfig) { have.Retention = want.Retention },
		flags: func(*jetstream.StreamConfig) []string { return []string{"--retention=limits"} },
	},
	{
		name: "discard",
		ok:   func(have, want *jetstream.StreamConfig) bool { return have.Discard == want.Discard },
		show: func(c *jetstream.StreamConfig) string { return c.Discard.String() },
		set: func(have, want *jetstream.StreamConfig) {
			have.Discard, have.DiscardNewPerSubject = want.Discard, false
		},
		flags: func(w *jetstream.StreamConfig) []string { return []string{"--discard=" + discardFlag(w.Discard)} },
	},
	{
		name: "max_age",
		ok:   func(have, want *jetstream.StreamConfig) bool { return have.MaxAge == want.MaxAge },
		show: func(c *jetstream.StreamConfig) string { return brief(c.MaxAge) },
		set: func(have, want *jetstream.StreamConfig) {
			have.MaxAge, have.Duplicates = want.MaxAge, min(have.Duplicates, want.MaxAge)
		},
		flags: func(w *jetstream.StreamConfig) []string { return []string{"--max-age=" + brief(w.MaxAge)} },
	},
	{
		// Wanting no limit leaves an operator's limit alone.
		name: "max_bytes",
		ok: func(have, want *jetstream.StreamConfig) bool {
			return want.MaxBytes < 0 || have.MaxBytes == want.MaxBytes
		},
		show: func(c *jetstream.StreamConfig) string { return strconv.FormatInt(c.MaxBytes, 10) },
		set:  func(have, want *jetstream.StreamConfig) { have.MaxBytes = want.MaxBytes },
		flags: func(w *jetstream.StreamConfig) []string {
			return []string{"--max-bytes=" + strconv.FormatInt(w.MaxBytes, 10)}
		},
	},
	{
		// A limit by subject drops the oldest even where discard is new.
		name: "max_msgs_per_subject",
		ok:   func(have, _ *jetstream.StreamConfig) bool { return have.MaxMsgsPerSubject <= 0 },
		show: func(c *jetstream.StreamConfig) string { return strconv.FormatInt(c.MaxMsgsPerSubject, 10) },
		set: func(have, _ *jetstream.StreamConfig) {
			have.MaxMsgsPerSubject, have.DiscardNewPerSubject = -1, false
		},
		flags: func(*jetstream.StreamConfig) []string { return []string{"--max-msgs-per-subject=-1"} },
	},
	{
		name: "max_msg_size",
		ok: func(have, _ *jetstream.StreamConfig) bool {
			return have.MaxMsgSize <= 0 || have.MaxMsgSize >= maxMessage
		},
		show:  func(c *jetstream.StreamConfig) string { return strconv.FormatInt(int64(c.MaxMsgSize), 10) },
		set:   func(have, _ *jetstream.StreamConfig) { have.MaxMsgSize = -1 },
		flags: func(*jetstream.StreamConfig) []string { return []string{"--max-msg-size=-1"} },
	},
	{
		// A count that somebody raised by hand is not lowered by a default.
		name:  "num_replicas",
		ok:    func(have, want *jetstream.StreamConfig) bool { return have.Replicas >= want.Replicas },
		show:  func(c *jetstream.StreamConfig) string { return strconv.Itoa(c.Replicas) },
		set:   func(have, want *jetstream.StreamConfig) { have.Replicas = want.Replicas },
		flags: func(w *jetstream.StreamConfig) []string { return []string{"--replicas=" + strconv.Itoa(w.Replicas)} },
	},
	{
		name:  "duplicate_window",
		ok:    func(have, want *jetstream.StreamConfig) bool { return have.Duplicates >= want.Duplicates },
		show:  func(c *jetstream.StreamConfig) string { return brief(c.Duplicates) },
		set:   func(have, want *jetstream.StreamConfig) { have.Duplicates = want.Duplicates },
		flags: func(w *jetstream.StreamConfig) []string { return []string{"--dupe-window=" + brief(w.Duplicates)} },
	},
	boolean("deny_delete", func(c *jetstream.StreamConfig) *bool { return &c.DenyDelete }, required, "--deny-delete"),
	soft(boolean("allow_atomic", func(c *jetstream.StreamConfig) *bool { return &c.AllowAtomicPublish }, required, "--allow-batch")),
	boolean("allow_direct", func(c *jetstream.StreamConfig) *bool { return &c.AllowDirect }, forbidden, "--no-allow-direct"),
	boolean("no_ack", func(c *jetstream.StreamConfig) *bool { return &c.NoAck }, forbidden, "--ack"),
	// The log is trimmed by purging.
	boolean("deny_purge", func(c *jetstream.StreamConfig) *bool { return &c.DenyPurge }, forbidden, ""),
	boolean("sealed", func(c *jetstream.StreamConfig) *bool { return &c.Sealed }, forbidden, ""),
	{
		name: "persist_mode", // Asynchronous streams acknowledge what is not yet written.
		ok:   func(have, _ *jetstream.StreamConfig) bool { return have.PersistMode != jetstream.AsyncPersistMode },
		show: func(c *jetstream.StreamConfig) string { return c.PersistMode.String() },
	},
}

// What a boolean rule asks for.
const (
	required  = true  // the property is set where it is wanted
	forbidden = false // the property is never set
)

// boolean returns the rule of a property that is yes or no, with natscli's flag for it. Without a flag an existing
// stream cannot be changed so.
func boolean(name string, of func(*jetstream.StreamConfig) *bool, asked bool, flag string) rule {
	bad := func(have, want *jetstream.StreamConfig) bool {
		if asked == required {
			return *of(want) && !*of(have)
		}
		return *of(have)
	}
	r := rule{
		name: name,
		ok:   func(have, want *jetstream.StreamConfig) bool { return !bad(have, want) },
		show: func(c *jetstream.StreamConfig) string { return strconv.FormatBool(*of(c)) },
	}
	if flag != "" {
		r.set = func(have, _ *jetstream.StreamConfig) { *of(have) = asked }
		r.flags = func(want *jetstream.StreamConfig) []string {
			if asked == required && !*of(want) {
				return nil
			}
			return []string{flag}
		}
	}
	return r
}

func soft(r rule) rule {
	r.soft = true
	return r
}

func discardFlag(d jetstream.DiscardPolicy) string {
	if d == jetstream.DiscardNew {
		return "new"
	}
	return "old"
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
