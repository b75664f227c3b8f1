package summary_test

import (
	"os/exec"
	"strings"
	"testing"
)

// Whoever imports the contract gets nothing else with it.
func TestTheContractNeedsNothingBeyondTheStandardLibrary(t *testing.T) {
	const contract = "github.com/legato-calls/legato/enrich/summary"
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", contract, contract+"/schema")
	out, err := list.Output()
	if err != nil {
		t.Fatalf("list the imports: %v", err)
	}
	found := strings.Fields(string(out))
	if len(found) != 2 {
		t.Errorf("the contract and its schemas are made of %v", found)
	}
}
