package natsd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Report is what Manage and Check found.
type Report struct {
	// Have are the streams as Check found them, without those that do not exist.
	Have []jetstream.StreamConfig
	// Lesser are properties of streams that are not as wanted and do no harm, a line each. Empty after Manage.
	Lesser []string
	// Made and Changed tell what Manage did, a line each. Empty after Check.
	Made, Changed []string
}

// MismatchError is the error of Check, and of Manage where only a person can
// decide: streams that are not as wanted.
type MismatchError struct {
	// Missing are the names of the streams that do not exist.
	Missing []string
	// Problems are what differs and Manage would change, Permanent what only a person can mend, a line each.
	Problems, Permanent []string
	// Commands are the lines of the nats command-line tool that would put it right. Empty where none can.
	Commands []string
}

// Lines are all that is not as wanted.
func (e *MismatchError) Lines() (lines []string) {
	for _, name := range e.Missing {
		lines = append(lines, fmt.Sprintf("stream %s does not exist", name))
	}
	return append(append(lines, e.Permanent...), e.Problems...)
}

// Error lists what is not as wanted, and the commands.
func (e *MismatchError) Error() string {
	text := "streams are not as wanted:\n  " + strings.Join(e.Lines(), "\n  ")
	if len(e.Commands) > 0 {
		text += "\nto put it right:\n  " + strings.Join(e.Commands, "\n  ")
	}
	return text
}

// Manage creates the streams of the layout and updates what differs in those that exist. A limit is lowered only
// when limits says so; lowering the size of the log or of the summaries drops nothing, it makes them refuse until
// messages have aged. It returns a *MismatchError when a stream of one of the names is not Legato's or differs in
// what cannot be changed, and wraps the server's error otherwise.
func Manage(ctx context.Context, js jetstream.JetStream, layout Layout, limits Limits) (Report, error) {
	limits, err := limits.withDefaults()
	if err != nil {
		return Report{}, err
	}
	var report Report
	for _, want := range layout.streams(limits) {
		if err := manageStream(ctx, js, want, limits.near(layout, want.Name), &report); err != nil {
			return Report{}, err
		}
	}
	return report, nil
}

func manageStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, near bool, report *Report) error {
	have, found, err := lookUp(ctx, js, want.Name)
	if err != nil {
		return err
	}
	if !found {
		_, err := withinWindow(&want, func(c jetstream.StreamConfig) (jetstream.Stream, error) { return js.CreateStream(ctx, c) })
		switch {
		case err == nil:
			report.Made = append(report.Made, want.Name)
			return nil
		case isOverlap(err):
			return overlapError(ctx, js, &want, err)
		case !errors.Is(err, jetstream.ErrStreamNameAlreadyInUse):
			return fmt.Errorf("create stream %s for %s: %w", want.Name, strings.Join(want.Subjects, ", "), err)
		}
		// Another replica made it in between, with other limits.
		if have, _, err = lookUp(ctx, js, want.Name); err != nil {
			return err
		}
	}
	keepSize(&want, &have, near)
	changed := have
	var problems []string
	for _, r := range differences(&have, &want) {
		if reason := permanent(r, &have, &want); reason != "" {
			problems = append(problems, problem(r, &have, &want)+": "+reason)
			continue
		}
		report.Changed = append(report.Changed, problem(r, &have, &want))
		r.set(&changed, &want)
	}
	if len(problems) > 0 {
		return &MismatchError{Permanent: problems}
	}
	if len(differences(&have, &want)) == 0 {
		return nil
	}
	// What other properties allow no more.
	changed.DiscardNewPerSubject, changed.Duplicates = false, min(changed.Duplicates, changed.MaxAge)
	_, err = withinWindow(&changed, func(c jetstream.StreamConfig) (jetstream.Stream, error) { return js.UpdateStream(ctx, c) })
	switch {
	case isOverlap(err):
		return overlapError(ctx, js, &want, err)
	case err != nil:
		return fmt.Errorf("update stream %s: %w", want.Name, err)
	}
	return nil
}

func isOverlap(err error) bool {
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.ErrorCode == codeSubjectsOverlap
}

// overlapError names the stream whose subjects overlap with those of a stream of ours.
func overlapError(ctx context.Context, js jetstream.JetStream, want *jetstream.StreamConfig, refusal error) error {
	why, err := taken(ctx, js, want)
	if err != nil || why == "" {
		return fmt.Errorf("make stream %s for %s: %w", want.Name, strings.Join(want.Subjects, ", "), refusal)
	}
	return &MismatchError{Permanent: []string{fmt.Sprintf("stream %s: %s", want.Name, why)}}
}

// keepSize wants the size that stands where it is near the one wanted, and that is no more than near itself.
func keepSize(want, have *jetstream.StreamConfig, near bool) {
	if tenth := want.MaxBytes / 10; near && have.MaxBytes >= want.MaxBytes-tenth && have.MaxBytes <= want.MaxBytes+tenth {
		want.MaxBytes = have.MaxBytes
	}
}

// Check compares the streams of the layout with what is wanted and changes nothing. It returns a *MismatchError
// when any is missing or differs, and wraps the server's error when one cannot be asked about.
func Check(ctx context.Context, js jetstream.JetStream, layout Layout, limits Limits) (Report, error) {
	limits, err := limits.withDefaults()
	if err != nil {
		return Report{}, err
	}
	var report Report
	var mismatch MismatchError
	for _, want := range layout.streams(limits) {
		have, found, err := lookUp(ctx, js, want.Name)
		if err != nil {
			return Report{}, err
		}
		if !found {
			mismatch.Missing = append(mismatch.Missing, want.Name)
			if why, err := taken(ctx, js, &want); err == nil && why != "" {
				mismatch.Permanent = append(mismatch.Permanent, fmt.Sprintf("stream %s: %s", want.Name, why))
				continue
			}
			mismatch.Commands = append(mismatch.Commands, addCommand(&want))
			continue
		}
		report.Have = append(report.Have, have)
		keepSize(&want, &have, limits.near(layout, want.Name))
		compare(&mismatch, &have, &want)
		for _, r := range differences(&have, &want) {
			if r.soft {
				report.Lesser = append(report.Lesser, problem(r, &have, &want))
			}
		}
	}
	if len(mismatch.Lines()) > 0 {
		return report, &mismatch
	}
	return report, nil
}

