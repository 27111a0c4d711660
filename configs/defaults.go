package configs

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"gatehouse/headers"
	"gatehouse/proxy/cache"
	"gatehouse/proxy/upstream"
	"gatehouse/waf"
)

// setDefaults fills in everything that the file leaves to this package, in the one order that is
// right: compat first, because it decides what the sections at the top say; then the sections; then
// the routes, which are merged over them.
func (c *Config) setDefaults(d *decoder) {
	if c.Compat == "aws" {
		c.setCompatAWS(d.src.has)
	}
	c.Listen.Admin = cmp.Or(c.Listen.Admin, DefaultAdmin)
	c.Listen.Connections = cmp.Or(c.Listen.Connections, DefaultConnections)
	c.Listen.HeaderTimeout = cmp.Or(c.Listen.HeaderTimeout, Duration(DefaultHeaderTimeout))
	c.Listen.IdleTimeout = cmp.Or(c.Listen.IdleTimeout, Duration(DefaultIdleTimeout))
	if p := &c.Listen.ProxyProtocol; len(p.From) > 0 {
		p.Others = cmp.Or(p.Others, OthersRefuse)
	}
	c.Drain = cmp.Or(c.Drain, Duration(DefaultDrain))
	if c.Secret == "" {
		var path string
		c.Secret, path = c.clientSecret()
		d.aliasRef("secret", path)
	}
	if c.StateDir == "" {
		c.StateDir = stateDir(d.src.expand.env)
	}
	names := map[string]bool{}
	for _, r := range c.Routes {
		names[r.Name] = true
	}
	for i := range c.Routes {
		c.setRouteDefaults(&c.Routes[i], names)
	}
}

func (c *Config) setRouteDefaults(r *Route, names map[string]bool) {
	if r.Name == "" {
		m := r.Match[0]
		m.Hosts = m.Hosts[:min(len(m.Hosts), 1)]
		base := m.String()
		r.Name = base
		for i := 2; names[r.Name]; i++ {
			r.Name = fmt.Sprintf("%s#%d", base, i)
		}
		names[r.Name] = true
	}
	if r.WAF == nil {
		r.WAF = &waf.Config{}
	}
	if r.Headers == nil {
		r.Headers = &headers.SecurityConfig{}
	}
	if r.Assertion == nil {
		r.Assertion = &headers.RouteAssertionConfig{}
	}
	r.Compat = cmp.Or(r.Compat, c.Compat, compatOff)
	if r.Compat == "aws" && r.Cache != nil {
		r.Cache.Rules = cmp.Or(r.Cache.Rules, cache.RulesCloudFront)
		r.Cache.Unkeyed = cmp.Or(r.Cache.Unkeyed, cache.UnkeyedDrop)
	}
	*r.WAF = mergeWAF(c.WAF, *r.WAF)
	if r.Compat == "aws" && r.WAF.BodyLimit == "" && r.WAF.Oversize == "" {
		r.WAF.BodyLimit, r.WAF.Oversize = awsBodyLimit, awsOversize
	}
	r.Compress.Types = appendNew(c.Compress.Types, r.Compress.Types)
	if r.Compress.Mode == "" && r.Require.Who == RequireNothing && !c.asksClients(*r) {
		r.Compress.Mode = c.Compress.Mode
	}
	if !r.Compress.On() {
		r.Compress.Types = nil // of nothing
	}
	*r.Headers = mergeHeaders(c.Headers, *r.Headers)
	*r.Assertion = c.Assertion.WithRoute(*r.Assertion).Route()
	r.MaxBody = cmp.Or(r.MaxBody, DefaultMaxBody)
	if r.WebSocket == nil {
		on := true
		r.WebSocket = &on
	}
}

// The values of compat: aws. Where they differ from this program's defaults, ours are the safer.
const (
	compatOff    = "off"                     // nothing of what follows
	awsCookie    = "AWSELBAuthSessionCookie" // ELB user guide, SessionCookieName
	awsTimeout   = "168h"                    // SessionTimeout, 604800 s
	awsScope     = "openid"                  // Scope
	awsBodyLimit = "8KiB"                    // AWS WAF on an ALB; the rest of a body is not seen
	awsOversize  = "partial"                 // OversizeHandling: CONTINUE
	awsPadding   = "padded"                  // x-amzn-oidc-data is base64url with "="
)

