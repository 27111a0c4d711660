package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"gatehouse/configs"
	"gatehouse/headers"
)

// keysCommand is what an operator does with the keys of the assertion.
type keysCommand struct {
	New  keysNewCommand  `cmd:"" help:"Make a new key: its PEM on standard output, its id on standard error."`
	List keysListCommand `cmd:"" help:"List the keys that a configuration publishes, and say which one signs."`
}

type keysNewCommand struct {
	Out string `short:"o" placeholder:"FILE" help:"Write the PEM to a new file that only its owner can read, instead."`
}

func (c *keysNewCommand) Run(env *environment) error {
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

type keysListCommand struct {
	Config string `short:"c" default:"/etc/gatehouse/gatehouse.yaml" help:"The configuration file."`
}

func (c *keysListCommand) Run(env *environment) error {
	cfg, err := fileSource(c.Config, env)()
	if err != nil {
		return err
	}
	if cfg.Login == nil && !slices.ContainsFunc(cfg.Routes, cfg.Asserts) {
		return fmt.Errorf("%s: nobody can come in by name, so nothing is signed and no key is published", c.Config)
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
