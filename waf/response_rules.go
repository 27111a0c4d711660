package waf

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const (
	// defaultResponseLimit holds most pages whole; an error that a page ends with is then kept back with it.
	defaultResponseLimit = 128 << 10

	// As much is held for each answer under way, and three times more while it is inspected. At the upper end an
	// answer with something for every rule takes a tenth of a second and more.
	minResponseLimit = 1 << 10
	maxResponseLimit = 1 << 20
)

// inspectsAnswers reports that c asks for rules that read answers.
func (c Config) inspectsAnswers() bool { return c.Groups.actions(nil)[responseGroup] != ActionOff }

// parseResponseLimit reads Config.ResponseLimit, in bytes.
func parseResponseLimit(s string) (int, error) {
	if s == "" {
		return defaultResponseLimit, nil
	}
	n, err := parseSize(s)
	if err != nil {
		return 0, err
	}
	if n < minResponseLimit || n > maxResponseLimit {
		return 0, fmt.Errorf("%q is out of range (want 1KiB to 1MiB)", s)
	}
	return int(n), nil
}

// isAnswerRule reports whether the id is that of a rule that finds something in an answer.
func isAnswerRule(id int) bool { return id >= 950000 && id < 959000 }

// answerPhase finds the phases in which the set reads answers.
var answerPhase = regexp.MustCompile(`\bphase:[34]\b`)

// loadAnswerRules builds the directives for the answers under c, whose defaults are written out, with extra
// before those of the Core Rule Set.
//
// An answer is a transaction of its own, made when there is an answer to inspect, with its head in phase 1 and its
// body in phase 2. So the gate judges these rules like the others, whatever was left out of the
// request's transaction is of no concern, and that one need not be kept while the application works.
func loadAnswerRules(c Config, extra string) (ruleSet, error) {
	rs, err := newRuleSet(c)
	if err != nil {
		return rs, err
	}
	var b strings.Builder
	base, err := ownRules.ReadFile("rules/response.conf")
	if err != nil {
		return rs, fmt.Errorf("rule file: %w", err)
	}
	b.Write(base)
	fmt.Fprintf(&b, "\nSecAction \"id:899000,phase:1,pass,t:none,nolog,setvar:tx.blocking_paranoia_level=%d,"+
		"setvar:tx.detection_paranoia_level=%d\"\n", c.Paranoia, c.Paranoia)
	b.WriteString(extra)
	initial := slices.DeleteFunc(rs.source.requests(), func(f ruleFile) bool { return fileNumber(f.name) != "901" })
	for _, f := range append(initial, rs.source.answers()...) {
		b.WriteString(answerPhase.ReplaceAllStringFunc(rs.take(fileNumber(f.name), f.text), func(phase string) string {
			if strings.HasSuffix(phase, "3") {
				return "phase:1"
			}
			return "phase:2"
		}))
	}
	excluded, err := exclusionDirectives(c.Exclude, rs.loaded)
	if err != nil {
		return rs, err
	}
	b.WriteString(excluded)
	rs.text = b.String()
	return rs, nil
}