// setCompatAWS sets what AWS does where the file says nothing. has tells what the file says.
func (c *Config) setCompatAWS(has func(path string) bool) {
	set := func(path string, field *string, value string) {
		if !has(path) {
			*field = value
		}
	}
	set("assertion.padding", &c.Assertion.Padding, awsPadding)
	for name, up := range c.Upstreams {
		if !has("upstreams."+name+".tls") && allHTTPS(up) {
			up.TLS.InsecureSkipVerify = true // ELB user guide: targets' certificates are not validated
			c.Upstreams[name] = up
		}
	}
	if c.Login == nil {
		return
	}
	set("login.session.cookie", &c.Login.Session.Cookie, awsCookie)
	set("login.session.timeout", &c.Login.Session.Timeout, awsTimeout)
	for _, p := range c.logins() {
		if p.Cognito != nil && !has(p.path+".cognito.scopes") {
			p.Cognito.Scopes = []string{awsScope}
		}
		if p.OIDC != nil && !has(p.path+".oidc.scopes") {
			p.OIDC.Scopes = []string{awsScope}
		}
	}
}

func allHTTPS(up upstream.Config) bool {
	return !slices.ContainsFunc(up.Endpoints, func(e string) bool { return !strings.HasPrefix(e, "https://") && !strings.Contains(e, "+https://") })
}

// stateDir returns the directory for what must outlive the process: $STATE_DIRECTORY, which systemd
// sets; else gatehouse below $XDG_STATE_HOME or ~/.local/state; else below the temporary directory,
// so that a container without a home starts, and lint says that nothing is kept.
func stateDir(env func(string) (string, bool)) string {
	if dir, _ := env("STATE_DIRECTORY"); dir != "" {
		first, _, _ := strings.Cut(dir, ":") // systemd separates several by colons
		return first
	}
	if dir, _ := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "gatehouse")
	}
	if home, _ := env("HOME"); filepath.IsAbs(home) && home != "/" {
		return filepath.Join(home, ".local", "state", "gatehouse")
	}
	return filepath.Join(os.TempDir(), "gatehouse")
}

// resolveFiles makes the paths of files absolute: relative ones are taken from dir.
func (c *Config) resolveFiles(dir string) {
	c.eachFile(func(file *string) {
		if *file != "" && !filepath.IsAbs(*file) && !headers.IsInlineKey(*file) {
			*file = filepath.Join(dir, *file)
		}
	})
}

// eachFile calls f with every setting that is the path of a file.
func (c *Config) eachFile(f func(*string)) {
	f(&c.StateDir)
	for i := range c.TLS.Certificates {
		f(&c.TLS.Certificates[i].Cert)
		f(&c.TLS.Certificates[i].Key)
	}
	if a := c.TLS.ACME; a != nil {
		f(&a.CARoots)
		f(&a.Storage)
	}
	for _, p := range c.logins() {
		if p.Cognito != nil {
			f(&p.Cognito.CA)
		}
		if p.OIDC != nil {
			f(&p.OIDC.CA)
		}
	}
	for _, each := range c.ClientCertificates {
		for i := range each.CA {
			f(&each.CA[i])
		}
		for i := range each.CRL {
			f(&each.CRL[i])
		}
	}
	if c.Fleet != nil {
		f(&c.Fleet.CA)
	}
	f(&c.Events.WAFLog.File)
	f(&c.WAF.RulesDir)
	for _, r := range c.Routes {
		if r.WAF != nil {
			f(&r.WAF.RulesDir)
		}
	}
	f(&c.Geo.Country)
	f(&c.Geo.ASN)
	for name, set := range c.IPSets {
		f(&set.File)
		c.IPSets[name] = set
	}
	for i := range c.Assertion.Keys {
		f(&c.Assertion.Keys[i])
	}
	for name, issuer := range c.Tokens.Issuers {
		f(&issuer.CA)
		c.Tokens.Issuers[name] = issuer
	}
	for name, api := range c.CognitoAPI {
		f(&api.CA)
		c.CognitoAPI[name] = api
	}
	if c.Cache.Disk != nil {
		f(&c.Cache.Disk.Directory)
	}
	for name, at := range c.Origins {
		f(&at.Directory)
		if at.S3 != nil {
			f(&at.S3.CA)
		}
		c.Origins[name] = at
	}
	for name, up := range c.Upstreams {
		f(&up.TLS.CA)
		for _, pem := range [...]*string{&up.TLS.Cert, &up.TLS.Key} {
			if !upstream.IsInline(*pem) {
				f(pem)
			}
		}
		c.Upstreams[name] = up
	}
}

