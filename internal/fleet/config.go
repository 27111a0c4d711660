package fleet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/gomodule/redigo/redis"
)

// Config is the store that several instances share.
type Config struct {
	// Store is the address of a Redis or Valkey: "rediss://USER@HOST:PORT/DATABASE", or without TLS
	// "unix:///path/to/socket" and, on this machine, "redis://127.0.0.1:6379/0". USER and DATABASE may be
	// left out. Required.
	Store string `yaml:"store"`
	// Password is that of the user, as ${file:/path} or ${env:NAME}.
	Password string `yaml:"password"`
	// CA is a PEM file of roots for the store; default the system's.
	CA string `yaml:"ca"`
	// Prefix is what the names of all keys in the store begin with; instances with the same one are one
	// fleet. Default gatehouse.
	Prefix string `yaml:"prefix"`
}

const defaultPrefix = "gatehouse"

var prefixPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// Validate reports everything that is wrong with the configuration. It reads no file and does no network.
func (c Config) Validate(report func(field, msg string)) {
	at, err := parseAddress(c.Store)
	if err != nil {
		report("store", err.Error())
	} else {
		if c.CA != "" && !at.tls {
			report("ca", "does nothing: want a store with rediss://")
		}
		if at.user != "" && c.Password == "" {
			report("password", "required: store names a user")
		}
	}
	if c.Prefix != "" && !prefixPattern.MatchString(c.Prefix) {
		report("prefix", fmt.Sprintf("want up to 64 letters, digits, dots, dashes and underscores, got %q", c.Prefix))
	}
}

// address is what a URL says of a store.
type address struct {
	network, addr, host, user string
	db                        int
	tls                       bool
}

// parseAddress reads the URL of a store. Its error does not quote it: whoever writes a password there
// must not find it in the log.
func parseAddress(s string) (address, error) {
	if s == "" {
		return address{}, errors.New("required: an address such as rediss://gatehouse@store.example.com:6379/0")
	}
	u, err := url.Parse(s)
	if err != nil {
		return address{}, errors.New("want an address such as rediss://gatehouse@store.example.com:6379/0")
	}
	if _, has := u.User.Password(); has {
		return address{}, errors.New("want no password in the address: it has a key of its own, password")
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" {
		return address{}, errors.New("want an address without a query or fragment")
	}
	at := address{user: u.User.Username()}
	switch u.Scheme {
	case "unix":
		if u.Host != "" || !path.IsAbs(u.Path) {
			return address{}, errors.New("want the absolute path of a socket, such as unix:///run/valkey/valkey.sock")
		}
		at.network, at.addr = "unix", u.Path
		return at, nil
	case "rediss":
		at.tls = true
	case "redis":
		if !loopback(u.Hostname()) {
			return address{}, errors.New("want rediss:// to another machine: without TLS anybody in between can bring back who has signed out")
		}
	default:
		return address{}, errors.New("want rediss://, redis:// to this machine, or unix://")
	}
	if u.Hostname() == "" {
		return address{}, errors.New("want a host, as in rediss://store.example.com:6379")
	}
	at.network, at.host = "tcp", u.Hostname()
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return address{}, errors.New("want a port from 1 to 65535")
	}
	at.addr = net.JoinHostPort(at.host, port)
	if name := strings.TrimPrefix(u.Path, "/"); name != "" {
		n, err := strconv.ParseUint(name, 10, 10)
		if err != nil {
			return address{}, errors.New("want the number of a database behind the port, such as /0")
		}
		at.db = int(n)
	}
	return at, nil
}

func loopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// A dialer makes connections to a store.
type dialer struct {
	network, addr string
	how           []redis.DialOption
}

func (d dialer) dial(ctx context.Context) (redis.Conn, error) {
	return redis.DialContext(ctx, d.network, d.addr, d.how...)
}

// dialer returns how the store is reached. It reads the file of roots.
func (c Config) dialer() (dialer, error) {
	at, err := parseAddress(c.Store)
	if err != nil {
		return dialer{}, fmt.Errorf("store: %w", err)
	}
	d := dialer{at.network, at.addr, []redis.DialOption{
		redis.DialConnectTimeout(callTimeout), redis.DialReadTimeout(callTimeout), redis.DialWriteTimeout(callTimeout),
		redis.DialTLSHandshakeTimeout(callTimeout),
		redis.DialUsername(at.user), redis.DialPassword(c.Password), redis.DialDatabase(at.db),
	}}
	if !at.tls {
		return d, nil
	}
	how := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: at.host}
	if c.CA != "" {
		pem, err := os.ReadFile(c.CA)
		if err != nil {
			return dialer{}, fmt.Errorf("ca: %w", err)
		}
		how.RootCAs = x509.NewCertPool()
		if !how.RootCAs.AppendCertsFromPEM(pem) {
			return dialer{}, fmt.Errorf("ca: %s: want certificates in PEM", c.CA)
		}
	}
	d.how = append(d.how, redis.DialUseTLS(true), redis.DialTLSConfig(how))
	return d, nil
}
