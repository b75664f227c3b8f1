package console

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/internal/story"
)

// view is what a page is made of.
type view struct {
	// template draws it. Title is the page's, Place the entry of the menu that it belongs to.
	template, Title, Place string
	// Status is the answer's, 0: 200.
	Status int
	// Data is the template's own.
	Data any

	// What every page has.
	User      string
	MayReveal bool
	Fragment  bool
}

// problem is an answer that is no page: its text is for the reader.
type problem struct {
	status int
	text   string
}

// Error implements error.
func (p problem) Error() string { return p.text }

// redirect leads somewhere else.
type redirect string

// Error implements error.
func (r redirect) Error() string { return "see " + string(r) }

// page makes a handler of what makes a view. Not more than maxReads are at it at once.
func (c *Console) page(show func(r *http.Request) (view, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), readWithin)
		defer cancel()
		select {
		case c.reads <- struct{}{}:
			defer func() { <-c.reads }()
		case <-ctx.Done():
			http.Error(w, "Too many pages are wanted at once.", http.StatusServiceUnavailable)
			return
		}
		c.index.look()
		r = r.WithContext(ctx)
		v, err := show(r)
		if to, ok := errors.AsType[redirect](err); ok {
			if r.Header.Get("HX-Request") == "true" { // else a part of a page would become the other page
				w.Header().Set("HX-Redirect", string(to))
				return
			}
			http.Redirect(w, r, string(to), http.StatusSeeOther)
			return
		}
		if err != nil {
			v = c.failed(r, err)
		}
		c.write(w, r, v)
	}
}

// failed is the page of an error.
func (c *Console) failed(r *http.Request, err error) view {
	p, ok := errors.AsType[problem](err)
	switch {
	case ok:
	case errors.Is(r.Context().Err(), context.Canceled): // the reader is gone
		p = problem{http.StatusServiceUnavailable, "Nobody waits for this page."}
	case errors.Is(err, context.DeadlineExceeded):
		p = problem{http.StatusServiceUnavailable, "NATS did not answer in time. Try again in a moment."}
	default:
		c.log.LogAttrs(r.Context(), slog.LevelWarn, "a page of the console could not be made",
			slog.String("page", r.Pattern), slog.String("error", err.Error()))
		p = problem{http.StatusServiceUnavailable, "What this page shows could not be read. The log of the service says why."}
	}
	return view{template: "problem", Title: http.StatusText(p.status), Status: p.status, Data: p.text}
}

// write draws a page whole before its first byte goes out, so that what fails is no half page.
func (c *Console) write(w http.ResponseWriter, r *http.Request, v view) {
	v.User, v.Fragment = userOf(r), r.Header.Get("HX-Request") == "true"
	v.MayReveal = c.cfg.mayReveal(v.User)
	name := "page"
	if v.Fragment {
		name = "body"
	}
	var b bytes.Buffer
	if err := c.pages[v.template].ExecuteTemplate(&b, name, v); err != nil {
		c.log.LogAttrs(r.Context(), slog.LevelError, "a page of the console could not be drawn",
			slog.String("page", r.Pattern), slog.String("error", err.Error()))
		http.Error(w, "This page could not be drawn.", http.StatusInternalServerError)
		return
	}
	// The place among those that are being made is given back after it: a slow reader must not keep it.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(streamWrite))
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(cmp.Or(v.Status, http.StatusOK))
	_, _ = w.Write(b.Bytes()) // a reader that is gone misses it
}

const (
	// Whatever is drawn for those who only look on is drawn in parts of about so many bytes, with a pause after each:
	// drawing a list takes milliseconds, and a webhook that comes meanwhile would wait for a processor.
	drawnPart  = 4 << 10
	drawnPause = time.Millisecond
)

// calmly takes what is drawn.
type calmly struct {
	bytes.Buffer
	part int
}

// Write implements io.Writer.
func (b *calmly) Write(p []byte) (int, error) {
	if b.part += len(p); b.part > drawnPart {
		b.part = 0
		time.Sleep(drawnPause)
	}
	return b.Buffer.Write(p)
}

// draw draws a part of a page for those who look on.
func (c *Console) draw(page, part string, data any) ([]byte, error) {
	var b calmly
	err := c.pages[page].ExecuteTemplate(&b, part, data)
	return b.Bytes(), err
}

// asset serves a file that pages are made with. They are the program's, and nobody's secret.
func (c *Console) asset(w http.ResponseWriter, r *http.Request) {
	name := path.Base(r.URL.Path)
	data, err := files.ReadFile("assets/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", cmp.Or(mime.TypeByExtension(path.Ext(name)), "text/plain; charset=utf-8"))
	w.Header().Set("Cache-Control", "private, max-age=3600")
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(data))
}

// parsePages reads the templates: one for each page, in which it is the body of the layout.
func parsePages() (map[string]*template.Template, error) {
	all, err := template.New("").Funcs(functions).ParseFS(files, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("read the pages: %w", err)
	}
	pages := make(map[string]*template.Template)
	for _, t := range all.Templates() {
		name, ok := strings.CutSuffix(t.Name(), ".html")
		if !ok || name == "layout" {
			continue
		}
		of, err := all.Clone()
		if err == nil {
			_, err = of.New("body").Parse(`{{template "` + t.Name() + `" .}}`)
		}
		if err != nil {
			return nil, fmt.Errorf("read the page %s: %w", name, err)
		}
		pages[name] = of
	}
	return pages, nil
}

// functions are what templates may call.
var functions = template.FuncMap{
	"clock":     func(t time.Time) string { return t.UTC().Format("15:04:05.000") },
	"stamp":     func(t time.Time) string { return t.UTC().Format(time.DateTime) },
	"iso":       func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
	"known":     func(t *summary.Time) time.Time { return t.Known() },
	"gap":       story.Gap,
	"seconds":   story.Lasting,
	"ago":       func(t time.Time) string { return story.Lasted(max(time.Since(t), 0)) },
	"lasted":    story.Lasted,
	"until":     func(t time.Time) string { return story.Lasted(max(time.Until(t), 0)) },
	"legName":   story.Name,
	"join":      strings.Join,
	"plural":    story.Count,
	"short":     shortened,
	"menu":      func() []place { return menu },
	"percent":   func(v *float64) string { return figure(v, "%.1f %%") },
	"float":     func(v *float64) string { return figure(v, "%.1f s") },
	"percentOf": func(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) },
	"unix":      func(at int64) string { return time.Unix(at, 0).UTC().Format("2006-01-02 15:04") },
}

// figure says a number that may not be known.
func figure(v *float64, format string) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf(format, *v)
}

// shortened is the beginning of an id.
func shortened(id string) string {
	if len(id) <= 14 {
		return id
	}
	return id[:13] + "…"
}

// place is an entry of the menu.
type place struct{ Name, Path string }

var menu = []place{
	{"Last calls", "/"},
	{"Live legs", "/live"},
	{"Find", "/find"},
	{"Outcomes", "/outcomes"},
	{"Webhooks", "/webhooks"},
	{"Forwarding", "/forward"},
	{"Parked", "/parked"},
	{"Health", "/health"},
}
