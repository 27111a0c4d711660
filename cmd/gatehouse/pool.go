package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"gatehouse/authn/devpool"
)

// poolCommand runs the development user pool as a process of its own, so that a production file can be
// tried against a pool's shapes. It is not a provider for anybody's real users.
type poolCommand struct {
	Listen, URL            string
	PoolID                 string
	ClientID, ClientSecret string
	Callback, Logout       []string
	AccessTTL              time.Duration
	Rotate, Control        bool
}

func (c *poolCommand) flags(set *pflag.FlagSet, _ *environment) {
	set.StringVar(&c.Listen, "listen", devPoolAddress, "The `address` where the pool listens.")
	set.StringVar(&c.URL, "url", "", "The pool's own `url`; default http:// and the address.")
	set.StringVar(&c.PoolID, "pool-id", "eu-west-1_DevPool01", "The user pool's `id`.")
	set.StringVar(&c.ClientID, "client-id", devClientID, "The app client's `id`.")
	set.StringVar(&c.ClientSecret, "client-secret", devSecret, "The app client's `secret`.")
	set.StringSliceVar(&c.Callback, "callback", nil, "A callback `url`, or several with commas; default any https://localhost address.")
	set.StringSliceVar(&c.Logout, "logout", nil, "A sign-out `url`, or several with commas; default any https://localhost address.")
	set.DurationVar(&c.AccessTTL, "access-ttl", time.Hour, "Life of access tokens.")
	set.BoolVar(&c.Rotate, "rotate", false, "Rotate refresh tokens.")
	set.BoolVar(&c.Control, "control", false, "Serve /_faults and /_calls, for tests.")
}

func (c *poolCommand) Run(ctx context.Context, env *environment) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	socks, err := inheritSockets()
	if err != nil {
		return err
	}
	ln, err := socks.listen(ctx, "pool", c.Listen)
	if err != nil {
		return err
	}
	if c.URL == "" {
		c.URL = "http://" + ln.Addr().String()
	}
	pool, err := devpool.New(c.options())
	if err != nil {
		ln.Close()
		return fmt.Errorf("pool: %w", err)
	}
	server := newPoolServer(pool)
	fmt.Fprintf(env.stderr, "development pool: issuer %s/%s, client %s\n", c.URL, c.PoolID, c.ClientID)
	notifySystemd(stateReady)
	context.AfterFunc(ctx, func() { server.Close() })
	if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("pool: %w", err)
	}
	return nil
}

func (c *poolCommand) options() devpool.Options {
	return devpool.Options{
		BaseURL: c.URL,
		PoolID:  c.PoolID,
		Clients: []devpool.Client{{
			ID: c.ClientID, Secret: c.ClientSecret, CallbackURLs: c.Callback, LogoutURLs: c.Logout, Scopes: devScopes(),
		}},
		AccessTTL: c.AccessTTL, RotateRefresh: c.Rotate, RotateGrace: 10 * time.Second,
		InsecureAnyLocalhost: len(c.Callback) == 0, Control: c.Control,
	}
}

// devScopes are what the development client may ask for. The last one belongs to a resource server: with it the
// client gets an access token of its own by client_credentials, which is how a machine or curl comes by one.
func devScopes() []string {
	return []string{"openid", "email", "profile", "dev/api"}
}

func newPoolServer(pool http.Handler) *http.Server {
	return &http.Server{Handler: pool, ReadHeaderTimeout: 5 * time.Second, MaxHeaderBytes: 32 << 10}
}