func compare(mismatch *MismatchError, have, want *jetstream.StreamConfig) {
	var flags []string
	for _, r := range differences(have, want) {
		if r.soft {
			continue
		}
		text := problem(r, have, want)
		if reason := permanent(r, have, want); reason != "" {
			mismatch.Permanent = append(mismatch.Permanent, text+": "+reason)
			continue
		}
		mismatch.Problems, flags = append(mismatch.Problems, text), append(flags, r.flag(want))
	}
	if len(flags) > 0 {
		mismatch.Commands = append(mismatch.Commands, command("edit", want.Name, append(flags, "--force")))
	}
}

func lookUp(ctx context.Context, js jetstream.JetStream, name string) (jetstream.StreamConfig, bool, error) {
	s, err := js.Stream(ctx, name)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return jetstream.StreamConfig{}, false, nil
	case errors.Is(err, nats.ErrNoResponders):
		// A cluster whose servers all have none lets the request time out instead.
		return jetstream.StreamConfig{}, false, fmt.Errorf("look up stream %s: %w on this server", name, jetstream.ErrJetStreamNotEnabled)
	case err != nil:
		return jetstream.StreamConfig{}, false, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return s.CachedInfo().Config, true, nil
}

func differences(have, want *jetstream.StreamConfig) []rule {
	var diff []rule
	for _, r := range rules {
		if !r.ok(have, want) {
			diff = append(diff, r)
		}
	}
	return diff
}

func problem(r rule, have, want *jetstream.StreamConfig) string {
	return fmt.Sprintf("stream %s: %s is %s, want %s", want.Name, r.name, r.show(have), r.show(want))
}

// permanent returns why a difference is not for a program to mend, empty when it is.
func permanent(r rule, have, want *jetstream.StreamConfig) string {
	if r.set == nil {
		return "an existing stream cannot be changed so; remove it or choose another subject prefix"
	}
	if r.name != "subjects" {
		return ""
	}
	// A stream that holds other subjects is somebody else's by the same name.
	for _, s := range have.Subjects {
		if !slices.Contains(want.Subjects, s) && !allInternal(s, want.Subjects) {
			return "it holds other subjects; choose another subject prefix"
		}
	}
	return ""
}

// allInternal reports whether s stands for every internal subject of the deployment that wants
// some of them by name: a log of ours that takes more than it needs to.
func allInternal(s string, want []string) bool {
	stem, ok := strings.CutSuffix(s, ".internal.>")
	return ok && slices.ContainsFunc(want, func(w string) bool { return strings.HasPrefix(w, stem+".internal.") })
}

// addCommand returns the natscli line that makes a stream.
func addCommand(want *jetstream.StreamConfig) string {
	flags := []string{"--storage=file"}
	for _, r := range rules {
		if r.flag == nil {
			continue
		}
		if flag := r.flag(want); flag != "" {
			flags = append(flags, flag)
		}
	}
	// Without --defaults natscli asks about what the flags leave open.
	return command("add", want.Name, append(flags, "--defaults"))
}

func command(verb, stream string, flags []string) string {
	for i, f := range flags {
		if strings.ContainsAny(f, ">*") {
			flag, value, _ := strings.Cut(f, "=")
			flags[i] = flag + "='" + value + "'"
		}
	}
	return "nats stream " + verb + " " + stream + " " + strings.Join(flags, " ")
}

// Changes tells which settings of streams differ between two looks at them, a line each. A stream that is in one of
// them only is left out.
func Changes(before, after []jetstream.StreamConfig) (lines []string) {
	for _, now := range after {
		i := slices.IndexFunc(before, func(c jetstream.StreamConfig) bool { return c.Name == now.Name })
		if i < 0 {
			continue
		}
		was, is := reflect.ValueOf(before[i]), reflect.ValueOf(now)
		for f := range was.NumField() {
			field := was.Type().Field(f)
			if field.Name == "Metadata" || reflect.DeepEqual(was.Field(f).Interface(), is.Field(f).Interface()) {
				continue // the server writes into metadata itself
			}
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			lines = append(lines, fmt.Sprintf("stream %s: %s was %v, is %v", now.Name, name, was.Field(f).Interface(), is.Field(f).Interface()))
		}
	}
	return lines
}

// StoredIn fails when a message was acknowledged by another stream than its own: one of somebody else's that captures
// the subject. A header could have the server refuse that, and would be stored with each message.
func StoredIn(ack *jetstream.PubAck, stream string) error {
	if ack.Stream != stream {
		return fmt.Errorf("the message was stored in the stream %s and not in %s", ack.Stream, stream)
	}
	return nil
}

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
	// A server may not allow one that long, and says so only when it is asked for: what comes again is folded once all the
	// same. Of a copy of a log the window is of no use, whoever looks at it, and tells that it is one.
	soft(property("duplicate_window", func(c *config) *time.Duration { return &c.Duplicates },
		func(have, want time.Duration) bool { return have == copyWindow || have >= want && want != copyWindow }, valueFlag[time.Duration]("--dupe-window="))),
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
