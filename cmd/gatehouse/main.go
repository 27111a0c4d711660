package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"gatehouse/configs"
)

// Exit codes. 2 is also what a wrong command line gives.
const (
	exitFailed   = 1
	exitProblems = 2
)

// commands are what the program can do, in the order of its help.
func commands() []command {
	return []command{
		{"run", "Run the front door.", new(runCommand)},
		{"check", "Load and assemble a configuration, print its problems, touch nothing.", new(checkCommand)},
		{"dev", "Run a working front door on https://localhost:8443 with nothing else installed.", new(devCommand)},
		{"pool", "Run the development user pool as a process of its own.", new(poolCommand)},
		{"why", "Say what happened to a request, and which exclusion would have let it through.", new(whyCommand)},
		{"waf tune", "Group what the WAF matched, and print the exclusions with what they would do.", new(tuneCommand)},
		{"waf replay", "Say what another configuration's WAF would do about recorded requests.", new(replayCommand)},
		{"cache purge", "Have a running Gatehouse forget answers that its cache has kept.", new(purgeCommand)},
		{"health", "Ask a running Gatehouse on this machine whether it is ready.", new(healthCommand)},
		{"keys new", "Make a new key: its PEM on standard output, its id on standard error.", new(keysNewCommand)},
		{"keys list", "List the keys that a configuration publishes, and say which one signs.", new(keysListCommand)},
		{"version", "Print the versions of Gatehouse, its engine and its rules.", new(versionCommand)},
	}
}

// environment is what a command may touch of the process it runs in, so that tests can give it another.
type environment struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) (string, bool)
	// ready, when set, is told the addresses once the listeners serve.
	ready func(addresses)
}

func main() {
	env := &environment{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.LookupEnv}
	os.Exit(execute(context.Background(), os.Args[1:], env))
}

// execute runs one command line and returns the exit code.
func execute(ctx context.Context, args []string, env *environment) int {
	if len(args) == 0 {
		writeUsage(env.stdout, commands(), nil)
		return exitProblems
	}
	do, err := parse(commands(), args, env)
	switch {
	case errors.Is(err, errHelp):
		return 0
	case err != nil:
		fmt.Fprintln(env.stderr, "gatehouse:", err)
		return exitProblems
	}
	if err := do.Run(ctx, env); err != nil {
		return report(env.stderr, err)
	}
	return 0
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
