package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"gatehouse/authn/devpool"
	"gatehouse/configs"
)

// devSecret is the app client's secret of the development pool. It is no secret: the pool has only made-up
// users and listens on loopback.
const (
	devClientID    = "1example23456789"
	devPoolAddress = "127.0.0.1:8444"
	devSecret      = "development-only-not-a-secret-0123456789"
	devSigner      = "arn:aws:elasticloadbalancing:eu-west-1:000000000000:loadbalancer/app/gatehouse-dev/0123456789abcdef"
)

// devCommand is a whole front door for a laptop. What it adds to run is a pool, a demo application and a
// configuration; the code that serves is the same.
type devCommand struct {
	Upstream           string
	HTTPS, Pool, Admin string
	StateDir           string
	Print, Quiet       bool
}

func (c *devCommand) flags(set *pflag.FlagSet, _ *environment) {
	set.StringVar(&c.Upstream, "upstream", "", "The `url` of an application of your own to put behind the gate, such as http://127.0.0.1:3000. Default: a demo application.")
	set.StringVar(&c.HTTPS, "https", "127.0.0.1:8443", "The `address` where the front door listens.")
	set.StringVar(&c.Pool, "pool", devPoolAddress, "The `address` where the development user pool listens.")
	set.StringVar(&c.Admin, "admin", configs.DefaultAdmin, "The `address` where health and metrics listen.")
	set.StringVar(&c.StateDir, "state-dir", "", "The `directory` where the local certificate authority is kept. Default: the user's cache directory.")
	set.BoolVar(&c.Print, "print", false, "Print the configuration that dev runs, and exit.")
	set.BoolVarP(&c.Quiet, "quiet", "q", false, "Write no event for requests that went well.")
}

// devSettings are what devConfig has to know.
type devSettings struct {
	HTTPS, Admin, StateDir, Pool, ClientID, Signer, Upstream string
	Demo                                                     bool
}

// devConfig is what dev runs. It is printed by --print, so it is written for a reader.
func devConfig(s *devSettings) string {
	routes := `
  - {name: app, match: localhost, to: app, require: signed-in, limit: everybody}
`
	if s.Demo {
		routes = `
  - {name: admin, match: localhost/admin/*, to: app, require: {groups: [admins]}, limit: everybody}
  - {name: app, match: [localhost/app/*, localhost/ws], to: app, require: signed-in, limit: everybody}
  - {name: api, match: localhost/api/*, to: app, require: token, limit: everybody}
  - {name: public, match: localhost, to: app, require: optional, limit: everybody}
`
	}
	return `# What gatehouse dev runs. Start here for a file of your own.
listen: {https: "` + s.HTTPS + `", admin: "` + s.Admin + `", keys: "127.0.0.1:0"}
tls: {local: true}
state_dir: ` + s.StateDir + `
login:
  cognito:
    region: eu-west-1
    user_pool: eu-west-1_DevPool01
    domain: ` + s.Pool + `    # in production: https://auth.example.com
    endpoint: ` + s.Pool + `  # in production: leave it out
    client_id: ` + s.ClientID + `
    client_secret: ${env:CLIENT_SECRET}
secret: ${env:GATEHOUSE_SECRET}
assertion:
  signer: ` + s.Signer + `
headers: {remove: [Strict-Transport-Security]} # it would bind every other server on localhost to TLS
limits:
  everybody: {rate: 600/1m, by: address}
upstreams:
  app: ` + s.Upstream + `
routes:` + routes
}

func (c *devCommand) Run(ctx context.Context, env *environment) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	settings, err := c.settings()
	if err != nil {
		return err
	}
	if c.Print {
		_, err := io.WriteString(env.stdout, devConfig(settings))
		return err
	}
	socks, err := inheritSockets()
	if err != nil {
		return err
	}
	var keys atomic.Pointer[string] // where the demo application finds the assertion's keys, once that is known
	closeBeside, err := c.startBeside(ctx, socks, settings, &keys)
	if err != nil {
		return elsewhere(err)
	}
	defer closeBeside()
	load, err := devSource(devConfig(settings), settings)
	if err != nil {
		return err
	}
	return elsewhere(runProcess(ctx, env, processOptions{load: load, quiet: c.Quiet, sockets: socks, ready: func(at addresses) {
		base := "http://" + at.Keys.String()
		keys.Store(&base)
		c.greet(env, settings, at)
		if env.ready != nil {
			env.ready(at)
		}
	}}))
}

