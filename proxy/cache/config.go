package cache

import (
	"cmp"
	"fmt"
	"math"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The values of Config's and KeyConfig's words.
const (
	RulesRFC        = "rfc9111"
	RulesCloudFront = "cloudfront"

	QueryAll    = "all"
	QueryNone   = "none"
	QueryOnly   = "only"
	QueryExcept = "except"

	UnkeyedSend = "send"
	UnkeyedDrop = "drop"

	SetCookiePass  = "pass"
	SetCookieStrip = "strip"
	SetCookieStore = "store"

	MarkersOn  = "on"
	MarkersOff = "off"
)

// Defaults and bounds.
const (
	defaultMemory = 64 << 20
	// maxDuration bounds every time, as it bounds what CloudFront takes.
	maxDuration = 100 * 365 * 24 * time.Hour
	// The TTLs of CloudFront where a distribution says nothing.
	cloudFrontTTL    = 24 * time.Hour
	cloudFrontMaxTTL = 365 * 24 * time.Hour
	cloudFrontErrors = 10 * time.Second
	// maxHeuristic bounds what is made of Last-Modified: a day, as RFC 9111 section 4.2.2 has people told of more.
	maxHeuristic = 24 * time.Hour
)

// StoreConfig is what all routes keep their answers in.
type StoreConfig struct {
	// Memory is how much memory answers may take, such as "256MiB"; default 64MiB.
	Memory string `yaml:"memory"`
	// MaxObject is the longest body that is kept; default an eighth of Memory. Longer ones pass through.
	MaxObject string `yaml:"max_object"`
	// Disk keeps them in files too, which outlive the process. Default: no files.
	Disk *DiskConfig `yaml:"disk"`
}

// DiskConfig is where answers are kept in files, 65536 at most.
type DiskConfig struct {
	// Directory is one of its own, which is made if it is not there. Only this user can read what is in it. Required.
	Directory string `yaml:"directory"`
	// Size is how much the files may take, such as "10GiB". Required.
	Size string `yaml:"size"`
}

// Config is how a route keeps answers.
type Config struct {
	// TTL is how long an answer that says nothing of its freshness may be used, such as "1h"; default not at all, but with
	// rules: cloudfront 24h.
	TTL string `yaml:"ttl"`
	// MinTTL is how long answers may be used at least. With rules: cloudfront it overrides no-store, no-cache and private too,
	// as it does there.
	MinTTL string `yaml:"min_ttl"`
	// MaxTTL is how long answers may be used at most, whatever they say; default no bound, but with rules: cloudfront 365 days.
	MaxTTL string `yaml:"max_ttl"`
	// ErrorTTL is how long errors (404, 405, 410, 414, 500 to 504) that say nothing of their freshness may be used; default not
	// at all, but with rules: cloudfront 10s.
	ErrorTTL string `yaml:"error_ttl"`
	// Rules is "rfc9111" (the default), or "cloudfront": how TTLs and what answers say go together there. compat: aws sets it.
	Rules string `yaml:"rules"`
	// Heuristic uses an answer that says only when it was last modified for a tenth of the time since then, a day at most. It
	// does nothing beside TTL.
	Heuristic bool `yaml:"heuristic"`
	// StaleWhileRevalidate is how long an answer that is too old may still be used while a new one is fetched, where it does not
	// say so itself; default not at all.
	StaleWhileRevalidate string `yaml:"stale_while_revalidate"`
	// StaleIfError is how long an answer that is too old may still be used when the upstream fails, where it does not say so
	// itself; default not at all, but with rules: cloudfront as long as MaxTTL.
	StaleIfError string `yaml:"stale_if_error"`
	// Key is what requests must have in common to get the same answer, beside scheme, host and path.
	Key KeyConfig `yaml:"key"`
	// Unkeyed is what happens to request headers that are not in the key: "send" (the default) sends them to the upstream, which
	// must name those that it looks at in Vary; "drop" does not, as with CloudFront's cache policies. compat: aws sets it.
	Unkeyed string `yaml:"unkeyed"`
	// SetCookie is what happens to answers that set cookies: "pass" (the default) keeps none of them, "strip" keeps them without
	// their cookies, which nobody gets then, and "store" gives everybody the same cookies.
	SetCookie string `yaml:"set_cookie"`
	// SharedByEveryone keeps answers to people who are signed in too, and gives them to everybody whom the route lets in. The
	// upstream is not told who asks: it gets no assertion and no Authorization. Without it nothing that was asked for by
	// somebody with a session, a verified token or a client certificate comes from the cache or goes into it.
	SharedByEveryone bool `yaml:"shared_by_everyone"`
	// ObeyClients lets clients ask for younger answers (Cache-Control: no-cache, max-age, min-fresh, no-store) or older ones
	// (max-stale). By default they cannot: whoever may send requests could keep the cache from doing anything.
	ObeyClients bool `yaml:"obey_clients"`
	// Markers is "on" (the default) for answers to say in X-Cache and Cache-Status what the cache did, or "off".
	Markers string `yaml:"markers"`
}

// KeyConfig is what is in the key beside scheme, host and path. Cookies and query parameters that are not in it are not sent to
// the upstream either: an answer cannot depend on them.
type KeyConfig struct {
	// Query is "all" (the default), "none", or "only" or "except" those of QueryNames. Their order counts.
	Query string `yaml:"query"`
	// QueryNames are query parameters.
	QueryNames []string `yaml:"query_names"`
	// Headers are request headers, such as Accept-Language. Those that an answer names in Vary need not be here.
	Headers []string `yaml:"headers"`
	// Cookies are names of cookies; "*" is all of them. Default none.
	Cookies []string `yaml:"cookies"`
}

// Validate reports everything that is wrong with c.
func (c StoreConfig) Validate(report func(field, msg string)) {
	if c.Disk != nil {
		if c.Disk.Directory == "" {
			report("disk.directory", "required: the path of a directory of its own, such as /var/cache/gatehouse")
		}
		if _, err := parseSize(c.Disk.Size, 0); err != nil || c.Disk.Size == "" {
			report("disk.size", fmt.Sprintf("want a size such as 10GiB, got %q", c.Disk.Size))
		}
	}
	memory, err := parseSize(c.Memory, defaultMemory)
	if err != nil {
		report("memory", err.Error())
		return
	}
	if memory < 1<<20 {
		report("memory", "want 1MiB or more, got "+c.Memory)
	}
	switch object, err := parseSize(c.MaxObject, memory/8); {
	case err != nil:
		report("max_object", err.Error())
	case object > memory/2:
		report("max_object", fmt.Sprintf("want at most half of memory, got %s of %d bytes", c.MaxObject, memory))
	}
}

// Validate reports everything that is wrong with c. The field is the path below the section.
func (c Config) Validate(report func(field, msg string)) {
	for _, f := range []struct{ field, value string }{
		{"ttl", c.TTL},
		{"min_ttl", c.MinTTL},
		{"max_ttl", c.MaxTTL},
		{"error_ttl", c.ErrorTTL},
		{"stale_while_revalidate", c.StaleWhileRevalidate},
		{"stale_if_error", c.StaleIfError},
	} {
		if _, err := parseTime(f.value, 0); err != nil {
			report(f.field, err.Error())
		}
	}
	for _, f := range []struct {
		field, value string
		want         []string
	}{
		{"rules", c.Rules, []string{RulesRFC, RulesCloudFront}},
		{"unkeyed", c.Unkeyed, []string{UnkeyedSend, UnkeyedDrop}},
		{"set_cookie", c.SetCookie, []string{SetCookiePass, SetCookieStrip, SetCookieStore}},
		{"markers", c.Markers, []string{MarkersOn, MarkersOff}},
		{"key.query", c.Key.Query, []string{QueryAll, QueryNone, QueryOnly, QueryExcept}},
	} {
		if f.value != "" && !slices.Contains(f.want, f.value) {
			report(f.field, fmt.Sprintf("want one of %s, got %q", strings.Join(f.want, ", "), f.value))
		}
	}
	c.validateTimes(report)
	c.Key.validate(report)
}

// validateTimes reports bounds that contradict each other.
func (c Config) validateTimes(report func(field, msg string)) {
	least, _ := parseTime(c.MinTTL, 0)
	most, _ := parseTime(c.MaxTTL, maxDuration)
	ttl, _ := parseTime(c.TTL, least)
	if least > most {
		report("min_ttl", fmt.Sprintf("want at most max_ttl (%s), got %s", c.MaxTTL, c.MinTTL))
	}
	if c.TTL != "" && ttl > most {
		report("ttl", fmt.Sprintf("want at most max_ttl (%s), got %s", c.MaxTTL, c.TTL))
	}
}

// ownFields are request headers that no key may have: the host is in every key, what a cache evaluates itself is in none, and
// what differs in every request makes a cache of none.
var ownFields = [...]string{
	"Host", "Range", "If-Range", "If-Match", "If-None-Match", "If-Modified-Since", "If-Unmodified-Since", "Cache-Control", "Pragma",
	"Connection", "Upgrade", "Content-Length", "Transfer-Encoding", "Te", "Trailer", "Expect", "Traceparent", "X-Request-Id",
	"X-Amzn-Trace-Id",
}

func (k KeyConfig) validate(report func(field, msg string)) {
	named := k.Query == QueryOnly || k.Query == QueryExcept
	if named && len(k.QueryNames) == 0 {
		report("key.query_names", fmt.Sprintf("required: query is %q", k.Query))
	}
	if !named && len(k.QueryNames) > 0 {
		report("key.query_names", `does nothing: want query: only or query: except beside it`)
	}
	for i, name := range k.QueryNames {
		if name == "" {
			report(fmt.Sprintf("key.query_names[%d]", i), "want the name of a parameter")
		}
	}
	for i, name := range k.Headers {
		at := fmt.Sprintf("key.headers[%d]", i)
		switch key := textproto.CanonicalMIMEHeaderKey(name); {
		case !isToken(name):
			report(at, fmt.Sprintf("want the name of a header, got %q", name))
		case key == "Cookie":
			report(at, "want the names of the cookies in cookies")
		case slices.Contains(ownFields[:], key):
			report(at, name+" cannot be in a key")
		}
	}
	for i, name := range k.Cookies {
		if !isToken(name) {
			report(fmt.Sprintf("key.cookies[%d]", i), fmt.Sprintf("want the name of a cookie, or %q alone for all, got %q", "*", name))
		}
	}
	if slices.Contains(k.Cookies, "*") && len(k.Cookies) > 1 {
		report("key.cookies", `"*" is all cookies already`)
	}
}

// parseTime reads a time such as "90s" or "1h"; "" is the default, and "0" and "0s" are none.
func parseTime(s string, byDefault time.Duration) (time.Duration, error) {
	if s == "" {
		return byDefault, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 || d > maxDuration {
		return 0, fmt.Errorf("want a time such as 90s or 24h, or 0s, got %q", s)
	}
	return d, nil
}

// parseSize reads a size such as "64MiB"; "" is the default.
func parseSize(s string, byDefault int64) (int64, error) {
	if s == "" {
		return byDefault, nil
	}
	number, unit := s, int64(1)
	for i, suffix := range [...]string{"KiB", "MiB", "GiB", "TiB"} {
		if before, ok := strings.CutSuffix(s, suffix); ok {
			number, unit = before, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n <= 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("want a size such as 64MiB (KiB, MiB, GiB, TiB), got %q", s)
	}
	return n * unit, nil
}

// A policy is a Config as it is used.
type policy struct {
	ttl, minTTL, maxTTL, errorTTL time.Duration
	whileRevalidate, ifError      time.Duration // where an answer does not say; 0 is not at all
	cloudFront, heuristic         bool
	query                         string
	queryNames, headers, cookies  []string
	drop                          bool // of what is not in the key
	setCookie                     string
	shared, obey, markers         bool
	maxObject                     int64
}

// compile makes a policy of a Config that Validate accepts.
func (c Config) compile(maxObject int64) *policy {
	p := &policy{
		cloudFront: c.Rules == RulesCloudFront, heuristic: c.Heuristic && c.TTL == "",
		query: cmp.Or(c.Key.Query, QueryAll), queryNames: c.Key.QueryNames, cookies: c.Key.Cookies,
		drop: c.Unkeyed == UnkeyedDrop, setCookie: cmp.Or(c.SetCookie, SetCookiePass),
		shared: c.SharedByEveryone, obey: c.ObeyClients, markers: c.Markers != MarkersOff, maxObject: maxObject,
	}
	ttl, longest, errors := time.Duration(0), time.Duration(maxDuration), time.Duration(0)
	if p.cloudFront {
		ttl, longest, errors = cloudFrontTTL, cloudFrontMaxTTL, cloudFrontErrors
	}
	set := func(to *time.Duration, text string, byDefault time.Duration) { *to, _ = parseTime(text, byDefault) }
	set(&p.minTTL, c.MinTTL, 0)
	set(&p.maxTTL, c.MaxTTL, longest)
	set(&p.ttl, c.TTL, max(min(ttl, p.maxTTL), p.minTTL))
	set(&p.errorTTL, c.ErrorTTL, errors)
	set(&p.whileRevalidate, c.StaleWhileRevalidate, 0)
	stale := time.Duration(0)
	if p.cloudFront && max(p.minTTL, p.maxTTL) > 0 {
		stale = p.maxTTL
	}
	set(&p.ifError, c.StaleIfError, stale)
	for _, name := range c.Key.Headers {
		p.headers = append(p.headers, textproto.CanonicalMIMEHeaderKey(name))
	}
	slices.Sort(p.headers)
	p.headers = slices.Compact(p.headers)
	return p
}
