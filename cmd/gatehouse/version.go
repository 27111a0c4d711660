package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"github.com/spf13/pflag"
)

// versionCommand prints what an operator needs to compare with advisories.
type versionCommand struct{}

func (versionCommand) flags(*pflag.FlagSet, *environment) {}

func (versionCommand) Run(_ context.Context, env *environment) error {
	printVersion(env.stdout, buildInfo())
	return nil
}

func buildInfo() *debug.BuildInfo {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return &debug.BuildInfo{GoVersion: runtime.Version()}
	}
	return info
}

// printVersion names the parts whose advisories matter to who runs a gateway.
func printVersion(w io.Writer, info *debug.BuildInfo) {
	fmt.Fprintf(w, "gatehouse %s", buildVersion(info))
	fmt.Fprintf(w, " (%s, %s/%s)\n", info.GoVersion, runtime.GOOS, runtime.GOARCH)
	for _, part := range [...]struct{ name, module string }{
		{"WAF engine", "github.com/corazawaf/coraza/v3"},
		{"rules", "github.com/corazawaf/coraza-coreruleset/v4"},
		{"OpenID", "github.com/coreos/go-oidc/v3"},
		{"JOSE", "github.com/go-jose/go-jose/v4"},
		{"ACME", "github.com/caddyserver/certmagic"},
	} {
		fmt.Fprintf(w, "  %-11s %s %s\n", part.name, part.module, moduleVersion(info, part.module))
	}
}

// buildVersion is the module's version, or the commit it was built from.
func buildVersion(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

func moduleVersion(info *debug.BuildInfo, module string) string {
	for _, dep := range info.Deps {
		if dep.Path == module {
			if dep.Replace != nil {
				return dep.Replace.Version
			}
			return dep.Version
		}
	}
	return "not built in"
}
