package cache

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

// A Purge says what is to be forgotten: what any of its lists names.
type Purge struct {
	// URLs are addresses as clients ask for them, with their query.
	URLs []string `json:"urls,omitempty"`
	// Prefixes are beginnings of addresses: "https://app.example.com/static/" is everything below it. They are texts, so
	// that ".../static" is ".../static2" as well.
	Prefixes []string `json:"prefixes,omitempty"`
	// Hosts are names of hosts.
	Hosts []string `json:"hosts,omitempty"`
	// Tags are surrogate keys, which answers had in Surrogate-Key or Cache-Tag.
	Tags []string `json:"tags,omitempty"`
	// All is everything.
	All bool `json:"all,omitempty"`
}

// Validate reports everything that is wrong with p.
func (p Purge) Validate() error {
	_, err := p.matcher()
	return err
}

// Purge forgets what p names, and keeps nothing of it that is being fetched now. It returns how many answers that was.
func (c *Cache) Purge(p Purge) (int, error) {
	match, err := p.matcher()
	if err != nil {
		return 0, err
	}
	c.void(func(f *flight) bool {
		return len(p.Tags) > 0 || match(f.q.target, nil) // whose tags are not known yet
	})
	n := 0
	if c.disk != nil {
		n = c.disk.removeIf(func(f *file) bool { return match(f.about.target, f.about.tags) })
	}
	return max(n, c.store.removeIf(func(o *object) bool { return match(o.target, o.tags) })), nil // most are in both
}

// matcher returns what tells whether an answer is one of those that p names.
func (p Purge) matcher() (func(t target, tags []string) bool, error) {
	var errs []error
	var exact, prefixes []address
	add := func(list []string, to *[]address) {
		for _, text := range list {
			at, err := parseAddress(text)
			if err != nil {
				errs = append(errs, err)
			}
			*to = append(*to, at)
		}
	}
	add(p.URLs, &exact)
	add(p.Prefixes, &prefixes)
	for i, text := range p.Prefixes {
		if strings.HasSuffix(text, "?") { // an address loses it, a beginning may end there
			prefixes[i].rest = strings.TrimSuffix(prefixes[i].rest, "?") + "?"
		}
	}
	var hosts []address
	for _, host := range p.Hosts {
		if strings.ContainsAny(host, "/?#@ *") || host == "" {
			errs = append(errs, fmt.Errorf("want the name of a host such as app.example.com, got %q", host))
		}
		hosts = append(hosts, address{host: strings.ToLower(host)})
	}
	if !p.All && len(exact)+len(prefixes)+len(hosts)+len(p.Tags) == 0 {
		errs = append(errs, errors.New("names nothing: want urls, prefixes, hosts, tags or all"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	wanted := make(map[string]bool, len(p.Tags))
	for _, tag := range p.Tags {
		wanted[tag] = true
	}
	at := make(map[string][]address, len(exact)) // by path and query: there may be thousands
	for _, one := range exact {
		at[one.rest] = append(at[one.rest], one)
	}
	return func(t target, tags []string) bool {
		if p.All || slices.ContainsFunc(tags, func(tag string) bool { return wanted[tag] }) ||
			slices.ContainsFunc(hosts, func(at address) bool { return at.at(t.host) }) {
			return true
		}
		if len(exact)+len(prefixes) == 0 {
			return false
		}
		rest := plainAddress(t.path, t.query)
		return slices.ContainsFunc(at[rest], func(at address) bool { return at.at(t.host) }) ||
			slices.ContainsFunc(prefixes, func(at address) bool { return strings.HasPrefix(rest, at.rest) && at.at(t.host) })
	}, nil
}

// An address is one as it is compared: a host, with a port only if one was named, and path and query without encoding in the path.
type address struct{ host, rest string }

func parseAddress(text string) (address, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Fragment != "" {
		return address{}, fmt.Errorf("want an address such as https://app.example.com/page?a=b, got %q", text)
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return address{strings.ToLower(u.Host), plainAddress(path, u.RawQuery)}, nil
}

// plainAddress is a path with its query.
func plainAddress(path, query string) string {
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain
	}
	if query == "" {
		return path
	}
	return path + "?" + query
}

// at reports whether host is that of an address.
func (a address) at(host string) bool {
	if host == a.host {
		return true
	}
	name, _, err := net.SplitHostPort(host)
	return err == nil && name == strings.Trim(a.host, "[]")
}
