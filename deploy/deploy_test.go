// Package deploy_test holds the files of this directory, the image and the release against the program and each
// other. Whether they are valid for the programs that read them is for those programs' validators.
package deploy_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"

	"github.com/legato-calls/legato/e2e/legatotest"
)

func TestMain(m *testing.M) { os.Exit(legatotest.Main(m)) }

func readText(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// checked is one line of legato check.
type checked struct{ Name, Verdict, Detail string }

// check runs legato check and returns its lines by name.
func check(t *testing.T, env []string, args ...string) map[string]checked {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), legatotest.Program(), append([]string{"check", "--json"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	var exit *exec.ExitError // a fault
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var report struct{ Checks []checked }
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatalf("not JSON: %v\n%s", err, out)
	}
	lines := make(map[string]checked)
	for _, c := range report.Checks {
		lines[c.Name] = c
	}
	return lines
}

// wantLine wants a line with that verdict and that text in its detail.
func wantLine(t *testing.T, lines map[string]checked, name, verdict, detail string) {
	t.Helper()
	if got := lines[name]; got.Verdict != verdict || !strings.Contains(got.Detail, detail) {
		t.Errorf("%s: got %+v, want %s with %q", name, got, verdict, detail)
	}
}

// documents decodes every document of a YAML file.
func documents[T any](t *testing.T, path string) []T {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(readText(t, path)))
	var all []T
	for {
		var one T
		err := d.Decode(&one)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, one)
	}
}

// match returns the first group of a pattern, which must occur.
func match(t *testing.T, what, text, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindStringSubmatch(text)
	if found == nil {
		t.Fatalf("%s has nothing like %s", what, pattern)
	}
	return found[1]
}

