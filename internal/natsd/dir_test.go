package natsd_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/internal/natsd"
)

func TestInspectDirTellsWhoHasItAndLeavesItAsItIs(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "yet")
	look := func() natsd.DirState {
		t.Helper()
		state, err := natsd.InspectDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		if state.Free <= 0 {
			t.Errorf("%d bytes free", state.Free)
		}
		return state
	}
	if state := look(); state.Exists || state.InUse || state.Used != 0 {
		t.Errorf("a directory that is not there: %+v", state)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it made the directory: %v", err)
	}
	s, err := natsd.Start(natsd.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if state := look(); !state.Exists || !state.InUse {
		t.Errorf("a directory that a server holds: %+v", state)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	if state := look(); !state.Exists || state.InUse {
		t.Errorf("a directory that nobody holds: %+v", state)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".probe") {
			t.Errorf("it left %s", f.Name())
		}
	}
}

func TestInspectDirRefusesWhatIsNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if state, err := natsd.InspectDir(dir); err == nil {
			t.Errorf("%s: %+v", dir, state)
		}
	}
}
