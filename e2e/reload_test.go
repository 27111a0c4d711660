package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	refusedReload = "reload refused, the running configuration stays"
	reloaded      = "reloaded"
	reloadMetric  = "gatehouse_config_last_reload_success"
)

// reload tells the program to load its file again and waits for what became of it.
func (s *site) reload(t *testing.T, want string) map[string]any {
	t.Helper()
	n := s.messages(want)
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	return s.message(want, n)
}

// broken is a site's file with three mistakes in three places.
func (s *site) broken() (text string, places []string) {
	text = strings.Replace(s.text, "tls: {local: true}", "tls: {locl: true}", 1) +
		"  - {match: new.example.test/*, to: nowhere, require: nothing}\n" +
		"  - {match: other.example.test, to: u}\n"
	lines := strings.Split(text, "\n")
	place := func(of string) string {
		for i, line := range lines {
			if col := strings.Index(line, of); col >= 0 {
				return fmt.Sprintf("%s:%d:%d: ", s.file, i+1, col+1)
			}
		}
		s.t.Fatalf("no %q in the file", of)
		return ""
	}
	return text, []string{place("locl"), place("nowhere"), place("{match: other")}
}

func TestAReloadIsAllOrNothing(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startEcho(t)})
	good := s.text
	c := newClient(t, s.addr, true)
	cookies := s.signIn("alice", "/").cookies(s.base)
	if got := s.metric(reloadMetric); got != "1" {
		t.Errorf("%s after the start: got %q, want 1", reloadMetric, got)
	}

	text, places := s.broken()
	s.write(text)
	problems, _ := s.reload(t, refusedReload)["problems"].(string)
	for _, place := range places {
		if !strings.Contains(problems, place) {
			t.Errorf("problems: got\n%s\nwant one at %s", problems, place)
		}
	}
	if got := s.metric(reloadMetric); got != "0" {
		t.Errorf("%s after a refusal: got %q, want 0", reloadMetric, got)
	}
	if resp, _ := fetch(t, c, s.base+"/page", cookies); resp.StatusCode != http.StatusOK {
		t.Errorf("after a refused reload: got %s, want 200", resp.Status)
	}
	if _, _, err := ask(t, newClient(t, s.addr, true), "https://new.example.test/", "")(0); err == nil {
		t.Error("a host of the refused file: got an answer, want none")
	}

	s.write(good + "  - {match: new.example.test, to: u, require: nothing}\n")
	s.reload(t, reloaded)
	if got := s.metric(reloadMetric); got != "1" {
		t.Errorf("%s: got %q, want 1", reloadMetric, got)
	}
	if resp, body := fetch(t, newClient(t, s.addr, true), "https://new.example.test/x", ""); resp.StatusCode != http.StatusOK || readEcho(t, body).Path != "/x" {
		t.Errorf("the new route: got %s, want 200\n%s", resp.Status, body)
	}
	if resp, _ := fetch(t, c, s.base+"/page", cookies); resp.StatusCode != http.StatusOK {
		t.Errorf("the session after a reload: got %s, want 200", resp.Status)
	}
}

// TestAddressesNeedARestart changes what a reload cannot.
func TestAddressesNeedARestart(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startEcho(t)})
	s.write(strings.Replace(s.text, `https: "127.0.0.1:0"`, `https: "127.0.0.1:1"`, 1))
	problems, _ := s.reload(t, refusedReload)["problems"].(string)
	if want := s.file + ":1:"; !strings.Contains(problems, want) || !strings.Contains(problems, "restart") {
		t.Errorf("problems: got %s, want one at %s that says restart", problems, want)
	}
}

