package ratelimit

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Config is one named limit of the file.
type Config struct {
	// Rate is "COUNT/PERIOD", such as "20/5m" or "600/1m". Required.
	Rate string `yaml:"rate"`
	// Burst is how many requests may come at once; default COUNT.
	Burst int `yaml:"burst"`
	// By is what is counted: "address" (the default; IPv6 by /64) or "identity".
	By string `yaml:"by"`
	// Mode is "block" (the default: 429) or "count".
	Mode string `yaml:"mode"`
	// Action is what becomes of requests over the limit: "block" (the default), or "challenge", which lets clients pass that have
	// given a proof of work and asks the others for one.
	Action string `yaml:"action"`
}

const (
	// ByAddress and ByIdentity are the values of Config.By.
	ByAddress  = "address"
	ByIdentity = "identity"

	// ActionBlock and ActionChallenge are the values of Config.Action.
	ActionBlock     = "block"
	ActionChallenge = "challenge"

	modeBlock = "block"
	modeCount = "count"

	// maxCount is AWS WAF's upper bound for a rate-based rule. A larger limit is none.
	maxCount = 2_000_000_000
	// maxBurst bounds a burst in counts: more than a thousand periods' worth at once is no limit.
	maxBurst = 1000
	// Periods are whole seconds, which is what RateLimit-Policy can say, and at most a day: a bucket
	// lives in memory, so that a longer promise would not be kept.
	minPeriod = time.Second
	maxPeriod = 24 * time.Hour
)

// Validate reports everything that is wrong with c. The field is the path below the section.
func (c Config) Validate(report func(field, msg string)) {
	count, _, err := parseRate(c.Rate)
	if err != nil {
		report("rate", err.Error())
		count = maxCount
	}
	if most := min(maxCount, maxBurst*count); c.Burst < 0 || c.Burst > most {
		report("burst", fmt.Sprintf("want 1 to %d, or nothing for the rate's own count, got %d", most, c.Burst))
	}
	switch c.By {
	case "", ByAddress, ByIdentity:
	default:
		report("by", fmt.Sprintf("want address or identity, got %q", c.By))
	}
	switch c.Action {
	case "", ActionBlock, ActionChallenge:
	default:
		report("action", fmt.Sprintf("want block or challenge, got %q", c.Action))
	}
	switch c.Mode {
	case "", modeBlock, modeCount:
	default:
		report("mode", fmt.Sprintf("want block or count, got %q", c.Mode))
	}
}

// parseRate reads "COUNT/PERIOD". PERIOD is a Go duration, or a unit alone: "10/s" is "10/1s".
func parseRate(rate string) (count int, period time.Duration, err error) {
	before, after, ok := strings.Cut(rate, "/")
	if !ok {
		return 0, 0, fmt.Errorf(`want COUNT/PERIOD such as "20/5m", got %q`, rate)
	}
	n, err := strconv.ParseUint(before, 10, 32)
	if err != nil || n == 0 || n > maxCount {
		return 0, 0, fmt.Errorf("want a count of 1 to %d before the slash, got %q", maxCount, before)
	}
	if after == "s" || after == "m" || after == "h" {
		after = "1" + after
	}
	period, err = time.ParseDuration(after)
	if err != nil || period < minPeriod || period > maxPeriod || period%time.Second != 0 {
		return 0, 0, fmt.Errorf("want a period of whole seconds, 1s to 24h, after the slash, got %q", after)
	}
	return int(n), period, nil
}
