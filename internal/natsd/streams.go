package natsd

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

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
	// Problems are what differs, a line each.
	Problems []string
	// Missing are the names of the streams that do not exist.
	Missing []string
	// Permanent are those of the problems that only a person can mend.
	Permanent []string
	// Commands are the lines of the nats command-line tool that would put it right. Empty where none can.
	Commands []string
}

// Error lists the problems and the commands.
func (e *MismatchError) Error() string {
	text := "streams are not as wanted:\n  " + strings.Join(e.Problems, "\n  ")
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
		return &MismatchError{Problems: problems, Permanent: problems}
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
	problem := fmt.Sprintf("stream %s: %s", want.Name, why)
	return &MismatchError{Problems: []string{problem}, Permanent: []string{problem}}
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
			mismatch.Problems = append(mismatch.Problems, fmt.Sprintf("stream %s does not exist", want.Name))
			mismatch.Missing = append(mismatch.Missing, want.Name)
			if why, err := taken(ctx, js, &want); err == nil && why != "" {
				problem := fmt.Sprintf("stream %s: %s", want.Name, why)
				mismatch.Problems, mismatch.Permanent = append(mismatch.Problems, problem), append(mismatch.Permanent, problem)
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
	if len(mismatch.Problems) > 0 {
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
			text += ": " + reason
			mismatch.Permanent = append(mismatch.Permanent, text)
		} else {
			flags = append(flags, r.flag(want))
		}
		mismatch.Problems = append(mismatch.Problems, text)
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
