// Package markup makes HTML pages of elements. Tags, names of attributes and whole fragments can only be
// constants of the program; every other text is escaped for the place where it stands, so that none can become
// markup, a script or an address that runs one. It is used instead of html/template, which would keep the linker
// from leaving out methods that nothing calls (docs/rationale.md).
package markup
