package acl

// What a rule does with requests that it matches.
const (
	ActionBlock     = "block"     // refuse, and evaluate nothing more
	ActionAllow     = "allow"     // let pass, and evaluate nothing more: neither rules nor rule groups
	ActionCount     = "count"     // note it, and go on
	ActionChallenge = "challenge" // ask browsers for a proof of work; who has given one is counted
	ActionInspect   = "inspect"   // have the rule groups inspect the request, and go on if they let it pass
)

// What is done with a request that no rule decides about.
const (
	DefaultAllow = "allow"
	DefaultBlock = "block"
)

// The modes of an ACL.
const (
	ModeBlock = "block" // rules decide
	ModeCount = "count" // rules are evaluated and recorded; none refuses and none challenges
	ModeOff   = "off"   // rules are not evaluated
)

// Config is what the file says at the top. The zero value has no rules.
type Config struct {
	// Mode is "block", "count" (evaluate and record, refuse nothing) or "off". Default: count where waf.mode is count, else block.
	Mode string `yaml:"mode"`
	// Default is what becomes of requests that no rule decides about: "allow" (the default) or "block".
	Default string `yaml:"default"`
	// Rules are evaluated on every route, and at the endpoints of signing in.
	Rules []Rule `yaml:"rules"`
	// PatternSets are lists of regular expressions (RE2 syntax), which rules name.
	PatternSets map[string][]string `yaml:"pattern_sets"`
	// Answers are bodies of answers, which rules name.
	Answers map[string]Body `yaml:"answers"`
	// BodyLimit is how much of a body rules look at, such as "64KiB"; at least 1KiB and at most 1MiB. Default 64KiB, or
	// waf.body_limit where that is less.
	BodyLimit string `yaml:"body_limit"`
}

// RouteConfig is what a route says. Its rules are evaluated with those at the top.
type RouteConfig struct {
	// Mode replaces the one at the top.
	Mode string `yaml:"mode"`
	// Default replaces the one at the top.
	Default string `yaml:"default"`
	// Rules come after those at the top of the same priority.
	Rules []Rule `yaml:"rules"`
}

// A Rule says what happens to requests of a kind.
type Rule struct {
	// Name is the rule's name in events, metrics and logs. Required.
	Name string `yaml:"name"`
	// Priority puts rules in order, the lowest first; of equals those at the top come before those of the route, and each in
	// the order of the file. Default 0.
	Priority int `yaml:"priority"`
	// When says which requests; default all.
	When *Statement `yaml:"when"`
	// Action is "block", "allow", "count", "challenge", or "inspect", which says where the rule groups come in. Required.
	Action string `yaml:"action"`
	// Respond is the answer of a rule that blocks; default 403 with the page or the JSON of all refusals.
	Respond *Response `yaml:"respond"`
	// Insert are headers that the upstream gets with requests that the rule allows or counts. "x-amzn-waf-" is put before
	// their names; of two rules with the same one the later has the last word.
	Insert map[string]string `yaml:"insert"`
	// Labels are put on requests that the rule matches, for rules after it and for logs.
	Labels []string `yaml:"labels"`
}

// A Response is an answer that Gatehouse gives itself.
type Response struct {
	// Status is the answer's status; default 403.
	Status int `yaml:"status"`
	// Headers are those of the answer.
	Headers map[string]string `yaml:"headers"`
	// Body names one of the answers at the top; default none.
	Body string `yaml:"body"`
}

// A Body is the body of answers.
type Body struct {
	// ContentType is "text", "html" or "json"; default text.
	ContentType string `yaml:"content_type"`
	// Content is the body, at most 4KiB. Required.
	Content string `yaml:"content"`
}

// Texts is one text or a list of them.
type Texts []string

