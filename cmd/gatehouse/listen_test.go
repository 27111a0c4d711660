package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListenPrefersWhatWasInherited(t *testing.T) {
	t.Parallel()
	given, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer given.Close()
	s := &sockets{inherited: map[string][]net.Listener{"https": {given}}}
	first, err := s.listen(t.Context(), "https", "127.0.0.1:0")
	if err != nil || first != given {
		t.Errorf("https: got %v, %v, want the inherited socket", first, err)
	}
	second, err := s.listen(t.Context(), "https", "127.0.0.1:0")
	if err != nil || second == given {
		t.Fatalf("https again: got %v, %v, want a socket of its own", second, err)
	}
	second.Close()
	_, err = s.listen(t.Context(), "admin", given.Addr().String())
	if err == nil || !strings.HasPrefix(err.Error(), "listen.admin: ") {
		t.Errorf("an address in use: got %v, want an error that begins with the path in the file", err)
	}
}

func TestListenUnix(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "admin.sock")
	s := &sockets{}
	first, err := s.listen(t.Context(), "admin", "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: got %v, %v, want 0600", info.Mode(), err)
	}
	if _, err := s.listen(t.Context(), "admin", "unix:"+path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a socket that is served: got %v, want an error that says so", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as a process leaves it that was killed
	first.Close()
	second, err := s.listen(t.Context(), "admin", "unix:"+path)
	if err != nil {
		t.Fatalf("a socket that nobody serves any more: %v", err)
	}
	second.Close()

	_, err = s.listen(t.Context(), "admin", "unix:"+filepath.Join(path, "below"))
	if err == nil || !strings.HasPrefix(err.Error(), "listen.admin: ") {
		t.Errorf("a path that cannot be: got %v, want an error that begins with the path in the file", err)
	}
}
