package main

import (
	"io"
	"os"
	"path/filepath"
	"slices"
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
		relayChanges(events, errs, func(name string) bool { return name == "/etc/gatehouse.yaml" }, out, newObserver(io.Discard))
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

func TestWatchFollowsTheFilesOfTheConfiguration(t *testing.T) {
	t.Parallel()
	config, keys, more := t.TempDir(), t.TempDir(), t.TempDir()
	file := func(dir, name string) string { return filepath.Join(dir, name) }
	elsewhere := t.TempDir()
	put := func(name string) { // by renaming, which is one event
		t.Helper()
		written := file(elsewhere, "written")
		if err := os.WriteFile(written, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(written, name); err != nil {
			t.Fatal(err)
		}
	}
	w := watch([]string{file(config, "gatehouse.yaml")}, newObserver(io.Discard))
	defer w.stop()
	if !w.with([]string{file(keys, "one.pem")}) || w.with([]string{file(keys, "one.pem")}) {
		t.Error("a file is new once")
	}
	put(file(keys, "one.pem"))
	<-w.changed
	if !w.with([]string{file(more, "two.pem")}) {
		t.Error("another file is not new")
	}
	put(file(more, "two.pem"))
	<-w.changed
	rules := t.TempDir()
	if !w.with([]string{file(more, "two.pem"), rules + "/", rules + "/none/"}) {
		t.Error("a directory is not new")
	}
	put(file(rules, "new.conf"))
	<-w.changed
	w.with([]string{file(more, "two.pem")})
	put(file(config, "gatehouse.yaml")) // is watched all along
	<-w.changed
	if got, want := w.fs.WatchList(), []string{config, more}; len(got) != 2 || !slices.Contains(got, config) || !slices.Contains(got, more) {
		t.Errorf("watched directories: got %q, want %q", got, want)
	}
	if (&watcher{}).with([]string{file(keys, "one.pem")}) {
		t.Error("a watcher of nothing has a new file")
	}
}
