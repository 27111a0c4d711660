package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// A load sends a workload's request to a contender for a turn and returns how many were answered.
type load func(ctx context.Context, c *contender, w *workload, turn time.Duration, conns int) (int, error)

// overHTTP1 has wrk send requests.
func overHTTP1(ctx context.Context, c *contender, w *workload, turn time.Duration, conns int) (int, error) {
	args := []string{"-t1", fmt.Sprintf("-c%d", conns), fmt.Sprintf("-d%ds", max(1, int(turn.Seconds())))}
	for _, h := range c.headers {
		args = append(args, "-H", h)
	}
	if w.script != "" {
		args = append(args, "-s", w.script)
	}
	out, err := exec.CommandContext(ctx, "wrk", append(args, c.front.url+w.path)...).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("wrk: %w\n%s", err, out)
	}
	var n int
	for line := range strings.Lines(string(out)) {
		if _, err := fmt.Sscanf(line, "%d requests in", &n); err == nil {
			break
		}
	}
	if n == 0 || strings.Contains(string(out), "Non-2xx") || strings.Contains(string(out), "Socket errors") {
		return 0, fmt.Errorf("wrk did not get its answers:\n%s", out)
	}
	return n, nil
}

// overHTTP2 has h2load send them, ten at a time on each of a quarter of the connections.
func overHTTP2(ctx context.Context, c *contender, w *workload, turn time.Duration, conns int) (int, error) {
	out, err := exec.CommandContext(ctx, "h2load", "-t1", fmt.Sprintf("-c%d", max(1, conns/4)), "-m10",
		fmt.Sprintf("-D%d", max(1, int(turn.Seconds()))), c.front.url+w.path).CombinedOutput()
	if err != nil {
		return 0, fmt.Errorf("h2load: %w\n%s", err, out)
	}
	var n int
	for line := range strings.Lines(string(out)) {
		if rest, found := strings.CutPrefix(line, "status codes: "); found {
			_, err = fmt.Sscanf(rest, "%d 2xx, 0 3xx, 0 4xx, 0 5xx", &n)
		}
	}
	if err != nil || n == 0 || !strings.Contains(string(out), "Application protocol: h2") {
		return 0, fmt.Errorf("h2load did not get its answers:\n%s", out)
	}
	return n, nil
}

// handshakes makes connections without a request, with a full handshake or by resuming the session of the one before.
func handshakes(roots *x509.CertPool, resume bool) load {
	return func(ctx context.Context, c *contender, _ *workload, turn time.Duration, conns int) (int, error) {
		ctx, cancel := context.WithTimeout(ctx, turn)
		defer cancel()
		var mu sync.Mutex
		var total int
		var failed error
		var all sync.WaitGroup
		for range max(1, conns/4) {
			all.Go(func() {
				config := &tls.Config{
					RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS13,
					CurvePreferences: []tls.CurveID{tls.X25519}, // what all have; Debian's OpenSSL knows none with ML-KEM, which costs more
				}
				if resume {
					config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
				}
				n, err := connectInTurn(ctx, strings.TrimPrefix(c.front.url, "https://"), config)
				mu.Lock()
				defer mu.Unlock()
				total, failed = total+n, errors.Join(failed, err)
			})
		}
		all.Wait()
		return total, failed
	}
}

// connectInTurn makes one connection after another until ctx ends.
func connectInTurn(ctx context.Context, addr string, config *tls.Config) (n int, err error) {
	for ; ctx.Err() == nil; n++ {
		if err := oneConnection(addr, config, config.ClientSessionCache != nil && n > 0); err != nil {
			return n, err
		}
	}
	return n, nil
}

func oneConnection(addr string, config *tls.Config, resumes bool) error {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 10 * time.Second}, "tcp", addr, config)
	if err != nil {
		return err
	}
	defer conn.Close()
	if got := conn.ConnectionState().DidResume; got != resumes {
		return fmt.Errorf("resumed: got %v, want %v", got, resumes)
	}
	if err := conn.CloseWrite(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, conn) // session tickets
	return err
}
