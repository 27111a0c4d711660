package configs

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"gatehouse/waf"
)

// Redacted returns the effective configuration as YAML: defaults of this package filled in, routes
// merged. Secrets are replaced; a value that was a reference is shown as the reference. Settings
// that are left to a section's own package are left out.
func (c Config) Redacted() []byte {
	out, err := yaml.MarshalWithOptions(c.redacted(), yaml.IndentSequence(true))
	if err != nil { // maps of texts, numbers and bools: it cannot fail
		return fmt.Appendf(nil, "# cannot be shown: %v\n", err)
	}
	return out
}

func (c Config) redacted() yaml.MapSlice {
	r := redactor{}
	if c.loaded != nil {
		r = redactor{c.loaded.refs, c.loaded.src.expand.scrub, c.loaded.src.has}
	}
	v, _ := r.value(reflect.ValueOf(c), "").(yaml.MapSlice)
	return v
}

// String returns what Redacted returns.
func (c Config) String() string { return string(c.Redacted()) }

// Format prints what Redacted returns, whatever the verb: a configuration never prints its secrets.
func (c Config) Format(f fmt.State, _ rune) { _, _ = f.Write(c.Redacted()) }

// MarshalYAML implements yaml.InterfaceMarshaler with what Redacted returns.
func (c Config) MarshalYAML() (any, error) { return c.redacted(), nil }

// MarshalJSON implements json.Marshaler with what Redacted returns.
func (c Config) MarshalJSON() ([]byte, error) {
	out, err := yaml.YAMLToJSON(c.Redacted())
	if err != nil {
		return nil, fmt.Errorf("marshalling the configuration: %w", err)
	}
	var compact json.RawMessage = out
	return json.Marshal(compact)
}

// A redactor turns values back into what a file would say.
type redactor struct {
	refs  map[string]string
	scrub func(string) string
	has   func(path string) bool
}

// said reports whether the file says something at path: a false that it says is not left out,
// because compat sets only what is not said.
func (r redactor) said(path string) bool { return r.has != nil && r.has(path) }

// value returns v as the file would have it, or nil where the file would leave it out.
func (r redactor) value(v reflect.Value, path string) any {
	switch x := v.Interface().(type) {
	case Matches:
		var list []any
		for _, m := range x {
			list = append(list, r.plainAll(m.yaml()))
		}
		return list
	case Require:
		return r.plainAll(x.yaml())
	case waf.Groups:
		return groupsYAML(x)
	case Size, Duration:
		if v.IsZero() {
			return nil
		}
		return fmt.Sprint(x)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return r.value(v.Elem(), path)
	case reflect.Struct:
		return r.structure(v, path)
	case reflect.Map:
		return r.mapping(v, path)
	case reflect.Slice:
		var list []any
		for i := range v.Len() {
			list = append(list, r.value(v.Index(i), fmt.Sprintf("%s[%d]", path, i)))
		}
		if list == nil {
			return nil
		}
		return list
	case reflect.String:
		return r.text(v.String(), path)
	}
	if v.IsZero() && v.Kind() != reflect.Bool {
		return nil
	}
	return v.Interface()
}

// text returns s, or the reference that it was, or the mask.
func (r redactor) text(s, path string) any {
	if ref, ok := r.refs[path]; ok {
		return ref
	}
	switch {
	case s == "":
		return nil
	case isSecretField(path) && !isFileName(path, s):
		return masked
	}
	return r.plain(s)
}

// plain returns s as the file would have it: escaped, and what came from a reference as that.
func (r redactor) plain(s string) string {
	s = strings.ReplaceAll(s, "${", "$${")
	if r.scrub != nil {
		s = r.scrub(s)
	}
	return s
}

// plainAll is plain for every text below v.
func (r redactor) plainAll(v any) any {
	switch v := v.(type) {
	case string:
		return r.plain(v)
	case []string:
		out := make([]any, len(v))
		for i, s := range v {
			out[i] = r.plain(s)
		}
		return out
	case yaml.MapSlice:
		for i := range v {
			v[i].Value = r.plainAll(v[i].Value)
		}
	}
	return v
}

