package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/awslog"
	"gatehouse/proxy"
	"gatehouse/waf"
	"gatehouse/waf/acl"
	"gatehouse/waf/ipset"
)

// takeResources reads the sets and databases that rules name.
func (a *assembler) takeResources() error {
	a.resources.Addresses, a.resources.Patterns = map[string]*ipset.Set{}, &acl.Patterns{}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(a.cfg.IPSets)) {
		set, err := readSet(a.cfg.IPSets[name])
		errs = append(errs, at("ip_sets."+name, err))
		a.resources.Addresses[name] = set
	}
	if a.cfg.Geo == (ipset.GeoConfig{}) {
		return errors.Join(errs...)
	}
	geo, err := a.parts.geo.take(fileStamp(a.cfg.Geo.Country)+fileStamp(a.cfg.Geo.ASN), a.prev.geo, func() (*ipset.Geo, error) {
		return readGeo(a.cfg.Geo)
	}, nil)
	a.resources.Geo, a.resources.Countries, a.resources.Systems = geo, geo.HasCountries(), geo.HasSystems()
	return errors.Join(append(errs, err)...)
}

// The most that is read of a file of addresses, and of a database.
const (
	maxSetFile = 64 << 20
	maxGeoFile = 1 << 30
)

func readSet(cfg ipset.SetConfig) (*ipset.Set, error) {
	if cfg.File == "" {
		return ipset.New(cfg.Addresses)
	}
	content, err := readRegular(cfg.File, maxSetFile)
	if err != nil {
		return nil, err
	}
	set, err := ipset.Parse(content, cfg.Addresses...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cfg.File, err)
	}
	return set, nil
}

func readGeo(cfg ipset.GeoConfig) (*ipset.Geo, error) {
	var databases [2][]byte
	var errs []error
	for i, name := range []string{cfg.Country, cfg.ASN} {
		if name == "" {
			continue
		}
		content, err := readRegular(name, maxGeoFile)
		errs = append(errs, at([]string{"geo.country", "geo.asn"}[i], err))
		databases[i] = content
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	geo, err := ipset.NewGeo(databases[0], databases[1])
	if bad, ok := errors.AsType[*ipset.DatabaseError](err); ok {
		name := map[string]string{"country": cfg.Country, "asn": cfg.ASN}[bad.Key]
		return nil, at("geo."+bad.Key, fmt.Errorf("%s: %w", name, err))
	}
	if err != nil {
		return nil, at("geo", err)
	}
	return geo, nil
}

// readRegular reads a file that is one: a pipe would never end.
func readRegular(name string, limit int64) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is no regular file", name)
	case info.Size() > limit:
		return nil, fmt.Errorf("%s: want at most %d bytes, got %d", name, limit, info.Size())
	}
	return os.ReadFile(name)
}

// fileStamp changes when a file does. Databases are too large to be read for each reload.
func fileStamp(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return name + " missing\n"
	}
	return fmt.Sprintf("%s %d %s\n", name, info.Size(), info.ModTime())
}

// inspection returns the guard that evaluates the rules at the top and those of own, and has the rule groups of cfg inspect
// the request where the rules say; none where nothing is to be done. groups says whether the groups run.
func (a *assembler) inspection(place string, cfg waf.Config, own acl.RouteConfig, providers []string, groups bool) ([]func(http.Handler) http.Handler, error) {
	var inspect []func(http.Handler) http.Handler
	if groups {
		var err error
		if inspect, err = a.inspectFor(cfg, providers); err != nil {
			return nil, at(strings.TrimPrefix(place+".waf", "."), err)
		}
	}
	if own.Mode == "" && a.cfg.ACL.Mode == "" && cfg.Mode == waf.ModeCount {
		own.Mode = acl.ModeCount
	}
	opts := acl.Options{
		Deny: proxy.Deny, ClientIP: proxy.ClientIP, OnDecision: a.recordRules, Stream: cfg.Body == waf.BodyHeaders,
	}
	budget, err := a.budget()
	if err != nil {
		return nil, err
	}
	opts.Hold, opts.Free, opts.Begin, opts.End = budget.Hold, budget.Free, budget.Begin, budget.End
	if cfg.BodyLimit != "" {
		opts.BodyLimit, _ = strconv.Atoi(cfg.Effective().BodyLimit) // which is written in bytes
	}
	if a.challenger != nil {
		opts.Challenger = a.challenger
	}
	rules, err := acl.New(a.cfg.ACL, own, a.resources, opts)
	if err != nil {
		return nil, at(strings.TrimPrefix(place+".acl", "."), err)
	}
	if rules == nil {
		return inspect, nil
	}
	var around func(http.Handler) http.Handler
	if len(inspect) > 0 {
		around = inspect[0]
	}
	return []func(http.Handler) http.Handler{rules.Around(around)}, nil
}

// maxRecordedLabels is how many labels of a request are recorded, as AWS WAF has it.
const maxRecordedLabels = 100

// recordRules tells the event of a request what rules made of it.
func (a *assembler) recordRules(ctx context.Context, d *acl.Decision) {
	event := proxy.EventFrom(ctx)
	labels := slices.Clone(d.Labels[:min(len(d.Labels), maxRecordedLabels)])
	record := proxy.RulesRecord{Mode: d.Mode, Rule: d.Rule, Action: d.Action, Status: d.Status, Labels: labels, Token: d.Token}
	for _, m := range d.Matched {
		record.Matched = append(record.Matched, proxy.RuleMatch(m))
		a.observer.rule(m.Rule, acl.ActionCount)
	}
	for _, h := range d.Inserted {
		record.Inserted = append(record.Inserted, proxy.RuleHeader(h))
	}
	event.Rules = record
	event.Note("rules", rulesVerdict(&record))
	if d.Rule != "" {
		a.observer.rule(d.Rule, d.Action)
	}
	if d.Action == acl.ActionBlock || d.Action == acl.ActionChallenge {
		event.Refuse(&acl.Blocked{Rule: d.Rule, Status: d.Status})
	}
}

// rulesVerdict is what rules made of a request, in one word.
func rulesVerdict(r *proxy.RulesRecord) string {
	switch {
	case r.Action == acl.ActionBlock || r.Action == acl.ActionChallenge:
		return r.Action
	case r.Action == acl.ActionAllow && r.Rule != acl.DefaultRule:
		return "allow"
	case len(r.Matched) > 0:
		return "count"
	default:
		return "pass"
	}
}

// wafLabels are the labels that what the rule groups found puts on a request: all of it, also what is too much to be recorded. A
// rule that decides by one of them must not miss it for the noise of others.
func wafLabels(r waf.Result) []string {
	labels := make([]string, 0, len(r.Rules))
	for _, id := range r.Rules {
		labels = append(labels, awslog.LabelOf(id))
	}
	return labels
}

// stripped returns what deletes request headers that only Gatehouse may set, or that a rule would overlook.
func (a *assembler) stripped() func(http.Header) {
	lists := [][]acl.Rule{a.cfg.ACL.Rules}
	for _, rt := range a.cfg.Routes {
		lists = append(lists, rt.ACL.Rules)
	}
	if !slices.ContainsFunc(lists, func(list []acl.Rule) bool { return len(list) > 0 }) {
		return a.strip
	}
	overlooked := acl.NewStripper(lists...)
	return func(h http.Header) {
		a.strip(h)
		overlooked(h)
	}
}