// elsewhere says what helps when an address is taken: dev has no file in which another one could be written.
func elsewhere(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("%w (--https, --pool and --admin choose other addresses)", err)
	}
	return err
}

// settings works out where everything of dev is.
func (c *devCommand) settings() (*devSettings, error) {
	s := &devSettings{
		HTTPS: c.HTTPS, Admin: c.Admin, StateDir: c.StateDir, ClientID: devClientID, Signer: devSigner,
		Upstream: c.Upstream, Demo: c.Upstream == "", Pool: "http://" + c.Pool,
	}
	if s.StateDir == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("dev: no cache directory for the local certificate authority: %w; name one with --state-dir", err)
		}
		s.StateDir = filepath.Join(cache, "gatehouse", "dev")
	}
	if s.Demo {
		s.Upstream = "http://127.0.0.1:3000 # yours; the demo application has a port of its own"
		return s, nil
	}
	return s, nil
}

// Validate refuses an upstream before anything is started.
func (c *devCommand) Validate() error {
	if c.Upstream == "" {
		return nil
	}
	u, err := url.Parse(c.Upstream)
	if err != nil || u.Host == "" && u.Scheme != "unix" {
		return fmt.Errorf("--upstream: want a URL such as http://127.0.0.1:3000, got %q", c.Upstream)
	}
	return nil
}

// localhost names a loopback address as the routes and the certificate do.
func localhost(address string) string {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host != "127.0.0.1" {
		return address
	}
	return "localhost:" + port
}

// startBeside starts what stands beside the front door: the pool and, unless an upstream is named, the demo
// application. Both listen on loopback only.
func (c *devCommand) startBeside(
	ctx context.Context, socks *sockets, s *devSettings, keys *atomic.Pointer[string],
) (closeAll func(), err error) {
	var servers []*http.Server
	closeAll = func() {
		for _, server := range servers {
			server.Close()
		}
	}
	defer func() {
		if err != nil {
			closeAll()
		}
	}()
	serve := func(name, address string, handler func(net.Addr) (http.Handler, error)) error {
		ln, err := socks.listen(ctx, name, address)
		if err != nil {
			return fmt.Errorf("dev: %w", err)
		}
		h, err := handler(ln.Addr())
		if err != nil {
			ln.Close()
			return fmt.Errorf("dev: %w", err)
		}
		server := newPoolServer(h)
		servers = append(servers, server)
		go func() { _ = server.Serve(ln) }()
		return nil
	}
	err = serve("pool", c.Pool, func(at net.Addr) (http.Handler, error) {
		// By number, because cookies know no ports: the pool's would reach the application on localhost.
		s.Pool = "http://" + at.String()
		return devpool.New(devpool.Options{
			BaseURL: s.Pool, InsecureAnyLocalhost: true,
			Clients: []devpool.Client{{ID: devClientID, Secret: devSecret, Name: "Gatehouse on your laptop", Scopes: devScopes()}},
		})
	})
	if err != nil || !s.Demo {
		return closeAll, err
	}
	return closeAll, serve("demo", "127.0.0.1:0", func(at net.Addr) (http.Handler, error) {
		s.Upstream = "http://" + at.String()
		find := sync.OnceValue(func() demoKeys {
			return demoKeysFrom(&http.Client{Transport: &http.Transport{}, Timeout: demoKeyTimeout}, *keys.Load())
		})
		return newDemoApp(demoOptions{Signer: devSigner, Key: func(ctx context.Context, kid string) (*ecdsa.PublicKey, error) {
			if keys.Load() == nil {
				return nil, errors.New("the gate is not up yet")
			}
			return find()(ctx, kid)
		}})
	})
}

