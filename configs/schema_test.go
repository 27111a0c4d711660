package configs

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/kaptinlin/jsonschema"

	"gatehouse/authn"
	"gatehouse/authn/cognitoapi"
	"gatehouse/headers"
	"gatehouse/internal/awslog"
	"gatehouse/proxy/certs"
	"gatehouse/proxy/clientcert"
	"gatehouse/proxy/compress"
	"gatehouse/proxy/origin"
	"gatehouse/proxy/ratelimit"
	"gatehouse/proxy/upstream"
	"gatehouse/waf"
	"gatehouse/waf/acl"
)

func TestSchemaIsThatOfTheStructs(t *testing.T) {
	t.Parallel()
	want := generateSchema(t)
	if *update {
		if err := os.WriteFile("schema.json", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), string(want)); diff != "" {
		t.Errorf("schema.json is not what the structs say; run go test ./configs -update (-file +structs):\n%s", diff)
	}
}

// schemaProblems judges a file by the schema alone.
func schemaProblems(t *testing.T, text string) []string {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(generateSchema(t))
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	top := (&tree{report: func(_ pos, path, msg string) { problems = append(problems, path+": "+msg) }}).parse(text)
	if top == nil || len(problems) > 0 {
		return problems
	}
	result := schema.Validate(plain(t, top))
	if !result.IsValid() {
		problems = append(problems, "the schema refuses it")
	}
	return problems
}

// plain turns a node into what encoding/json would have made of it.
func plain(t *testing.T, n *node) any {
	switch n.kind {
	case kindMap:
		m := map[string]any{}
		for _, p := range n.pairs {
			m[p.key] = plain(t, p.value)
		}
		return m
	case kindList:
		list := make([]any, len(n.items))
		for i, item := range n.items {
			list[i] = plain(t, item)
		}
		return list
	case kindText:
		return n.text
	case kindBool:
		return strings.EqualFold(n.text, "true")
	case kindNumber:
		f := 0.0
		for _, r := range n.text {
			if r < '0' || r > '9' {
				t.Fatalf("not a number for this test: %s", n.text)
			}
			f = f*10 + float64(r-'0')
		}
		return f
	}
	return nil
}

// TestSchemaAgreesWithLoad holds the two against each other: what Load takes the schema takes, and
// files of wrong shapes are refused by both.
func TestSchemaAgreesWithLoad(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/good_*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		a := parseArchive(data)
		if got := schemaProblems(t, a.files["gatehouse.yaml"]); got != nil {
			t.Errorf("%s: %s", file, got)
		}
		effective, _, _ := strings.Cut(a.files["want"], "# lint:")
		if got := schemaProblems(t, effective); got != nil {
			t.Errorf("the effective configuration of %s: %s", file, got)
		}
	}
	for _, file := range []string{"bad_everything", "bad_match", "bad_require", "bad_listen", "bad_overlay", "bad_yaml_null", "bad_yaml_text"} {
		data, err := os.ReadFile("testdata/" + file + ".txtar")
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(parseArchive(data).files["gatehouse.yaml"], "connections: -1", "connections: x")
		if got := schemaProblems(t, text); got == nil {
			t.Errorf("the schema takes %s", file)
		}
	}
}

// TestAcceptedValuesAreThoseOfTheirOwners holds the table of accepted values against Validate of the
// packages that own the fields: each value passes, another does not.
func TestAcceptedValuesAreThoseOfTheirOwners(t *testing.T) {
	t.Parallel()
	for _, section := range []any{
		&waf.Config{}, &headers.SecurityConfig{}, &headers.AssertionConfig{}, &ratelimit.Config{}, &upstream.Config{},
		&acl.Config{}, &acl.RouteConfig{}, &certs.Config{}, &clientcert.Config{}, &compress.Config{}, &awslog.Config{}, &authn.OIDCConfig{}, &authn.SessionConfig{}, &cognitoapi.AdminConfig{}, &origin.S3Config{},
	} {
		v := reflect.ValueOf(section).Elem()
		for key, i := range fieldNames(v.Type()) {
			for _, value := range accepted(v.Type(), key) {
				v.Field(i).SetString(value)
				if msg := complaint(v.Interface(), key); msg != "" {
					t.Errorf("%s.%s: %q is accepted here and refused there: %s", v.Type(), key, value, msg)
				}
			}
			if accepted(v.Type(), key) != nil {
				v.Field(i).SetString("no-such-value")
				if complaint(v.Interface(), key) == "" {
					t.Errorf("%s.%s: any value passes Validate, but only %v are accepted here", v.Type(), key, accepted(v.Type(), key))
				}
			}
			v.Field(i).SetZero()
		}
	}
}

// complaint returns what the owner of section says about key, or "".
func complaint(section any, key string) string {
	if c, ok := section.(authn.OIDCConfig); ok {
		section, key = authn.Config{OIDC: &c}, "oidc."+key
	}
	found := ""
	section.(validator).Validate(func(field, msg string) {
		if field == key {
			found = msg
		}
	})
	return found
}
