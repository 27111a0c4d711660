package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"gatehouse/configs"
)

// healthCommand is what a container's HEALTHCHECK and an operator's shell call.
type healthCommand struct {
	Admin            string
	Live             bool
	Token, TokenFile string
}

func (c *healthCommand) flags(set *pflag.FlagSet, env *environment) {
	set.StringVar(&c.Admin, "admin", configs.DefaultAdmin, "The admin listener's `address`: host:port, or unix:PATH.")
	set.BoolVar(&c.Live, "live", false, "Ask whether the process is alive instead of whether it is ready.")
	set.StringVar(&c.Token, "token", "",
		"The admin listener's `token`, where it wants one; better in the environment (GATEHOUSE_ADMIN_TOKEN) or a file, where other users do not see it.")
	set.StringVar(&c.TokenFile, "token-file", "", "A `file` with the token.")
	c.Token, _ = env.getenv("GATEHOUSE_ADMIN_TOKEN") // not as the flag's default, which help prints
}

// healthTimeout is shorter than the 5 s that container runtimes commonly allow a check.
const healthTimeout = 3 * time.Second

func (c *healthCommand) Run(ctx context.Context, env *environment) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	path := "/readyz"
	if c.Live {
		path = "/healthz"
	}
	if c.TokenFile != "" {
		text, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return fmt.Errorf("health: the admin token: %w", err)
		}
		c.Token = strings.TrimSpace(string(text))
	}
	body, err := askAdmin(ctx, c.Admin, path, c.Token)
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	fmt.Fprint(env.stdout, body)
	return nil
}

// askAdmin gets path from the admin listener, with the token if there is one, and returns its text when the
// answer is 200.
func askAdmin(ctx context.Context, admin, path, token string) (string, error) {
	network, address := adminAddress(admin)
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	if err != nil {
		return "", err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("no answer from the admin listener %s: %w", admin, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("the admin listener's answer broke off: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", resp.Status, strings.TrimSpace(string(body)))
	}
	return string(body), nil
}

// adminAddress splits "unix:PATH" from "host:port".
func adminAddress(admin string) (network, address string) {
	if path, ok := strings.CutPrefix(admin, "unix:"); ok {
		return "unix", path
	}
	return "tcp", admin
}
