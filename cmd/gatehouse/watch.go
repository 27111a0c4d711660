package main

import (
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/fsnotify/fsnotify"
)

// A watcher tells when one of some files may have changed. It watches their directories, because editors
// and Kubernetes replace files instead of writing them. The zero value watches nothing.
type watcher struct {
	changed <-chan struct{} // nil when nothing is watched
	always  []string        // watched whatever the configuration names
	obs     *observer
	fs      *fsnotify.Watcher
	done    chan struct{} // closed when nothing is sent any more

	mu    sync.Mutex
	names map[string]bool
}

// watch begins to watch files. Without files it never tells.
func watch(files []string, obs *observer) *watcher {
	if len(files) == 0 {
		return &watcher{}
	}
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		obs.failed("watching the configuration", err)
		return &watcher{}
	}
	out := make(chan struct{}, 1)
	w := &watcher{changed: out, always: files, obs: obs, fs: fs, done: make(chan struct{}), names: map[string]bool{}}
	w.with(nil)
	go func() {
		defer close(w.done)
		relayChanges(fs.Events, fs.Errors, w.watches, out, obs)
	}()
	return w
}

// with makes files, and what is in directories (with a slash at the end), the ones that are watched beside those
// that always are, and says whether there are new ones among them: what was read of those before may be out of date.
func (w *watcher) with(files []string) (added bool) {
	if w.fs == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	names, dirs := map[string]bool{}, map[string]bool{}
	for _, list := range [][]string{w.always, files} {
		for _, file := range list {
			name := filepath.Clean(file)
			dir := filepath.Dir(name)
			if strings.HasSuffix(file, "/") {
				dir, name = name, name+"/"
				if _, err := os.Stat(dir); err != nil {
					continue // the configuration says so if it has to be there
				}
			}
			if !dirs[dir] {
				dirs[dir] = true
				if err := w.fs.Add(dir); err != nil {
					w.obs.failed("watching "+file, err)
				}
			}
			names[name] = true
			added = added || !w.names[name]
		}
	}
	w.names = names
	for _, dir := range w.fs.WatchList() {
		if !dirs[dir] {
			w.obs.failed("watching "+dir+" no longer", w.fs.Remove(dir))
		}
	}
	return added
}

func (w *watcher) watches(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.names[name] || w.names[filepath.Dir(name)+"/"]
}

// stop ends it and waits until nothing is sent any more.
func (w *watcher) stop() {
	if w.fs == nil {
		return
	}
	w.obs.failed("ending the watch", w.fs.Close())
	<-w.done
}

// relayChanges sends on out when a file that is watched may have changed, until events is closed. The watcher waits
// until its errors are taken; one of them says that events were lost, so each is a change too.
func relayChanges(events <-chan fsnotify.Event, errs <-chan error, watches func(name string) bool, out chan<- struct{}, obs *observer) {
	for {
		select {
		case event, open := <-events:
			if !open {
				return
			}
			// "..data" is the link that Kubernetes moves when it updates a mounted file.
			if !watches(filepath.Clean(event.Name)) && filepath.Base(event.Name) != "..data" {
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
