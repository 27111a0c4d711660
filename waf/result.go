package waf

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/corazawaf/coraza/v3/experimental/plugins/plugintypes"
	"github.com/corazawaf/coraza/v3/types"
	"github.com/corazawaf/coraza/v3/types/variables"
)

// maxMatches bounds Result.Matches: a request with a thousand hostile arguments is not to make a record
// of a thousand lines.
const maxMatches = 64

// A Result is what an engine found in one request, or in the answer to one. In count mode Blocked is false and Status and Cause
// say what block mode would have done.
type Result struct {
	// Mode is the engine's mode, "block" or "count".
	Mode string
	// Answer says that this is about the answer, not about the request.
	Answer bool
	// Blocked says that the request was refused, or the answer kept back, because of a rule.
	Blocked bool
	// Status is the HTTP status of the refusal; 0 if nothing was to be refused.
	Status int
	// Cause is the id of the rule that decided, which is 949110 when it was the score, and 959100 when it was
	// that of the answer; 0 if none did.
	Cause int
	// Limit is the limit that the request goes over, one of the Limit constants; "" if it goes over none.
	Limit string
	// Score is the anomaly score, of the request or of the answer.
	Score int
	// Counted is what rules on count would have added to it.
	Counted int
	// Matches are the detections, at most 64, one for each rule and place.
	Matches []Match
	// Rules are the ids of all rules that found something, each once, in the order in which they did, however often they and others
	// did.
	Rules []int
}

// A Match is one rule that found something in one place. The value that it found is not kept.
type Match struct {
	// RuleID is the rule's id, as in Exclusion.Rule.
	RuleID int
	// Message is the rule's own description. It may name the type of what was found, never its value.
	Message string
	// Variable is the engine's name for where it was found, such as ARGS_GET or REQUEST_HEADERS.
	Variable string
	// Key is the name within Variable, such as the argument's; "" where there is none. It comes from
	// the client.
	Key string
	// Target is the same place as an Exclusion's Target; "" where an exclusion can only name the rule.
	Target string
	// Severity is the score that the rule adds each time it matches: 5, 4, 3 or 2.
	Severity int
	// Counted says that the rule is on count: it added nothing and decided nothing.
	Counted bool
}

// Blocked is the error given to Options.Deny for a request that a rule refuses, or whose answer one keeps back.
type Blocked struct {
	RuleID int // the rule that decided; 949110 for the score, 959100 for that of the answer
	Status int
}

// Error implements error. It is for the log; it does not say what the rule looks for.
func (b *Blocked) Error() string {
	return fmt.Sprintf("waf: refused by rule %d", b.RuleID)
}

// HTTPStatus is the status of the answer.
func (b *Blocked) HTTPStatus() int { return b.Status }

// A Failure is the error given to Options.Deny for a request that could not be inspected: its body
// could not be read or the engine itself failed, which is a refusal in every mode, or the answer cannot be read, which is
// one in block mode.
type Failure struct {
	Reason string
	Status int
	Err    error // may be nil
}

// Error implements error.
func (f *Failure) Error() string {
	if f.Err == nil {
		return "waf: " + f.Reason
	}
	return "waf: " + f.Reason + ": " + f.Err.Error()
}

// Unwrap is the cause.
func (f *Failure) Unwrap() error { return f.Err }

// HTTPStatus is the status of the answer: the cause's own if it has one.
func (f *Failure) HTTPStatus() int { return f.Status }

// scoreKeys are the variables in which the Core Rule Set adds up, one for each paranoia level.
func scoreKeys(answer bool) []string {
	if answer {
		return []string{
			"outbound_anomaly_score_pl1", "outbound_anomaly_score_pl2",
			"outbound_anomaly_score_pl3", "outbound_anomaly_score_pl4",
		}
	}
	return []string{
		"inbound_anomaly_score_pl1", "inbound_anomaly_score_pl2",
		"inbound_anomaly_score_pl3", "inbound_anomaly_score_pl4",
	}
}

// collect fills r from what the transaction has found so far.
func (r *Result) collect(tx types.Transaction, state plugintypes.TransactionState, e *Engine) {
	vars := state.Variables().TX()
	add := func(sum *int, key string) {
		for _, v := range vars.Get(key) {
			n, _ := strconv.Atoi(v) // the set writes numbers; anything else counts nothing
			*sum += n
		}
	}
	for _, key := range scoreKeys(r.Answer) {
		add(&r.Score, key)
	}
	add(&r.Counted, countedScore)
	type finding struct {
		rule int
		place
	}
	seen := map[finding]bool{}
	rules := map[int]bool{}
	for _, m := range tx.MatchedRules() {
		id := m.Rule().ID()
		if !e.told[id] && (!isDetection(id) || m.Rule().Severity() == types.RuleSeverityUnset) {
			continue
		}
		if !rules[id] {
			rules[id] = true
			r.Rules = append(r.Rules, id)
		}
		if len(r.Matches) == maxMatches {
			continue
		}
		for _, p := range placesOf(m) {
			if seen[finding{id, p}] {
				continue
			}
			if len(r.Matches) == maxMatches {
				break
			}
			seen[finding{id, p}] = true
			match := p.match(m)
			match.Counted = e.counted[id]
			r.Matches = append(r.Matches, match)
		}
	}
}

