package call_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/internal/call"
)

func TestEveryEventTypeHasOneRow(t *testing.T) {
	rows := call.EventTypes()
	seen := make(map[string]bool)
	for _, row := range rows {
		if seen[row.Name] || !call.ValidType(row.Name) {
			t.Errorf("%q stands twice, or can stand in no subject", row.Name)
		}
		seen[row.Name] = true
		if diff := cmp.Diff(row, call.EventTypeOf(row.Name)); diff != "" {
			t.Errorf("%s is found as another (-want +got):\n%s", row.Name, diff)
		}
	}
	rows[0].Name = "changed"
	if call.EventTypes()[0].Name == "changed" {
		t.Error("who is given the rows can change them")
	}
	if diff := cmp.Diff(call.EventType{Name: "call.new"}, call.EventTypeOf("call.new")); diff != "" {
		t.Errorf("of a type that is not named (-want +got):\n%s", diff)
	}
}
