// Package compress encodes answers in a content coding that the client takes.
package compress
