package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	coreruleset "github.com/corazawaf/coraza-coreruleset/v4"
)

// modsecurityModule is where Debian's libnginx-mod-http-modsecurity puts it.
const modsecurityModule = "/usr/lib/nginx/modules/ngx_http_modsecurity_module.so"

// An inspected is a request that both firewalls are to find nothing in.
type inspected struct {
	name, path string
	headers    []string
	media      string // of body
	body       string
	conns      int // if not as many as the flag says
}

// browserHeaders are what every one of the requests has.
var browserHeaders = []string{
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
}

// nineMore make twelve with them and Host.
var nineMore = []string{
	"Accept-Language: en-US,en;q=0.5", "Accept-Encoding: gzip, deflate, br, zstd", "Referer: https://app.example.com/orders?page=2",
	"Sec-Fetch-Dest: style", "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Site: same-origin", "Priority: u=2",
	"If-None-Match: \"65f0-61a2b3c4\"", "Cache-Control: max-age=0",
}

// sentence is some ordinary words, other ones for each seed.
func sentence(seed, words int, blank string) string {
	vocabulary := strings.Fields(`account order summary monthly customer billing shipping address product blue green quantity total amount
		invoice date number street town region country phone mobile email contact message hello thanks regards please find attached report`)
	out := make([]string, words)
	for i := range out {
		out[i] = vocabulary[(seed*7+i*13)%len(vocabulary)]
	}
	return strings.Join(out, blank)
}

// inspectedRequests are those of docs/waf-engine.md.
func inspectedRequests() []inspected {
	var query, cookies, fields, items []string
	for i := range 20 {
		query = append(query, fmt.Sprintf("field%d=%s", i, sentence(i, 4, "+")))
		cookies = append(cookies, fmt.Sprintf("pref%d=%s", i, strings.Repeat(fmt.Sprintf("%016x", i*104729+13), 12)))
	}
	for i, name := range strings.Fields("name street city zip country phone mail subject message terms") {
		fields = append(fields, name+"="+sentence(i, 28, "+"))
	}
	for i := range 100 {
		items = append(items, fmt.Sprintf(`{"id":%d,"name":"%s","price":%d.95,"tags":["%s","%s"]}`,
			i, sentence(i, 3, " "), i*3, sentence(i, 1, ""), sentence(i+5, 1, "")))
	}
	big := append([]string{"Cookie: " + strings.Join(cookies, "; ")}, nineMore...)
	for i := range 8 {
		big = append(big, fmt.Sprintf("X-App-Trace-%d: %032x", i, i*7919))
	}
	return []inspected{
		{name: "small GET", path: "/1k?page=2"},
		{name: "static GET with 12 headers", path: "/1k", headers: nineMore},
		{name: "GET with 20 parameters, 20 headers, 4 KB of cookies", path: "/1k?" + strings.Join(query, "&"), headers: big},
		{name: "form of 2 KB", path: "/1k", media: "application/x-www-form-urlencoded", body: strings.Join(fields, "&")},
		{name: "JSON of 10 KB", conns: 4, path: "/1k", media: "application/json", body: `{"items":[` + strings.Join(items, ",") + `]}`},
	}
}

// script has wrk send the request.
func (r inspected) script() string {
	var b strings.Builder
	for _, h := range append(append([]string(nil), browserHeaders...), r.headers...) {
		name, value, _ := strings.Cut(h, ": ")
		fmt.Fprintf(&b, "wrk.headers[%q] = %s\n", name, luaString(value))
	}
	if r.body != "" {
		fmt.Fprintf(&b, "wrk.method = \"POST\"\nwrk.headers[\"Content-Type\"] = %q\nwrk.body = %s\n", r.media, luaString(r.body))
	}
	return b.String()
}

// luaString is a text without brackets in a row, as it stands.
func luaString(s string) string { return "[==[" + s + "]==]" }

// modsecurityRules are the Core Rule Set as Gatehouse has it by default: paranoia 1, threshold 5, its methods and types.
const modsecurityRules = `
SecRuleEngine On
SecRequestBodyAccess On
SecResponseBodyAccess Off
SecAuditEngine Off
SecRequestBodyLimit 1048576
SecRequestBodyNoFilesLimit 1048576
SecRequestBodyJsonDepthLimit 64
SecTmpDir %[1]s
SecDataDir %[1]s
SecDefaultAction "phase:1,nolog,pass"
SecDefaultAction "phase:2,nolog,pass"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/json" "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
SecRule REQUEST_HEADERS:Content-Type "@rx ^(?:application|text)/xml" "id:200000,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=XML"
SecRule REQBODY_ERROR "!@eq 0" "id:200002,phase:2,t:none,nolog,deny,status:400"
SecAction "id:900990,phase:1,pass,t:none,nolog,setvar:tx.crs_setup_version=4250,setvar:'tx.allowed_methods=GET HEAD POST OPTIONS PUT PATCH DELETE'"
`