// TestDeployFilesNameOnlyVariablesThatExist reads all of them, whatever their form.
func TestDeployFilesNameOnlyVariablesThatExist(t *testing.T) {
	t.Parallel()
	help := legatotest.AllHelp(t)
	files, variables := 0, 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == ".go" {
			return err
		}
		files++
		if ext := filepath.Ext(path); ext == ".yaml" || ext == ".yml" {
			if len(documents[map[string]any](t, path)) == 0 {
				t.Errorf("%s is empty", path)
			}
		}
		for _, name := range regexp.MustCompile(`\b(?:LEGATO|TELNYX)_[A-Z_]*[A-Z]\b`).FindAllString(readText(t, path), -1) {
			variables++
			if !strings.Contains(help, "($"+name+")") {
				t.Errorf("%s names the variable %s, which no command reads", path, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 || variables < 15 {
		t.Errorf("only %d files with %d variables were read", files, variables)
	}
}

// image is what the Dockerfile says of the image.
type image struct {
	user, binary, webhooks, admin string
	stopWithin                    time.Duration
}

func theImage(t *testing.T) image {
	t.Helper()
	dockerfile := readText(t, filepath.Join("..", "Dockerfile"))
	seconds, err := strconv.Atoi(match(t, "run.go", legatotest.ReadText(t, "internal", "service", "run.go"), `stopWithin\s+= (\d+) \* time.Second`))
	if err != nil {
		t.Fatal(err)
	}
	i := image{
		user:       match(t, "the Dockerfile", dockerfile, `--chown=(\d+):\d+ `),
		binary:     match(t, "the Dockerfile", dockerfile, `ENTRYPOINT \["(.*)"\]`),
		webhooks:   match(t, "the help", legatotest.Help(t, "serve"), `--listen=":(\d+)"`),
		admin:      match(t, "the Dockerfile", dockerfile, `LEGATO_ADMIN_LISTEN=:(\d+)`),
		stopWithin: time.Duration(seconds) * time.Second,
	}
	if loader := match(t, "the Dockerfile", dockerfile, `LEGATO_LOAD_ADMIN_LISTEN=:(\d+)`); loader != i.admin {
		t.Errorf("a loader answers on port %s, and the health check asks port %s", loader, i.admin)
	}
	if want := "EXPOSE " + i.webhooks + " " + i.admin; !strings.Contains(dockerfile, want) {
		t.Errorf("the Dockerfile has no %q", want)
	}
	return i
}

type composeFile struct {
	Services map[string]struct {
		Image       string
		Build       string
		User        string
		ReadOnly    bool `yaml:"read_only"`
		Environment map[string]string
		Ports       []string
		Volumes     []string
		Tmpfs       []string
		Stop        time.Duration        `yaml:"stop_grace_period"`
		DependsOn   map[string]yaml.Node `yaml:"depends_on"`
	}
	Volumes map[string]yaml.Node
}

func TestComposeFitsTheImage(t *testing.T) {
	t.Parallel()
	image := theImage(t)
	file := documents[composeFile](t, filepath.Join("compose.yaml"))[0]
	legato := file.Services["legato"]
	if !strings.HasPrefix(legato.User, image.user+":") || !legato.ReadOnly {
		t.Errorf("it runs as %q, read-only %v; the image's user is %s", legato.User, legato.ReadOnly, image.user)
	}
	if len(legato.Tmpfs) != 1 || !strings.HasPrefix(legato.Tmpfs[0], "/tmp:size=") {
		t.Errorf("the console makes files in /tmp, and there is %v", legato.Tmpfs)
	}
	if legato.Stop <= image.stopWithin {
		t.Errorf("it is killed after %v, a stop may take %v", legato.Stop, image.stopWithin)
	}
	if want := []string{image.webhooks + ":" + image.webhooks, "127.0.0.1:" + image.admin + ":" + image.admin}; !slices.Equal(legato.Ports, want) {
		t.Errorf("ports (-want +got):\n%s", cmp.Diff(want, legato.Ports))
	}
	if _, err := os.Stat(filepath.Join(legato.Build, "Dockerfile")); err != nil {
		t.Error(err)
	}
	var urls []string
	for name, s := range file.Services {
		if !strings.HasPrefix(name, "nats-") {
			continue
		}
		urls = append(urls, "nats://"+name+":4222")
		if _, waits := legato.DependsOn[name]; !waits {
			t.Errorf("legato does not wait for %s", name)
		}
		// The server that is tested with.
		version := match(t, "go.mod", readText(t, filepath.Join("..", "go.mod")), `github.com/nats-io/nats-server/v2 v(\S+)`)
		if s.Image != "nats:"+version+"-alpine" {
			t.Errorf("%s runs %s, go.mod has %s", name, s.Image, version)
		}
	}
	slices.Sort(urls)
	if got := legato.Environment["LEGATO_NATS_URL"]; got != strings.Join(urls, ",") || legato.Environment["LEGATO_NATS_REPLICAS"] != strconv.Itoa(len(urls)) {
		t.Errorf("legato goes to %s, there are %v", got, urls)
	}
	for name, s := range file.Services {
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if strings.HasPrefix(from, ".") {
				if _, err := os.Stat(filepath.Join(from)); err != nil {
					t.Errorf("%s mounts what does not exist: %v", name, err)
				}
			} else if _, known := file.Volumes[from]; !known {
				t.Errorf("%s mounts the volume %s, which is not declared", name, from)
			}
		}
	}
	takesEnvironment(t, legato.Environment)
	scrape := readText(t, filepath.Join("prometheus", "prometheus.yml"))
	if port := match(t, "prometheus.yml", scrape, `names: \[legato\]\s+type: A\s+port: (\d+)`); port != image.admin {
		t.Errorf("Prometheus asks port %s, metrics are on %s", port, image.admin)
	}
}

// takesEnvironment runs check with the variables, all but those that lead
// elsewhere: it fails to start when it cannot read one, and says when they do not go together.
func takesEnvironment(t *testing.T, variables map[string]string) {
	t.Helper()
	var env []string
	for name, value := range variables {
		env = append(env, name+"="+value)
	}
	env = append(env, "LEGATO_NATS_URL=nats://127.0.0.1:1", "TELNYX_BASE_URL=http://127.0.0.1:1", "LEGATO_LISTEN=127.0.0.1:0", "LEGATO_ADMIN_LISTEN=127.0.0.1:0")
	lines := check(t, env)
	wantLine(t, lines, "settings", "ok", "")
}

func TestNATSTakesItsConfiguration(t *testing.T) {
	t.Parallel()
	path, err := legatotest.NATSServer()
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, "--config="+filepath.Join("nats.conf"), "-t").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	// What a server has acknowledged outlives its power.
	if text := readText(t, "nats.conf"); !regexp.MustCompile(`(?m)^ *sync_interval: always$`).MatchString(text) {
		t.Error("it does not sync what it acknowledges")
	}
}

func TestSystemdUnitFitsTheProgram(t *testing.T) {
	t.Parallel()
	image := theImage(t)
	text := readText(t, filepath.Join("systemd", "legato.service"))
	unit := map[string][]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			unit[name] = append(unit[name], value)
		}
	}
	command := strings.Fields(unit["ExecStart"][0])
	if command[0] != image.binary {
		t.Errorf("it runs %s, the image has %s", command[0], image.binary)
	}
	if err := exec.CommandContext(t.Context(), legatotest.Program(), append(command[1:], "--help")...).Run(); err != nil {
		t.Errorf("it runs %q: %v", command, err)
	}
	if stop, err := strconv.Atoi(unit["TimeoutStopSec"][0]); err != nil || time.Duration(stop)*time.Second <= image.stopWithin {
		t.Errorf("it is killed after %d s, a stop may take %v", stop, image.stopWithin)
	}
	// The files are as the service would see them.
	dir := t.TempDir()
	for _, credential := range unit["LoadCredential"] {
		name, _, _ := strings.Cut(credential, ":")
		content := map[string]string{"telnyx-public-key": legatotest.ValidPublicKey(), "telnyx-api-key": "KEY-of-a-file"}[name]
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{}
	for _, assignment := range unit["Environment"] {
		name, value, _ := strings.Cut(assignment, "=")
		env[name] = strings.NewReplacer("%d", dir, "%S", dir).Replace(value)
	}
	lines := []string{"TELNYX_BASE_URL=http://127.0.0.1:1"}
	for name, value := range env {
		lines = append(lines, name+"="+value)
	}
	found := check(t, lines, "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0", "--nats-listen=")
	wantLine(t, found, "public key", "ok", "")
	wantLine(t, found, "API key", "warning", "connection") // read, and nobody to ask
	wantLine(t, found, "data directory", "ok", filepath.Join(dir, unit["StateDirectory"][0]))
}

