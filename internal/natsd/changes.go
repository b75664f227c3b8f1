package natsd

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Changes tells which settings of streams differ between two looks at them, a line each. A stream that is in one of
// them only is left out.
func Changes(before, after []jetstream.StreamConfig) (lines []string) {
	for _, now := range after {
		i := slices.IndexFunc(before, func(c jetstream.StreamConfig) bool { return c.Name == now.Name })
		if i < 0 {
			continue
		}
		was, is := reflect.ValueOf(before[i]), reflect.ValueOf(now)
		for f := range was.NumField() {
			field := was.Type().Field(f)
			if field.Name == "Metadata" || reflect.DeepEqual(was.Field(f).Interface(), is.Field(f).Interface()) {
				continue // the server writes into metadata itself
			}
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			lines = append(lines, fmt.Sprintf("stream %s: %s was %v, is %v", now.Name, name, was.Field(f).Interface(), is.Field(f).Interface()))
		}
	}
	return lines
}
