//go:build race

package e2e

// raceFlags builds the program as the tests themselves were built.
func raceFlags() []string { return []string{"-race"} }
