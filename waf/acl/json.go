package acl

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"

	"gatehouse/waf/payload"
)

// A jsonWalk goes through a document, or several that follow one another.
type jsonWalk struct {
	pointers [][]string // of what is looked at; nil is all
	keys     bool
	values   bool
	each     func(string) bool

	deepest int        // segments of the longest pointer
	open    []nesting  // what is being read, from the outside in: documents may be nested as deeply as they like
	path    []jsonStep // where it is, as far as a pointer asks for that
}

// A nesting is an object or a list.
type nesting byte

const (
	inList nesting = iota
	beforeKey
	afterKey
)

// A jsonStep is one part of a path: a key, or a place in a list.
type jsonStep struct {
	key   string
	place int // of the next value of a list
}

// walk calls each with what text has, until each returns true. It reports that, and whether text is JSON to its end.
// Names that are written twice are both seen.
func (w *jsonWalk) walk(text string) (found, valid bool) {
	for _, p := range w.pointers {
		w.deepest = max(w.deepest, len(p))
	}
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	for {
		token, err := dec.Token()
		if err != nil {
			return false, err == io.EOF && len(w.open) == 0 //nolint:errorlint // io.ErrUnexpectedEOF is another one
		}
		if w.token(token) {
			return true, true
		}
	}
}

// token takes the next one, and reports whether it is found.
func (w *jsonWalk) token(token json.Token) (found bool) {
	if token == json.Delim('}') || token == json.Delim(']') {
		w.open = w.open[:len(w.open)-1]
		w.path = w.path[:min(len(w.path), len(w.open))]
		return false
	}
	if n := len(w.open); n > 0 {
		switch w.open[n-1] {
		case beforeKey:
			key, _ := token.(string) // an object's keys are
			w.open[n-1] = afterKey
			w.step(func(s *jsonStep) { s.key = key })
			return w.keys && w.included() && w.each(key)
		case afterKey:
			w.open[n-1] = beforeKey
		default:
			w.step(func(s *jsonStep) { s.key, s.place = strconv.Itoa(s.place), s.place+1 })
		}
	}
	switch token := token.(type) {
	case json.Delim:
		opened := inList
		if token == '{' {
			opened = beforeKey
		}
		if w.open = append(w.open, opened); len(w.open) <= w.deepest {
			w.path = append(w.path, jsonStep{})
		}
		return false
	case string:
		return w.say(token)
	case json.Number:
		return w.say(token.String())
	case bool:
		return w.say(strconv.FormatBool(token))
	default:
		return w.say("null")
	}
}

// step changes the last part of the path, if a pointer goes so deep.
func (w *jsonWalk) step(change func(*jsonStep)) {
	if n := len(w.open); n <= w.deepest {
		change(&w.path[n-1])
	}
}

func (w *jsonWalk) say(value string) bool { return w.values && w.included() && w.each(value) }

// included reports whether a pointer leads to where w is, or above it.
func (w *jsonWalk) included() bool {
	if w.pointers == nil {
		return true
	}
next:
	for _, pointer := range w.pointers {
		if len(pointer) > len(w.open) {
			continue
		}
		for i, segment := range pointer {
			if w.path[i].key != segment {
				continue next
			}
		}
		return true
	}
	return false
}

// plainJSON is a body as a reader of JSON takes it: without the mark of its encoding, in UTF-8, and without the separators of a
// sequence of documents (RFC 7464), which stand in no document.
func plainJSON(text string) string {
	text = string(payload.InUTF8([]byte(text)))
	text = strings.TrimPrefix(text, string(payload.BOM()))
	return strings.ReplaceAll(text, "\x1e", " ")
}

// parsePointer reads a JSON pointer (RFC 6901).
func parsePointer(s string) (segments []string, ok bool) {
	if s == "" {
		return []string{}, true
	}
	if s[0] != '/' {
		return nil, false
	}
	for segment := range strings.SplitSeq(s[1:], "/") {
		segments = append(segments, strings.ReplaceAll(strings.ReplaceAll(segment, "~1", "/"), "~0", "~"))
	}
	return segments, true
}
