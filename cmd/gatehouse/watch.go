package main

import (
	"path/filepath"

	"github.com/fsnotify/fsnotify"
)

// watch sends on changed when one of files may have changed. It watches their directories, because
// editors and Kubernetes replace files instead of writing them. Without files it never sends.
func watch(files []string, obs *observer) (changed <-chan struct{}, stop func()) {
	if len(files) == 0 {
		return nil, func() {}
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		obs.failed("watching the configuration", err)
		return nil, func() {}
	}
	names := map[string]bool{}
	for _, file := range files {
		names[filepath.Clean(file)] = true
		if err := watcher.Add(filepath.Dir(file)); err != nil {
			obs.failed("watching "+file, err)
		}
	}
	out, done := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(done)
		relayChanges(watcher.Events, watcher.Errors, names, out, obs)
	}()
	return out, func() {
		watcher.Close()
		<-done
	}
}

// relayChanges sends on out when one of names may have changed, until events is closed. The watcher waits until
// its errors are taken; one of them says that events were lost, so each is a change too.
func relayChanges(events <-chan fsnotify.Event, errs <-chan error, names map[string]bool, out chan<- struct{}, obs *observer) {
	for {
		select {
		case event, open := <-events:
			if !open {
				return
			}
			// "..data" is the link that Kubernetes moves when it updates a mounted file.
			if !names[filepath.Clean(event.Name)] && filepath.Base(event.Name) != "..data" {
				continue
			}
		case err, open := <-errs:
			if !open {
				errs = nil // and events is closed, or about to be
				continue
			}
			obs.failed("watching the configuration", err)
		}
		select {
		case out <- struct{}{}:
		default: // a reload is due already
		}
	}
}
