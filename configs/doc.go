// Package configs reads the configuration file and reports everything that is wrong with it, each with its place.
//
// Load is the only way in. It reads one YAML file, resolves the references to secrets in it, checks
// every section with the Validate of the package that the section configures, checks the sections
// against each other, and fills in the defaults that are decided here. What it returns is the
// effective configuration; what it refuses, it refuses with all Problems at once.
package configs
