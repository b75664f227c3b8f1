package docs_test

import (
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/legato-calls/legato"

// picture are the floors of the names in docs/architecture.md.
func picture(t *testing.T) map[string]int {
	t.Helper()
	_, drawn, _ := strings.Cut(readText(t, "architecture.md"), "```text\nfloor\n")
	drawn, _, _ = strings.Cut(drawn, "```")
	floors := make(map[string]int)
	for line := range strings.Lines(drawn) {
		words := strings.Fields(line)
		floor, err := strconv.Atoi(words[0])
		if err != nil {
			t.Fatalf("a line of the picture has no floor: %q", line)
		}
		for _, name := range words[2:] { // after the floor's own name
			if _, err := os.Stat(filepath.Join(root, name)); err != nil {
				t.Errorf("the picture shows what does not exist: %v", err)
			}
			floors[name] = floor
		}
	}
	if len(floors) < 10 {
		t.Fatalf("the picture shows only %v", floors)
	}
	return floors
}

// listed is a package with its imports, tests left out: they wire rooms together.
type listed struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) (all []listed) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// within reports whether a package is that of a name, or in a folder of it.
func within(path, name string) bool { return path == name || strings.HasPrefix(path, name+"/") }

// nameOf is the longest name of the picture that a package is within.
func nameOf(floors map[string]int, path string) (name string) {
	for n := range floors {
		if within(path, n) && len(n) > len(name) {
			name = n
		}
	}
	return name
}

// walls are pairs of packages within one name of which the first does not import the second.
var walls = [][2]string{
	{"ingest", "ingest/journal"},
	{"ingest", "ingest/journal/stream"},
	{"ingest", "ingest/journal/disk"},
	{"ingest/telnyx", "ingest/journal"},
	{"ingest/telnyx", "ingest/journal/stream"},
	{"ingest/telnyx", "ingest/journal/disk"},
	{"ingest/telnyx", "ingest"},
	{"ingest/journal", "ingest/telnyx"},
	{"ingest/journal", "ingest"},
	{"ingest/journal/stream", "ingest/telnyx"},
	{"ingest/journal/stream", "ingest"},
	{"ingest/journal/stream", "ingest/journal/disk"},
	{"ingest/journal/disk", "ingest/journal/stream"},
	{"ingest/journal/disk", "ingest/telnyx"},
	{"ingest/journal/disk", "ingest"},
	{"enrich/session", "enrich/summary"},
}

// standardOnly are the nouns that everybody may import.
var standardOnly = []string{"internal/call", "enrich/summary"}

// TestArrowsLeadDown holds the imports of every package against the picture.
func TestArrowsLeadDown(t *testing.T) {
	t.Parallel()
	floors := picture(t)
	for _, p := range packages(t) {
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		room := nameOf(floors, from)
		if room == "" {
			t.Errorf("the picture has no place for %s", from)
			continue
		}
		var arrows []string
		for _, path := range p.Imports {
			to, own := strings.CutPrefix(path, module+"/")
			if !own {
				if slices.Contains(standardOnly, from) && strings.Contains(strings.Split(path, "/")[0], ".") {
					t.Errorf("%s imports %s, and is to need the standard library only", from, path)
				}
				if floors[room] < 5 && (within(path, "go.opentelemetry.io/otel/sdk") || within(path, "go.opentelemetry.io/otel/exporters")) {
					t.Errorf("%s imports %s: only the wiring knows how traces leave", from, path)
				}
				continue
			}
			arrows = append(arrows, to)
			if other := nameOf(floors, to); other != room && floors[other] >= floors[room] {
				t.Errorf("%s (%s, floor %d) imports %s (%s, floor %d)", from, room, floors[room], to, other, floors[other])
			}
			if slices.Contains(walls, [2]string{from, to}) {
				t.Errorf("%s imports %s", from, to)
			}
		}
		t.Logf("%d %s → %s", floors[room], from, strings.Join(arrows, " "))
	}
}

// TestEveryRoomIsDescribed holds the table of rooms against the tree.
func TestEveryRoomIsDescribed(t *testing.T) {
	t.Parallel()
	page, floors := readText(t, "architecture.md"), picture(t)
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		// Folders deeper down are their room's business.
		if strings.Count(name, "/") <= 1 && floors[nameOf(floors, name)] < 6 && !strings.Contains(page, "\n| `"+name+"` |") {
			t.Errorf("%s has no row", name)
		}
	}
}

// A step of a walk begins with the function that it is about: package.Function or package.Type.Method.
var (
	stepOfWalk = regexp.MustCompile("(?m)^(\\d+)\\. `([\\w/]+)\\.(\\w+(?:\\.\\w+)?)`")
	named      = regexp.MustCompile("`((?:cmd|internal|ingest|enrich|publish)[\\w/]*)\\.(\\w+(?:\\.\\w+)?)`")
)

// TestWalksNameFunctionsThatExist holds the walks against the code, and their length against what one can keep in mind.
func TestWalksNameFunctionsThatExist(t *testing.T) {
	t.Parallel()
	walks := strings.Split(readText(t, "architecture.md"), "\n## Walk ")[1:]
	if len(walks) != 3 {
		t.Fatalf("there are %d walks", len(walks))
	}
	for _, walk := range walks {
		title, _, _ := strings.Cut(walk, "\n")
		steps := len(regexp.MustCompile(`(?m)^\d+\. `).FindAllString(walk, -1))
		if steps >= 15 || steps < 5 {
			t.Errorf("walk %s has %d steps", title, steps)
		}
		if n := len(stepOfWalk.FindAllString(walk, -1)); n != steps {
			t.Errorf("walk %s: %d of %d steps begin with a function", title, n, steps)
		}
		for _, name := range named.FindAllStringSubmatch(walk, -1) {
			if pkg, function := name[1], name[2]; !functions(t, filepath.Join(root, pkg))[function] {
				t.Errorf("walk %s names %s.%s, which does not exist", title, pkg, function)
			}
		}
	}
}

// functions are the functions and methods of a package, as "Function" and "Type.Method".
func functions(t *testing.T, dir string) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := f.Name.Name
			if f.Recv != nil {
				receiver := f.Recv.List[0].Type
				if star, ok := receiver.(*ast.StarExpr); ok {
					receiver = star.X
				}
				if id, ok := receiver.(*ast.Ident); ok {
					name = id.Name + "." + name
				}
			}
			found[name] = true
		}
	}
	return found
}