// mergeWAF returns what over says over top: single values replace, exclusions and what single rules do add, and
// groups replace or change what the top says.
func mergeWAF(top, over waf.Config) waf.Config {
	merged := top
	merged.Mode = cmp.Or(over.Mode, top.Mode)
	merged.Paranoia = cmp.Or(over.Paranoia, top.Paranoia)
	merged.Threshold = cmp.Or(over.Threshold, top.Threshold)
	merged.Body = cmp.Or(over.Body, top.Body)
	merged.BodyLimit = cmp.Or(over.BodyLimit, top.BodyLimit)
	merged.Oversize = cmp.Or(over.Oversize, top.Oversize)
	merged.Limits = waf.Limits{
		Form:      cmp.Or(over.Limits.Form, top.Limits.Form),
		JSON:      cmp.Or(over.Limits.JSON, top.Limits.JSON),
		XML:       cmp.Or(over.Limits.XML, top.Limits.XML),
		Multipart: cmp.Or(over.Limits.Multipart, top.Limits.Multipart),
		Text:      cmp.Or(over.Limits.Text, top.Limits.Text),
		Other:     cmp.Or(over.Limits.Other, top.Limits.Other),
		Values:    cmp.Or(over.Limits.Values, top.Limits.Values),
		Nesting:   cmp.Or(over.Limits.Nesting, top.Limits.Nesting),
		Work:      cmp.Or(over.Limits.Work, top.Limits.Work),
	}
	merged.Presets = appendNew(top.Presets, over.Presets)
	merged.RulesDir = cmp.Or(over.RulesDir, top.RulesDir)
	merged.ResponseLimit = cmp.Or(over.ResponseLimit, top.ResponseLimit)
	merged.Groups = over.Groups.Over(top.Groups)
	if len(top.Rules) > 0 && len(over.Rules) > 0 {
		merged.Rules = maps.Clone(top.Rules)
		maps.Copy(merged.Rules, over.Rules)
	} else if len(over.Rules) > 0 {
		merged.Rules = over.Rules
	}
	merged.Exclude = slices.Clone(top.Exclude)
	for _, x := range over.Exclude {
		if !slices.ContainsFunc(top.Exclude, x.Equal) {
			merged.Exclude = append(merged.Exclude, x)
		}
	}
	return merged
}

// mergeHeaders returns what over says over top. The preset replaces; set, keep and remove add up, and
// where the two disagree about one header over has the last word. A keep at the top is about the
// preset there and ends with it.
func mergeHeaders(top, over headers.SecurityConfig) headers.SecurityConfig {
	merged := headers.SecurityConfig{Preset: cmp.Or(over.Preset, top.Preset)}
	if merged.Preset == top.Preset {
		merged.Keep = without(top.Keep, slices.Collect(maps.Keys(over.Set)))
	}
	merged.Keep = appendNew(merged.Keep, over.Keep)
	merged.Remove = appendNew(without(top.Remove, slices.Collect(maps.Keys(over.Set))), over.Remove)
	set := map[string]string{}
	ours := slices.Concat(slices.Collect(maps.Keys(over.Set)), over.Keep, over.Remove)
	for _, name := range without(slices.Collect(maps.Keys(top.Set)), ours) {
		set[name] = top.Set[name]
	}
	maps.Copy(set, over.Set)
	if len(set) > 0 {
		merged.Set = set
	}
	return merged
}

// without returns the names of list that are not in drop, as headers are compared.
func without(list, drop []string) []string {
	var out []string
	for _, name := range list {
		if !slices.ContainsFunc(drop, func(d string) bool { return strings.EqualFold(d, name) }) {
			out = append(out, name)
		}
	}
	return out
}

// appendNew returns a new list of a and what b has beyond it.
func appendNew[E comparable](a, b []E) []E {
	out := slices.Clone(a)
	for _, e := range b {
		if !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

func readAll(r io.Reader) ([]byte, error) { return io.ReadAll(io.LimitReader(r, maxFile+1)) }

// DrainTime returns Drain as the standard library has it.
func (c *Config) DrainTime() time.Duration { return time.Duration(c.Drain) }
