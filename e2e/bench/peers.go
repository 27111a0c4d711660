package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// A peer is another proxy: from Debian's package of this name, or Go's own.
type peer struct {
	name, command string
	// files are what it reads, by name, with the port, the directory of the certificate and the upstream put in for PORT, DIR and UPSTREAM.
	files map[string]string
	args  []string
}

// peers have as many workers as the machine has processors, the cipher that Gatehouse takes, and no access log.
func peers() []peer {
	return []peer{
		{
			name: "HAProxy", command: "haproxy", args: []string{"-f", "haproxy.cfg"},
			files: map[string]string{"haproxy.cfg": `
global
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
frontend f
  bind 127.0.0.1:PORT ssl crt DIR/both.pem alpn h2,http/1.1
  default_backend b
backend b
  server u UPSTREAM
`},
		},
		{
			name: "Caddy", command: "caddy", args: []string{"run", "--config", "Caddyfile", "--adapter", "caddyfile"},
			files: map[string]string{"Caddyfile": `
{
  admin off
  auto_https off
  servers {
    protocols h1 h2
  }
}
https://localhost:PORT {
  bind 127.0.0.1
  tls DIR/cert.pem DIR/key.pem {
    protocols tls1.3
  }
  reverse_proxy UPSTREAM {
    transport http {
      keepalive_idle_conns_per_host 256
    }
  }
}
`},
		},
		{
			name: "Apache", command: "apache2",
			files: map[string]string{"apache.conf": `
ServerName localhost
PidFile apache.pid
DefaultRuntimeDir .
ErrorLog error.log
LogLevel error
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule socache_shmcb_module /usr/lib/apache2/modules/mod_socache_shmcb.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule http2_module /usr/lib/apache2/modules/mod_http2.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
MaxKeepAliveRequests 0
KeepAliveTimeout 60
Listen 127.0.0.1:PORT
Protocols h2 http/1.1
SSLSessionCache shmcb:ssl(512000)
<VirtualHost 127.0.0.1:PORT>
  SSLEngine on
  SSLProtocol TLSv1.3
  SSLCipherSuite TLSv1.3 TLS_AES_128_GCM_SHA256
  SSLCertificateFile DIR/cert.pem
  SSLCertificateKeyFile DIR/key.pem
  ProxyPass / http://UPSTREAM/ keepalive=On
</VirtualHost>
`},
		},
	}
}

// startPeers starts those that are installed, and says which are not.
func (f *field) startPeers(ctx context.Context) ([]contender, error) {
	if err := joinFiles(filepath.Join(f.dir, "both.pem"), filepath.Join(f.dir, "cert.pem"), filepath.Join(f.dir, "key.pem")); err != nil {
		return nil, err
	}
	var all []contender
	for _, p := range peers() {
		if _, err := exec.LookPath(p.command); err != nil {
			fmt.Printf("%s is left out: it needs the Debian package %s\n", p.name, p.command)
			continue
		}
		front, err := f.startPeer(ctx, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		all = append(all, contender{name: p.name, front: front})
	}
	front, err := f.startReverseProxy(ctx)
	if err != nil {
		return nil, err
	}
	return append(all, contender{name: "httputil.ReverseProxy, tuned", front: front}), nil
}

func (f *field) startPeer(ctx context.Context, p peer) (*front, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(f.dir, p.command)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	put := strings.NewReplacer("PORT", fmt.Sprint(port), "DIR", f.dir, "UPSTREAM", strings.TrimPrefix(f.upstream.url, "http://"))
	for name, text := range p.files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(put.Replace(text)), 0o600); err != nil {
			return nil, err
		}
	}
	args := p.args
	if p.command == "apache2" { // its paths are relative to -d, which is not the working directory
		args = []string{"-D", "FOREGROUND", "-d", dir, "-f", filepath.Join(dir, "apache.conf")}
	}
	cmd := exec.Command(p.command, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+dir)
	return f.start(ctx, "https", port, cmd)
}

func joinFiles(to string, from ...string) error {
	var all []byte
	for _, name := range from {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		all = append(all, text...)
	}
	return os.WriteFile(to, all, 0o600)
}

// startReverseProxy runs this program again, as what one would write with the standard library alone.
func (f *field) startReverseProxy(ctx context.Context) (*front, error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return f.start(ctx, "https", port, exec.Command(self, "-reverse-proxy", fmt.Sprintf("127.0.0.1:%d", port), "-dir", f.dir, "-to", f.upstream.url))
}

// reverseProxy serves as it until ctx ends.
func reverseProxy(ctx context.Context, addr, dir, to string) error {
	target, err := url.Parse(to)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.SetXForwarded()
			r.Out.Host = r.In.Host
		},
		Transport:  &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
		BufferPool: &buffers{},
	}
	server := &http.Server{
		Addr: addr, Handler: proxy,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13},
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	return server.ListenAndServeTLS(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
}

// buffers keeps those that bodies are copied with.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if kept, ok := b.pool.Get().(*[]byte); ok {
		return *kept
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buf []byte) { b.pool.Put(&buf) }
