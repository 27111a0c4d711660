package awslog

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Request is what a record tells of. It has no value that the client sent but the path, the User-Agent and names.
type Request struct {
	Time                       time.Time
	ID, Client                 string
	Scheme, Proto, Method      string
	Host, Path, Agent          string
	BodySize                   int64
	Refused                    bool // a rule refused it
	WouldRefuse                bool // one would have, in block mode
	Cause, Threshold, Paranoia int  // Cause is the rule that refused, or ScoreRule
	Matches                    []Match

	// What the rules of the file made of it: the one that decided with its action and the status of its answer, those that
	// matched beside it, and what they put on the request.
	Rule, Action string
	Status       int
	Counted      []Counted
	Labels       []string
	Inserted     []Header
	Token        string // what the client's proof of work was
}

// Counted is a rule that matched and did not decide.
type Counted struct{ Rule, Action string }

// Header is a header that the upstream got.
type Header struct{ Name, Value string }

// ScoreRule is the Cause of a request that its score refused.
const ScoreRule = 949110

// A Match is one rule at one place.
type Match struct {
	Rule          int
	Variable, Key string
	Score         int
	Counted       bool // the rule was on count
}

// redacted is what AWS writes for a field that is not to be logged.
const redacted = "REDACTED"

// The form of a record: AWS WAF Developer Guide, "Log fields for protection pack (web ACL) traffic". What AWS writes as
// null or as an empty list is written so.
type (
	record struct {
		Timestamp                   int64         `json:"timestamp"`
		FormatVersion               int           `json:"formatVersion"`
		WebACLID                    string        `json:"webaclId"`
		TerminatingRuleID           string        `json:"terminatingRuleId"`
		TerminatingRuleType         string        `json:"terminatingRuleType"`
		Action                      string        `json:"action"`
		TerminatingRuleMatchDetails []matchDetail `json:"terminatingRuleMatchDetails"`
		HTTPSourceName              string        `json:"httpSourceName"`
		HTTPSourceID                string        `json:"httpSourceId"`
		RuleGroupList               []ruleGroup   `json:"ruleGroupList"`
		RateBasedRuleList           []struct{}    `json:"rateBasedRuleList"`
		NonTerminatingMatchingRules []groupRule   `json:"nonTerminatingMatchingRules"`
		RequestHeadersInserted      []header      `json:"requestHeadersInserted"`
		ResponseCodeSent            *int          `json:"responseCodeSent"`
		HTTPRequest                 httpRequest   `json:"httpRequest"`
		Labels                      []label       `json:"labels"`
		ChallengeResponse           *challenged   `json:"challengeResponse,omitempty"`
		RequestBodySize             int64         `json:"requestBodySize,omitempty"`
	}
	matchDetail struct {
		ConditionType    string   `json:"conditionType"`
		SensitivityLevel string   `json:"sensitivityLevel"`
		Location         string   `json:"location"`
		MatchedData      []string `json:"matchedData"`
	}
	ruleGroup struct {
		RuleGroupID                 string      `json:"ruleGroupId"`
		TerminatingRule             *groupRule  `json:"terminatingRule"`
		NonTerminatingMatchingRules []groupRule `json:"nonTerminatingMatchingRules"`
		ExcludedRules               []struct{}  `json:"excludedRules"`
		CustomerConfig              *struct{}   `json:"customerConfig"`
	}
	groupRule struct {
		RuleID           string        `json:"ruleId"`
		Action           string        `json:"action"`
		OverriddenAction string        `json:"overriddenAction,omitempty"`
		RuleMatchDetails []matchDetail `json:"ruleMatchDetails"`
	}
	challenged struct {
		ResponseCode   int    `json:"responseCode"`
		SolveTimestamp int64  `json:"solveTimestamp"`
		FailureReason  string `json:"failureReason,omitempty"`
	}
	httpRequest struct {
		ClientIP    string   `json:"clientIp"`
		Country     string   `json:"country"`
		Headers     []header `json:"headers"`
		URI         string   `json:"uri"`
		Args        string   `json:"args"`
		HTTPVersion string   `json:"httpVersion"`
		HTTPMethod  string   `json:"httpMethod"`
		RequestID   string   `json:"requestId"`
		Fragment    string   `json:"fragment"`
		Scheme      string   `json:"scheme"`
		Host        string   `json:"host"`
	}
	header struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
	label struct {
		Name string `json:"name"`
	}
)

