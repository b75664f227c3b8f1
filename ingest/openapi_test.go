package ingest_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/google/go-cmp/cmp"

	"github.com/legato-calls/legato/ingest"
	"github.com/legato-calls/legato/ingest/telnyx"
)

// openAPI is the document of the listener, once loaded with its references.
var openAPI = sync.OnceValues(func() (*openapi3.T, error) {
	return openapi3.NewLoader().LoadFromFile("../docs/openapi.yaml")
})

func loadOpenAPI(t *testing.T) *openapi3.T {
	t.Helper()
	doc, err := openAPI()
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// documentedResponses are the responses of all operations by status.
func documentedResponses(t *testing.T) map[int]*openapi3.Response {
	t.Helper()
	all := make(map[int]*openapi3.Response)
	for path, item := range loadOpenAPI(t).Paths.Map() {
		for method, operation := range item.Operations() {
			if path == "/" {
				continue // no problem and no body
			}
			for status, response := range operation.Responses.Map() {
				n, err := strconv.Atoi(status)
				if err != nil || all[n] != nil {
					t.Errorf("%s %s: the status %q is none, or documented twice", method, path, status)
				}
				all[n] = response.Value
			}
		}
	}
	return all
}

func TestOpenAPIDocumentIsValid(t *testing.T) {
	if err := loadOpenAPI(t).Validate(t.Context(), openapi3.IsOpenAPI31OrLater()); err != nil {
		t.Error(err)
	}
}

func TestOpenAPIDocumentKnowsTheAnswersOfTheCode(t *testing.T) {
	got := make(map[string]int)
	for status, response := range documentedResponses(t) {
		problem := response.Content.Get("application/problem+json")
		if problem == nil {
			continue
		}
		for _, reason := range problem.Schema.Value.Properties["reason"].Value.Enum {
			got[reason.(string)] = status
		}
		if retried := response.Headers["Retry-After"] != nil; retried != (status == 503) {
			t.Errorf("%d: Retry-After documented: %v", status, retried)
		}
		if allows := response.Headers["Allow"] != nil; allows != (status == 405) {
			t.Errorf("%d: Allow documented: %v", status, allows)
		}
	}
	if diff := cmp.Diff(ingest.Refusals(), got); diff != "" {
		t.Errorf("reasons and statuses (-code +document):\n%s", diff)
	}

	acceptance := loadOpenAPI(t).Components.Schemas["Acceptance"].Value
	if diff := cmp.Diff(ingest.Acceptances(), words(acceptance.Properties["status"])); diff != "" {
		t.Errorf("acceptances (-code +document):\n%s", diff)
	}
	var reasons []string
	for _, r := range telnyx.Reasons() {
		reasons = append(reasons, string(r))
	}
	if diff := cmp.Diff(reasons, words(acceptance.Properties["reason"])); diff != "" {
		t.Errorf("reasons for parking (-code +document):\n%s", diff)
	}
}

func words(s *openapi3.SchemaRef) []string {
	var all []string
	for _, v := range s.Value.Enum {
		all = append(all, v.(string))
	}
	return all
}

func TestOpenAPIDocumentKnowsPathAndHeaders(t *testing.T) {
	doc := loadOpenAPI(t)
	paths := slices.Sorted(maps.Keys(doc.Paths.Map()))
	if diff := cmp.Diff([]string{"/", ingest.Path, "/{other}"}, paths); diff != "" {
		t.Fatalf("paths (-code +document):\n%s", diff)
	}
	operation := doc.Paths.Value(ingest.Path).Post
	var headers []string
	for _, p := range operation.Parameters {
		headers = append(headers, strings.ToLower(p.Value.Name))
	}
	for _, s := range doc.Components.SecuritySchemes {
		headers = append(headers, strings.ToLower(s.Value.Name))
	}
	want := []string{strings.ToLower(telnyx.HeaderTimestamp), strings.ToLower(telnyx.HeaderSignatureV1), strings.ToLower(telnyx.HeaderSignature)}
	if diff := cmp.Diff(want, headers); diff != "" {
		t.Errorf("headers (-code +document):\n%s", diff)
	}
}

// documented fails the test when an answer is not what the document says of its status.
func documented(t *testing.T, a answer) {
	t.Helper()
	if a.Status == http.StatusRequestHeaderFieldsTooLarge {
		return // the HTTP server's own answer, before any of ours
	}
	response := documentedResponses(t)[a.Status]
	if response == nil {
		t.Errorf("the status %d is not documented", a.Status)
		return
	}
	media := response.Content[a.Type]
	if media == nil {
		t.Errorf("%d: the content type %q is not documented", a.Status, a.Type)
		return
	}
	if a.Body == "" {
		return // to HEAD; what else is expected is compared where it was asked for
	}
	if err := asDocumented(media.Schema.Value, a.Body); err != nil {
		t.Errorf("%d: the body is not as documented: %v", a.Status, err)
	}
}

func asDocumented(s *openapi3.Schema, body string) error {
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		return err
	}
	return s.VisitJSON(v, openapi3.EnableJSONSchema2020())
}

func TestOpenAPIDocumentTellsAnswersApart(t *testing.T) {
	responses := documentedResponses(t)
	for name, c := range map[string]struct {
		status      int
		media, body string
	}{
		"a reason of another status": {503, "application/problem+json", `{"title":"x","status":503,"detail":"x","reason":"no_signature"}`},
		"another status":             {503, "application/problem+json", `{"title":"x","status":401,"detail":"x","reason":"clock"}`},
		"no reason":                  {503, "application/problem+json", `{"title":"x","status":503,"detail":"x"}`},
		"parked without a reason":    {200, "application/json", `{"status":"parked"}`},
		"stored with a reason":       {200, "application/json", `{"status":"stored","reason":"no_type"}`},
		"a word of its own":          {200, "application/json", `{"status":"fine"}`},
	} {
		if err := asDocumented(responses[c.status].Content[c.media].Schema.Value, c.body); err == nil {
			t.Errorf("%s is as documented", name)
		}
	}
}
