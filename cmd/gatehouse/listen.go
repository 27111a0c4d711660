package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"
)

// sockets opens listeners, preferring the ones that systemd passed: a restart then drops no connection.
type sockets struct {
	inherited map[string][]net.Listener // by FileDescriptorName
}

// inheritSockets takes over the sockets of systemd socket activation, once per process. Their
// FileDescriptorName says what they are for: https, http, admin, keys or pool.
func inheritSockets() (*sockets, error) {
	byName, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("socket activation: %w", err)
	}
	return &sockets{inherited: byName}, nil
}

// listen returns the inherited socket called name, or opens address ("host:port" or "unix:PATH").
func (s *sockets) listen(ctx context.Context, name, address string) (net.Listener, error) {
	if given := s.inherited[name]; len(given) > 0 {
		s.inherited[name] = given[1:]
		return given[0], nil
	}
	network, addr := adminAddress(address)
	if network == "unix" {
		return listenUnix(ctx, name, addr)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, network, addr)
	if err != nil {
		return nil, fmt.Errorf("listen.%s: %w", name, err)
	}
	return ln, nil
}

// listenUnix opens a socket that only its owner may use, replacing one that nobody serves any more.
func listenUnix(ctx context.Context, name, path string) (net.Listener, error) {
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return nil, fmt.Errorf("listen.%s: %s is in use by another process", name, path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("listen.%s: stale socket: %w", name, err)
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen.%s: %w", name, err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		ln.Close()
		return nil, fmt.Errorf("listen.%s: %w", name, err)
	}
	return ln, nil
}
