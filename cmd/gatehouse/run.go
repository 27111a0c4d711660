package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"

	"gatehouse/configs"
	"gatehouse/proxy/certs"
)

// runCommand is the front door itself.
type runCommand struct {
	Config       string
	Watch, Quiet bool
}

func (c *runCommand) flags(set *pflag.FlagSet, _ *environment) {
	configFlag(set, &c.Config)
	set.BoolVar(&c.Watch, "watch", false, "Reload when the file changes, or a secret or key file that it names, beside SIGHUP.")
	set.BoolVarP(&c.Quiet, "quiet", "q", false, "Write no event for requests that went well; they are counted all the same.")
}

// configFlag is the same for all that read a configuration.
func configFlag(set *pflag.FlagSet, path *string) {
	set.StringVarP(path, "config", "c", "/etc/gatehouse/gatehouse.yaml", "The configuration `file`.")
}

func (c *runCommand) Run(ctx context.Context, env *environment) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)

	source := fileSource(c.Config, env)
	opts := processOptions{load: source, reload: reload, quiet: c.Quiet, ready: env.ready}
	if c.Watch {
		opts.watch = []string{c.Config}
	}
	return runProcess(ctx, env, opts)
}

// fileSource loads the file at path each time it is called.
func fileSource(path string, env *environment) func() (*configs.Config, error) {
	return func() (*configs.Config, error) {
		return configs.LoadFile(path, configs.LoadOptions{Env: env.getenv})
	}
}

// checkCommand is run without the last step, so that it cannot disagree with it.
type checkCommand struct{ Config string }

func (c *checkCommand) flags(set *pflag.FlagSet, _ *environment) { configFlag(set, &c.Config) }

func (c *checkCommand) Run(_ context.Context, env *environment) error {
	cfg, err := fileSource(c.Config, env)()
	if err != nil {
		return err
	}
	next, err := assemble(cfg, nil, newObserver(io.Discard))
	if err != nil {
		return err
	}
	next.parts.release()
	if err := checkCertificates(cfg.TLS); err != nil {
		return configs.Problems{cfg.Problem("tls", err.Error())}
	}
	for _, lint := range cfg.Lints() {
		fmt.Fprintf(env.stderr, "warning: %s\n", lint)
	}
	routes := "1 route"
	if n := len(cfg.Routes); n != 1 {
		routes = fmt.Sprintf("%d routes", n)
	}
	fmt.Fprintf(env.stdout, "%s: %s, no problems\n", c.Config, routes)
	return nil
}

// checkCertificates reads the certificate files as the listeners would. It makes no local authority and
// asks no ACME server.
func checkCertificates(cfg certs.Config) error {
	if len(cfg.Certificates) == 0 {
		return nil
	}
	manager, err := certs.New(certs.Config{Certificates: cfg.Certificates, MinVersion: cfg.MinVersion}, "", certs.Options{})
	if err != nil {
		return err
	}
	manager.Close()
	return nil
}
