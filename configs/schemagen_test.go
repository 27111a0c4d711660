package configs

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gatehouse/authn"
	"gatehouse/headers"
	"gatehouse/internal/awslog"
	"gatehouse/proxy/compress"
	"gatehouse/proxy/origin"
	"gatehouse/proxy/upstream"
	"gatehouse/waf"
	"gatehouse/waf/acl"
	"gatehouse/waf/ipset"
)

// The JSON Schema of the file is generated from the structs that Load fills: names and types by
// reflection, enumerations from accepted, descriptions from the doc comments. Only the forms of
// unions.go are written out here. It describes shapes; what values mean is Load's to judge.

// An object is a JSON object that keeps its order.
type object []member

type member struct {
	key   string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		value, err := marshal(m.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", m.key, value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSpace(b.Bytes()), err
}

// A generator makes schemas of types. Structs become entries of defs.
type generator struct {
	docs map[string]string // "waf.Config.Mode" → comment
	defs map[string]object
	bare []string // fields without a comment
}

func generateSchema(t *testing.T) []byte {
	t.Helper()
	g := &generator{docs: docComments(t), defs: map[string]object{}}
	top := g.structure(reflect.TypeFor[Config](), "listen", "routes")
	for _, field := range g.bare {
		t.Errorf("%s has no comment, so the schema does not explain its key", field)
	}
	schema := object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"title", "Gatehouse configuration"},
	}
	schema = append(schema, top...)
	defs := object{}
	for _, name := range slices.Sorted(keysOf(g.defs)) {
		defs = append(defs, member{name, g.defs[name]})
	}
	schema = append(schema, member{"$defs", defs})
	compact, err := marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := json.Indent(&out, compact, "", "  "); err != nil {
		t.Fatal(err)
	}
	out.WriteByte('\n')
	return out.Bytes()
}

