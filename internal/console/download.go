package console

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/legato-calls/legato/enrich/summary"
	"github.com/legato-calls/legato/publish/export"
)

// downloadWithin bounds the making of a file, and downloadWrite its sending. downloadSince is how far back one goes where
// no time is asked for.
const (
	downloadSince  = 24 * time.Hour
	downloadWithin = 2 * time.Minute
	downloadWrite  = 5 * time.Minute
)

// downloadBytes bounds the summaries of a file. They lie in the temporary directory together with the file that is made of them, in
// which a comma-separated one takes up to twice as much. A test lowers it.
var downloadBytes int64 = 256 << 20

// download sends what is filtered as a file, as export writes it. It has numbers and names in it, so it is for those
// who may see them, and is logged once it is there. One is made at a time.
func (c *Console) download(w http.ResponseWriter, r *http.Request) {
	if err := c.sendFile(w, r); err != nil {
		c.write(w, r, c.failed(r, err))
	}
}

func (c *Console) sendFile(w http.ResponseWriter, r *http.Request) error {
	which, since, err := readForm(r)
	if err != nil {
		return err
	}
	format, level := export.Format(r.PostFormValue("format")), r.PostFormValue("level")
	if level != summary.KindLeg && level != summary.KindSession || format != export.NDJSON && format != export.CSV && format != export.Parquet {
		return problem{http.StatusBadRequest, "There is no such file: choose legs or sessions, and a format."}
	}
	if r.PostFormValue("reveal") == "" || !c.cfg.mayReveal(userOf(r)) {
		return problem{http.StatusForbidden, "A file is not masked, so it is for those who may see what is: --console-reveal names them."}
	}
	select {
	case c.files <- struct{}{}:
		defer func() { <-c.files }()
	default:
		return problem{http.StatusServiceUnavailable, "Another file is being made. Try again when it is there."}
	}
	if which.Since.IsZero() {
		which.Since = time.Now().Add(-downloadSince)
	}
	dir, err := os.MkdirTemp("", "legato-console-")
	if err != nil {
		return fmt.Errorf("make a directory for a file: %w", err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithTimeout(r.Context(), downloadWithin)
	defer cancel()
	var size int64
	plan := export.Plan{
		Level: level, Format: format, Output: filepath.Join(dir, "calls."+string(format)), QuoteFormulas: true,
		Since: export.Bound{At: which.Since}, Where: func(body []byte) bool {
			if !which.keeps(body) {
				return false
			}
			if size += int64(len(body)); size > downloadBytes {
				cancel()
			}
			return size <= downloadBytes
		},
	}
	_, err = export.Run(ctx, c.cfg.JetStream, c.cfg.Layout, plan, nil)
	if size > downloadBytes {
		return problem{http.StatusRequestEntityTooLarge, "The file would be too large: choose less, as a shorter time, or use legato export."}
	}
	if err != nil {
		return err
	}
	file, err := os.Open(plan.Output)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := c.revealed(r, "a file of calls", slog.String("level", level), slog.String("since", since)); err != nil {
		return err
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(downloadWrite)); err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", fmt.Sprintf(`attachment; filename="legato-%ss.%s"`, level, format))
	http.ServeContent(w, r, "", time.Time{}, file)
	return nil
}

// keeps reports whether a body is of what is filtered; what legs say against themselves counts for legs only.
func (f filter) keeps(body []byte) bool {
	row := readRow(0, body)
	f.Since = time.Time{} // export has seen to it
	return f.wants(&row, time.Now())
}
