package main

import (
	"io"
	"testing"

	"github.com/fsnotify/fsnotify"
)

// The watcher stops for good when nobody takes its errors.
func TestWatchTakesErrorsForChanges(t *testing.T) {
	t.Parallel()
	events, errs, out := make(chan fsnotify.Event), make(chan error), make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		relayChanges(events, errs, map[string]bool{"/etc/gatehouse.yaml": true}, out, newObserver(io.Discard))
	}()
	errs <- fsnotify.ErrEventOverflow
	<-out
	events <- fsnotify.Event{Name: "/etc/other.yaml"}
	events <- fsnotify.Event{Name: "/etc/gatehouse.yaml"}
	<-out
	close(errs)
	close(events)
	<-done
	if len(out) > 0 {
		t.Error("a change was sent for another file")
	}
}
