package service

import (
	"context"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// LogSettings say how to log.
type LogSettings struct {
	LogLevel  string `default:"info" enum:"debug,info,warn,error" env:"LEGATO_LOG_LEVEL" help:"debug, info, warn or error."`
	LogFormat string `default:"auto" enum:"auto,text,json" env:"LEGATO_LOG_FORMAT" help:"text, json, or auto: short lines on a terminal, else json. NO_COLOR takes the colours away."`
}

// Logger returns a logger that writes to w as the settings say.
func (s LogSettings) Logger(w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		level = slog.LevelInfo // kong has refused everything else
	}
	terminal := IsTerminal(w)
	switch {
	case s.LogFormat == "json" || s.LogFormat == "auto" && !terminal:
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	case s.LogFormat == "text":
		return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(short{tint.NewTextHandler(w, &tint.Options{
		Level: level, TimeFormat: "15:04:05.000", NoColor: os.Getenv("NO_COLOR") != "",
	})})
}

// IsTerminal reports whether somebody reads w on a terminal.
func IsTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// short is for a person who watches a terminal: the line of a summary leaves out what explain tells. Warnings and
// errors stay whole, and so does every line that goes to a file or a collector.
type short struct{ slog.Handler }

// left are the keys that a short line leaves out.
var left = []string{
	"component", "kind", "connection_id", "why", "ended_by", "events", "recordings", "attempts", "answered_legs", "hangup_to_published_ms",
}

// Handle implements slog.Handler.
func (s short) Handle(ctx context.Context, r slog.Record) error {
	if r.Level != slog.LevelInfo {
		return s.Handler.Handle(ctx, r)
	}
	line := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	ofLeg := false
	r.Attrs(func(a slog.Attr) bool { ofLeg = ofLeg || a.Key == "call_leg_id"; return true })
	r.Attrs(func(a slog.Attr) bool {
		empty := a.Value.String() == "" || a.Value.String() == "[]"
		if !empty && !slices.Contains(left, a.Key) && (!ofLeg || a.Key != "call_session_id") {
			line.AddAttrs(a)
		}
		return true
	})
	return s.Handler.Handle(ctx, line)
}

// WithAttrs implements slog.Handler.
func (s short) WithAttrs(attrs []slog.Attr) slog.Handler {
	attrs = slices.DeleteFunc(slices.Clone(attrs), func(a slog.Attr) bool { return slices.Contains(left, a.Key) })
	if len(attrs) == 0 {
		return s
	}
	return short{s.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (s short) WithGroup(name string) slog.Handler { return short{s.Handler.WithGroup(name)} }