// devSource writes the configuration of dev into its state directory, where a person can read it, and
// loads it from there as run would.
func devSource(text string, s *devSettings) (func() (*configs.Config, error), error) {
	secret, err := devMasterSecret(s.StateDir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(s.StateDir, "gatehouse.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("dev: %w", err)
	}
	secrets := map[string]string{"CLIENT_SECRET": devSecret, "GATEHOUSE_SECRET": secret}
	return func() (*configs.Config, error) {
		return configs.LoadFile(path, configs.LoadOptions{
			Env: func(name string) (string, bool) { v, ok := secrets[name]; return v, ok },
		})
	}, nil
}

// devMasterSecret is kept between runs, so that a session outlives a restart of the laptop's gate.
func devMasterSecret(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("dev: state directory: %w", err)
	}
	path := filepath.Join(dir, "secret")
	text, err := os.ReadFile(path)
	switch {
	case err == nil && len(text) == 64:
		return string(text), nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("dev: %w", err)
	}
	raw := make([]byte, 32)
	rand.Read(raw) // never fails (crypto/rand)
	secret := hex.EncodeToString(raw)
	if err := os.WriteFile(path, []byte(secret), 0o600); err != nil {
		return "", fmt.Errorf("dev: %w", err)
	}
	return secret, nil
}

// demoKeys finds the public key with an id.
type demoKeys = func(ctx context.Context, kid string) (*ecdsa.PublicKey, error)

// demoKeyTimeout bounds the demo application's call for a key, on loopback.
const demoKeyTimeout = 5 * time.Second

// greet tells a person what is there and what to try.
func (c *devCommand) greet(env *environment, s *devSettings, at addresses) {
	base := "https://" + localhost(at.HTTPS.String())
	fmt.Fprintf(env.stderr, "\nGatehouse is up: %s\n\n", base)
	out := tabwriter.NewWriter(env.stderr, 0, 0, 3, ' ', 0)
	section := func(name string, rows ...[2]string) {
		for _, row := range rows {
			fmt.Fprintf(out, "  %-8s%s\t%s\n", name, row[0], row[1])
			name = ""
		}
		fmt.Fprintln(out) // ends the columns too
	}
	section("people", [][2]string{
		{"alice / alice", "group users"}, {"bob / bob", "groups users, admins"}, {"carol / carol", "no group, e-mail not verified"},
	}...)
	if s.Demo {
		section("try", [][2]string{
			{base + "/", "says who you are, once you are signed in"},
			{base + "/app", "signed in: the identity, as the application verifies it"},
			{base + "/admin", "admins: bob may, alice may not"},
			{base + "/app/live", "server-sent events and a WebSocket"},
			{base + "/oauth2/sign_out", "ends the session here and at the pool"},
		}...)
		section("or", [][2]string{
			{"curl -ki '" + base + "/?id=1%27%20OR%201=1--'", "403: gatehouse why ID, with the id of the answer, says which rule"},
			{"curl -ki " + base + "/api/hello", "401: this route takes bearer tokens"},
		}...)
		fmt.Fprintf(out, "  token   TOKEN=$(curl -su %s:%s -d grant_type=client_credentials %s/oauth2/token | grep -o 'eyJ[^\"]*')\n"+
			"          curl -ki -H \"Authorization: Bearer $TOKEN\" %s/api/hello   200: the application knows the client\n\n",
			devClientID, devSecret, s.Pool, base)
	} else {
		section("app", [2]string{c.Upstream, "is behind the gate: open " + base + " and sign in"})
	}
	section("beside", [][2]string{
		{s.Pool, "the user pool: Cognito's shapes, made-up users"},
		{"gatehouse health --admin " + at.Admin.String(), "is it ready?"},
		{filepath.Join(s.StateDir, "gatehouse.yaml"), "the configuration"},
		{at.LocalRoot, "trust this once, or click through the browser's warning"},
	}...)
	out.Flush()
	if !s.Demo {
		fmt.Fprint(env.stderr, "  Pages get the strict security headers of production. Where one stays blank, the browser's console says\n"+
			"  what the application loads; write it into headers: in a file of your own (--print starts one).\n\n")
	}
}
