package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"gatehouse/configs"
	"gatehouse/headers"
)

// keysNewCommand and keysListCommand are what an operator does with the keys of the assertion.
type keysNewCommand struct{ Out string }

func (c *keysNewCommand) flags(set *pflag.FlagSet, _ *environment) {
	set.StringVarP(&c.Out, "out", "o", "", "Write the PEM to a new `file` that only its owner can read, instead.")
}

func (c *keysNewCommand) Run(_ context.Context, env *environment) error {
	private, kid, err := headers.NewKey()
	if err != nil {
		return err
	}
	if c.Out == "" {
		if _, err := env.stdout.Write(private); err != nil {
			return fmt.Errorf("writing the key: %w", err)
		}
	} else if err := writeNew(c.Out, private); err != nil {
		return fmt.Errorf("writing the key: %w", err)
	}
	fmt.Fprintln(env.stderr, kid)
	return nil
}

// writeNew writes a file that is not there yet.
func writeNew(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

type keysListCommand struct{ Config string }

func (c *keysListCommand) flags(set *pflag.FlagSet, _ *environment) { configFlag(set, &c.Config) }

func (c *keysListCommand) Run(_ context.Context, env *environment) error {
	cfg, err := fileSource(c.Config, env)()
	if err != nil {
		return err
	}
	if cfg.Login == nil && !slices.ContainsFunc(cfg.Routes, cfg.Asserts) {
		return fmt.Errorf("%s: nobody can come in by name, so nothing is signed and no key is published", c.Config)
	}
	if cfg.Assertion.Shared() {
		return fmt.Errorf("%s: the keys are those of the running fleet (assertion.source): each instance lists them at https://YOUR-HOST%s/jwks.json", c.Config, keysPrefix)
	}
	assertion, err := headers.NewAssertion(cfg.Assertion, []byte(cfg.Secret))
	if err != nil {
		return configs.Problems{problemOf(cfg, at("assertion", err))}
	}
	set, err := assertion.KeysAt(time.Now())
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(env.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "KID\tUSE\tKEY")
	for _, key := range set.List() {
		use := "published"
		if key.Signs {
			use = "signs"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\n", key.ID, use, key.Origin)
	}
	return table.Flush()
}
