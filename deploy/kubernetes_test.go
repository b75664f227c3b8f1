package deploy_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/legato-calls/legato/e2e/legatotest"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
)

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
				Volumes []struct{ Name string }
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
		if strings.HasSuffix(name, "_FILE") && (len(c.Mounts) != 1 || !strings.HasPrefix(value, c.Mounts[0].Path+"/")) {
			t.Errorf("%s is %s, which is in no volume", name, value)
		}
	}
	if len(pod.Volumes) != 1 || pod.Volumes[0].Name != c.Mounts[0].Name {
		t.Errorf("it mounts %v of %v", c.Mounts, pod.Volumes)
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