func (r redactor) structure(v reflect.Value, path string) any {
	out := yaml.MapSlice{}
	for i := range v.NumField() {
		name := yamlName(v.Type().Field(i))
		if name == "" || v.Field(i).Kind() == reflect.Bool && v.Field(i).IsZero() && !r.said(join(path, name)) {
			continue
		}
		value := r.value(v.Field(i), join(path, name))
		if m, ok := value.(yaml.MapSlice); ok && len(m) == 0 {
			continue
		}
		if value != nil {
			out = append(out, yaml.MapItem{Key: name, Value: value})
		}
	}
	return out
}

func (r redactor) mapping(v reflect.Value, path string) any {
	if v.Len() == 0 {
		return nil
	}
	out := yaml.MapSlice{}
	for _, key := range slices.SortedFunc(slices.Values(v.MapKeys()), func(a, b reflect.Value) int {
		return strings.Compare(a.String(), b.String())
	}) {
		out = append(out, yaml.MapItem{Key: key.String(), Value: r.value(v.MapIndex(key), join(path, key.String()))})
	}
	return out
}

// groupsYAML returns g as the file would say it.
func groupsYAML(g waf.Groups) any {
	changes := !slices.ContainsFunc(g, func(entry string) bool { return !strings.Contains(entry, ":") })
	switch {
	case len(g) == 0:
		return nil
	case !changes && !slices.ContainsFunc(g, func(entry string) bool { return strings.Contains(entry, ":") }):
		return []string(g)
	}
	out := yaml.MapSlice{}
	for _, one := range g.Each() {
		if !changes || slices.Contains(g, one.Group+":"+one.Action) {
			out = append(out, yaml.MapItem{Key: one.Group, Value: one.Action})
		}
	}
	return out
}

// yaml returns m as the file would say it: in short where that is possible.
func (m Match) yaml() any {
	if len(m.Methods)+len(m.Headers)+len(m.Query)+len(m.Source) == 0 {
		short := m.String()
		if same, err := parseMatch(short); err == nil && same.Path == m.Path && slices.Equal(same.Hosts, m.Hosts) && !strings.Contains(short, "~") {
			return short
		}
	}
	out := yaml.MapSlice{}
	if len(m.Hosts) > 0 {
		out = append(out, yaml.MapItem{Key: "host", Value: m.Hosts})
	}
	if m.Path != "" {
		out = append(out, yaml.MapItem{Key: "path", Value: m.Path})
	}
	if len(m.Methods) > 0 {
		out = append(out, yaml.MapItem{Key: "methods", Value: m.Methods})
	}
	for _, asked := range []struct {
		key    string
		values map[string][]string
	}{{"headers", m.Headers}, {"query", m.Query}} {
		if len(asked.values) == 0 {
			continue
		}
		list := yaml.MapSlice{}
		for _, name := range keys(asked.values) {
			list = append(list, yaml.MapItem{Key: name, Value: asked.values[name]})
		}
		out = append(out, yaml.MapItem{Key: asked.key, Value: list})
	}
	if len(m.Source) > 0 {
		out = append(out, yaml.MapItem{Key: "source", Value: m.Source})
	}
	return out
}

// String writes m as "METHOD,METHOD host,host/path".
func (m Match) String() string {
	s := strings.Join(m.Hosts, ",") + m.Path
	if s == "" {
		s = "*"
	}
	if len(m.Methods) > 0 {
		s = strings.Join(m.Methods, ",") + " " + s
	}
	return s
}

// yaml returns q as the file would say it.
func (q Require) yaml() any {
	inner := append(q.conditionsYAML(), q.loginYAML()...)
	if len(q.Issuers) > 0 {
		inner = append(inner, yaml.MapItem{Key: "issuers", Value: q.Issuers})
	}
	switch {
	case q.Who == "":
		return nil
	case q.Who == RequireToken && len(inner) > 0:
		return yaml.MapSlice{{Key: RequireToken, Value: inner}}
	case q.Who == RequireSignedIn && q.OnUnauthenticated == OnUnauthenticatedDeny:
		return append(inner, yaml.MapItem{Key: "on_unauthenticated", Value: OnUnauthenticatedDeny})
	case q.Who == RequireOptional && len(inner) > 0:
		return append(inner, yaml.MapItem{Key: "on_unauthenticated", Value: OnUnauthenticatedAllow})
	case len(inner) > 0:
		return inner
	}
	return q.Who
}
