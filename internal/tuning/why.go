package tuning

import (
	"slices"
	"strings"
)

// A Guard is a part of a request's way that can refuse it.
type Guard string

// The guards, and what else answers.
const (
	Admission Guard = "admission"
	ByLimit   Guard = "limit"
	ByRules   Guard = "rules" // those of the file
	ByWAF     Guard = "waf"
	ByLogin   Guard = "login"
	Upstream  Guard = "upstream"
	ByTable   Guard = "routes" // nothing matched
	ByOther   Guard = "gatehouse"
	NoGuard   Guard = "" // it was not refused
)

// Decider is the guard that refused the request.
func (rec *Record) Decider() Guard {
	said := func(guard string, verdicts ...string) bool {
		for v := range strings.SplitSeq(rec.Guards[guard], ", ") {
			if slices.Contains(verdicts, v) {
				return true
			}
		}
		return false
	}
	switch {
	case rec.Denied == "":
		return NoGuard
	case rec.Guards["admission"] == "no route":
		return ByTable
	case rec.Guards["admission"] != "":
		return Admission
	case rec.Rules != nil && (rec.Rules.Action == "block" || rec.Rules.Action == "challenge"), strings.HasPrefix(rec.Denied, "rules: "):
		return ByRules
	case rec.Said() == Refuses, rec.Unread() != "", strings.HasPrefix(rec.Denied, "waf: "):
		return ByWAF
	case said("limit", "block", "challenge"):
		return ByLimit
	case said("login", "asked", "deny", "failed"):
		return ByLogin
	case rec.Guards["upstream"] != "":
		return Upstream
	default:
		return ByOther
	}
}