// maxLabels is how many labels AWS writes at most.
const maxLabels = 100

// encode returns the record as one line.
func (c Config) encode(r *Request) ([]byte, error) {
	line, err := json.Marshal(c.record(r))
	return append(line, '\n'), err
}

func (c Config) record(r *Request) record {
	out := record{
		Timestamp: r.Time.UnixMilli(), FormatVersion: 1, WebACLID: cmp.Or(c.WebACL, defaultWebACL),
		TerminatingRuleID: "Default_Action", TerminatingRuleType: "REGULAR", Action: "ALLOW",
		TerminatingRuleMatchDetails: []matchDetail{},
		HTTPSourceName:              cmp.Or(c.Source, defaultSource), HTTPSourceID: cmp.Or(c.SourceID, defaultWebACL),
		RuleGroupList: []ruleGroup{}, RateBasedRuleList: []struct{}{}, NonTerminatingMatchingRules: []groupRule{}, Labels: []label{},
		HTTPRequest: httpRequest{
			ClientIP: r.Client, Country: "-", Headers: []header{{"Host", r.Host}}, URI: r.Path, Args: redacted, HTTPVersion: r.Proto,
			HTTPMethod: r.Method, RequestID: r.ID, Scheme: r.Scheme, Host: r.Host,
		},
		RequestBodySize: r.BodySize,
	}
	if r.Agent != "" {
		out.HTTPRequest.Headers = append(out.HTTPRequest.Headers, header{"User-Agent", r.Agent})
	}
	terminating := r.terminating()
	if terminating >= 0 {
		m := r.Matches[terminating]
		out.TerminatingRuleID, out.TerminatingRuleType, out.Action = groupOf(m.Rule), "MANAGED_RULE_GROUP", "BLOCK"
		out.TerminatingRuleMatchDetails = r.details(m)
	}
	out.addFileRules(r)
	out.addRules(r, terminating)
	return out
}

// addFileRules tells what the rules of the file made of the request.
func (rec *record) addFileRules(r *Request) {
	if r.Rule != "" && r.Rule != rec.TerminatingRuleID {
		rec.TerminatingRuleID, rec.TerminatingRuleType = r.Rule, "REGULAR"
	}
	if r.Action != "" {
		rec.Action = strings.ToUpper(r.Action)
	}
	if r.Status != 0 {
		rec.ResponseCodeSent = &r.Status
	}
	if r.Action == "challenge" {
		rec.ChallengeResponse = &challenged{ResponseCode: 202, FailureReason: failureOf(r.Token)}
		rec.ResponseCodeSent = &rec.ChallengeResponse.ResponseCode
	}
	for _, m := range r.Counted {
		rule := groupRule{RuleID: m.Rule, Action: "COUNT", RuleMatchDetails: []matchDetail{}}
		if action := strings.ToUpper(m.Action); action == "CHALLENGE" {
			rule.Action = action
		} else if action != "COUNT" {
			rule.OverriddenAction = action
		}
		rec.NonTerminatingMatchingRules = append(rec.NonTerminatingMatchingRules, rule)
	}
	for _, h := range r.Inserted {
		rec.RequestHeadersInserted = append(rec.RequestHeadersInserted, header(h))
	}
	for _, name := range r.Labels {
		if len(rec.Labels) < maxLabels {
			rec.Labels = append(rec.Labels, label{name})
		}
	}
}

// addRules lists the rules that matched by their groups.
func (rec *record) addRules(r *Request, terminating int) {
	seen := map[string]bool{}
	for i, m := range r.Matches {
		id, name := strconv.Itoa(m.Rule), groupOf(m.Rule)
		group := rec.group("Gatehouse#" + name)
		switch {
		case i == terminating:
			group.TerminatingRule = &groupRule{RuleID: id, Action: "BLOCK", RuleMatchDetails: r.details(m)}
		case seen[id] || terminating >= 0 && r.Matches[terminating].Rule == m.Rule:
		default:
			rule := groupRule{RuleID: id, Action: "COUNT", RuleMatchDetails: r.details(m)}
			if r.Refused || r.WouldRefuse || m.Counted {
				rule.OverriddenAction = "BLOCK"
			}
			group.NonTerminatingMatchingRules = append(group.NonTerminatingMatchingRules, rule)
		}
		if l := (label{LabelOf(m.Rule)}); !seen[id] && len(rec.Labels) < maxLabels && !slices.Contains(rec.Labels, l) {
			rec.Labels = append(rec.Labels, l)
		}
		seen[id] = true
	}
}