// TestReleaseFitsTheProgram holds what a release builds against the program and the image.
func TestReleaseFitsTheProgram(t *testing.T) {
	t.Parallel()
	root := ".."
	release := documents[struct {
		Builds []struct {
			Main, Binary string
			Ldflags      []string
		}
		Archives []struct{ Files []string }
	}](t, filepath.Join(root, ".goreleaser.yaml"))[0]
	if len(release.Builds) != 1 {
		t.Fatalf("%d builds", len(release.Builds))
	}
	for _, pattern := range release.Archives[0].Files {
		if found, err := filepath.Glob(filepath.Join(root, pattern)); err != nil || len(found) == 0 {
			t.Errorf("an archive has %s, and nothing is there: %v", pattern, err)
		}
	}
	b := release.Builds[0]
	if _, err := os.Stat(filepath.Join(root, b.Main, "main.go")); err != nil {
		t.Error(err)
	}
	if b.Binary != filepath.Base(theImage(t).binary) {
		t.Errorf("it builds %s", b.Binary)
	}
	variable := match(t, ".goreleaser.yaml", strings.Join(b.Ldflags, " "), `-X ([\w./-]+\.version)=`)
	if text := readText(t, filepath.Join(root, "Dockerfile")); !strings.Contains(text, "-X "+variable+"=") {
		t.Errorf("it sets %s, the Dockerfile another", variable)
	}
	for _, name := range []string{"ci.yaml", "release.yaml"} {
		path := filepath.Join(root, ".github", "workflows", name)
		if documents[map[string]any](t, path); !strings.Contains(readText(t, path), "run: .ci/run\n") {
			t.Errorf("%s does not run what CI runs", name)
		}
	}
}

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
	mainGo, err := os.ReadFile(filepath.Join("..", "internal", "service", "run.go"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(dockerfile, "-X github.com/legato-calls/legato/internal/service.version=") || !strings.Contains(string(mainGo), "var version =") {
		t.Error("the Dockerfile sets a version that the program does not have")
	}
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

type object struct {
	Kind     string
	Metadata struct {
		Name   string
		Labels map[string]string
	}
	Spec struct {
		Replicas int
		Selector yaml.Node
		Template struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				Grace           int  `yaml:"terminationGracePeriodSeconds"`
				ServiceLinks    bool `yaml:"enableServiceLinks"`
				SecurityContext struct {
					RunAsNonRoot bool   `yaml:"runAsNonRoot"`
					RunAsUser    string `yaml:"runAsUser"`
				} `yaml:"securityContext"`
				Containers []struct {
					Args  []string
					Env   []struct{ Name, Value string }
					Ports []struct {
						Name string
						Port string `yaml:"containerPort"`
					}
					Liveness  probe `yaml:"livenessProbe"`
					Readiness probe `yaml:"readinessProbe"`
					Lifecycle struct {
						PreStop struct{ Sleep struct{ Seconds int } } `yaml:"preStop"`
					}
					SecurityContext struct {
						ReadOnly bool `yaml:"readOnlyRootFilesystem"`
					} `yaml:"securityContext"`
					Mounts []struct {
						Name string
						Path string `yaml:"mountPath"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name     string
					EmptyDir struct {
						SizeLimit string `yaml:"sizeLimit"`
					} `yaml:"emptyDir"`
				}
			}
		}
		Ports []struct {
			Name       string
			TargetPort string `yaml:"targetPort"`
		}
		Endpoints   []struct{ Port, Path string }
		PodSelector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		} `yaml:"podSelector"`
		Ingress []struct{ Ports []struct{ Port string } }
	}
}

// selects reads the labels of a selector, which a Service writes without matchLabels.
func (o object) selects(t *testing.T) map[string]string {
	t.Helper()
	if o.Kind == "NetworkPolicy" {
		return o.Spec.PodSelector.MatchLabels
	}
	var labels map[string]string
	var wrapped struct {
		MatchLabels map[string]string `yaml:"matchLabels"`
	}
	if err := o.Spec.Selector.Decode(&wrapped); err == nil && wrapped.MatchLabels != nil {
		return wrapped.MatchLabels
	}
	if err := o.Spec.Selector.Decode(&labels); err != nil {
		t.Fatal(err)
	}
	return labels
}

// subset reports whether labels has every wanted one.
func subset(want, labels map[string]string) bool {
	for name, value := range want {
		if labels[name] != value {
			return false
		}
	}
	return len(want) > 0
}

// kubernetes reads every object, and holds the kustomization against the files.
func kubernetes(t *testing.T) map[string]object {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("kubernetes", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]object)
	var names []string
	for _, path := range files {
		if filepath.Base(path) == "kustomization.yaml" {
			continue
		}
		names = append(names, filepath.Base(path))
		for _, o := range documents[object](t, path) {
			found[o.Kind+"/"+o.Metadata.Name] = o
		}
	}
	k := documents[struct {
		Resources []string
		Images    []struct{ Name string }
	}](t, filepath.Join("kubernetes", "kustomization.yaml"))[0]
	slices.Sort(k.Resources)
	if diff := cmp.Diff(names, k.Resources); diff != "" {
		t.Errorf("kustomization.yaml (-files +resources):\n%s", diff)
	}
	if text := readText(t, filepath.Join("kubernetes", "deployment.yaml")); len(k.Images) != 1 || !strings.Contains(text, "image: "+k.Images[0].Name+" ") {
		t.Errorf("kustomization.yaml names the images %v, the deployment another", k.Images)
	}
	return found
}

func TestKubernetesFitsTheImage(t *testing.T) {
	t.Parallel()
	image := theImage(t)
	objects := kubernetes(t)
	d := objects["Deployment/legato"].Spec
	pod := d.Template.Spec
	if d.Replicas < 2 || len(pod.Containers) != 1 || pod.ServiceLinks {
		t.Fatalf("%d replicas of %d containers, service links %v", d.Replicas, len(pod.Containers), pod.ServiceLinks)
	}
	c := pod.Containers[0]
	if pod.SecurityContext.RunAsUser != image.user || !pod.SecurityContext.RunAsNonRoot || !c.SecurityContext.ReadOnly {
		t.Errorf("it runs as %s, the image's user is %s", pod.SecurityContext.RunAsUser, image.user)
	}
	if grace := time.Duration(pod.Grace-c.Lifecycle.PreStop.Sleep.Seconds) * time.Second; grace <= image.stopWithin {
		t.Errorf("%v are left for a stop, which may take %v", grace, image.stopWithin)
	}
	if err := exec.CommandContext(t.Context(), legatotest.Program(), append(c.Args, "--help")...).Run(); err != nil {
		t.Errorf("it runs %q: %v", c.Args, err)
	}
	ports := map[string]string{}
	for _, p := range c.Ports {
		ports[p.Name] = p.Port
	}
	if diff := cmp.Diff(map[string]string{"webhooks": image.webhooks, "admin": image.admin}, ports); diff != "" {
		t.Errorf("ports (-image +deployment):\n%s", diff)
	}
	env := map[string]string{}
	for _, e := range c.Env {
		env[e.Name] = e.Value
	}
	if env["LEGATO_LISTEN"] != ":"+image.webhooks || env["LEGATO_ADMIN_LISTEN"] != ":"+image.admin {
		t.Errorf("it listens on %s and %s", env["LEGATO_LISTEN"], env["LEGATO_ADMIN_LISTEN"])
	}
	for name, value := range env {
		if strings.HasSuffix(name, "_FILE") && !strings.HasPrefix(value, c.Mounts[0].Path+"/") {
			t.Errorf("%s is %s, which is in no volume", name, value)
		}
	}
	if len(pod.Volumes) != 2 || len(c.Mounts) != 2 || pod.Volumes[0].Name != c.Mounts[0].Name || pod.Volumes[1].Name != c.Mounts[1].Name {
		t.Fatalf("it mounts %v of %v", c.Mounts, pod.Volumes)
	}
	if tmp := pod.Volumes[1]; c.Mounts[1].Path != "/tmp" || tmp.EmptyDir.SizeLimit == "" {
		t.Errorf("the console makes files in /tmp, and there is %v of %v", c.Mounts[1], tmp)
	}
	takesEnvironment(t, env)

	// Each of the others is about these pods and these ports.
	for _, name := range []string{"Service/legato", "Service/legato-admin", "PodDisruptionBudget/legato", "NetworkPolicy/legato", "Deployment/legato"} {
		if want := objects[name].selects(t); !subset(want, d.Template.Metadata.Labels) {
			t.Errorf("%s selects %v, the pods have %v", name, want, d.Template.Metadata.Labels)
		}
	}
	monitor, admin := objects["ServiceMonitor/legato"], objects["Service/legato-admin"]
	if want := monitor.selects(t); !subset(want, admin.Metadata.Labels) || subset(want, objects["Service/legato"].Metadata.Labels) {
		t.Errorf("the ServiceMonitor selects %v", want)
	}
	used := map[string]string{
		"the Service of webhooks": objects["Service/legato"].Spec.Ports[0].TargetPort,
		"the Service of metrics":  admin.Spec.Ports[0].TargetPort,
		"the ServiceMonitor":      monitor.Spec.Endpoints[0].Port,
		"the liveness probe":      c.Liveness.HTTPGet.Port,
		"the readiness probe":     c.Readiness.HTTPGet.Port,
	}
	for i, rule := range objects["NetworkPolicy/legato"].Spec.Ingress {
		used[fmt.Sprintf("rule %d of the NetworkPolicy", i+1)] = rule.Ports[0].Port
	}
	for what, port := range used {
		if ports[port] == "" {
			t.Errorf("%s names the port %q, which the pod does not have", what, port)
		}
	}
	answers(t, c.Liveness.HTTPGet.Path, c.Readiness.HTTPGet.Path, monitor.Spec.Endpoints[0].Path)
}

// answers asks a ready service for each path.
func answers(t *testing.T, paths ...string) {
	t.Helper()
	s := legatotest.Serve(t, legatotest.NewTelnyx(t).Env(), legatotest.EmbeddedFlags(t.TempDir())...)
	for _, path := range paths {
		response, err := http.Get(s.Admin + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Errorf("%q answers %d", path, response.StatusCode)
		}
	}
}
