package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/legato-calls/legato/e2e/legatotest"

	"golang.org/x/tools/txtar"
)

// TestReadmeNamesOnlyWhatExists holds the README against the command line and the
// tree. Package summary/schema holds it against the published fields.
func TestReadmeNamesOnlyWhatExists(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
	data, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	readme := string(data)
	help := helpTexts(t)

	for _, flag := range regexp.MustCompile("(?:^|[^`\\w-])--?([a-z][a-z-]+)|`--([a-z][a-z-]+)").FindAllString(readme, -1) {
		flag = flag[strings.Index(flag, "-"):]
		if !strings.HasPrefix(flag, "--") {
			continue
		}
		if !strings.Contains(help, flag+"=") && !strings.Contains(help, flag+" ") && !strings.Contains(help, flag+"\n") {
			t.Errorf("the README names the flag %s, which no command has", flag)
		}
	}
	for _, env := range regexp.MustCompile(`(?:LEGATO|TELNYX)_[A-Z_]+[A-Z]`).FindAllString(readme, -1) {
		if !strings.Contains(help, "$"+env) {
			t.Errorf("the README names the variable %s, which no command reads", env)
		}
	}
	// And the other way: what serve can be told is in the README.
	for _, env := range regexp.MustCompile(`\$((?:LEGATO|TELNYX)_[A-Z_]+[A-Z])`).FindAllStringSubmatch(help, -1) {
		if !strings.Contains(readme, env[1]) {
			t.Errorf("the README does not name the variable %s", env[1])
		}
	}
	for _, path := range regexp.MustCompile(`(?m)(?:^|[\s`+"`"+`(])((?:cmd|ingest|enrich|publish|testdata|docs|deploy|\.ci)(?:/[\w.]+)*)`).FindAllStringSubmatch(readme, -1) {
		if _, err := os.Stat(filepath.Join(root, strings.TrimRight(path[1], "."))); err != nil {
			t.Errorf("the README names the path %s, which does not exist", path[1])
		}
	}
}

// helpTexts is the help of all commands, and of the program that measures.
func helpTexts(t *testing.T) string {
	t.Helper()
	var all bytes.Buffer
	for _, command := range []string{
		"serve", "demo", "check", "simulate", "tail", "export", "explain", "parked list", "parked show", "parked retry", "health", "version",
	} {
		out, err := exec.CommandContext(t.Context(), legatotest.Program(), append(strings.Fields(command), "--help")...).Output()
		if err != nil {
			t.Fatalf("legato %s --help: %v", command, err)
		}
		all.Write(out)
	}
	bench, err := exec.CommandContext(t.Context(), "go", "run", "../legato-bench", "--help").Output()
	if err != nil {
		t.Fatalf("legato-bench --help: %v", err)
	}
	return all.String() + string(bench)
}

// TestDockerfileNamesOnlyWhatExists checks what can be checked without building
// the image: every path that it copies or builds, every variable that it sets,
// and every command that it runs.
func TestDockerfileNamesOnlyWhatExists(t *testing.T) {
	t.Parallel()
	root := filepath.Join("..", "..")
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
	help := helpTexts(t)
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
	mainGo, err := os.ReadFile(filepath.Join("..", "..", "internal", "service", "build.go"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(dockerfile, "-X github.com/legato-calls/legato/internal/service.version=") || !strings.Contains(string(mainGo), "var version =") {
		t.Error("the Dockerfile sets a version that the program does not have")
	}
}

// TestReadmeShowsASummaryOfAFlow holds the README's example against the leg
// that the flow it names must end in.
func TestReadmeShowsASummaryOfAFlow(t *testing.T) {
	root := filepath.Join("..", "..")
	data, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "```json\n")
	example, _, ok := strings.Cut(rest, "```")
	flow := regexp.MustCompile(`testdata/flows/\w+\.txtar`).FindString(string(data))
	if !ok || flow == "" {
		t.Fatal("the README shows no summary of a flow")
	}
	var shown map[string]any
	if err := json.Unmarshal([]byte(example), &shown); err != nil {
		t.Fatal(err)
	}
	// A flow writes these two down for each message, not in the last leg.
	delete(shown, "revision")
	delete(shown, "reasons")
	archive, err := txtar.ParseFile(filepath.Join(root, flow))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range archive.Files {
		if file.Name != fmt.Sprint("want/leg ", shown["call_leg_id"]) {
			continue
		}
		var want map[string]any
		if err := json.Unmarshal(file.Data, &want); err != nil {
			t.Fatal(err)
		}
		for path, is := range leaves("", shown) {
			if was := leaves("", want)[path]; is != was {
				t.Errorf("the README shows %s as %v, the flow as %v", path, is, was)
			}
		}
		return
	}
	t.Fatalf("%s has no leg %v", flow, shown["call_leg_id"])
}

// leaves are the texts, numbers and booleans in a JSON value by their place.
func leaves(at string, value any) map[string]any {
	out := map[string]any{}
	switch value := value.(type) {
	case map[string]any:
		for key, v := range value {
			maps.Copy(out, leaves(at+"/"+key, v))
		}
	case []any:
		for i, v := range value {
			maps.Copy(out, leaves(fmt.Sprint(at, "/", i), v))
		}
	default:
		out[at] = value
	}
	return out
}
