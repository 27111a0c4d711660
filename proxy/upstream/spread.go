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
func Balances() []string { return []string{RoundRobin, LeastOutstanding, Hash} }

// validateSpread reports what is wrong with how requests are spread.
func (c Config) validateSpread(report func(field, msg string)) {
	if c.Balance != "" && !slices.Contains(Balances(), c.Balance) {
		report("balance", fmt.Sprintf("unknown way to choose an endpoint %q (want %s)", c.Balance, strings.Join(Balances(), ", ")))
	}
	switch _, err := parseHash(c.Hash); {
	case c.Balance != Hash && c.Hash != "":
		report("hash", "has no effect without balance: hash")
	case c.Balance == Hash && err != nil:
		report("hash", err.Error())
	}
	if _, err := parseSpan(c.SlowStart, 0, minSlowStart, maxSlowStart); err != nil {
		report("slow_start", err.Error())
	}
	if _, err := parseSpan(c.DeregistrationDelay, defaultDelay, 0, maxDelay); err != nil {
		report("deregistration_delay", err.Error())
	}
	if _, err := parseMinimum(c.MinHealthy); err != nil {
		report("min_healthy", err.Error())
	}
	below := func(section string) func(field, msg string) {
		return func(field, msg string) { report(section+"."+field, msg) }
	}
	if c.Sticky != nil {
		c.Sticky.validate(below("sticky"))
	}
	if c.Passive != nil {
		c.Passive.validate(below("passive"))
	}
	if c.Retry != nil {
		c.Retry.validate(below("retry"))
	}
	if c.Circuit != nil {
		c.Circuit.validate(below("circuit"))
	}
}

// minimum is how many endpoints must be well for the others to be left out.
type minimum struct {
	n       int
	percent bool
}

// parseMinimum reads a count or a share: "2" or "50%". "" is one.
func parseMinimum(s string) (minimum, error) {
	if s == "" {
		return minimum{n: 1}, nil
	}
	digits, percent := strings.CutSuffix(s, "%")
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n < 1 || percent && n > 100 || n > maxWeight {
		return minimum{}, fmt.Errorf(`want a number of endpoints such as "2", or a share of them such as "50%%", got %q`, s)
	}
	return minimum{int(n), percent}, nil
}

// of is the number for so many endpoints: all of them at most.
func (m minimum) of(endpoints int) int {
	if m.percent {
		return max((m.n*endpoints+99)/100, 1)
	}
	return m.n
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
	switch {
	case d == 0 || low <= d && d <= high:
	case low == 0:
		return 0, fmt.Errorf("want 0s to %s, got %s", high, d)
	default:
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
