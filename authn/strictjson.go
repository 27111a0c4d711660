package authn

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"
)

// maxDepth bounds nesting in tokens and in what the provider answers.
const maxDepth = 32

// object is a JSON object read strictly: member names are compared byte by byte (encoding/json
// ignores case, so that "SUB" would override "sub"), no object in it has the same name twice
// (RFC 7519 section 4 leaves that choice to us), and it is valid UTF-8. The values are slices of
// the input.
type object map[string]json.RawMessage

// parseObject reads exactly one JSON object.
func parseObject(b []byte) (object, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("invalid UTF-8")
	}
	if err := checkDepth(b); err != nil {
		return nil, err
	}
	if !json.Valid(b) {
		return nil, errors.New("malformed JSON")
	}
	p := &jsonScanner{b: b}
	p.space()
	if p.peek() != '{' {
		return nil, errors.New("not a JSON object")
	}
	members := make(object)
	if err := p.object(members); err != nil {
		return nil, err
	}
	return members, nil
}

// checkDepth runs before anything recursive does.
func checkDepth(b []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return fmt.Errorf("nesting: want at most %d levels", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// jsonScanner walks over JSON that json.Valid has accepted; it therefore only has to find where
// things begin and end.
type jsonScanner struct {
	b []byte
	i int
}

func (p *jsonScanner) peek() byte {
	if p.i < len(p.b) {
		return p.b[p.i]
	}
	return 0
}

func (p *jsonScanner) space() {
	for p.i < len(p.b) {
		switch p.b[p.i] {
		case ' ', '\t', '\r', '\n':
			p.i++
		default:
			return
		}
	}
}

// object reads one object into members, which may be nil when only its names are to be checked.
func (p *jsonScanner) object(members object) error {
	if members == nil {
		members = make(object)
	}
	p.i++ // {
	for p.space(); p.peek() != '}'; p.space() {
		if p.peek() == ',' {
			p.i++
			p.space()
		}
		var name string
		if err := json.Unmarshal(p.string(), &name); err != nil {
			return err
		}
		if _, twice := members[name]; twice {
			return fmt.Errorf("member %q appears twice", clip(name, 40))
		}
		p.space()
		p.i++ // :
		p.space()
		start := p.i
		if err := p.value(); err != nil {
			return err
		}
		members[name] = p.b[start:p.i]
	}
	p.i++ // }
	return nil
}

func (p *jsonScanner) value() error {
	switch p.peek() {
	case '{':
		return p.object(nil)
	case '[':
		p.i++
		for p.space(); p.peek() != ']'; p.space() {
			if p.peek() == ',' {
				p.i++
				p.space()
			}
			if err := p.value(); err != nil {
				return err
			}
		}
		p.i++
	case '"':
		p.string()
	default:
		for p.i < len(p.b) {
			switch p.b[p.i] {
			case ',', '}', ']', ' ', '\t', '\r', '\n':
				return nil
			}
			p.i++
		}
	}
	return nil
}

func (p *jsonScanner) string() []byte {
	start := p.i
	for p.i++; p.peek() != '"'; p.i++ {
		if p.peek() == '\\' {
			p.i++
		}
	}
	p.i++
	return p.b[start:p.i]
}

// has says whether the member is there, whatever its value.
func (o object) has(name string) bool {
	_, ok := o[name]
	return ok
}

// text returns a member that must be a string; ok is false when it is absent or something else.
func (o object) text(name string) (s string, ok bool) {
	raw := o[name]
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, true
}

// flag returns a member that is true, or the string "true" as Cognito's userinfo has it.
func (o object) flag(name string) bool {
	raw := string(o[name])
	return raw == "true" || raw == `"true"`
}

// list returns a member that is an array of strings or one string; anything else is an error, and
// an absent member is an empty list.
func (o object) list(name string) ([]string, error) {
	raw, ok := o[name]
	if !ok {
		return nil, nil
	}
	if s, ok := o.text(name); ok {
		return []string{s}, nil
	}
	var values []any
	if err := json.Unmarshal(raw, &values); err != nil || values == nil {
		return nil, fmt.Errorf("%s: want a string or a list of strings", name)
	}
	out := make([]string, len(values))
	for i, v := range values {
		s, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("%s: want a string or a list of strings", name)
		}
		out[i] = s
	}
	return out, nil
}

// seconds returns a NumericDate (RFC 7519 section 2) as Unix seconds, rounded down. ok is false
// when it is absent, not a number, or not a time that has any meaning here.
func (o object) seconds(name string) (t int64, ok bool) {
	var f float64
	raw := o[name]
	if len(raw) == 0 || raw[0] == 'n' || json.Unmarshal(raw, &f) != nil {
		return 0, false
	}
	if f <= 0 || f > 1e11 {
		return 0, false
	}
	return int64(math.Floor(f)), true
}
