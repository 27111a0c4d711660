package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startTimeout is how long a process may take to say that it is ready, on a loaded machine with the
// race detector. It only ends a test that has already failed.
const startTimeout = 3 * time.Minute

// binary is the program under test, built once for all tests by TestMain.
func binary() string { return filepath.Join(os.Getenv("GATEHOUSE_E2E_DIR"), "gatehouse") }

func TestMain(m *testing.M) {
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "gatehouse-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	os.Setenv("GATEHOUSE_E2E_DIR", dir)
	// pebble, which some tests run, reads from the environment how it is to behave.
	os.Setenv("PEBBLE_VA_NOSLEEP", "1")
	os.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	build := exec.Command("go", append([]string{"build"}, append(raceFlags(), "-o", binary(), "gatehouse/cmd/gatehouse")...)...)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// A program is one running gatehouse process. Its sockets are opened by the test and inherited, as
// systemd would do it, so that no port is guessed.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	addrs map[string]string // by socket name
	done  chan struct{}
	err   error

	mu     sync.Mutex
	events []map[string]any
	stderr bytes.Buffer
	grown  chan struct{} // closed and replaced when an event arrives
}

// start runs the program with the named sockets ("https", "http", "admin", "keys", "pool") and waits
// for its READY=1.
func start(t *testing.T, args []string, sockets ...string) *program {
	t.Helper()
	p := launch(t, args, nil, sockets...)
	return p
}

func launch(t *testing.T, args, env []string, sockets ...string) *program {
	t.Helper()
	var opened []socket
	for _, name := range sockets {
		opened = append(opened, openSocket(t, name))
	}
	return launchOn(t, args, env, opened...)
}

// A socket is a listening socket to be inherited under its name.
type socket struct {
	name, addr string
	file       *os.File
}

// openSocket listens on a port that the system chooses.
func openSocket(t *testing.T, name string) socket {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	return socket{name, ln.Addr().String(), f}
}

// launchOn is launch with sockets that are open already. They are the program's own from then on.
func launchOn(t *testing.T, args, env []string, sockets ...socket) *program {
	t.Helper()
	p := &program{t: t, addrs: map[string]string{}, done: make(chan struct{}), grown: make(chan struct{})}
	var files []*os.File
	var names []string
	for _, s := range sockets {
		p.addrs[s.name] = s.addr
		files, names = append(files, s.file), append(names, s.name)
	}
	notify, notifyPath := notifySocket(t)

	// LISTEN_PID must be the program's own pid, which only its parent's exec can know.
	p.cmd = exec.Command("sh", append([]string{"-c", `LISTEN_PID=$$ exec "$0" "$@"`, binary()}, args...)...)
	p.cmd.ExtraFiles = files
	p.cmd.Env = append(os.Environ(),
		fmt.Sprintf("LISTEN_FDS=%d", len(files)), "LISTEN_FDNAMES="+strings.Join(names, ":"),
		"NOTIFY_SOCKET="+notifyPath, "STATE_DIRECTORY="+t.TempDir())
	p.cmd.Env = append(p.cmd.Env, env...)
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Stderr = lockedWriter{&p.mu, &p.stderr}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		f.Close()
	}
	go p.collect(stdout)
	t.Cleanup(func() { p.stop() })
	if err := waitReady(notify, p.done); err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		t.Fatalf("gatehouse %s: %v\n%s", strings.Join(args, " "), err, p.stderr.String())
	}
	return p
}

// notifySocket is the service manager's side of sd_notify(3).
func notifySocket(t *testing.T) (*net.UnixConn, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "n") // short: a socket's path is limited to 108 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, path
}

func waitReady(conn *net.UnixConn, exited <-chan struct{}) error {
	stop := context.AfterFunc(channelContext(exited), func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	conn.SetReadDeadline(time.Now().Add(startTimeout))
	buf := make([]byte, 4096)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return fmt.Errorf("not ready: %w", err)
		}
		if bytes.Contains(buf[:n], []byte("READY=1")) {
			return nil
		}
	}
}

// channelContext is a context that ends when done is closed.
func channelContext(done <-chan struct{}) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-done
		cancel()
	}()
	return ctx
}

// collect keeps every line that the program writes; each must be one JSON object.
func (p *program) collect(stdout interface{ Read([]byte) (int, error) }) {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var event map[string]any
		if err := json.Unmarshal(lines.Bytes(), &event); err != nil {
			event = map[string]any{"not json": lines.Text()}
		}
		p.mu.Lock()
		p.events = append(p.events, event)
		close(p.grown)
		p.grown = make(chan struct{})
		p.mu.Unlock()
	}
	p.err = p.cmd.Wait()
	close(p.done)
}

// event returns the first event that match accepts, waiting for it while the program runs.
func (p *program) event(match func(map[string]any) bool) map[string]any {
	p.t.Helper()
	deadline := time.NewTimer(startTimeout)
	defer deadline.Stop()
	for seen := 0; ; {
		p.mu.Lock()
		events, grown := p.events[seen:], p.grown
		seen = len(p.events)
		p.mu.Unlock()
		for _, e := range events {
			if match(e) {
				return e
			}
		}
		select {
		case <-grown:
		case <-p.done:
			p.t.Fatal("the program ended before the event came")
		case <-deadline.C:
			p.t.Fatal("no such event")
		}
	}
}

// eventWithID returns the event of the request with this id.
func (p *program) eventWithID(id string) map[string]any {
	p.t.Helper()
	return p.event(func(e map[string]any) bool { return e["id"] == id })
}

// output is everything the program has written so far, for tests that look for secrets in it.
func (p *program) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	for _, e := range p.events {
		line, _ := json.Marshal(e)
		b.Write(line)
		b.WriteByte('\n')
	}
	b.WriteString(p.stderr.String())
	return b.String()
}

// stop asks the program to end as an init system would, and waits for it.
func (p *program) stop() error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(startTimeout):
		buf := make([]byte, 1<<20)
		p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.done
		p.t.Errorf("the program did not end on SIGTERM; its goroutines:\n%s%s", p.stderr.String(), buf[:runtime.Stack(buf, false)])
	}
	return p.err
}

type lockedWriter struct {
	mu  *sync.Mutex
	buf *bytes.Buffer
}

func (w lockedWriter) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(b)
}

// writeFile writes text into a new temporary directory and returns the file's path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
