package upstream

import (
	"fmt"
	"sync"
	"time"
)

// Defaults of RetryConfig.
const (
	defaultAttempts      = 3
	maxAttempts          = 10
	defaultRetryBudget   = 20
	defaultRetryMinimum  = 10
	maxRetryMinimum      = 10_000
	retryWindow          = 10 * time.Second
	retryWindowInSeconds = int(retryWindow / time.Second)
)

// RetryConfig bounds second attempts. A request is sent again only where it cannot have had an effect: to another endpoint
// after one that could not be connected to, and over a new connection after one that had been idle and ended before a byte
// of an answer, if its method is idempotent (RFC 9110 section 9.2.2) and its body, if any, is at hand as a whole. Over HTTP/2
// also, whatever its method, where the upstream says that it has not looked at it (RFC 9113 section 8.7).
type RetryConfig struct {
	// Attempts is how often one request is tried at most, the first time included; 1 to 10, default 3.
	Attempts int `yaml:"attempts"`
	// Budget is how many retries there may be, in percent of the requests of the last 10 seconds; 1 to 100, default 20. It keeps
	// an upstream that fails from being asked twice as much.
	Budget int `yaml:"budget"`
	// Minimum is how many retries a second are allowed whatever the budget says; default 10.
	Minimum int `yaml:"minimum"`
}

func (c RetryConfig) validate(report func(field, msg string)) {
	for _, n := range []struct {
		field     string
		got, most int
	}{{"attempts", c.Attempts, maxAttempts}, {"budget", c.Budget, 100}, {"minimum", c.Minimum, maxRetryMinimum}} {
		if n.got < 0 || n.got > n.most {
			report(n.field, fmt.Sprintf("want 1 to %d, got %d", n.most, n.got))
		}
	}
}

// retries allows second attempts. It is asked when there is one to make, and costs other requests nothing.
type retries struct {
	attempts, percent, minimum int

	mu    sync.Mutex
	since time.Time // when the window began
	base  uint64    // the pool's requests then
	used  int       // retries since
}

func newRetries(c *RetryConfig) *retries {
	k := &retries{}
	if c != nil {
		k.attempts, k.percent, k.minimum = c.Attempts, c.Budget, c.Minimum
	}
	if k.attempts == 0 {
		k.attempts = defaultAttempts
	}
	if k.percent == 0 {
		k.percent = defaultRetryBudget
	}
	if k.minimum == 0 {
		k.minimum = defaultRetryMinimum
	}
	return k
}

// allow counts a retry, unless the budget is used up; requests is how many the pool has had.
func (k *retries) allow(now time.Time, requests uint64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.since.IsZero() || now.Sub(k.since) >= retryWindow {
		k.since, k.base, k.used = now, requests, 0
	}
	of := requests - k.base
	if k.used >= k.minimum*retryWindowInSeconds+int(of)*k.percent/100 { //nolint:gosec // of ten seconds
		return false
	}
	k.used++
	return true
}

// mayRepeat counts a retry after so many attempts, unless there have been enough.
func (p *Pool) mayRepeat(attempts int) bool {
	if attempts >= p.retries.attempts {
		return false
	}
	if !p.retries.allow(p.now(), p.turn.Load()+p.others.Load()) {
		p.stats.retriesRefused.Add(1)
		return false
	}
	p.stats.retries.Add(1)
	return true
}
