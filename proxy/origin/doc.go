// Package origin answers the requests of routes that go to no HTTP server: with the files of a directory, with a redirect, or
// with what the configuration says.
package origin
