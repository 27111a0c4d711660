// Package headers signs the identity headers that upstreams trust, strips the ones clients forge, and hardens answers.
package headers
