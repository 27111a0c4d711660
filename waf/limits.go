package waf

import (
	"cmp"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Limits bound what one request may have the engine do. What a field leaves out is Config.BodyLimit where
// that is said, else the default. ../docs/rationale.md says why the defaults are what they are.
type Limits struct {
	// Form is how much of a form (application/x-www-form-urlencoded) is inspected, such as "128KiB", the default.
	Form string `yaml:"form"`
	// JSON is how much of a JSON document is inspected; default 256KiB.
	JSON string `yaml:"json"`
	// XML is how much of an XML document is inspected; default 128KiB.
	XML string `yaml:"xml"`
	// Multipart is how much of the fields, file names and headers of multipart/form-data is inspected; default
	// 128KiB. The files themselves count for BodyLimit only.
	Multipart string `yaml:"multipart"`
	// Text is how much of any other body is inspected; default 128KiB.
	Text string `yaml:"text"`
	// Other is how much of a body of a binary type (images, archives, application/octet-stream) is read to see
	// whether it is text in disguise; default 128KiB. One that is not passes at whatever length.
	Other string `yaml:"other"`
	// Values is how many arguments a query, a form, a JSON document or a multipart body may have each, and an XML
	// document texts and attributes; default 1000, at most 20000. One with more is refused with 400.
	Values int `yaml:"values"`
	// Nesting is how deep JSON and XML may be nested; default 64, at most 512. What is deeper is refused with 400.
	Nesting int `yaml:"nesting"`
	// Work is about how long a core may be busy with one request, such as "40ms", the default; from 1ms to 10s. A
	// request that takes more is refused with 413. It is counted, not measured, so that a busy machine refuses no
	// more than an idle one.
	Work string `yaml:"work"`
}

const (
	defaultBytes     = 128 << 10             // twice what AWS WAF can be made to look at
	defaultJSONBytes = 256 << 10             // documents of an API
	defaultValues    = 1000                  // Coraza's own
	defaultNesting   = 64                    // real documents stay under 20
	defaultWorkTime  = 40 * time.Millisecond // an ordinary article of 80 KB takes 31
	maxValues        = 20_000
	maxNesting       = 512
	minWorkTime      = time.Millisecond
	maxWorkTime      = 10 * time.Second
)

// workTime is how long a unit of a meter takes at the most, on a core of 2023.
const workTime = time.Nanosecond

// The names of Limited.Limit, which are labels of a metric.
const (
	LimitBody   = "body"   // more bytes than are inspected: 413
	LimitWork   = "work"   // more work than a request may be: 413
	LimitClient = "client" // the client has had more work done than it may: 429
	LimitBusy   = "busy"   // too much to inspect at once: 503
	LimitMemory = "memory" // too many bytes of bodies at once: 503
)

// A Limited is the error given to Options.Deny for a request that goes over a limit. Count mode passes a request that
// is over LimitBody or LimitWork on, with what was found till then.
type Limited struct {
	Limit      string // one of the Limit constants
	Status     int
	RetryAfter time.Duration // 0: trying again is of no use
	// Option is the field of Config that sets a limit of bodies, and Bytes what it says; "" if the limit is another.
	Option string
	Bytes  int
}

// Error implements error.
func (l *Limited) Error() string { return "waf: over the limit of " + l.Limit + ": " + l.reason() }

func (l *Limited) reason() string {
	switch l.Limit {
	case LimitBody:
		return fmt.Sprintf("the body is longer than the %d bytes that are inspected: waf.%s allows more, waf.oversize partial passes "+
			"the rest unseen, waf.body headers all of it", l.Bytes, l.Option)
	case LimitWork:
		return "the request takes more work to inspect than waf.limits.work allows"
	case LimitClient:
		return "the client's requests took more work to inspect than is allowed"
	case LimitMemory:
		return "too many request bodies are held at once"
	default:
		return "too many requests are inspected at once"
	}
}

// Header adds when to try again.
func (l *Limited) Header(h http.Header) {
	if l.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((l.RetryAfter+time.Second-1)/time.Second)))
	}
}

// HTTPStatus is the status of the answer.
func (l *Limited) HTTPStatus() int { return l.Status }

// bounds are the Limits of an engine in numbers.
type bounds struct {
	bytes  [kinds]int
	body   int // of multipart, with its files
	values int
	depth  int
	work   int
}

// A kind is a sort of body that has a limit of its own.
type kind int

const (
	kindForm kind = iota
	kindJSON
	kindXML
	kindMultipart
	kindText
	kindOther
	kinds
)

