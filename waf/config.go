package waf

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// The modes of an engine.
const (
	ModeBlock = "block" // a request over the threshold is refused
	ModeCount = "count" // every rule runs and is recorded; none decides
	ModeOff   = "off"   // no rule runs
)

// What happens to a body that is longer than BodyLimit.
const (
	OversizeReject  = "reject"
	OversizePartial = "partial"
)

// What of a request is inspected, beside its head.
const (
	BodyInspect = "inspect"
	BodyHeaders = "headers"
)

const (
	defaultParanoia  = 1
	defaultThreshold = 5 // one critical rule, which is what the Core Rule Set is tuned for
	defaultBodyLimit = 1 << 20

	// A limit under this would cut ordinary forms; one over it lets a single request hold the
	// engine for minutes and hundreds of megabytes.
	minBodyLimit = 1 << 10
	maxBodyLimit = 64 << 20
)

// MaxRules bounds Config.Rules, which every event names. It is what AWS takes.
const MaxRules = 100

// Config says what one engine inspects and what it does about a match. Two equal Configs share an
// engine. The zero value is a blocking engine with every group at paranoia 1.
type Config struct {
	// Mode is "block" (the default), "count" (evaluate and record, never decide) or "off".
	Mode string `yaml:"mode"`
	// Paranoia is the CRS paranoia level, 1 (the default) to 4.
	Paranoia int `yaml:"paranoia"`
	// Threshold is the inbound anomaly score from which a request is refused; default 5.
	Threshold int `yaml:"threshold"`
	// Groups says what the rule groups do: a list names those that block, and the others are off; a mapping from
	// names to block, count (evaluated and recorded, never decisive) or off changes what they do by default,
	// which is to block. "leakages" runs only where it is named: it reads answers, and so has them held back
	// until their beginning is inspected. A list of nothing but such groups adds them to the others. A rule of
	// several groups does the strongest of what they do.
	Groups Groups `yaml:"groups"`
	// Rules says what single rules of these groups do: ids, such as 942100, or ranges, such as 942100-942199, and
	// block, count or off. The narrower range has the last word.
	Rules map[string]string `yaml:"rules"`
	// Body is "inspect" (the default) or "headers": the head alone is inspected, and the body streams from its first byte
	// on, whatever it is. It is for routes that take uploads, and for calls in both directions. Whatever is in the body
	// gets through.
	Body string `yaml:"body"`
	// BodyLimit is how much of a request body is inspected, whatever its type, such as "1MiB"; at least 1KiB and at
	// most 64MiB. Limits can say otherwise for a type. Without it the types have the defaults of Limits, and a
	// multipart body with its files 1MiB.
	BodyLimit string `yaml:"body_limit"`
	// Oversize is "reject" (the default: 413; in count mode the rest passes and this is recorded) or
	// "partial" (inspect the first BodyLimit bytes, pass the rest unseen: an attack placed after the
	// limit gets through).
	Oversize string `yaml:"oversize"`
	// Limits bound what one request may have the engine do, by the type of its body.
	Limits Limits `yaml:"limits"`
	// ResponseLimit is how much of an answer the group leakages inspects and holds back until then, such as
	// "256KiB"; default 128KiB, at least 1KiB and at most 1MiB. What comes after it passes unseen.
	ResponseLimit string `yaml:"response_limit"`
	// RulesDir is a directory with rules: a newer Core Rule Set, which takes the place of the one that is built in, or
	// rules of your own in SecLang, or both. They are the files *.conf in it and in its directory rules.
	RulesDir string `yaml:"rules_dir"`
	// Presets are for kinds of applications: "graphql", "json-api", "uploads", "wordpress". Each is a list of exclusions, and
	// of limits where none are said.
	Presets []string `yaml:"presets"`
	// Exclude lists what is not to be inspected.
	Exclude []Exclusion `yaml:"exclude"`
}

