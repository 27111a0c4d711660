package compress

import (
	"fmt"
	"regexp"
	"slices"
)

// Modes of a Config.
const (
	ModeOn  = "on"
	ModeOff = "off"
)

// Config says whether the answers of a route are compressed.
type Config struct {
	// Mode is "on" or "off", the default. At the top it speaks for the routes that require nothing. A route that knows who is there
	// must say on by itself: the length of what is compressed tells who can watch it, and can have it hold a text of their own, the secrets
	// beside that text (BREACH).
	Mode string `yaml:"mode"`
	// Types are media types beside those that are compressed always: text/*, but for text/event-stream, JSON, XML, JavaScript,
	// WebAssembly, SVG and uncompressed fonts.
	Types []string `yaml:"types"`
}

// mediaType is a type and subtype of RFC 9110 section 8.3.1, in lower case.
var mediaType = regexp.MustCompile(`^[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+$`)

// Validate reports everything that is wrong with c.
func (c Config) Validate(report func(field, msg string)) {
	if !slices.Contains([]string{"", ModeOn, ModeOff}, c.Mode) {
		report("mode", fmt.Sprintf("want %q or %q, got %q", ModeOn, ModeOff, c.Mode))
	}
	for i, t := range c.Types {
		if !mediaType.MatchString(t) {
			report(fmt.Sprintf("types[%d]", i), fmt.Sprintf("want a media type in lower case such as application/vnd.example, got %q", t))
		}
	}
}

// On reports whether answers are compressed.
func (c Config) On() bool { return c.Mode == ModeOn }
