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
	"gatehouse/internal/tuning"
)

// healthCommand is what a container's HEALTHCHECK and an operator's shell call.
type healthCommand struct {
	adminAccess
	Live bool
}

func (c *healthCommand) flags(set *pflag.FlagSet, env *environment) {
	c.adminAccess.flags(set, env)
	set.BoolVar(&c.Live, "live", false, "Ask whether the process is alive instead of whether it is ready.")
}

// adminAccess is how a command finds the admin listener of a running Gatehouse.
type adminAccess struct{ Admin, Token, TokenFile string }

func (c *adminAccess) flags(set *pflag.FlagSet, env *environment) {
	set.StringVar(&c.Admin, "admin", configs.DefaultAdmin, "The admin listener's `address`: host:port, or unix:PATH.")
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
	status, body, err := c.get(ctx, path)
	if err == nil && status != http.StatusOK {
		err = refusedByAdmin(status, body)
	}
	if err != nil {
		return fmt.Errorf("health: %w", err)
	}
	fmt.Fprint(env.stdout, body)
	return nil
}

// refusedByAdmin is what the admin listener said instead of an answer.
func refusedByAdmin(status int, body string) error {
	return fmt.Errorf("%d %s: %s", status, http.StatusText(status), strings.TrimSpace(body))
}

// maxAnswer bounds an answer of the admin listener, whose longest are all samples.
const maxAnswer = 2*tuning.MaxSamplesBytes + 1<<20

// get gets path from the admin listener, with the token if there is one.
func (c *adminAccess) get(ctx context.Context, path string) (status int, body string, err error) {
	return c.ask(ctx, http.MethodGet, path, "")
}

// ask sends a request, with a JSON body unless that is "", to the admin listener.
func (c *adminAccess) ask(ctx context.Context, method, path, json string) (status int, body string, err error) {
	token := c.Token
	if c.TokenFile != "" {
		text, err := os.ReadFile(c.TokenFile)
		if err != nil {
			return 0, "", fmt.Errorf("the admin token: %w", err)
		}
		token = strings.TrimSpace(string(text))
	}
	network, address := adminAddress(c.Admin)
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, strings.NewReader(json))
	if err != nil {
		return 0, "", err
	}
	if json != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", fmt.Errorf("no answer from the admin listener %s: %w", c.Admin, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, "", fmt.Errorf("the admin listener's answer broke off: %w", err)
	}
	return resp.StatusCode, string(text), nil
}

// adminAddress splits "unix:PATH" from "host:port".
func adminAddress(admin string) (network, address string) {
	if path, ok := strings.CutPrefix(admin, "unix:"); ok {
		return "unix", path
	}
	return "tcp", admin
}
