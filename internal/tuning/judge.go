package tuning

import (
	"fmt"
	"strings"

	"gatehouse/waf"
)

// maxRecorded is how many matches of a request are recorded at most.
const maxRecorded = 64

// A Verdict is what block mode would do.
type Verdict string

// The verdicts.
const (
	Passes  Verdict = "pass"
	Refuses Verdict = "block"
	Counts  Verdict = "count"   // it would be blocked, and passes because the mode is count
	Unknown Verdict = "unknown" // what was recorded leaves it open
)

// An Outcome is what becomes of a recorded request when some of its matches are not found any more.
type Outcome struct {
	Verdict Verdict
	// Low and High bound the score that is left. They differ where a match counted more often than it was
	// recorded: twice in two fields of one name, or behind the sixty-fourth.
	Low, High int
	// Reason says why Verdict is Unknown.
	Reason string
}

// Judge says what block mode with the threshold does about the matches of rec that finds still finds. It judges by
// what was recorded only: that nothing new is found is for the caller to know.
func (rec *Record) Judge(finds func(Match) bool, threshold int) Outcome {
	if rec.WAF == nil {
		return Outcome{Verdict: Unknown, Reason: "the WAF did not inspect it"}
	}
	out := rec.judgeRequest(finds, threshold)
	if out.Verdict == Passes {
		out.Verdict, out.Reason = rec.judgeAnswer(finds)
	}
	if over := rec.over(); over != "" && out.Verdict == Passes {
		out.Verdict, out.Reason = Unknown, over
	}
	return out
}

// judgeAnswer does so for the answer. The threshold of answers is not recorded.
func (rec *Record) judgeAnswer(finds func(Match) bool) (Verdict, string) {
	switch rec.answer() {
	case "", "pass", "limit": // of limits see Unread
		return Passes, ""
	}
	kept, gone := 0, 0
	for _, m := range rec.WAF.Matches {
		switch {
		case !waf.ReadsAnswers(m.Rule), m.Counted:
		case finds(m):
			kept++
		default:
			gone++
		}
	}
	switch {
	case gone == 0:
		return Refuses, ""
	case kept == 0:
		return Passes, ""
	}
	return Unknown, "the threshold of answers is not in the event"
}

func (rec *Record) judgeRequest(finds func(Match) bool, threshold int) Outcome {
	recorded := 0
	var kept, gone int
	for _, m := range rec.WAF.Matches {
		if waf.ReadsAnswers(m.Rule) {
			continue
		}
		recorded++
		if m.Counted {
			continue
		}
		alone := rec.alone(m)
		switch found := finds(m); {
		case alone && found:
			return Outcome{Verdict: Refuses, Low: rec.WAF.Score, High: rec.WAF.Score}
		case alone && rec.WAF.Mode == waf.ModeBlock:
			return Outcome{Verdict: Unknown, High: maxScore, Reason: "the rule refused it before the others had run"}
		case alone:
		case found:
			kept += m.Score
		default:
			gone += m.Score
		}
	}
	out := bounds(rec.WAF.Score, kept, gone, recorded >= maxRecorded)
	switch {
	case out.Low >= threshold:
		out.Verdict = Refuses
	case out.High < threshold:
		out.Verdict = Passes
	default:
		out.Verdict, out.Reason = Unknown, "matches counted that were not recorded one by one"
	}
	return out
}

// bounds works out what is left of a score when matches that are worth gone are taken away and those worth kept stay.
func bounds(score, kept, gone int, truncated bool) Outcome {
	switch {
	case gone == 0:
		return Outcome{Low: score, High: score}
	case score < kept+gone: // some of them were only counted
		return Outcome{Low: max(0, score-gone), High: min(kept, score)}
	case kept == 0 && !truncated:
		return Outcome{}
	default:
		return Outcome{Low: kept, High: score - gone}
	}
}

// Needs returns the exclusions that let a request through which the rules refuse: the fewest, the heaviest matches
// first. It returns nil if the request was not refused, and all of them if that is what it takes or if it is open.
func (rec *Record) Needs() []Exclusion {
	if !rec.refused() {
		return nil
	}
	left := rec.exclusions()
	var list []Exclusion
	for len(left) > 0 {
		best, weight := 0, -1
		for i, x := range left {
			if w := rec.weight(x, list); w > weight {
				best, weight = i, w
			}
		}
		list = append(list, left[best])
		left = append(left[:best:best], left[best+1:]...)
		if rec.Judge(func(m Match) bool { return !covered(m, list) }, rec.WAF.Threshold).Verdict == Passes {
			break
		}
	}
	return list
}

// exclusions are those of all matches that decide, each once.
func (rec *Record) exclusions() (list []Exclusion) {
	for _, m := range rec.WAF.Matches {
		if x := m.exclusion(); !m.Counted && !covered(m, list) {
			list = append(list, x)
		}
	}
	return list
}

// weight is what x takes off beside what list does. What decides alone weighs more than all scores.
func (rec *Record) weight(x Exclusion, list []Exclusion) (sum int) {
	for _, m := range rec.WAF.Matches {
		if m.Counted || !x.Covers(m) || covered(m, list) {
			continue
		}
		if sum += m.Score; rec.alone(m) {
			sum += maxScore
		}
	}
	return sum
}

// alone reports whether the rule of m refuses by itself, or did so with rec.
func (rec *Record) alone(m Match) bool { return waf.DecidesAlone(m.Rule) || m.Rule == rec.WAF.Cause }

func covered(m Match, list []Exclusion) bool {
	for _, x := range list {
		if x.Covers(m) {
			return true
		}
	}
	return false
}

// String is x as the configuration file has it.
func (x Exclusion) String() string {
	switch {
	case x.Target == "":
		return fmt.Sprintf("{rule: %d}", x.Rule)
	case strings.Trim(x.Target, plainYAML) == "":
		return fmt.Sprintf("{rule: %d, target: %s}", x.Rule, x.Target)
	default:
		return fmt.Sprintf("{rule: %d, target: %q}", x.Rule, x.Target) // no character of a target is escaped
	}
}

// plainYAML are the characters that mean nothing to YAML wherever they stand in a text that begins with a letter.
const plainYAML = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-$"