// A Statement is true of some requests. All of what it says must be true.
type Statement struct {
	// Method is the method, as sent.
	Method *Match `yaml:"method"`
	// Path is the path as it is forwarded, decoded once.
	Path *Match `yaml:"path"`
	// Query is the query without its "?".
	Query *Match `yaml:"query"`
	// Arg are arguments of the query by name, in any case.
	Arg map[string]*Match `yaml:"arg"`
	// Args are the values of all arguments of the query.
	Args *Match `yaml:"args"`
	// Header are headers by name; each value of one is looked at.
	Header map[string]*Match `yaml:"header"`
	// Headers are all headers, or those that the match names.
	Headers *Match `yaml:"headers"`
	// Cookie are cookies by name.
	Cookie map[string]*Match `yaml:"cookie"`
	// Cookies are all cookies, or those that the match names.
	Cookies *Match `yaml:"cookies"`
	// Body is the beginning of the body, as sent.
	Body *Match `yaml:"body"`
	// JSON is what a body of JSON has.
	JSON *Match `yaml:"json"`
	// IP is where the request comes from: names of ip_sets, addresses and networks.
	IP *Source `yaml:"ip"`
	// Country is where its address is, as ISO 3166-1 has it; XX where that is not known.
	Country *Source `yaml:"country"`
	// ASN is the number of the autonomous system that its address is in.
	ASN *Source `yaml:"asn"`
	// Label is a label that rules before have put on the request: one of these, whole or without its beginning.
	Label Texts `yaml:"label"`
	// LabelNamespace is the beginning of one, such as "gatehouse:waf:sqli".
	LabelNamespace Texts `yaml:"label_namespace"`
	// All must all be true.
	All []*Statement `yaml:"all"`
	// Any is statements of which one must be true.
	Any []*Statement `yaml:"any"`
	// Not must be false.
	Not *Statement `yaml:"not"`
}

// A Match is true of a part of a request of which one value has all that it says. Of a list of texts one is enough.
type Match struct {
	// Is is the whole value.
	Is Texts `yaml:"is"`
	// StartsWith is its beginning.
	StartsWith Texts `yaml:"starts_with"`
	// EndsWith is its end.
	EndsWith Texts `yaml:"ends_with"`
	// Contains is a part of it.
	Contains Texts `yaml:"contains"`
	// Word is a part with no letter, digit or underscore on either side.
	Word Texts `yaml:"word"`
	// Regex is a regular expression that matches a part of it (RE2 syntax).
	Regex Texts `yaml:"regex"`
	// RegexSet names pattern_sets of which one matches a part of it.
	RegexSet Texts `yaml:"regex_set"`
	// SQLi is "low" for what is SQL injection, or "high" for what resembles it too.
	SQLi string `yaml:"sqli"`
	// XSS is true for what is cross-site scripting.
	XSS bool `yaml:"xss"`
	// Size is its size in bytes, such as ">8KiB", "<=100" or "!=0".
	Size string `yaml:"size"`
	// Present is true for any value.
	Present bool `yaml:"present"`
	// Transform is what is done to it before, in this order; "none" leaves it as it was sent. Default: url_decode of the query
	// and its arguments, decoding of the path, and nothing elsewhere.
	Transform Texts `yaml:"transform"`
	// Only names the headers or cookies that are looked at; default all.
	Only Texts `yaml:"only"`
	// Except names those that are not.
	Except Texts `yaml:"except"`
	// Scope of headers, cookies and JSON is "values" (the default), "keys" or "all".
	Scope string `yaml:"scope"`
	// Pointers are JSON pointers (RFC 6901) to what of the JSON is looked at, with all that is below; default all.
	Pointers Texts `yaml:"pointers"`
	// Invalid is what is made of a body that is no JSON: "match", "no_match" or "text", which takes the body for one text.
	// Default: what stands before the first error is looked at.
	Invalid string `yaml:"invalid"`
	// Oversize is what is made of more than is looked at: "continue" (the default for bodies: the beginning is looked at),
	// "match" or "no_match". Headers and cookies are looked at as a whole, unless this is said: then it is 8KiB or 200 of them, as with
	// AWS WAF.
	Oversize string `yaml:"oversize"`
}

// A Source is true of some addresses.
type Source struct {
	// In are those that it is true of. Required.
	In Texts `yaml:"in"`
	// Header is where a proxy in front has written the client's address, such as X-Forwarded-For. Whoever reaches Gatehouse
	// past that proxy writes it as they like. Without the header the whole rule is left out. Default: the address that
	// trusted_proxies give.
	Header string `yaml:"header"`
	// Invalid is what is made of a header that has no address: "match" or "no_match" (the default).
	Invalid string `yaml:"invalid"`
	// Position says which address of the header an ip takes: "first" (the default), "last", or "any" of the last ten.
	// Countries and ASNs are those of the first.
	Position string `yaml:"position"`
}
