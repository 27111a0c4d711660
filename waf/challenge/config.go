package challenge

import (
	"cmp"
	"fmt"
	"time"
)

// Config says how much work is asked for, and for how long it counts. The zero value has the defaults.
type Config struct {
	// Difficulty is how many bits of work a browser does: on average it tries 2 to the power of this many numbers. Each more
	// doubles the time. Default 18, which took Chromium 0.2 to 0.4 s on a 2-core server; at least 8 and at most 26.
	Difficulty int `yaml:"difficulty"`
	// Immunity is how long a browser is not asked again, such as "5m"; default 5m, at least 1m and at most 24h.
	Immunity string `yaml:"immunity"`
}

const (
	defaultDifficulty = 18
	minDifficulty     = 8
	maxDifficulty     = 26
	// AWS WAF's default, which is its minimum too.
	defaultImmunity = 300 * time.Second
	minImmunity     = time.Minute
	maxImmunity     = 24 * time.Hour
)

// Validate reports everything that is wrong with c.
func (c Config) Validate(report func(field, msg string)) {
	if d := cmp.Or(c.Difficulty, defaultDifficulty); d < minDifficulty || d > maxDifficulty {
		report("difficulty", fmt.Sprintf("want %d to %d bits, got %d", minDifficulty, maxDifficulty, d))
	}
	if _, err := c.immunity(); err != nil {
		report("immunity", err.Error())
	}
}

func (c Config) immunity() (time.Duration, error) {
	if c.Immunity == "" {
		return defaultImmunity, nil
	}
	d, err := time.ParseDuration(c.Immunity)
	if err != nil || d < minImmunity || d > maxImmunity {
		return 0, fmt.Errorf(`want a time from 1m to 24h such as "5m", got %q`, c.Immunity)
	}
	return d.Truncate(time.Second), nil
}
