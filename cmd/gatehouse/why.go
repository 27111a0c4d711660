package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"gatehouse/internal/tuning"
	"gatehouse/waf/acl"
)

// whyCommand says what happened to one request.
type whyCommand struct {
	recordedRequests
	ID string
}

func (c *whyCommand) operand() *operand { return &operand{"REQUEST-ID", &c.ID} }

// Validate takes an id as people copy it.
func (c *whyCommand) Validate() error {
	id := strings.ToLower(strings.TrimSpace(c.ID))
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		return fmt.Errorf("want the id of a request, 32 hexadecimal digits, got %q", c.ID)
	}
	c.ID = id
	return nil
}

func (c *whyCommand) flags(set *pflag.FlagSet, env *environment) { c.recordedRequests.flags(set, env) }

func (c *whyCommand) Run(ctx context.Context, env *environment) error {
	rec, err := c.find(ctx, env, c.ID)
	if err != nil {
		return fmt.Errorf("why: %w", err)
	}
	writeWhy(env.stdout, rec)
	return nil
}

func writeWhy(w io.Writer, rec *tuning.Record) {
	fmt.Fprintf(w, "%s  %s\n", plain(rec.ID), moment(rec.Time))
	route := "on no route"
	if rec.Route != "" {
		route = fmt.Sprintf("on the route %q", plain(rec.Route))
	}
	fmt.Fprintf(w, "%s %s%s from %s, answered with %d %s\n\n", plain(rec.Method), plain(rec.Host), plain(rec.Path), plain(rec.Client), rec.Status, route)
	fmt.Fprintln(w, decision(rec))
	if rec.Denied != "" {
		fmt.Fprintf(w, "The event says: %s\n", plain(rec.Denied))
	}
	if guards := guardsOf(rec); guards != "" {
		fmt.Fprintf(w, "On its way: %s\n", guards)
	}
	if rec.Rules != nil {
		writeRules(w, rec.Rules)
	}
	if rec.WAF != nil {
		writeMatches(w, rec)
	}
}

// decision is one sentence: who decided, and why.
func decision(rec *tuning.Record) string {
	switch rec.Decider() {
	case tuning.NoGuard:
		if rec.Status >= 500 {
			return "Gatehouse let it through. The answer is the application's."
		}
		if r := rec.Rules; r != nil && r.Action == "allow" && r.Rule != acl.DefaultRule {
			return fmt.Sprintf("Gatehouse let it through: the rule %q allows it, and what comes after that rule did not look at it.", plain(r.Rule))
		}
		if rec.Said() == tuning.Counts {
			return "Gatehouse let it through. In block mode the WAF would have refused it."
		}
		return "Gatehouse let it through."
	case tuning.Admission:
		return fmt.Sprintf("Admission refused it: %s. Some of what it refuses a route can let in by name (admit).", plain(rec.Guards["admission"]))
	case tuning.ByTable:
		return "No route takes it."
	case tuning.ByLimit:
		if rec.Limit != nil && rec.Limit.Verdict == "challenge" {
			return fmt.Sprintf("The limit %q asked the client for a proof of work (limits, and limit on the route).", plain(rec.Limit.Name))
		}
		if rec.Limit != nil {
			return fmt.Sprintf("The limit %q refused it (limits, and limit on the route).", plain(rec.Limit.Name))
		}
		return "A limit refused it."
	case tuning.ByLogin:
		return loginDecision(rec)
	case tuning.Upstream:
		return fmt.Sprintf("The upstream gave no answer: %s.", plain(rec.Guards["upstream"]))
	case tuning.ByRules:
		return rulesDecision(rec)
	case tuning.ByWAF:
		return wafDecision(rec)
	default:
		return "Gatehouse could not serve it."
	}
}

// rulesDecision says which rule of the file decided.
func rulesDecision(rec *tuning.Record) string {
	switch r := rec.Rules; {
	case r == nil || r.Rule == "":
		return "It could not be evaluated by the rules of the file (acl)."
	case r.Rule == acl.DefaultRule:
		return "No rule of the file allows it, and the default is to block (acl.default)."
	case r.Action == "challenge":
		return fmt.Sprintf("The rule %q asked the client for a proof of work (acl.rules): its token was %s.", plain(r.Rule), plain(r.Token))
	default:
		return fmt.Sprintf("The rule %q of the file refused it (acl.rules).", plain(r.Rule))
	}
}

func loginDecision(rec *tuning.Record) string {
	switch said := rec.Guards["login"]; {
	case strings.Contains(said, "asked"):
		return "Nobody was signed in, and the route wants somebody (require): the client was asked to sign in."
	case strings.Contains(said, "failed"):
		return "The sign-in failed."
	default:
		return "Whoever sent it may not come in here (require on the route)."
	}
}

func wafDecision(rec *tuning.Record) string {
	switch {
	case rec.Unread() != "":
		return fmt.Sprintf("The WAF refused it because %s. No rule did, and no exclusion changes that.", plain(rec.Unread()))
	case rec.WAF == nil:
		return "The WAF refused it."
	case rec.WAF.Verdict != "block" && rec.WAF.Response != nil:
		return fmt.Sprintf("The WAF kept the application's answer back: its score was %d.", rec.WAF.Response.Score)
	case rec.WAF.Cause == 0 || rec.WAF.Cause == scoreRule:
		return fmt.Sprintf("The WAF refused it: the score %d reached the threshold %d.", rec.WAF.Score, rec.WAF.Threshold)
	default:
		return fmt.Sprintf("The WAF refused it: the rule %d refuses by itself, whatever the score is.", rec.WAF.Cause)
	}
}

