package tuning

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse/waf"
)

// A Record is what an event says of one request, as docs/events.md has it, without what only measures. It has no
// value that the client sent but the path and names of fields.
type Record struct {
	Msg        string            `json:"msg"`
	Time       time.Time         `json:"time"`
	ID         string            `json:"id"`
	Route      string            `json:"route,omitempty"`
	Generation string            `json:"generation,omitempty"`
	Client     string            `json:"client,omitempty"`
	Method     string            `json:"method,omitempty"`
	Host       string            `json:"host,omitempty"`
	Path       string            `json:"path,omitempty"`
	Status     int               `json:"status"`
	Guards     map[string]string `json:"guards,omitempty"`
	Rules      *Rules            `json:"rules,omitempty"`
	WAF        *WAF              `json:"waf,omitempty"`
	Limit      *Limit            `json:"limit,omitempty"`
	Denied     string            `json:"denied,omitempty"`
}

// Rules is what the rules of the file made of the request.
type Rules struct {
	Mode     string      `json:"mode"`
	Rule     string      `json:"rule,omitempty"` // that decided
	Action   string      `json:"action,omitempty"`
	Status   int         `json:"status,omitempty"` // of an answer that the rule says
	Matched  []RuleMatch `json:"matched,omitempty"`
	Labels   []string    `json:"labels,omitempty"`
	Token    string      `json:"token,omitempty"`
	Inserted []string    `json:"inserted,omitempty"` // names of headers
}

// A RuleMatch is a rule that matched and did not decide.
type RuleMatch struct {
	Rule   string `json:"rule"`
	Action string `json:"action"`
}

// WAF is what the WAF found, and what it was told to look for.
type WAF struct {
	Mode       string   `json:"mode"`
	Verdict    string   `json:"verdict"`
	Limit      string   `json:"limit,omitempty"` // of the WAF's own, that the request goes over
	Score      int      `json:"score"`
	Threshold  int      `json:"threshold,omitempty"`
	Paranoia   int      `json:"paranoia,omitempty"`
	Groups     []string `json:"groups,omitempty"` // empty: those that run by default
	Rules      []string `json:"rule_actions,omitempty"`
	Counted    int      `json:"counted,omitempty"` // what rules on count would have added to the score
	Exclusions int      `json:"exclusions,omitempty"`
	For        []string `json:"exclusions_for,omitempty"` // groups that some of them are for
	Cause      int      `json:"cause,omitempty"`
	Matches    []Match  `json:"matches,omitempty"` // of the request, and behind them of the answer
	// Response is what was found in the answer; nil if it was not inspected.
	Response *Response `json:"response,omitempty"`
}

// Response is what the WAF said of an answer.
type Response struct {
	Verdict string `json:"verdict"`
	Score   int    `json:"score"`
}

// A Match is one rule at one place.
type Match struct {
	Rule     int        `json:"rule"`
	Message  string     `json:"message"`
	Variable string     `json:"variable"`
	Key      string     `json:"key"`
	Score    int        `json:"score"`
	Counted  bool       `json:"counted,omitempty"` // the rule was on count
	Exclude  *Exclusion `json:"exclude,omitempty"` // in samples; never read
}

// Limit is what the limit that decided last said.
type Limit struct {
	Name    string `json:"name"`
	Verdict string `json:"verdict"`
}

// An Exclusion is a waf.Exclusion as JSON, which is YAML too.
type Exclusion struct {
	Rule   int    `json:"rule"`
	Target string `json:"target,omitempty"`
}

// exclusion is the smallest one that keeps m from being found.
func (m Match) exclusion() Exclusion {
	return Exclusion{m.Rule, waf.TargetOf(m.Rule, m.Variable, m.Key)}
}

func (m Match) found() waf.Match {
	return waf.Match{RuleID: m.Rule, Message: m.Message, Variable: m.Variable, Key: m.Key, Severity: m.Score}
}

// Covers reports whether x keeps m from being found.
func (x Exclusion) Covers(m Match) bool {
	return waf.Exclusion{Rule: x.Rule, Target: x.Target}.Covers(m.found())
}

const (
	// maxLine is the longest line that is read. What Gatehouse writes stays far below it.
	maxLine = 1 << 20
	// maxScore bounds the numbers of a record, so that no sum of them runs over.
	maxScore = 1 << 20
	// maxRuled bounds what rules of the file say of one request: as many as there may be.
	maxRuled = 1000
	// defaultThreshold is that of records that do not say theirs.
	defaultThreshold = 5
)

// A Summary says what was read, beside the records themselves.
type Summary struct {
	Lines    int // that were not empty
	Requests int // records of requests among them
	Others   int // records of something else
	Damaged  int // no records: not JSON, too long, or out of their bounds
	First    time.Time
	Last     time.Time // of the requests
}

// Read calls each with every record of a request that r has, in order, and the record is each's to keep. Lines that
// are not records are counted and passed over, because a log may begin in the middle of one.
func Read(r io.Reader, each func(*Record)) (Summary, error) {
	var s Summary
	in := bufio.NewReaderSize(r, 64<<10)
	for {
		line, err := readLine(in)
		if len(line) > 0 {
			s.add(line, each)
		}
		if errors.Is(err, io.EOF) {
			return s, nil
		}
		if err != nil {
			return s, fmt.Errorf("reading events: %w", err)
		}
	}
}

// readLine returns the next line without blanks around it. Of one that is too long it returns so much that it is no
// record.
func readLine(in *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := in.ReadSlice('\n')
		if len(line) <= maxLine {
			line = append(line, part...)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		return bytes.TrimSpace(line), err
	}
}

