// Package rx tells whether regular expressions match, in time linear in the input and in bounded memory.
package rx