func keysOf[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// ref returns a reference to the definition name, made by build when it is not there yet.
func (g *generator) ref(name string, build func() object) object {
	if _, ok := g.defs[name]; !ok {
		g.defs[name] = nil
		g.defs[name] = build()
	}
	return object{{"$ref", "#/$defs/" + name}}
}

func typeName(t reflect.Type) string {
	return path.Base(t.PkgPath()) + "." + t.Name()
}

// required returns the keys without which a mapping of t is a Problem.
func required(t reflect.Type) []string {
	switch typeName(t) {
	case "configs.Listen":
		return []string{"https"}
	case "configs.Route":
		return []string{"match", "require"}
	case "ratelimit.Config":
		return []string{"rate"}
	case "origin.S3Config":
		return []string{"bucket", "region"}
	case "origin.RedirectConfig":
		return []string{"to"}
	case "proxy.Replacement":
		return []string{"regex"}
	case "upstream.Config":
		return []string{"endpoints"}
	case "certs.File":
		return []string{"cert", "key"}
	case "authn.CognitoConfig":
		return []string{"user_pool", "domain", "client_id"}
	case "cache.DiskConfig":
		return []string{"directory", "size"}
	case "acl.Rule":
		return []string{"name", "action"}
	case "acl.Body":
		return []string{"content"}
	case "acl.Source":
		return []string{"in"}
	case "authn.TokenIssuerConfig":
		return []string{"issuer"}
	case "authn.ClaimConfig":
		return []string{"name", "values"}
	case "authn.OIDCConfig":
		return []string{"issuer", "client_id"}
	}
	return nil
}

func (g *generator) structure(t reflect.Type, required ...string) object {
	properties := object{}
	for i := range t.NumField() {
		f := t.Field(i)
		name := yamlName(f)
		if name == "" {
			continue
		}
		s := g.schema(f.Type)
		if t == reflect.TypeFor[waf.Config]() && name == "presets" {
			s = object{{"type", "array"}, {"items", object{{"enum", waf.PresetNames()}}}}
		}
		if want := accepted(t, name); want != nil {
			s = orReference(object{{"enum", want}})
		}
		if doc := g.docs[typeName(t)+"."+f.Name]; doc != "" {
			s = append(object{{"description", doc}}, s...)
		} else {
			g.bare = append(g.bare, typeName(t)+"."+f.Name)
		}
		properties = append(properties, member{name, s})
	}
	out := object{{"type", "object"}, {"additionalProperties", false}, {"properties", properties}}
	if len(required) > 0 {
		out = append(out, member{"required", required})
	}
	return out
}

// orReference also takes a text that holds a reference, whatever it may resolve to.
func orReference(s object) object {
	return object{{"anyOf", []any{s, object{{"type", "string"}, {"pattern", `\$\{.+\}`}}}}}
}

func (g *generator) schema(t reflect.Type) object {
	switch reflect.Zero(t).Interface().(type) {
	case Matches:
		return g.ref("match", g.match)
	case Require:
		return g.ref("require", g.require)
	case Names:
		return g.ref("textOrTexts", textOrTexts)
	case Size:
		return object{{"type", []string{"string", "integer"}}, {"pattern", `^[0-9]+ *([KMG]?i?B)?$|\$\{.+\}`}, {"minimum", 1}}
	case Duration:
		return object{{"type", "string"}, {"pattern", `^([0-9.]+(ns|us|µs|ms|s|m|h))+$|\$\{.+\}`}}
	case upstream.Config:
		texts := object{{"type", "array"}, {"items", object{{"type", "string"}}}, {"minItems", 1}}
		return object{{"anyOf", []any{object{{"type", "string"}}, texts, g.section(t)}}}
	case origin.Config, origin.RedirectConfig:
		return object{{"anyOf", []any{object{{"type", "string"}}, g.section(t)}}}
	case waf.Config:
		return object{{"anyOf", []any{orReference(object{{"enum", accepted(t, "mode")}}), g.section(t)}}}
	case waf.Groups:
		names := object{{"enum", waf.GroupNames()}}
		actions := object{}
		for _, name := range waf.GroupNames() {
			about, ok := groupTexts()[name]
			if !ok {
				panic("nothing explains the group " + name)
			}
			actions = append(actions, described(about, orReference(object{{"enum", waf.Actions()}}), name))
		}
		return object{{"anyOf", []any{
			names,
			object{{"type", "array"}, {"items", names}, {"minItems", 1}},
			object{{"type", "object"}, {"additionalProperties", false}, {"properties", actions}, {"minProperties", 1}},
		}}}
	case acl.RouteConfig:
		return object{{"anyOf", []any{orReference(object{{"enum", accepted(t, "mode")}}), g.section(t)}}}
	case acl.Texts:
		return g.ref("textsOrNumbers", textsOrNumbers)
	case acl.Match, acl.Source, ipset.SetConfig:
		return object{{"anyOf", []any{g.ref("textsOrNumbers", textsOrNumbers), g.section(t)}}}
	case compress.Config:
		return object{{"anyOf", []any{orReference(object{{"enum", accepted(t, "mode")}}), g.section(t)}}}
	case awslog.Config:
		return object{{"anyOf", []any{orReference(object{{"enum", accepted(t, "format")}}), g.section(t)}}}
	case headers.SecurityConfig:
		return object{{"anyOf", []any{orReference(object{{"enum", accepted(t, "preset")}}), g.section(t)}}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.schema(t.Elem())
	case reflect.Struct:
		return g.section(t)
	case reflect.Slice:
		return object{{"type", "array"}, {"items", g.schema(t.Elem())}}
	case reflect.Map:
		m := object{{"type", "object"}, {"additionalProperties", g.schema(t.Elem())}}
		if t.Elem().Kind() == reflect.Struct {
			m = append(m, member{"propertyNames", object{{"pattern", "^[A-Za-z0-9_-]{1,64}$"}}})
		}
		return m
	case reflect.String:
		return object{{"type", "string"}}
	case reflect.Bool:
		return object{{"type", "boolean"}}
	case reflect.Int:
		return object{{"type", "integer"}, {"minimum", 0}}
	}
	panic("no schema for " + t.String())
}

func (g *generator) section(t reflect.Type) object {
	return g.ref(typeName(t), func() object { return g.structure(t, required(t)...) })
}

// described is a property whose form is written out here, with what it means.
func described(doc string, s object, key string) member {
	return member{key, append(object{{"description", doc}}, s...)}
}

func textOrTexts() object {
	text := object{{"type", "string"}}
	return object{{"anyOf", []any{text, object{{"type", "array"}, {"items", text}, {"minItems", 1}}}}}
}

func textsOrNumbers() object {
	text := object{{"type", []string{"string", "integer"}}}
	return object{{"anyOf", []any{text, object{{"type", "array"}, {"items", text}}}}}
}

func (g *generator) match() object {
	texts := g.ref("textOrTexts", textOrTexts)
	value := object{{"type", []string{"string", "number", "boolean"}}}
	values := object{{"anyOf", []any{value, object{{"type", "array"}, {"items", value}, {"minItems", 1}}}}}
	asked := object{{"type", "object"}, {"additionalProperties", values}, {"minProperties", 1}}
	one := object{{"anyOf", []any{
		object{{"type", "string"}, {"description", `"host/path", "host", "/path/*" or "*"`}},
		object{{"type", "object"}, {"additionalProperties", false}, {"properties", object{
			described("Host names, exact or *.example.com, with * for any characters and ? for one, or regular expressions behind a ~; default any.", texts, "host"),
			described("A path, exact as /a, /a/* for /a and everything below, with * for any characters and ? for one, or a regular expression behind a ~; default all. Case counts.", texts, "path"),
			described("Methods such as GET, which covers HEAD; default all.", texts, "methods"),
			described("Headers by name: each has one of its values, which may have * and ?, or be regular expressions behind a ~. Case does not count.", asked, "headers"),
			described("Parameters of the query by name: each has one of its values. Names and values may have * and ?; case does not count.", asked, "query"),
			described("Addresses and CIDRs, in one of which the client's address is, as trusted proxies report it.", texts, "source"),
		}}},
	}}}
	return object{{"anyOf", append(one[0].value.([]any), object{{"type", "array"}, {"items", one}, {"minItems", 1}})}}
}

func (g *generator) require() object {
	texts := g.ref("textOrTexts", textOrTexts)
	conditions := func(more ...member) object {
		value := object{{"type", []string{"string", "number", "boolean"}}}
		values := object{{"anyOf", []any{value, object{{"type", "array"}, {"items", value}, {"minItems", 1}}}}}
		return append(object{
			described("In one of these groups; else 403.", texts, "groups"),
			described("Each of these claims has one of these values, or has it among its members; else 403. They are those that the application gets, or those of the access token.",
				object{{"type", "object"}, {"additionalProperties", values}, {"minProperties", 1}}, "claims"),
			described(`An e-mail address that the provider has verified, at one of these domains; "*.example.com" is those below it; else 403.`, texts, "email_domains"),
			described("A CEL expression of type bool over identity and request that is true; else 403.", object{{"type", "string"}, {"maxLength", 4096}}, "expr"),
		}, more...)
	}
	return object{{"anyOf", []any{
		orReference(object{{"enum", []string{RequireNothing, RequireOptional, RequireSignedIn, RequireToken}}}),
		object{{"type", "object"}, {"additionalProperties", false}, {"minProperties", 1}, {"properties", conditions(
			described("Who vouches for the person: providers of the login, by name. Default: those for the host.", texts, "provider"),
			described("The person proved who they are in one of these ways, which the provider is asked for and must confirm.", texts, "acr"),
			described("How long ago they proved it at most; they are asked again after it.", g.schema(reflect.TypeFor[Duration]()), "max_age"),
			described("What logins that the route begins ask the provider to show.", orReference(object{{"enum", authn.Prompts()}}), "prompt"),
			described("What happens without a session, as ALB has it.", orReference(object{{"enum", onUnauthenticated()}}), "on_unauthenticated"),
		)}},
		object{{"type", "object"}, {"additionalProperties", false}, {"required", []string{"token"}}, {"properties", object{
			described("A bearer access token.", object{{"type", "object"}, {"additionalProperties", false}, {"properties", conditions(
				described("With all of these scopes; else 403.", texts, "scopes"),
				described("From one of these: names of tokens.issuers, and login for the login's own. Default: everybody's.", texts, "issuers"),
				described("From one of these providers of the login, by name. Default: those for the host.", texts, "provider"),
				described("Issued for a sign-in of one of these kinds; else 401 as RFC 9470 has it.", texts, "acr"),
				described("Issued for a sign-in that is no longer ago; else 401 as RFC 9470 has it.", g.schema(reflect.TypeFor[Duration]()), "max_age"),
			)}}, "token"),
		}}},
	}}}
}

// docComments returns the comments on the fields of every struct that the file is made of.
func docComments(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	for _, dir := range []string{".", "../authn", "../authn/cognitoapi", "../headers", "../internal/awslog", "../internal/fleet", "../waf", "../waf/acl", "../waf/challenge", "../waf/ipset", "../proxy", "../proxy/cache", "../proxy/certs", "../proxy/clientcert", "../proxy/compress", "../proxy/origin", "../proxy/ratelimit", "../proxy/upstream"} {
		files, err := filepath.Glob(dir + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			if !strings.HasSuffix(name, "_test.go") {
				addDocComments(t, docs, name)
			}
		}
	}
	return docs
}

func addDocComments(t *testing.T, docs map[string]string, name string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		structure, ok := spec.Type.(*ast.StructType)
		if !ok {
			return false
		}
		for _, f := range structure.Fields.List {
			text := strings.Join(strings.Fields(f.Doc.Text()+" "+f.Comment.Text()), " ")
			for _, name := range f.Names {
				docs[file.Name.Name+"."+spec.Name.Name+"."+name.Name] = text
			}
		}
		return false
	})
}

// groupTexts explains the groups of rules to people in editors, as docs/waf.md does.
func groupTexts() map[string]string {
	return map[string]string{
		"core":              "Scanners, protocol abuse, path traversal, remote files, XSS, session fixation, cloud metadata, server-side templates.",
		"known-bad-inputs":  "Java and Node exploits, Log4Shell, React2Shell, SSRF, header injection, paths for breaking in.",
		"sqli":              "SQL injection.",
		"linux":             "Unix files and commands.",
		"posix":             "Unix commands.",
		"windows":           "cmd and PowerShell.",
		"php":               "PHP code, functions, wrappers.",
		"wordpress":         "Paths and commands of WordPress that are not for visitors. Off unless named.",
		"admin-protection":  "Paths that are for operators. Off unless named.",
		"size-restrictions": "A query over 2048 bytes, cookies over 10240, a path over 1024. Off unless named.",
		"custom":            "What the rules of your own in rules_dir look for.",
		"leakages":          "Errors, stack traces, source code and web shells in answers. Off unless named.",
	}
}
