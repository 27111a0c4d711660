package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"gatehouse/configs"
	"gatehouse/internal/tuning"
	"gatehouse/proxy"
)

// replayCommand judges recorded requests by a configuration that is not running.
type replayCommand struct {
	Events, Config string
}

func (c *replayCommand) operand() *operand { return &operand{"EVENTS", &c.Events} }

func (c *replayCommand) flags(set *pflag.FlagSet, _ *environment) { configFlag(set, &c.Config) }

func (c *replayCommand) Run(_ context.Context, env *environment) error {
	cfg, err := fileSource(c.Config, env)()
	if err != nil {
		return err
	}
	plans, err := newPlans(cfg)
	if err != nil {
		return err
	}
	in, source, err := openEvents(c.Events, env)
	if err != nil {
		return fmt.Errorf("waf replay: %w", err)
	}
	defer in.Close()
	r := &replay{out: env.stdout, plans: plans}
	summary, err := tuning.Read(in, r.judge)
	if err = cmp.Or(err, r.err); err != nil {
		return fmt.Errorf("waf replay: %w", err)
	}
	if summary.Requests == 0 {
		return fmt.Errorf("waf replay: %s has no event of a request among %s", source, several(summary.Lines, "line"))
	}
	r.summarise(summary, source, c.Config)
	return nil
}

// plans are what a configuration says of the WAF for every request that there can be. Its own table of routes says
// whose a request is: the new file may give it another one.
type plans struct {
	table  *proxy.Generation
	byName map[string]*tuning.Plan // by route
	asking map[string]*tuning.Plan // the same of routes that ask for what no record has: headers, query and address
	own    *tuning.Plan            // of what Gatehouse answers itself
}

func newPlans(cfg *configs.Config) (*plans, error) {
	p := &plans{byName: map[string]*tuning.Plan{}, asking: map[string]*tuning.Plan{}}
	var routes []proxy.Route
	a := &assembler{cfg: cfg}
	for i := range cfg.Routes {
		rt := &cfg.Routes[i]
		plan, err := tuning.NewPlan(rt.Name, a.wafOf(rt))
		if err != nil {
			return nil, err
		}
		for j, m := range rt.Match {
			name := matchName(rt.Name, j)
			p.byName[name] = plan
			if len(m.Headers)+len(m.Query)+len(m.Source) > 0 {
				p.asking[name] = plan
			}
			routes = append(routes, proxy.Route{Name: name, Match: proxy.Match(m), Priority: rt.Priority, Group: rt.Name, Admit: proxy.Admit(rt.Admit), Handler: http.NotFoundHandler()})
		}
	}
	var err error
	if p.table, err = proxy.NewGeneration("replay", routes, proxy.Options{}); err != nil {
		return nil, err
	}
	p.own, err = tuning.NewPlan("gatehouse", cfg.WAF)
	return p, err
}

// of returns the plan for a recorded request, or why it would go nowhere.
func (p *plans) of(rec *tuning.Record) (*tuning.Plan, error) {
	if strings.HasPrefix(rec.Route, ownPrefix) && p.byName[rec.Route] == nil {
		return p.own, nil
	}
	if plan := p.asking[rec.Route]; plan != nil {
		return plan, nil
	}
	name, err := p.table.RouteOf(rec.Method, rec.Host, rec.Path)
	if err != nil {
		return nil, err
	}
	return p.byName[name], nil
}

// A replay writes what changes, line by line, and counts the rest.
type replay struct {
	out     io.Writer
	plans   *plans
	replay  tuning.Replay
	err     error
	judged  int
	skipped int            // never reached the WAF
	changes map[string]int // "block → pass"
	open    map[string]int // why it is not known, of requests that no rule matched
	assumes int
}

// judge says what becomes of one record.
func (r *replay) judge(rec *tuning.Record) {
	if r.err != nil {
		return
	}
	if rec.WAF == nil && (rec.Route == "" || strings.HasPrefix(rec.Route, ownPrefix) || rec.Denied != "") {
		r.skipped++
		return
	}
	plan, err := r.plans.of(rec)
	if err != nil {
		r.judged++
		r.line(rec, tuning.Change{Was: rec.Said(), Becomes: "refused", Why: []string{err.Error()}}, "")
		return
	}
	change, err := r.replay.Judge(rec, plan)
	if err != nil {
		r.err = err
		return
	}
	r.judged++
	switch {
	case change.Becomes == change.Was:
	case change.Becomes == tuning.Unknown && (rec.WAF == nil || len(rec.WAF.Matches) == 0):
		if r.open == nil {
			r.open = map[string]int{}
		}
		r.open[fmt.Sprintf("route %q: %s", plain(plan.Route), strings.Join(change.Why, "; "))]++
	default:
		r.line(rec, change, plan.Route)
	}
}

// line writes one change.
func (r *replay) line(rec *tuning.Record, c tuning.Change, route string) {
	if r.changes == nil {
		r.changes = map[string]int{}
	}
	kind := fmt.Sprintf("%s → %s", c.Was, c.Becomes)
	r.changes[kind]++
	fmt.Fprintf(r.out, "%s  %s  %s %s%s", plain(rec.ID), kind, plain(rec.Method), plain(rec.Host), plain(rec.Path))
	if route != "" && route != rec.Route {
		fmt.Fprintf(r.out, " on the route %q, was %q", plain(route), plain(rec.Route))
	}
	if rec.WAF != nil {
		fmt.Fprintf(r.out, "  score %d → %s", rec.WAF.Score, scores(tuning.Outcome{Low: c.Low, High: c.High}))
	}
	if len(c.Why) > 0 {
		fmt.Fprintf(r.out, "  %s", plain(strings.Join(c.Why, "; ")))
	}
	if c.Assumes != "" {
		r.assumes++
		fmt.Fprintf(r.out, "  (if it is true %s)", c.Assumes)
	}
	fmt.Fprintln(r.out)
}

func (r *replay) summarise(all tuning.Summary, source, file string) {
	if len(r.changes) > 0 || len(r.open) > 0 {
		fmt.Fprintln(r.out)
	}
	for _, why := range slices.Sorted(maps.Keys(r.open)) {
		fmt.Fprintf(r.out, "not known of %s without a match, %s\n", several(r.open[why], "request"), why)
	}
	changed := 0
	for _, kind := range slices.Sorted(maps.Keys(r.changes)) {
		changed += r.changes[kind]
		fmt.Fprintf(r.out, "%s: %d\n", kind, r.changes[kind])
	}
	unknown := 0
	for _, n := range r.open {
		unknown += n
	}
	fmt.Fprintf(r.out, "%s: %s, %d never reached the WAF; with %s %d change or may change, of %d nothing is known, %d stay as they were.\n",
		source, several(all.Requests, "request"), r.skipped, file, changed, unknown, r.judged-changed-unknown)
	if all.Damaged > 0 {
		fmt.Fprintf(r.out, "%s could not be read.\n", several(all.Damaged, "line"))
	}
	fmt.Fprintln(r.out, "Events hold what matched, not the requests: what a file adds (a higher paranoia, groups, fewer exclusions) shows only when it runs, in count mode first. A changed body_limit or oversize is not judged.")
}
