// Package tuning says what recorded requests mean for the configuration of the WAF: it keeps samples of them, reads
// their events back, names the exclusion that would have let one through, and says what a change would have done.
package tuning
