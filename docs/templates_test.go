package docs_test

import (
	"path/filepath"
	"testing"

	"go.yaml.in/yaml/v4"
)

// TestIssueFormsAreForms holds them to what GitHub wants: it shows a form with a fault to nobody.
func TestIssueFormsAreForms(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(root, ".github", "ISSUE_TEMPLATE", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("there are %d forms: %v", len(files), err)
	}
	for _, file := range files {
		var form struct {
			Name, Description string
			Body              []struct {
				Type, ID   string
				Attributes struct{ Label, Value string }
			}
		}
		if err := yaml.Unmarshal([]byte(readText(t, file)), &form); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if form.Name == "" || form.Description == "" || len(form.Body) == 0 {
			t.Errorf("%s lacks name, description or body", file)
		}
		seen := make(map[string]bool)
		for i, field := range form.Body {
			if field.Type == "markdown" && field.Attributes.Value != "" {
				continue
			}
			if field.Attributes.Label == "" || field.ID == "" || seen[field.ID] {
				t.Errorf("%s: field %d has no label, or no id of its own", file, i+1)
			}
			seen[field.ID] = true
		}
	}
}