// kind is that of the type by itself.
func (m mediaType) kind() kind {
	switch m.processor() {
	case processorForm:
		return kindForm
	case processorJSON:
		return kindJSON
	case processorXML:
		return kindXML
	case processorMultipart:
		return kindMultipart
	}
	if m.binary() {
		return kindOther
	}
	return kindText
}

// sizes are the limits in bytes by kind, with their names and defaults.
func (l *Limits) sizes() [kinds]struct {
	name  string
	field *string
	def   int
} {
	return [kinds]struct {
		name  string
		field *string
		def   int
	}{
		kindForm:      {"form", &l.Form, defaultBytes},
		kindJSON:      {"json", &l.JSON, defaultJSONBytes},
		kindXML:       {"xml", &l.XML, defaultBytes},
		kindMultipart: {"multipart", &l.Multipart, defaultBytes},
		kindText:      {"text", &l.Text, defaultBytes},
		kindOther:     {"other", &l.Other, defaultBytes},
	}
}

func (l *Limits) validate(report func(field, msg string)) {
	for _, s := range l.sizes() {
		if _, err := parseBodyLimit(*s.field, s.def); err != nil {
			report("limits."+s.name, err.Error())
		}
	}
	if l.Values < 0 || l.Values > maxValues {
		report("limits.values", fmt.Sprintf("%d is out of range (want 1 to %d)", l.Values, maxValues))
	}
	if l.Nesting < 0 || l.Nesting > maxNesting {
		report("limits.nesting", fmt.Sprintf("%d is out of range (want 1 to %d)", l.Nesting, maxNesting))
	}
	if _, err := parseWork(l.Work); err != nil {
		report("limits.work", err.Error())
	}
}

func parseWork(s string) (time.Duration, error) {
	return parseSpan(s, defaultWorkTime, minWorkTime, maxWorkTime)
}

// bounds is what c says in numbers. Validate has seen it.
func (c Config) bounds() bounds {
	b := bounds{
		values: cmp.Or(c.Limits.Values, defaultValues),
		depth:  cmp.Or(c.Limits.Nesting, defaultNesting),
	}
	b.body, _ = parseBodyLimit(c.BodyLimit, defaultBodyLimit)
	for k, s := range c.Limits.sizes() {
		def := s.def
		if c.BodyLimit != "" {
			def = b.body
		}
		b.bytes[k], _ = parseBodyLimit(*s.field, def)
	}
	work, _ := parseWork(c.Limits.Work)
	b.work = int(work / workTime)
	return b
}

// normal is c's limits with everything written out.
func (c Config) normalLimits() Limits {
	b := c.bounds()
	var l Limits
	for k, s := range l.sizes() {
		*s.field = fmt.Sprint(b.bytes[k])
	}
	l.Values, l.Nesting = b.values, b.depth
	l.Work = (time.Duration(b.work) * workTime).String()
	return l
}

// most is the longest body that the engine is given.
func (b *bounds) most() int {
	most := b.body
	for _, n := range b.bytes {
		most = max(most, n)
	}
	return most
}

// read is how much of a body of a kind is read.
func (b *bounds) read(k kind) int {
	if k == kindMultipart {
		return max(b.body, b.bytes[k])
	}
	return b.bytes[k]
}

// longerThan is the refusal of a body of kind k. A multipart body is read as a whole, with its files, and then its fields
// have a limit of their own.
func (b *bounds) longerThan(k kind, fields bool) *Limited {
	l := &Limited{Limit: LimitBody, Status: http.StatusRequestEntityTooLarge, Bytes: b.bytes[k], Option: "limits." + new(Limits).sizes()[k].name}
	if k == kindMultipart && !fields {
		l.Bytes = b.read(k)
		if b.body >= b.bytes[k] {
			l.Option = "body_limit"
		}
	}
	return l
}

// tooMuchWork is the refusal of a request that takes the rules too long.
func tooMuchWork() *Limited {
	return &Limited{Limit: LimitWork, Status: http.StatusRequestEntityTooLarge}
}

// What reading a document costs, in a meter's units. XML is read twice.
const (
	sniffWork    = 2  // each byte, to find out what it is
	streamWork   = 30 // each byte of what begins as JSON and is not
	jsonByteWork = 8
	xmlByteWork  = 16
	xmlTokenWork = 1500
	pairWork     = 60
	partWork     = 2000
	matchWork    = 3000 // what is done for a match: variables, scores, the record
)