// match is m at p.
func (p place) match(m types.MatchedRule) Match {
	return Match{
		RuleID:   m.Rule().ID(),
		Message:  m.Message(),
		Variable: p.variable.Name(),
		Key:      p.key,
		Target:   p.targetFor(m.Rule().ID()),
		Severity: scoreOf(m.Rule().Severity()),
	}
}

// A place is where in a request a rule matched.
type place struct {
	variable variables.RuleVariable
	key      string
}

// restrictedHeader is the prefix of the variables in which rules 920450 and 920451 keep the names of
// headers: their first directive matches every header, and only these say which of them it was.
const restrictedHeader = "header_name_"

// placesOf is where a rule matched: what its first directive read, unless that was only the engine's
// own bookkeeping.
func placesOf(m types.MatchedRule) []place {
	var first, request, named []place
	for _, d := range m.MatchedDatas() {
		p := place{d.Variable(), d.Key()}
		if name, ok := strings.CutPrefix(strings.ToLower(p.key), restrictedHeader); ok && p.variable == variables.TX {
			_, name, _ = strings.Cut(name, "_") // behind the rule's id
			named = append(named, place{variables.RequestHeaders, name})
		}
		if !isRequestVariable(p.variable) {
			continue
		}
		request = append(request, p)
		if d.ChainLevel() == 0 {
			first = append(first, p)
		}
	}
	for _, places := range [][]place{named, first, request} {
		if len(places) > 0 {
			return places
		}
	}
	return []place{{}}
}

func isRequestVariable(v variables.RuleVariable) bool {
	switch v {
	case variables.TX, variables.MatchedVar, variables.MatchedVars, variables.MatchedVarName,
		variables.MatchedVarsNames, variables.Unknown:
		return false
	}
	return true
}

// scoreOf is what the Core Rule Set adds for a severity.
func scoreOf(s types.RuleSeverity) int {
	switch s {
	case types.RuleSeverityEmergency, types.RuleSeverityAlert, types.RuleSeverityCritical:
		return 5
	case types.RuleSeverityError:
		return 4
	case types.RuleSeverityWarning:
		return 3
	case types.RuleSeverityNotice:
		return 2
	default:
		return 0
	}
}

// targetFor is the place in the words of the configuration, if an exclusion of the rule can name it: one is about what the
// rule's first directive reads.
func (p place) targetFor(rule int) string {
	name := p.target()
	if name == "" {
		return ""
	}
	what, err := parseTarget(name)
	if r, known := knownRules()[rule]; err != nil || known && !r.reads(what) {
		return ""
	}
	return name
}

// target is what would be the place's name in the configuration, "" if there is none.
func (p place) target() string {
	if strings.Contains(p.key, "*") {
		return "" // an exclusion would take it for a pattern
	}
	switch p.variable {
	case variables.ArgsGet, variables.ArgsGetNames:
		return "query." + p.key
	case variables.ArgsPost, variables.ArgsPostNames:
		if strings.HasPrefix(p.key, "json.") {
			return p.key
		}
		return "form." + p.key
	case variables.RequestHeaders, variables.RequestHeadersNames:
		return "header." + http.CanonicalHeaderKey(p.key)
	case variables.RequestCookies, variables.RequestCookiesNames:
		return "cookie." + p.key
	case variables.RequestBody, variables.XML, variables.RequestXML:
		return "body"
	case variables.Files, variables.FilesNames, variables.MultipartPartHeaders, variables.MultipartFilename, variables.MultipartName:
		return "files"
	case variables.RequestFilename, variables.RequestBasename:
		return "path"
	case variables.QueryString:
		return "query"
	case variables.RequestURI, variables.RequestURIRaw, variables.RequestLine:
		return "uri"
	}
	return ""
}

// TargetOf is a Match's Target by its RuleID, Variable and Key, for matches that were written down without it.
func TargetOf(rule int, variable, key string) string {
	v, err := variables.Parse(variable)
	if err != nil {
		return ""
	}
	return place{v, key}.targetFor(rule)
}

// Effective is c with its defaults written out and its lists in order.
func (c Config) Effective() Config { return c.normal() }

// ScoreRule is the Cause of a Result that the score decided.
const ScoreRule = 949110

// ReadsAnswers reports whether a rule reads answers. Their score and their verdict are not those of requests.
func ReadsAnswers(rule int) bool { return isAnswerRule(rule) }

// DecidesAlone reports whether a rule refuses by itself, without the score: what cannot be read is not scored. In
// block mode the rules after it do not run.
func DecidesAlone(rule int) bool { return rule >= 200000 && rule < 200100 }