// Validate reports everything that is wrong with c, each with the yaml path of its field below the
// section and with what would be accepted.
func (c Config) Validate(report func(field, msg string)) {
	if !slices.Contains([]string{"", ModeBlock, ModeCount, ModeOff}, c.Mode) {
		report("mode", fmt.Sprintf("unknown mode %q (want block, count or off)", c.Mode))
	}
	if c.Paranoia < 0 || c.Paranoia > 4 {
		report("paranoia", fmt.Sprintf("%d is not a paranoia level (want 1 to 4)", c.Paranoia))
	}
	if c.Threshold < 0 {
		report("threshold", fmt.Sprintf("%d is not a score (want 1 or more; 5 is one critical rule)", c.Threshold))
	}
	if !slices.Contains([]string{"", BodyInspect, BodyHeaders}, c.Body) {
		report("body", fmt.Sprintf("unknown way with bodies %q (want inspect or headers)", c.Body))
	}
	if _, err := parseBodyLimit(c.BodyLimit, defaultBodyLimit); err != nil {
		report("body_limit", err.Error())
	}
	c.Limits.validate(report)
	if _, err := parseResponseLimit(c.ResponseLimit); err != nil {
		report("response_limit", err.Error())
	}
	if !slices.Contains([]string{"", OversizeReject, OversizePartial}, c.Oversize) {
		report("oversize", fmt.Sprintf("unknown answer to a long body %q (want reject or partial)", c.Oversize))
	}
	c.Groups.validate(report)
	c.validatePresets(report)
	if _, err := c.source(); err != nil {
		reportRules(err, report)
	}
	if n := len(c.conditions()); n > maxConditions {
		report("exclude", fmt.Sprintf("is for %d different lists of groups (want at most %d: name groups together, or make routes of their own)", n, maxConditions))
	}
	if len(c.Exclude) == 0 && len(c.Rules) == 0 {
		return
	}
	if len(c.Rules) > MaxRules {
		report("rules", fmt.Sprintf("%d entries (want at most %d: ranges say more)", len(c.Rules), MaxRules))
	}
	known := c.known()
	if known == nil {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(c.Rules)) {
		field := "rules." + key
		if ids, err := parseIDs(key); err != nil {
			report(field, err.Error())
		} else if !ids.any(known) {
			report(field, fmt.Sprintf("no detection rule has such an id (want one from an event, such as 942100, got %s)", key))
		} else if msg := checkAction(c.Rules[key]); msg != "" {
			report(field, msg)
		}
	}
	for i, x := range c.Exclude {
		x.validate(known, func(field, msg string) {
			report(strings.TrimSuffix(fmt.Sprintf("exclude[%d].%s", i, field), "."), msg)
		})
	}
}

// Digest identifies the engine that c describes: equal digests mean that one engine serves both
// Configs. It covers the content of the rule files, and what is written in another way but means the
// same (a default spelled out, groups in another order) has the same digest. A Config that Validate
// refuses has a digest too.
func (c Config) Digest() string {
	n := c.normal()
	h := sha256.New()
	enc := json.NewEncoder(h)
	// Encoding a struct of strings and integers into a hash cannot fail.
	_ = enc.Encode(n)
	if s, err := c.source(); err != nil {
		fmt.Fprint(h, err)
	} else {
		s.hash(h)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// normal is c with the defaults written out and the lists in order.
func (c Config) normal() Config {
	c = c.withPresets()
	c.Mode = cmp.Or(c.Mode, ModeBlock)
	c.Paranoia = cmp.Or(c.Paranoia, defaultParanoia)
	c.Threshold = cmp.Or(c.Threshold, defaultThreshold)
	c.Body = cmp.Or(c.Body, BodyInspect)
	c.Oversize = cmp.Or(c.Oversize, OversizeReject)
	c.Limits = c.normalLimits()
	if n, err := parseBodyLimit(c.BodyLimit, defaultBodyLimit); err == nil {
		c.BodyLimit = strconv.Itoa(n)
	}
	c.Groups = c.Groups.normal()
	if n, err := parseResponseLimit(c.ResponseLimit); err == nil {
		c.ResponseLimit = strconv.Itoa(n)
	}
	if !c.inspectsAnswers() {
		c.ResponseLimit = ""
	}
	c.Exclude = slices.Clone(c.Exclude)
	for i := range c.Exclude {
		c.Exclude[i].For = c.Exclude[i].For.normal()
	}
	sort.Slice(c.Exclude, func(i, j int) bool {
		a, b := c.Exclude[i], c.Exclude[j]
		return cmp.Or(
			cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Rules, b.Rules), cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Group, b.Group),
			cmp.Compare(a.Target, b.Target), slices.Compare(a.whom(), b.whom()),
		) < 0
	})
	c.Exclude = slices.CompactFunc(c.Exclude, Exclusion.Equal)
	return c
}

// parseBodyLimit reads a limit of bodies, in bytes; def is that of the empty text.
func parseBodyLimit(s string, def int) (int, error) {
	if s == "" {
		return def, nil
	}
	n, err := parseSize(s)
	if err != nil {
		return 0, err
	}
	if n < minBodyLimit || n > maxBodyLimit {
		return 0, fmt.Errorf("%q is out of range (want 1KiB to 64MiB)", s)
	}
	return int(n), nil
}

// parseSize reads a number of bytes: digits, then nothing, B, KB, MB, GB (powers of 1000) or KiB, MiB,
// GiB (powers of 1024).
func parseSize(s string) (int64, error) {
	digits := strings.TrimRight(s, "BKMGib")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || digits[0] == '+' {
		return 0, fmt.Errorf("%q is not a size (want a number with B, KB, KiB, MB, MiB, GB or GiB, such as 1MiB)", s)
	}
	var unit int64
	switch s[len(digits):] {
	case "", "B":
		unit = 1
	case "KB":
		unit = 1000
	case "KiB":
		unit = 1 << 10
	case "MB":
		unit = 1000 * 1000
	case "MiB":
		unit = 1 << 20
	case "GB":
		unit = 1000 * 1000 * 1000
	case "GiB":
		unit = 1 << 30
	default:
		return 0, fmt.Errorf("%q has an unknown unit (want B, KB, KiB, MB, MiB, GB or GiB)", s)
	}
	if n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is more than fits", s)
	}
	return n * unit, nil
}