// guardsOf lists what the guards said, in the order of the way.
func guardsOf(rec *tuning.Record) string {
	var list []string
	for _, name := range []string{"admission", "limit", "rules", "waf", "login", "upstream", "waf_response", "cookie"} {
		if said := rec.Guards[name]; said != "" {
			list = append(list, name+" "+plain(said))
		}
	}
	return strings.Join(list, " · ")
}

// writeRules prints what rules of the file found beside the decision.
func writeRules(w io.Writer, r *tuning.Rules) {
	for _, m := range r.Matched {
		would := "counted it"
		if m.Action != acl.ActionCount {
			would = fmt.Sprintf("counted it, and says %s", plain(m.Action))
		}
		fmt.Fprintf(w, "The rule %q %s.\n", plain(m.Rule), would)
	}
	if len(r.Labels) > 0 {
		fmt.Fprintf(w, "Labels: %s\n", plain(strings.Join(r.Labels, " ")))
	}
	if len(r.Inserted) > 0 {
		fmt.Fprintf(w, "The upstream got: %s\n", plain(strings.Join(r.Inserted, " ")))
	}
}

func writeMatches(w io.Writer, rec *tuning.Record) {
	waf := rec.WAF
	engine := fmt.Sprintf("score %d, threshold %d, mode %s", waf.Score, waf.Threshold, plain(waf.Mode))
	if waf.Paranoia > 0 {
		engine += fmt.Sprintf(", paranoia %d", waf.Paranoia)
	}
	if len(waf.Matches) == 0 {
		fmt.Fprintf(w, "\nNo rule matched (%s).\n", engine)
		return
	}
	fmt.Fprintf(w, "\nWhat matched (%s):\n", engine)
	var rules []int
	for _, m := range waf.Matches {
		if !slices.Contains(rules, m.Rule) {
			rules = append(rules, m.Rule)
		}
		added := fmt.Sprintf("+%d", m.Score)
		if m.Counted {
			added = fmt.Sprintf("(+%d, on count)", m.Score)
		}
		fmt.Fprintf(w, "  %d  %s  %s  %s\n", m.Rule, added, plain(m.Place()), plain(m.Message))
	}
	if waf.Counted > 0 {
		fmt.Fprintf(w, "What is on count decided nothing. With it on block the score were %d.\n", waf.Score+waf.Counted)
	}
	needs := rec.Needs()
	if len(needs) == 0 {
		return
	}
	writeAdvice(w, rec, needs, len(rules))
}

// writeAdvice prints what to paste, and what to think of before.
func writeAdvice(w io.Writer, rec *tuning.Record, needs []tuning.Exclusion, rules int) {
	fmt.Fprintf(w, "\nIf the request was a good one, add this to %s:\n\n", whereOf(rec.Route))
	writeExclusions(w, needs)
	gone := func(m tuning.Match) bool {
		return !slices.ContainsFunc(needs, func(x tuning.Exclusion) bool { return x.Covers(m) })
	}
	out := rec.Judge(gone, rec.WAF.Threshold)
	switch out.Verdict {
	case tuning.Passes:
		fmt.Fprintf(w, "\nThe WAF would then have let it through, with a score of %s.\n", scores(out))
	case tuning.Refuses:
		fmt.Fprint(w, "\nThe WAF would still have refused it.\n")
	default:
		fmt.Fprintf(w, "\nWhether the WAF would then have let it through is not known: %s.\n", out.Reason)
	}
	if slices.ContainsFunc(needs, func(x tuning.Exclusion) bool { return x.Target == "" }) {
		fmt.Fprintln(w, "Without a target the rule is off for the whole route: where it matched has no name of its own.")
	}
	if rules > 1 {
		fmt.Fprintf(w, "%d rules matched, which is likely an attack: look at what was sent before you paste this.\n", rules)
	}
}

// whereOf is where an exclusion for a route stands in the file.
func whereOf(route string) string {
	if strings.HasPrefix(route, ownPrefix) {
		return "the top of the file, which the endpoints of Gatehouse go by"
	}
	return fmt.Sprintf("the route %q", plain(tuning.FileRoute(route)))
}

// writeExclusions prints the YAML, as a route or the top of the file takes it.
func writeExclusions(w io.Writer, list []tuning.Exclusion) {
	if len(list) == 1 {
		fmt.Fprintf(w, "    waf: {exclude: [%s]}\n", list[0])
		return
	}
	fmt.Fprint(w, "    waf:\n      exclude:\n")
	for _, x := range list {
		fmt.Fprintf(w, "        - %s\n", x)
	}
}

// scores is the score that is left, or its bounds.
func scores(out tuning.Outcome) string {
	if out.Low == out.High {
		return fmt.Sprint(out.Low)
	}
	return fmt.Sprintf("%d to %d", out.Low, out.High)
}
