package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"gatehouse/internal/tuning"
	"gatehouse/waf"
)

// scoreRule is the rule that refuses because of the score.
const scoreRule = waf.ScoreRule

// tuneCommand groups matches and says what their exclusions would do.
type tuneCommand struct {
	recordedRequests
	Since time.Duration
	Top   int
	JSON  bool
}

func (c *tuneCommand) flags(set *pflag.FlagSet, env *environment) {
	set.DurationVar(&c.Since, "since", 0, "Look at requests of this last `duration` only, such as 24h; 0 looks at all that there are.")
	set.IntVar(&c.Top, "top", 20, "Print so many groups; 0 prints all.")
	set.BoolVar(&c.JSON, "json", false, "Print JSON, with all groups.")
	c.recordedRequests.flags(set, env)
}

// Validate refuses what means nothing.
func (c *tuneCommand) Validate() error {
	if c.Since < 0 || c.Top < 0 {
		return fmt.Errorf("--since and --top: want 0 or more")
	}
	return nil
}

func (c *tuneCommand) Run(ctx context.Context, env *environment) error {
	var tune tuning.Tuning
	var from time.Time
	if c.Since > 0 {
		from = time.Now().Add(-c.Since)
	}
	within := 0
	all, err := c.each(ctx, env, func(rec *tuning.Record) {
		if !rec.Time.Before(from) {
			within++
			tune.Add(rec)
		}
	})
	if err != nil {
		return fmt.Errorf("waf tune: %w", err)
	}
	all.Requests = within
	if c.JSON {
		return writeTuneJSON(env.stdout, all, &tune)
	}
	writeTune(env.stdout, all, &tune, c.Since, c.Top)
	return nil
}

func writeTuneJSON(w io.Writer, all recorded, tune *tuning.Tuning) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(struct {
		Source    string         `json:"source"`
		Requests  int            `json:"requests"` // that were read
		Matched   int            `json:"matched"`
		Refused   int            `json:"refused"`
		Forgotten uint64         `json:"forgotten"`
		Damaged   int            `json:"damaged"`
		Groups    []tuning.Group `json:"groups"`
	}{all.source, all.Requests, tune.Matched, tune.Refused, all.forgotten, all.Damaged, tune.Groups()})
}

func writeTune(w io.Writer, all recorded, tune *tuning.Tuning, since time.Duration, top int) {
	fmt.Fprintf(w, "%s: %s%s, a rule matched %d, of which %d were refused or would have been.\n",
		all.source, several(all.Requests, "request"), last(since), tune.Matched, tune.Refused)
	if all.sampled && all.forgotten > 0 {
		fmt.Fprintf(w, "These are samples: %d more have been pushed out, so there were more than is counted here. --events counts all.\n", all.forgotten)
	}
	if all.Damaged > 0 {
		fmt.Fprintf(w, "%s could not be read.\n", several(all.Damaged, "line"))
	}
	groups := tune.Groups()
	for i, g := range groups {
		if top > 0 && i == top {
			fmt.Fprintf(w, "\n%s more; --top 0 prints all.\n", several(len(groups)-top, "group"))
			break
		}
		writeGroup(w, &g)
	}
	if tune.Left > 0 {
		fmt.Fprintf(w, "\n%s at other places are in no group: there were too many.\n", several(tune.Left, "match"))
	}
}

// last is which requests were looked at, if not all.
func last(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf(" of the last %s", d)
}

func writeGroup(w io.Writer, g *tuning.Group) {
	place := g.Target
	if place == "" {
		place = g.Variable
	}
	fmt.Fprintf(w, "\n%d at %s on the route %q  %s\n", g.Rule, plain(place), plain(g.Route), plain(g.Message))
	fmt.Fprintf(w, "  %s from %s, the last at %s: %d blocked, %d counted, %d passed%s\n",
		several(g.Requests, "request"), several(g.Clients, "client"), moment(g.Last), g.Blocked, g.Counted, g.Passed, onCount(g.OnCount))
	fmt.Fprintf(w, "      waf: {exclude: [%s]}\n", g.Exclude)
	if g.Target == "" {
		fmt.Fprintln(w, "  switches the rule off for the whole route: where it matched has no name of its own")
	}
	refused := g.Blocked + g.Counted
	if refused == 0 {
		fmt.Fprintln(w, "  would have let nothing through: no request was refused")
		return
	}
	say := fmt.Sprintf("  would have let %d of %d through", g.LetsThrough, refused)
	if g.Unknown > 0 {
		say += fmt.Sprintf(", and of %d it is not known", g.Unknown)
	}
	switch {
	case g.Suspects > 0:
		say += fmt.Sprintf("; %d of these matched something else too (%s): likely an attack, look first", g.Suspects, ruleList(g.OtherRules))
	case g.Elsewhere > 0:
		say += fmt.Sprintf("; %d matched something else too (%s)", g.Elsewhere, ruleList(g.OtherRules))
	default:
		say += "; none matched anything else"
	}
	fmt.Fprintln(w, say)
	if len(g.Examples) > 0 {
		ids := make([]string, len(g.Examples))
		for i, id := range g.Examples {
			ids[i] = plain(id)
		}
		fmt.Fprintf(w, "  gatehouse why %s\n", strings.Join(ids, ", "))
	}
}

// onCount says of how many matches nothing could come.
func onCount(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("; in %d the rule was on count and decided nothing", n)
}

// shownRules is how many rules a line names.
const shownRules = 5

func ruleList(rules []int) string {
	var b strings.Builder
	for i, rule := range rules {
		if i == shownRules {
			fmt.Fprintf(&b, " and %d more", len(rules)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprint(&b, rule)
	}
	return b.String()
}
