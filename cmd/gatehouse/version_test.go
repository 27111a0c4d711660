package main

import (
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

func TestPrintVersion(t *testing.T) {
	t.Parallel()
	const coraza = "github.com/corazawaf/coraza/v3"
	for _, tt := range []struct {
		name string
		info debug.BuildInfo
		want string
	}{
		{"a release", debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}}, "gatehouse v1.2.3 "},
		{"a build of a checkout", debug.BuildInfo{
			Main: debug.Module{Version: "(devel)"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef"}},
		}, "gatehouse devel-0123456789ab "},
		{"a build without version control", debug.BuildInfo{}, "gatehouse devel "},
		{"a dependency", debug.BuildInfo{Deps: []*debug.Module{{Path: coraza, Version: "v3.1.0"}}}, coraza + " v3.1.0\n"},
		{"one that was replaced", debug.BuildInfo{
			Deps: []*debug.Module{{Path: coraza, Version: "v3.1.0", Replace: &debug.Module{Version: "v3.1.1"}}},
		}, coraza + " v3.1.1\n"},
		{"one that is not there", debug.BuildInfo{}, coraza + " not built in\n"},
	} {
		var out strings.Builder
		printVersion(&out, &tt.info)
		if !strings.Contains(out.String(), tt.want) {
			t.Errorf("%s: got\n%s\nwant %q in it", tt.name, out.String(), tt.want)
		}
	}
}

// The modules whose versions are printed are named by their paths; this is what notices when one moves.
func TestVersionOfThisBuild(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := (versionCommand{}).Run(t.Context(), &environment{stdout: &out}); err != nil {
		t.Fatal(err)
	}
	if got := out.String(); strings.Contains(got, "not built in") || !strings.Contains(got, runtime.Version()) {
		t.Errorf("got\n%s\nwant the version of every part, and Go's", got)
	}
}
