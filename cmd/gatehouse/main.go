package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/alecthomas/kong"

	"gatehouse/configs"
)

// Exit codes. 2 is also what a wrong command line gives.
const (
	exitFailed   = 1
	exitProblems = 2
)

type commands struct {
	Run     runCommand     `cmd:"" help:"Run the front door."`
	Check   checkCommand   `cmd:"" help:"Load and assemble a configuration, print its problems, touch nothing."`
	Dev     devCommand     `cmd:"" help:"Run a working front door on https://localhost:8443 with nothing else installed."`
	Pool    poolCommand    `cmd:"" help:"Run the development user pool as a process of its own."`
	Health  healthCommand  `cmd:"" help:"Ask a running Gatehouse on this machine whether it is ready."`
	Keys    keysCommand    `cmd:"" help:"Make keys that sign assertions, and list those that a configuration publishes."`
	Version versionCommand `cmd:"" help:"Print the versions of Gatehouse, its engine and its rules."`
}

// environment is what a command may touch of the process it runs in, so that tests can give it another.
type environment struct {
	stdout, stderr io.Writer
	getenv         func(string) (string, bool)
	// ready, when set, is told the addresses once the listeners serve.
	ready func(addresses)
}

func main() {
	env := &environment{stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv}
	os.Exit(execute(context.Background(), os.Args[1:], env))
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, env *environment) int {
	var cli commands
	exit := -1
	parser, err := kong.New(
		&cli, kong.Name("gatehouse"),
		kong.Description("A front door for private web applications: TLS, WAF, limits, sign-in and signed identity in one process."),
		kong.UsageOnError(), kong.Writers(env.stdout, env.stderr),
		kong.Exit(func(code int) { exit = code }),
		kong.Vars{"admin": configs.DefaultAdmin, "devSecret": devSecret},
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(env),
	)
	if err != nil {
		fmt.Fprintln(env.stderr, "gatehouse:", err)
		return exitFailed
	}
	if len(args) == 0 {
		_, _ = parser.Parse([]string{"--help"}) // prints it, and then misses the command
		return exitProblems
	}
	parsed, err := parser.Parse(args)
	if exit >= 0 { // --help has answered
		return exit
	}
	if err != nil {
		fmt.Fprintf(env.stderr, "gatehouse: %s%s\n", err, meant(args))
		return exitProblems
	}
	if err := parsed.Run(); err != nil {
		return report(env.stderr, err)
	}
	return 0
}

// meant is what people write who know other programs, and what it is here.
func meant(args []string) string {
	switch {
	case args[0] == "--version":
		return `, did you mean "version"?`
	case len(args) == 2 && (args[0] == "run" || args[0] == "check") && !strings.HasPrefix(args[1], "-"):
		return fmt.Sprintf(", did you mean %q?", "-c "+args[1])
	}
	return ""
}

// report prints an error as a person wants to read it and returns the exit code for it.
func report(w io.Writer, err error) int {
	if problems, ok := errors.AsType[configs.Problems](err); ok {
		fmt.Fprintln(w, strings.TrimRight(problems.Error(), "\n"))
		return exitProblems
	}
	fmt.Fprintln(w, "gatehouse:", err)
	return exitFailed
}