// failureOf is why a token was not accepted in AWS's words.
func failureOf(token string) string {
	switch token {
	case "absent":
		return "TOKEN_MISSING"
	case "rejected:expired":
		return "TOKEN_EXPIRED"
	case "rejected:domain_mismatch":
		return "TOKEN_DOMAIN_MISMATCH"
	}
	return "TOKEN_INVALID"
}

func (rec *record) group(id string) *ruleGroup {
	i := slices.IndexFunc(rec.RuleGroupList, func(g ruleGroup) bool { return g.RuleGroupID == id })
	if i < 0 {
		i = len(rec.RuleGroupList)
		rec.RuleGroupList = append(rec.RuleGroupList, ruleGroup{RuleGroupID: id, NonTerminatingMatchingRules: []groupRule{}})
	}
	return &rec.RuleGroupList[i]
}

// terminating is the index of the match that decided, or -1: the rule that refused by itself, or the one with which the
// score came to the threshold.
func (r *Request) terminating() int {
	if !r.Refused || len(r.Matches) == 0 {
		return -1
	}
	score := 0
	last := -1
	for i, m := range r.Matches {
		if m.Counted {
			continue
		}
		if last = i; r.Cause == m.Rule {
			return i
		}
		if score += m.Score; r.Cause == ScoreRule && score >= r.Threshold {
			return i
		}
	}
	return last
}

// details are what AWS tells of matches of SQL injection and XSS, without what matched.
func (r *Request) details(m Match) []matchDetail {
	condition := map[string]string{"sqli": "SQL_INJECTION", "xss": "XSS"}[kindOf(m.Rule)]
	if condition == "" {
		return []matchDetail{}
	}
	level := "LOW"
	if r.Paranoia > 1 {
		level = "HIGH"
	}
	return []matchDetail{{condition, level, location(m), []string{redacted}}}
}

// location is where m was in AWS's words. What is inside JSON has none.
func location(m Match) string {
	switch name := strings.TrimSuffix(m.Variable, "_NAMES"); {
	case name == "ARGS_GET", name == "QUERY_STRING":
		return "QUERY_STRING"
	case name == "ARGS_POST" && strings.HasPrefix(m.Key, "json."):
		return "UNKNOWN"
	case name == "ARGS_POST", name == "REQUEST_BODY", strings.HasPrefix(name, "FILES"), strings.HasPrefix(name, "MULTIPART"):
		return "BODY"
	case name == "REQUEST_HEADERS", name == "REQUEST_COOKIES":
		return "HEADER"
	case strings.HasPrefix(name, "REQUEST_URI"), name == "REQUEST_FILENAME", name == "REQUEST_BASENAME":
		return "URI"
	}
	return "UNKNOWN"
}

// kindOf is the kind of attack that a rule of the Core Rule Set is about, by its id.
func kindOf(rule int) string {
	switch rule / 1000 {
	case 941:
		return "xss"
	case 942:
		return "sqli"
	}
	return ""
}

// LabelOf is the label that a match of a rule of the engine puts on a request.
func LabelOf(rule int) string { return "gatehouse:waf:" + groupOf(rule) + ":" + strconv.Itoa(rule) }

// ownGroup is the group of a rule of Gatehouse's own, by its hundred.
func ownGroup(rule int) string {
	switch rule / 100 {
	case 1903:
		return "known-bad-inputs"
	case 1904:
		return "admin-protection"
	case 1905:
		return "wordpress"
	case 1906:
		return "size-restrictions"
	case 1907:
		return "posix"
	case 1908:
		return "php"
	case 1909:
		return "windows"
	}
	if rule == 190110 || rule == 190111 {
		return "sqli"
	}
	return "core"
}

// groupOf is the group of a rule as the configuration names them, by its id.
func groupOf(rule int) string {
	switch rule / 1000 {
	case 932:
		return "posix"
	case 933:
		return "php"
	case 934, 944:
		return "known-bad-inputs"
	case 942:
		return "sqli"
	case 190:
		return ownGroup(rule)
	case 200:
		return "inspection" // what every engine refuses because it cannot be read
	case 950, 951, 952, 953, 954, 955, 956:
		return "leakages"
	}
	if rule < 900000 || rule >= 1000000 {
		return "custom" // the operator's own
	}
	return "core"
}
