package cognitoapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	// maxBody bounds a request. Tokens are the largest things in one: an access token with many groups has some kilobytes.
	maxBody = 64 << 10
	// maxDepth bounds nesting. The deepest that the API has is a list of objects: {"UserAttributes": [{…}]}.
	maxDepth = 8
)

// An object is a JSON object whose members have not been read further.
type object map[string]json.RawMessage

// parse reads exactly one JSON object in which nothing has two readings: valid UTF-8, no lone surrogates, no member twice in any
// object of it, no nesting beyond maxDepth.
func parse(b []byte) (object, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("invalid UTF-8")
	}
	if err := checkText(b); err != nil {
		return nil, err
	}
	if !json.Valid(b) {
		return nil, errors.New("malformed JSON")
	}
	if err := checkNames(b); err != nil {
		return nil, err
	}
	return members(b)
}

// members reads an object that parse has checked as a part of a whole. A name is compared byte by byte.
func members(raw []byte) (object, error) {
	if raw = bytes.TrimLeft(raw, " \t\r\n"); len(raw) == 0 || raw[0] != '{' {
		return nil, errors.New("not a JSON object")
	}
	var o object
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, errors.New("malformed JSON")
	}
	return o, nil
}

// checkText looks at nesting and at the escapes in strings, before anything recursive does. Half of a surrogate pair is no
// character; readers disagree about what it becomes (RFC 8259 section 8.2), and with it about the name that a hash is over.
func checkText(b []byte) error {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
			n, ok := surrogate(b[i:])
			if !ok {
				return errors.New("a lone surrogate in a string")
			}
			i += n
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

// surrogate looks at an escape behind its backslash. It returns how many bytes of b beyond the first belong to it; ok is false
// if it is half of a pair.
func surrogate(b []byte) (n int, ok bool) {
	r, hex := escape(b)
	if !hex {
		return 0, true // json.Valid has its say later
	}
	if !utf16.IsSurrogate(r) {
		return 4, true
	}
	if len(b) < 7 || b[5] != '\\' {
		return 0, false
	}
	low, hex := escape(b[6:])
	if !hex || utf16.DecodeRune(r, low) == utf8.RuneError {
		return 0, false
	}
	return 10, true
}

// escape reads uXXXX.
func escape(b []byte) (r rune, ok bool) {
	if len(b) < 5 || b[0] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[1:5]), 16, 16)
	return rune(n), err == nil
}

// checkNames reports a member that an object has twice, anywhere in b, which is valid.
func checkNames(b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	type level struct {
		names map[string]bool // nil in a list
		value bool            // the next token in an object is a value
	}
	var open []level
	for {
		token, err := dec.Token()
		if err != nil {
			if dec.InputOffset() < int64(len(bytes.TrimRight(b, " \t\r\n"))) {
				return errors.New("malformed JSON")
			}
			return nil
		}
		top := len(open) - 1
		if name, ok := token.(string); ok && top >= 0 && open[top].names != nil && !open[top].value {
			if open[top].names[name] {
				return errors.New("a member appears twice")
			}
			open[top].names[name], open[top].value = true, true
			continue
		}
		switch token {
		case json.Delim('{'):
			open = append(open, level{names: map[string]bool{}})
			continue
		case json.Delim('['):
			open = append(open, level{})
			continue
		case json.Delim('}'), json.Delim(']'):
			open = open[:top]
			top--
		}
		if top >= 0 {
			open[top].value = false
		}
	}
}

// has says whether the member is there, whatever its value.
func (o object) has(name string) bool {
	_, ok := o[name]
	return ok
}

// text returns a member that is a string of at least one character.
func (o object) text(name string) (s string, ok bool) {
	raw := o[name]
	if len(raw) == 0 || raw[0] != '"' || json.Unmarshal(raw, &s) != nil {
		return "", false
	}
	return s, s != ""
}

// set sets a member to a string.
func (o object) set(name, value string) { o[name] = quote(value) }

// quote writes s, which is valid UTF-8, as JSON.
func quote(s string) json.RawMessage {
	raw, err := json.Marshal(s)
	if err != nil { // strings always marshal
		return json.RawMessage(`""`)
	}
	return raw
}

// encode writes o with its members sorted by name. What parse has read is always encoded.
func (o object) encode() json.RawMessage {
	raw, err := json.Marshal(map[string]json.RawMessage(o))
	if err != nil {
		return json.RawMessage(`{}`)
	}
	return raw
}

// otherCase returns a member whose name is one of names in other letters, or "". A reader that ignores case, as
// encoding/json does, would take it for that one.
func (o object) otherCase(names []string) string {
	for member := range o {
		for _, name := range names {
			if member != name && strings.EqualFold(member, name) {
				return name
			}
		}
	}
	return ""
}
