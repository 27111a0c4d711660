package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A field is what the contenders stand in: one upstream, one certificate, one pool of users, and the fronts.
type field struct {
	dir      string
	cert     *x509.Certificate
	upstream *front
	pool     *pool
	nginx    *front
	houses   []house
	started  []*front

	modsecurity *front // nil without the module
	inspecting  []contender

	peers []contender
}

// A house is one build of Gatehouse, with and without its default security headers.
type house struct {
	name       string
	off, front *front
	cookies    string // of somebody who has signed in at front
}

// A front is a server that was started for the comparison.
type front struct {
	url  string
	pid  int
	stop func()
}

// open starts everything.
func (f *field) open(ctx context.Context, binaries []binary) error {
	if err := os.Chmod(f.dir, 0o755); err != nil { // nginx's workers are another user
		return err
	}
	if err := f.certificate(); err != nil {
		return err
	}
	for name, size := range map[string]int{"1k": 1 << 10, "64k": 64 << 10, "1m": 1 << 20} {
		if err := os.WriteFile(filepath.Join(f.dir, name), []byte(strings.Repeat("x", size)), 0o644); err != nil {
			return err
		}
	}
	var err error
	if f.upstream, err = f.startNginx(ctx, "upstream", upstreamConfig, f.dir); err != nil {
		return err
	}
	if f.nginx, err = f.startNginx(ctx, "front", frontConfig, strings.TrimPrefix(f.upstream.url, "http://")); err != nil {
		return err
	}
	if f.peers, err = f.startPeers(ctx); err != nil {
		return err
	}
	if f.pool, err = openPool(); err != nil {
		return err
	}
	for i, b := range binaries {
		h := house{name: b.name}
		if h.off, err = f.startHouse(ctx, fmt.Sprintf("house%d-off", i), b.path, "off"); err != nil {
			return err
		}
		if h.front, err = f.startHouse(ctx, fmt.Sprintf("house%d", i), b.path, "strict"); err != nil {
			return err
		}
		if h.cookies, err = f.signIn(ctx, h.front.url); err != nil {
			return err
		}
		f.houses = append(f.houses, h)
	}
	return nil
}

func (f *field) close() {
	for _, front := range f.started {
		front.stop()
	}
	if f.pool != nil {
		f.pool.server.Close()
	}
}

// workloads names them as docs/performance.md does.
func (f *field) workloads() []*workload {
	roots := x509.NewCertPool()
	roots.AddCert(f.cert)
	small := &workload{name: "W2  TLS 1.3, HTTP/1.1, an answer of 1 KB", path: "/1k", send: overHTTP1}
	session := &workload{name: "W7  1 KB to somebody who has signed in, against nginx without sessions", path: "/app/1k", send: overHTTP1}
	all := []*workload{
		small,
		{name: "W3  TLS 1.3, HTTP/2, ten requests at a time, an answer of 1 KB", path: "/1k", send: overHTTP2},
		{name: "W4  a full handshake", send: handshakes(roots, false)},
		{name: "W4  a resumed one", send: handshakes(roots, true)},
		{name: "W5  64 KB over TLS 1.3 and HTTP/1.1", path: "/64k", send: overHTTP1},
		{name: "W5  the same with 1 MB", path: "/1m", send: overHTTP1},
		session,
	}
	for _, w := range all {
		w.contenders = append(w.contenders, contender{name: "nginx", front: f.nginx})
	}
	for _, h := range f.houses {
		small.contenders = append(small.contenders, contender{name: h.name + ", headers: off", front: h.off})
		for _, w := range all {
			c := contender{name: h.name, front: h.front}
			if w == session {
				c.headers = []string{"Cookie: " + h.cookies}
			}
			w.contenders = append(w.contenders, c)
		}
	}
	for _, w := range all {
		if w != session {
			w.contenders = append(w.contenders, f.peers...)
		}
	}
	return all
}

// certificate writes what all fronts show: ECDSA with P-256, as Gatehouse's own certificates are.
func (f *field) certificate() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return err
	}
	if f.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(f.dir, "cert.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(filepath.Join(f.dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600),
	)
}

const nginxConfig = `
%[4]s
worker_processes %[1]s;
daemon off;
pid %[2]s/nginx.pid;
error_log %[2]s/error.log warn;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path %[2]s/body;
  proxy_temp_path %[2]s/proxy;
  fastcgi_temp_path %[2]s/fastcgi;
  uwsgi_temp_path %[2]s/uwsgi;
  scgi_temp_path %[2]s/scgi;
  keepalive_requests 100000000;
%[3]s
}
`

const upstreamConfig = `
  sendfile on;
  open_file_cache max=16;
  server {
    listen 127.0.0.1:%d;
    root %s;
    error_page 405 =200 $uri; # a static file is no answer to POST
    location /app/ { alias %[2]s/; }
  }
`

// frontConfig takes the cipher that Gatehouse takes; OpenSSL would take a slower one.
const frontConfig = `
  upstream u { server %[2]s; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:%[1]d ssl http2;
    ssl_certificate ../cert.pem;
    ssl_certificate_key ../key.pem;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    location / {
      proxy_pass http://u;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_max_temp_file_size 0;
    }
  }
`

// startNginx starts nginx with a server of its own and as many workers as Debian's configuration has; the
// upstream has one, to leave something for the others.
func (f *field) startNginx(ctx context.Context, name, config, arg string) (*front, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(f.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	scheme, workers := "https", "auto"
	if config == upstreamConfig {
		scheme, workers = "http", "1"
	}
	module := ""
	if strings.Contains(config, "modsecurity on;") {
		module = "load_module " + modsecurityModule + ";"
	}
	file := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf(nginxConfig, workers, dir, fmt.Sprintf(config, port, arg), module)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return f.start(ctx, scheme, port, exec.Command("nginx", "-p", dir, "-c", file, "-e", filepath.Join(dir, "error.log")))
}

const houseConfig = `
listen: {https: "127.0.0.1:%d", admin: "off"}
tls:
  certificates: [{cert: %[2]s/cert.pem, key: %[2]s/key.pem}]
state_dir: %[2]s/%[3]s
waf: off
headers: %[4]s
login:
  cognito:
    region: eu-west-1
    user_pool: eu-west-1_DevPool01
    domain: %[5]s
    endpoint: %[5]s
    client_id: %[6]s
    client_secret: %[7]s
upstreams: {u: "%[8]s"}
routes:
  - {match: localhost/app/*, to: u, require: signed-in}
  - {match: localhost, to: u, require: nothing}
`

func (f *field) startHouse(ctx context.Context, name, path, preset string) (*front, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(f.dir, name+".yaml")
	text := fmt.Sprintf(houseConfig, port, f.dir, name, preset, f.pool.server.URL, clientID, clientSecret, f.upstream.url)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	return f.start(ctx, "https", port, exec.Command(path, "run", "-q", "-c", file))
}

// start runs cmd until stop and waits until something listens on port.
func (f *field) start(ctx context.Context, scheme string, port int, cmd *exec.Cmd) (*front, error) {
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	front := &front{url: fmt.Sprintf("%s://localhost:%d", scheme, port), pid: cmd.Process.Pid, stop: func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	}}
	f.started = append(f.started, front)
	for {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			return front, conn.Close()
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("%s ended: %s", cmd, output.String())
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// freePort returns a port that nobody listens on.
func freePort(ctx context.Context) (int, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port, nil
}
