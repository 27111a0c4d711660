package acl

import (
	"encoding/json"
	"io"
	"strconv"
	"strings"
)

// maxDepth is how deeply what is looked at may be nested. What is below that is no JSON to anybody.
const maxDepth = 512

// A jsonWalk goes through a document, or several that follow one another.
type jsonWalk struct {
	pointers [][]string // of what is looked at; nil is all
	keys     bool
	values   bool
	each     func(string) bool
	path     []string
}

// walk calls each with what text has, until each returns true. It reports that, and whether text is JSON to its end.
// Names that are written twice are both seen.
func (w *jsonWalk) walk(text string) (found, valid bool) {
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	for {
		found, err := w.value(dec)
		if found || err != nil {
			return found, err == io.EOF //nolint:errorlint // io.ErrUnexpectedEOF is another one
		}
	}
}

func (w *jsonWalk) value(dec *json.Decoder) (found bool, err error) {
	token, err := dec.Token()
	if err != nil {
		return false, err //nolint:wrapcheck // only its being there is looked at
	}
	switch token := token.(type) {
	case json.Delim:
		return w.inside(dec, token)
	case string:
		return w.say(token), nil
	case json.Number:
		return w.say(token.String()), nil
	case bool:
		return w.say(strconv.FormatBool(token)), nil
	default:
		return w.say("null"), nil
	}
}

// inside goes through an object or a list.
func (w *jsonWalk) inside(dec *json.Decoder, open json.Delim) (found bool, err error) {
	if len(w.path) == maxDepth {
		return false, io.ErrUnexpectedEOF
	}
	for i := 0; dec.More(); i++ {
		segment := strconv.Itoa(i)
		if open == '{' {
			key, err := dec.Token()
			if err != nil {
				return false, unexpected(err)
			}
			segment, _ = key.(string) // an object's keys are
		}
		w.path = append(w.path, segment)
		if open == '{' && w.keys && w.included() && w.each(segment) {
			return true, nil
		}
		if found, err := w.value(dec); found || err != nil {
			return found, unexpected(err)
		}
		w.path = w.path[:len(w.path)-1]
	}
	_, err = dec.Token()
	return false, unexpected(err)
}

// unexpected is an error inside of a value: that the text ends there is one.
func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // the plain one only
		return io.ErrUnexpectedEOF
	}
	return err
}

func (w *jsonWalk) say(value string) bool { return w.values && w.included() && w.each(value) }

// included reports whether a pointer leads to where w is, or above it.
func (w *jsonWalk) included() bool {
	if w.pointers == nil {
		return true
	}
next:
	for _, pointer := range w.pointers {
		if len(pointer) > len(w.path) {
			continue
		}
		for i, segment := range pointer {
			if w.path[i] != segment {
				continue next
			}
		}
		return true
	}
	return false
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
