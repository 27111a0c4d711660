package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/signal"
	"syscall"
	"time"

	"gatehouse/authn/devpool"
)

// poolCommand runs the development user pool as a process of its own, so that a production file can be
// tried against a pool's shapes. It is not a provider for anybody's real users.
type poolCommand struct {
	Listen       string        `default:"127.0.0.1:8444" help:"Where the pool listens."`
	URL          string        `help:"The pool's own URL; default http:// and the address."`
	PoolID       string        `default:"eu-west-1_DevPool01" help:"The user pool's id."`
	ClientID     string        `default:"1example23456789" help:"The app client's id."`
	ClientSecret string        `default:"${devSecret}" help:"The app client's secret."`
	Callback     []string      `help:"Callback URLs; default any https://localhost address."`
	Logout       []string      `help:"Sign-out URLs; default any https://localhost address."`
	AccessTTL    time.Duration `default:"1h" help:"Life of access tokens."`
	Rotate       bool          `help:"Rotate refresh tokens."`
	Control      bool          `help:"Serve /_faults and /_calls, for tests."`
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