func TestWatchReloadsWhenTheFileChanges(t *testing.T) {
	t.Parallel()
	writers := map[string]func(*site, string){
		"written in place": (*site).write,
		"replaced by another": func(s *site, text string) {
			beside := filepath.Join(filepath.Dir(s.file), "beside")
			if err := os.WriteFile(beside, []byte(text), 0o600); err != nil {
				s.t.Fatal(err)
			}
			if err := os.Rename(beside, s.file); err != nil {
				s.t.Fatal(err)
			}
		},
	}
	for name, write := range writers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startSite(t, siteSpec{upstream: startEcho(t), args: []string{"--watch"}})
			good := s.text
			text, places := s.broken()
			write(s, text)
			s.event(func(e map[string]any) bool {
				problems, _ := e["problems"].(string)
				return e["msg"] == refusedReload && strings.Contains(problems, places[len(places)-1])
			})
			n := s.messages(reloaded)
			write(s, good+"  - {match: new.example.test, to: u, require: nothing}\n")
			s.message(reloaded, n)
			if resp, _ := fetch(t, newClient(t, s.addr, true), "https://new.example.test/", ""); resp.StatusCode != http.StatusOK {
				t.Errorf("the new route: got %s, want 200", resp.Status)
			}
		})
	}
}

func TestAMissingSecret(t *testing.T) {
	t.Parallel()
	spec := siteSpec{upstream: startEcho(t)}
	s := newSite(t, spec)
	s.pool = startPool(t, s.poolArgs(spec)...)
	secret := filepath.Join(t.TempDir(), "secret")
	s.write(s.fileText(spec, strings.Replace(s.pool.login(), "${env:CLIENT_SECRET}", `"${file:`+secret+`}"`, 1)))
	line := 1 + strings.Count(s.text[:strings.Index(s.text, "client_secret")], "\n")
	place := fmt.Sprintf("%s:%d:", s.file, line)

	got := runToEnd(t, "", nil, "run", "-c", s.file)
	if got.code != 2 || !strings.Contains(got.stderr, place) || !strings.Contains(got.stderr, secret) {
		t.Errorf("start without the secret: got %+v, want exit code 2 and a line that begins with %s and names the file", got, place)
	}
	if err := os.WriteFile(secret, []byte(clientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(spec)
	cookies := s.signIn("alice", "/").cookies(s.base)
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	if problems, _ := s.reload(t, refusedReload)["problems"].(string); !strings.Contains(problems, place) || strings.Contains(problems, clientSecret) {
		t.Errorf("reload without the secret: got %s, want a line that begins with %s", problems, place)
	}
	if resp, _ := fetch(t, newClient(t, s.addr, true), s.base+"/", cookies); resp.StatusCode != http.StatusOK {
		t.Errorf("after that: got %s, want 200", resp.Status)
	}
}

// TestAReloadForgetsNothing changes settings of sessions and limits' neighbours, so that what it can
// take over has to be taken over.
func TestAReloadForgetsNothing(t *testing.T) {
	t.Parallel()
	spec := siteSpec{
		upstream: startEcho(t), login: "  session: {timeout: 2h}\n", top: "limits:\n  few: {rate: 3/1h}\n",
		routes: `
  - {match: app.example.test/few/*, to: u, require: nothing, limit: few}
  - {match: app.example.test, to: u, require: signed-in}
`,
	}
	s := startSite(t, spec)
	c := newClient(t, s.addr, true)
	for i, want := range []int{200, 200, 200, 429} {
		if resp, _ := fetch(t, c, s.base+"/few/x", ""); resp.StatusCode != want {
			t.Fatalf("request %d: got %s, want %d", i, resp.Status, want)
		}
	}
	stays := s.signIn("alice", "/").cookies(s.base)
	leaves := s.signIn("alice", "/").cookies(s.base)
	if resp, _ := fetch(t, c, s.base+"/oauth2/sign_out", leaves, navigating()...); resp.StatusCode != http.StatusFound {
		t.Fatalf("sign-out: got %s, want 302", resp.Status)
	}
	for _, change := range []struct{ name, old, new string }{
		{"nothing", "", ""},
		{"the session's timeout", "timeout: 2h", "timeout: 3h"},
		{"the upstream's settings", "routes:", "headers: strict\nroutes:"},
		{"a limit beside it", "limits:", "limits:\n  more: {rate: 5/1h}"},
	} {
		s.write(strings.Replace(s.text, change.old, change.new, 1))
		s.reload(t, reloaded)
		if resp, _ := fetch(t, c, s.base+"/few/x", ""); resp.StatusCode != http.StatusTooManyRequests {
			t.Errorf("%s: the limit: got %s, want 429: its buckets stay", change.name, resp.Status)
		}
		if resp, _ := fetch(t, c, s.base+"/", stays); resp.StatusCode != http.StatusOK {
			t.Errorf("%s: the session: got %s, want 200", change.name, resp.Status)
		}
		if resp, _ := fetch(t, c, s.base+"/", leaves); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: the session that was ended: got %s, want 401", change.name, resp.Status)
		}
	}
}

func TestSIGTERMDrains(t *testing.T) {
	t.Parallel()
	entered, leave := make(chan struct{}, 2), make(chan struct{})
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		entered <- struct{}{}
		<-leave
		io.WriteString(w, "done")
	}))
	t.Cleanup(up.Close)
	s := startSite(t, siteSpec{upstream: up.URL})
	answers := make(chan reply, 2)
	for _, h2 := range []bool{false, true} {
		c := newClient(t, s.addr, h2)
		go func() {
			resp, body, err := ask(t, c, s.base+"/public/slow", "")(0)
			if err != nil {
				answers <- reply{err: err}
				return
			}
			answers <- reply{status: resp.StatusCode, body: body}
		}()
		<-entered
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.message("draining", 0)
	if status, body := s.admin("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "draining") {
		t.Errorf("readyz: got %d %q, want 503 and draining", status, body)
	}
	if status, _ := s.admin("/healthz"); status != http.StatusOK {
		t.Errorf("healthz: got %d, want 200", status)
	}
	if got := runToEnd(t, "", nil, "health", "--admin", s.addrs["admin"]); got.code != 1 || !strings.Contains(got.stderr, "draining") {
		t.Errorf("gatehouse health: got %+v, want exit code 1 and draining", got)
	}
	for deadline := time.Now().Add(ioTimeout); ; until(t, time.Now().Add(10*time.Millisecond)) {
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			break
		}
		conn.Close()
		if time.Now().After(deadline) {
			t.Fatal("new connections are still taken")
		}
	}
	close(leave)
	for range 2 {
		if got := <-answers; got.status != http.StatusOK || got.body != "done" {
			t.Errorf("request in flight: got %+v, want 200 and its whole answer", got)
		}
	}
	<-s.done
	if s.err != nil {
		t.Errorf("exit: got %v, want 0", s.err)
	}
}

// TestARestartDropsNothing connects while nobody accepts, as clients do while systemd holds the sockets.
func TestARestartDropsNothing(t *testing.T) {
	t.Parallel()
	s := startSite(t, siteSpec{upstream: startEcho(t)})
	for range 3 {
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		https, admin := openSocket(t, "https"), openSocket(t, "admin")
		answers := make(chan answer)
		for range 20 {
			conn, err := net.Dial("tcp", https.addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			go func() {
				secure := tls.Client(conn, &tls.Config{ServerName: s.host, NextProtos: []string{"http/1.1"}, InsecureSkipVerify: true})
				secure.SetDeadline(time.Now().Add(ioTimeout))
				fmt.Fprintf(secure, "GET /public/x HTTP/1.1\r\nHost: %s\r\n\r\n", s.host)
				answers <- readAnswer(bufio.NewReader(secure), http.MethodGet)
			}()
		}
		s.program = launchOn(t, []string{"run", "-c", s.file}, []string{"CLIENT_SECRET=" + clientSecret, "STATE_DIRECTORY=" + s.state}, https, admin)
		for range 20 {
			if got := <-answers; got.status != http.StatusOK {
				t.Errorf("a connection from before the start: got %d, want 200", got.status)
			}
		}
	}
}