func (s *Summary) add(line []byte, each func(*Record)) {
	s.Lines++
	rec, err := Parse(line)
	switch {
	case err != nil:
		s.Damaged++
	case rec == nil:
		s.Others++
	default:
		s.Requests++
		if s.First.IsZero() || rec.Time.Before(s.First) {
			s.First = rec.Time
		}
		if rec.Time.After(s.Last) {
			s.Last = rec.Time
		}
		each(rec)
	}
}

// Parse reads one line of events. It returns nil for a record that is not one of a request.
func Parse(line []byte) (*Record, error) {
	if len(line) > maxLine {
		return nil, fmt.Errorf("want at most %d bytes", maxLine)
	}
	var kind struct {
		Msg string `json:"msg"`
	}
	if err := json.Unmarshal(line, &kind); err != nil {
		return nil, fmt.Errorf("not an event: %w", err)
	}
	if kind.Msg != "request" {
		return nil, nil
	}
	rec := &Record{}
	if err := json.Unmarshal(line, rec); err != nil {
		return nil, fmt.Errorf("not an event: %w", err)
	}
	return rec, rec.validate()
}

func (rec *Record) validate() error {
	if rec.ID == "" {
		return errors.New("id: want one")
	}
	if r := rec.Rules; r != nil && max(len(r.Matched), len(r.Labels), len(r.Inserted)) > maxRuled {
		return fmt.Errorf("rules: want lists of at most %d", maxRuled)
	}
	if rec.WAF == nil {
		return nil
	}
	if n := len(rec.WAF.Matches); n > 2*maxRecorded {
		return fmt.Errorf("waf.matches: want at most %d, got %d", 2*maxRecorded, n)
	}
	if n := len(rec.WAF.Groups); n > maxRecorded {
		return fmt.Errorf("waf.groups: want at most %d, got %d", maxRecorded, n)
	}
	if n := len(rec.WAF.For); n > maxRecorded {
		return fmt.Errorf("waf.exclusions_for: want at most %d, got %d", maxRecorded, n)
	}
	if n := len(rec.WAF.Rules); n > waf.MaxRules {
		return fmt.Errorf("waf.rule_actions: want at most %d, got %d", waf.MaxRules, n)
	}
	numbers := []int{rec.WAF.Score, rec.WAF.Counted, rec.WAF.Threshold, rec.WAF.Paranoia, rec.WAF.Exclusions, rec.WAF.Cause}
	for i := range rec.WAF.Matches {
		m := &rec.WAF.Matches[i]
		m.Exclude = nil // worked out here: what stands in a line is to be pasted into a configuration
		numbers = append(numbers, m.Score)
		if m.Rule <= 0 {
			return fmt.Errorf("rule: want an id, got %d", m.Rule)
		}
	}
	if slices.ContainsFunc(numbers, func(n int) bool { return n < 0 || n > maxScore }) {
		return fmt.Errorf("waf: want numbers from 0 to %d", maxScore)
	}
	verdicts := []string{"pass", "block", "count", "limit"}
	if !slices.Contains(verdicts, rec.WAF.Verdict) {
		return fmt.Errorf("waf.verdict: want pass, block, count or limit, got %q", rec.WAF.Verdict)
	}
	if answer := rec.WAF.Response; answer != nil && !slices.Contains(verdicts, answer.Verdict) {
		return fmt.Errorf("waf.response.verdict: want pass, block, count or limit, got %q", answer.Verdict)
	}
	rec.WAF.Threshold = max(rec.WAF.Threshold, 0)
	if rec.WAF.Threshold == 0 {
		rec.WAF.Threshold = defaultThreshold
	}
	return nil
}

// another ends the name that events give a route's further matches.
var another = regexp.MustCompile(` \([0-9]{1,4}\)$`)

// FileRoute is the name that the file has for a route of events, which number the matches of one: "app (2)".
func FileRoute(name string) string { return another.ReplaceAllString(name, "") }

// Said is what the WAF said of the request and its answer together.
func (rec *Record) Said() Verdict {
	switch {
	case rec.WAF == nil:
		return Passes
	case rec.WAF.Verdict == "block", rec.answer() == "block":
		return Refuses
	case rec.WAF.Verdict == "count", rec.answer() == "count":
		return Counts
	default:
		return Passes
	}
}

// answer is the verdict about the answer; "" if it was not inspected.
func (rec *Record) answer() string {
	if rec.WAF == nil || rec.WAF.Response == nil {
		return ""
	}
	return rec.WAF.Response.Verdict
}

// refused reports whether the WAF's rules refused the request or kept the answer back, or would have in block mode.
func (rec *Record) refused() bool { return rec.Said() != Passes }

// over says what limit the request or its answer goes over, whatever the rules say.
func (rec *Record) over() string {
	if rec.WAF.Limit == "" && rec.WAF.Verdict != "limit" && rec.answer() != "limit" {
		return ""
	}
	return "it goes over a limit of the WAF: " + cmp.Or(rec.WAF.Limit, "that of answers")
}

// Unread is why the WAF refused a request that no rule refused, or would have in block mode; "" if it did not.
func (rec *Record) Unread() string {
	if rec.WAF == nil {
		return ""
	}
	if over := rec.over(); over != "" && rec.WAF.Verdict != "block" {
		return over
	}
	reason, ok := strings.CutPrefix(rec.Denied, "waf: ")
	if !ok || strings.HasPrefix(reason, "refused by rule ") {
		return ""
	}
	return reason
}
