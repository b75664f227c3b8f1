package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/legato-calls/legato/e2e/legatotest"
)

// TestDockerfileNamesOnlyWhatExists checks what can be checked without building
// the image: every path that it copies or builds, every variable that it sets,
// and every command that it runs.
func TestDockerfileNamesOnlyWhatExists(t *testing.T) {
	t.Parallel()
	root := ".."
	data, err := os.ReadFile(filepath.Join(root, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	dockerfile := string(data)
	for _, path := range []string{"go.mod", "go.sum", "./cmd/legato"} {
		if !strings.Contains(dockerfile, path) {
			t.Errorf("the Dockerfile does not use %s", path)
		}
		if _, err := os.Stat(filepath.Join(root, path)); err != nil {
			t.Error(err)
		}
	}
	help := legatotest.AllHelp(t)
	for _, env := range regexp.MustCompile(`LEGATO_[A-Z_]+[A-Z]`).FindAllString(dockerfile, -1) {
		if !strings.Contains(help, "$"+env) {
			t.Errorf("the Dockerfile names the variable %s, which no command reads", env)
		}
	}
	for _, command := range regexp.MustCompile(`CMD \[(.*)\]`).FindAllStringSubmatch(dockerfile, -1) {
		words := strings.Split(strings.ReplaceAll(command[1], `"`, ""), ", ")
		if err := exec.CommandContext(t.Context(), legatotest.Program(), words[len(words)-1], "--help").Run(); err != nil {
			t.Errorf("the Dockerfile runs %q: %v", words, err)
		}
	}
	// The version is set in a variable that exists.
	mainGo, err := os.ReadFile(filepath.Join("..", "internal", "service", "build.go"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(dockerfile, "-X github.com/legato-calls/legato/internal/service.version=") || !strings.Contains(string(mainGo), "var version =") {
		t.Error("the Dockerfile sets a version that the program does not have")
	}
}