const modsecurityServer = `
  upstream u { server %[2]s; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:%[1]d ssl;
    ssl_certificate ../cert.pem;
    ssl_certificate_key ../key.pem;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    client_max_body_size 2m;
    client_body_buffer_size 2m;
    modsecurity on;
    modsecurity_rules_file RULES;
    location / {
      proxy_pass http://u;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
    }
  }
`

// bareRule is a rule without actions. libmodsecurity takes the line after it for them.
var bareRule = regexp.MustCompile(`(?m)^(\s*SecRule\s+\S+\s+"(?:[^"\\\n]|\\.)*")$`)

// writeRules writes the set's files for libmodsecurity.
func (f *field) writeRules() error {
	dir := filepath.Join(f.dir, "crs")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	var rules strings.Builder
	fmt.Fprintf(&rules, modsecurityRules, dir)
	names, err := fs.Glob(coreruleset.FS, "@owasp_crs/*")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := fs.ReadFile(coreruleset.FS, name)
		if err != nil {
			return err
		}
		base := filepath.Base(name)
		text = bareRule.ReplaceAll(text, []byte(`$1 "t:none"`))
		if err := os.WriteFile(filepath.Join(dir, base), text, 0o644); err != nil {
			return err
		}
		// 905 has exceptions for loopback addresses, where all of this happens; Gatehouse leaves it out too.
		if strings.HasPrefix(base, "REQUEST-") && strings.HasSuffix(base, ".conf") && !strings.HasPrefix(base, "REQUEST-905") {
			fmt.Fprintf(&rules, "Include %s\n", filepath.Join(dir, base))
		}
	}
	return os.WriteFile(filepath.Join(dir, "rules.conf"), []byte(rules.String()), 0o644)
}

const wafConfig = `
listen: {https: "127.0.0.1:%d", admin: "off"}
tls:
  certificates: [{cert: %[2]s/cert.pem, key: %[2]s/key.pem}]
state_dir: %[2]s/%[3]s
headers: off
waf_budget: {client: 100000} # one address sends all of this
upstreams: {u: "%[4]s"}
routes:
  - {match: localhost, to: u, require: nothing}
`

// openWAF starts what the workloads of the firewall need. It reports false if nginx has no such module here.
func (f *field) openWAF(ctx context.Context, binaries []binary) (bool, error) {
	if _, err := os.Stat(modsecurityModule); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err := f.writeRules(); err != nil {
		return false, err
	}
	var err error
	server := strings.Replace(modsecurityServer, "RULES", filepath.Join(f.dir, "crs", "rules.conf"), 1)
	f.modsecurity, err = f.startNginx(ctx, "modsecurity", server, strings.TrimPrefix(f.upstream.url, "http://"))
	if err != nil {
		return false, err
	}
	for i, b := range binaries {
		port, err := freePort(ctx)
		if err != nil {
			return false, err
		}
		name := fmt.Sprintf("waf%d", i)
		file := filepath.Join(f.dir, name+".yaml")
		if err := os.WriteFile(file, fmt.Appendf(nil, wafConfig, port, f.dir, name, f.upstream.url), 0o600); err != nil {
			return false, err
		}
		front, err := f.start(ctx, "https", port, exec.Command(b.path, "run", "-q", "-c", file))
		if err != nil {
			return false, err
		}
		f.inspecting = append(f.inspecting, contender{name: b.name, front: front})
	}
	return true, nil
}

// wafWorkloads are the same requests to both firewalls.
func (f *field) wafWorkloads() ([]*workload, error) {
	var all []*workload
	for i, r := range inspectedRequests() {
		script := filepath.Join(f.dir, fmt.Sprintf("inspected%d.lua", i))
		if err := os.WriteFile(script, []byte(r.script()), 0o600); err != nil {
			return nil, err
		}
		w := &workload{name: "W6  inspected by the WAF: " + r.name, path: r.path, send: overHTTP1, script: script, conns: r.conns}
		w.contenders = append(w.contenders, contender{name: "nginx with libmodsecurity", front: f.modsecurity})
		w.contenders = append(w.contenders, f.inspecting...)
		all = append(all, w)
	}
	return all, nil
}
