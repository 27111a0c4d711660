package devpool

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
)

// An object is a JSON object whose members keep their order. Cognito promises none, but what looks
// like the original is easier to compare with it.
type object []member

type member struct {
	name  string
	value any
}

// with returns o with a member set: in place when it is there, else at the end. A nil value takes
// the member away.
func (o object) with(name string, value any) object {
	i := slices.IndexFunc(o, func(m member) bool { return m.name == name })
	switch {
	case i < 0 && value == nil:
		return o
	case i < 0:
		return append(slices.Clip(o), member{name, value})
	case value == nil:
		return slices.Concat(o[:i], o[i+1:])
	}
	o = slices.Clone(o)
	o[i].value = value
	return o
}

// override applies with for each entry, in the order of the names.
func (o object) override(values map[string]any) object {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		o = o.with(name, values[name])
	}
	return o
}

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(m.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// writeJSON answers v. Nothing the pool says may be cached but its keys and its discovery document,
// and for a development pool not even those: RotateKeys must be seen at once.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json;charset=UTF-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
