package headers

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Security is the response headers of a route, compiled. It is immutable and safe for concurrent use.
type Security struct {
	set     []field  // replaces whatever the upstream said
	offer   []field  // set unless the upstream sent its own
	removed []string // canonical names

	lines []byte  // what Lines returns: those of set and offer that a preset knows
	rest  []field // the others of set
}

// A presetField is one header of a preset.
type presetField struct {
	name, value string
	override    bool // replaces the upstream's own
}

// strictFields grade A+ at the MDN Observatory and suit applications that load their own scripts,
// styles and images.
//
// There is no form-action: Chromium applies it to every redirect after a form is posted, so that
// 'self' blocks the way to the provider, and on to whoever the provider federates with, when a
// session has ended under a form, and on sign-out. An application that knows where its forms lead
// adds it with Set.
var strictFields = [...]presetField{
	{"Strict-Transport-Security", "max-age=63072000; includeSubDomains", true},
	{"Content-Security-Policy", "default-src 'self'; img-src 'self' data: blob:; font-src 'self' data:; " +
		"media-src 'self' data: blob:; object-src 'none'; base-uri 'self'; frame-ancestors 'self'", true},
	{"X-Content-Type-Options", "nosniff", true},
	{"X-Frame-Options", "SAMEORIGIN", true}, // what frame-ancestors says, for browsers that do not know it
	{"Referrer-Policy", "strict-origin-when-cross-origin", true},
	{"Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()", true},
	{"Cross-Origin-Opener-Policy", "same-origin", true},
	{"Cross-Origin-Resource-Policy", "same-origin", true},
}

// awsManagedFields is CloudFront's Managed-SecurityHeadersPolicy, id
// 67f7725c-6f97-4210-82d7-5512b31e9d03, with its Override flags (Developer Guide, "Use managed
// response headers policies").
var awsManagedFields = [...]presetField{
	{"Strict-Transport-Security", "max-age=31536000", false},
	{"X-Content-Type-Options", "nosniff", true},
	{"X-Frame-Options", "SAMEORIGIN", false},
	{"X-Xss-Protection", "1; mode=block", false},
	{"Referrer-Policy", "strict-origin-when-cross-origin", false},
}

// telltales say which software answers, and help nobody but an attacker. Every preset but off
// removes them.
var telltales = [...]string{"Server", "X-Powered-By", "X-Aspnet-Version", "X-Aspnetmvc-Version", "X-Generator"}

// presetFields returns the headers of a preset; "" is strict. ok is false when there is no such preset.
func presetFields(preset string) (fields []presetField, ok bool) {
	switch preset {
	case "", presetStrict:
		return strictFields[:], true
	case presetAWSManaged:
		return awsManagedFields[:], true
	case presetOff:
		return nil, true
	default:
		return nil, false
	}
}

func presetNames(fields []presetField) string {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	return strings.Join(names, ", ")
}

// NewSecurity compiles cfg.
func NewSecurity(cfg SecurityConfig) (*Security, error) {
	if err := problems("security headers", cfg.Validate); err != nil {
		return nil, err
	}
	removed := canonicalSet(cfg.Remove)
	if cfg.Preset != presetOff {
		for _, name := range telltales {
			removed[name] = true
		}
	}
	set, keep := make(map[string]string, len(cfg.Set)), canonicalSet(cfg.Keep)
	for name, value := range cfg.Set {
		name = http.CanonicalHeaderKey(name)
		set[name] = value
		delete(removed, name) // a Server of the operator's own
	}
	s := &Security{removed: slices.Sorted(maps.Keys(removed))}
	preset, _ := presetFields(cfg.Preset)
	for _, f := range preset {
		switch _, replaced := set[f.name]; {
		case replaced || removed[f.name]:
		case f.override && !keep[f.name]:
			s.set = append(s.set, newField(f.name, f.value))
		default:
			s.offer = append(s.offer, newField(f.name, f.value))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(set)) {
		s.set = append(s.set, newField(name, set[name]))
	}
	s.writeLines()
	return s, nil
}

// writeLines takes only headers of the presets, which nothing but a browser reads. One that an operator thinks
// of, such as Cache-Control, may be one that the server or the gateway has its own idea of.
func (s *Security) writeLines() {
	for _, f := range slices.Concat(s.set, s.offer) {
		if !inPreset(f.name) {
			s.rest = append(s.rest, f)
			continue
		}
		s.lines = fmt.Appendf(s.lines, "%s: %s\r\n", f.name, f.values[0])
	}
}

func inPreset(name string) bool {
	return slices.ContainsFunc(slices.Concat(strictFields[:], awsManagedFields[:]), func(f presetField) bool { return f.name == name })
}

// Apply puts the headers into an answer that is about to be written, whoever made it. It replaces
// and never adds, so that calling it twice changes nothing. Keys of h must be canonical, as
// net/http makes them. The values are shared between answers and must not be changed in place. It
// allocates nothing beyond what the map needs to grow.
//
// Strict-Transport-Security is among them: browsers ignore it on plain HTTP (RFC 6797, section 8.1).
func (s *Security) Apply(h http.Header) {
	for _, name := range s.removed {
		delete(h, name)
	}
	for _, f := range s.offer {
		if len(h[f.name]) == 0 {
			h[f.name] = f.values
		}
	}
	for _, f := range s.set {
		h[f.name] = f.values
	}
}

// Lines is Apply for a server that can write a part of an answer's head by itself, which spares putting
// most of the headers into a map, copying and sorting them: it returns the lines to write, and puts into h what
// belongs there instead. It returns nil if all is in h. The lines must not be changed.
func (s *Security) Lines(h http.Header) []byte {
	for _, f := range s.offer {
		if len(h[f.name]) > 0 {
			s.Apply(h)
			return nil
		}
	}
	for _, name := range s.removed {
		delete(h, name)
	}
	for _, f := range s.offer {
		delete(h, f.name) // a key without values
	}
	for _, f := range s.set {
		delete(h, f.name)
	}
	for _, f := range s.rest {
		h[f.name] = f.values
	}
	return s.lines
}
