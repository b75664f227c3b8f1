package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/legato-calls/legato/publish/parquetfile"
)

const (
	// smallRows is below what a file is small; so many small files of an hour are merged.
	smallRows  = 50_000
	smallFiles = 16
	// mergedRows bounds what is merged into one file: a merge takes a second or two, while messages wait.
	mergedRows = 200_000
	// quietFor is after what time without news the files of an hour are merged, however few they are.
	quietFor = 10 * time.Minute
	// keepReplaced is how long a file stays after its rows are in another: a query that began before may read it.
	keepReplaced = 10 * time.Minute
)

// tidy merges small files, and removes those that were replaced long ago.
func (t *Target) tidy(ctx context.Context) error {
	now := t.now()
	candidates := slices.DeleteFunc(slices.Clone(t.manifest.Files), func(f file) bool { return f.Rows >= mergedRows || t.unmergeable[f.Path] })
	if of := mergeable(candidates, now); len(of) > 0 && ctx.Err() == nil {
		if err := t.merge(of, now); err != nil {
			for _, f := range of {
				t.unmergeable[f.Path] = true
			}
			return err
		}
	}
	return t.sweep(now)
}

// mergeable decides which files are merged: those of one hour of which there are many small ones, or of which the
// newest is old. It returns nothing when no hour needs it.
func mergeable(files []file, now time.Time) []file {
	hours := make(map[string][]file)
	var order []string
	for _, f := range files {
		hour := path.Dir(f.Path) + " " + f.Columns
		if hours[hour] == nil {
			order = append(order, hour)
		}
		hours[hour] = append(hours[hour], f)
	}
	for _, hour := range order {
		of := hours[hour]
		small := slices.DeleteFunc(slices.Clone(of), func(f file) bool { return f.Rows >= smallRows })
		quiet := now.Sub(slices.MaxFunc(of, func(a, b file) int { return a.At.Compare(b.At) }).At) >= quietFor
		switch {
		case len(small) >= smallFiles:
			of = small
		case !quiet:
			continue
		}
		if of = fitting(of); len(of) > 1 {
			return of
		}
	}
	return nil
}

// fitting are the first files that together are not too large.
func fitting(files []file) (some []file) {
	var rows int64
	for _, f := range files {
		if rows+f.Rows <= mergedRows {
			some, rows = append(some, f), rows+f.Rows
		}
	}
	return some
}

// merge puts the rows of files of one hour into one.
func (t *Target) merge(files []file, now time.Time) error {
	next := t.manifest.next()
	p := &part{folder: path.Dir(files[0].Path)}
	p.file = file{Path: path.Join(p.folder, newName(next.Commit)), Kind: files[0].Kind, Columns: files[0].Columns, At: now.UTC()}
	p.temp = filepath.Join(t.dir, tempDir, path.Base(p.file.Path))
	var paths []string
	for _, f := range files {
		paths = append(paths, filepath.Join(t.dir, filepath.FromSlash(f.Path)))
		p.file.Rows += f.Rows
		next.Replaced = append(next.Replaced, replaced{f.Path, now.UTC()})
	}
	to, err := os.OpenFile(p.temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, fileMode)
	if err != nil {
		return err
	}
	rows, err := parquetfile.Merge(to, paths)
	if err == nil {
		p.file.Bytes, err = to.Seek(0, 1)
	}
	if err := errors.Join(err, to.Close()); err != nil {
		return err
	}
	if rows != p.file.Rows {
		return fmt.Errorf("%d rows became %d", p.file.Rows, rows)
	}
	next.Files = slices.DeleteFunc(next.Files, func(f file) bool {
		return slices.ContainsFunc(files, func(g file) bool { return f.Path == g.Path })
	})
	next.Files = append(next.Files, p.file)
	if err := t.commit([]*part{p}, next); err != nil {
		return err
	}
	t.manifest = next
	return nil
}

// sweep removes files that were replaced long ago, from the manifest first.
func (t *Target) sweep(now time.Time) error {
	var old []replaced
	for _, r := range t.manifest.Replaced {
		if now.Sub(r.At) >= keepReplaced {
			old = append(old, r)
		}
	}
	if len(old) == 0 {
		return nil
	}
	next := t.manifest.next()
	next.Replaced = slices.DeleteFunc(next.Replaced, func(r replaced) bool { return now.Sub(r.At) >= keepReplaced })
	if err := next.write(t.dir); err != nil {
		return fmt.Errorf("write the manifest: %w", err)
	}
	t.manifest = next
	for _, r := range old {
		if err := os.Remove(filepath.Join(t.dir, filepath.FromSlash(r.Path))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
