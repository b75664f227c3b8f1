package service

import (
	"runtime/debug"
)

// version is set by the linker in releases: -ldflags "-X github.com/legato-calls/legato/internal/service.version=v1.2.3".
var version = "dev"

// Release is the version of this build, as a release or "dev".
func Release() string { return version }

// Commit is the revision that the binary was built from, as far as the build knew it.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	revision, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	return revision + dirty
}
