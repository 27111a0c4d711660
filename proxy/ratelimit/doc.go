// Package ratelimit limits how often a key may do something, in bounded memory.
package ratelimit
