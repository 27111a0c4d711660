package upstream

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds of what Config says about how requests are spread.
const (
	maxWeight    = 1000
	minSlowStart = 30 * time.Second // ALB's bounds
	maxSlowStart = 15 * time.Minute
	defaultDelay = 5 * time.Minute // ALB's
	maxDelay     = time.Hour
)

// Balances are the values of Config.Balance.
func Balances() []string { return []string{RoundRobin, LeastOutstanding} }

// validateSpread reports what is wrong with how requests are spread.
func (c Config) validateSpread(report func(field, msg string)) {
	if c.Balance != "" && !slices.Contains(Balances(), c.Balance) {
		report("balance", fmt.Sprintf("unknown way to choose an endpoint %q (want %s)", c.Balance, strings.Join(Balances(), ", ")))
	}
	if _, err := parseSpan(c.SlowStart, 0, minSlowStart, maxSlowStart); err != nil {
		report("slow_start", err.Error())
	}
	if _, err := parseSpan(c.DeregistrationDelay, defaultDelay, 0, maxDelay); err != nil {
		report("deregistration_delay", err.Error())
	}
}

// parseSpan reads a Go duration between bounds, or none at all: "0s". "" is the default.
func parseSpan(s string, def, low, high time.Duration) (time.Duration, error) {
	if s == "" {
		return def, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf(`want a duration such as "30s" or "5m", got %q`, s)
	}
	if d != 0 && (d < low || d > high) {
		return 0, fmt.Errorf("want 0s or %s to %s, got %s", low, high, d)
	}
	return d, nil
}

// parseSpec reads an endpoint with its weight: "http://10.0.1.10:8080 weight=3".
func parseSpec(s string) (spec, error) {
	at, options, _ := strings.Cut(s, " ")
	a, err := parseEndpoint(at)
	if err != nil {
		return spec{}, err
	}
	sp := spec{address: a, weight: 1}
	if options == "" {
		return sp, nil
	}
	value, ok := strings.CutPrefix(strings.Trim(options, " "), "weight=")
	n, err := strconv.ParseUint(value, 10, 16)
	if !ok || err != nil || n < 1 || n > maxWeight {
		return spec{}, fmt.Errorf(`want "weight=" and 1 to %d behind an endpoint, got %q`, maxWeight, options)
	}
	sp.weight = int(n)
	return sp, nil
}
