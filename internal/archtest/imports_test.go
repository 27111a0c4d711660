package archtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// everything, as a package of a row, is any of ours.
const everything = "*"

// An arrow allows packages to import another of ours. Packages are named from the module's root.
type arrow struct {
	from, to string
	tests    bool // only from tests
	why      string
}

// arrows is the import table. A policy imports neither proxy nor another policy, and proxy imports
// none of ours: each can then be read, tested and replaced alone. A new arrow comes with its reason.
func arrows() []arrow {
	return []arrow{
		{"cmd/gatehouse", everything, false, "assemble.go is where everything meets"},
		{"e2e", everything, true, "tests of the whole program"},

		{"configs", "authn", false, "the file has the policies' Config sections"},
		{"configs", "authn/cognitoapi", false, "the same"},
		{"configs", "waf", false, "the same"},
		{"configs", "waf/acl", false, "the same"},
		{"configs", "waf/challenge", false, "the same"},
		{"configs", "waf/ipset", false, "the same"},
		{"configs", "headers", false, "the same"},
		{"configs", "proxy/ratelimit", false, "the same"},
		{"configs", "proxy/certs", false, "the same"},
		{"configs", "proxy/clientcert", false, "the same"},
		{"configs", "proxy/compress", false, "the same"},
		{"configs", "proxy/upstream", false, "the same"},
		{"configs", "proxy/origin", false, "the same"},
		{"configs", "proxy/cache", false, "the same"},
		{"configs", "proxy", false, "Match validates itself, so that check and the table cannot disagree"},

		{"authn", "authn/identity", false, "makes identities"},
		{"headers", "authn/identity", false, "asserts identities"},
		{"waf", "waf/gate", false, "judges before the engine does"},
		{"waf", "internal/suggest", false, "says which target an exclusion may have meant"},
		{"waf", "waf/rx", false, "its own @rx, and the meter of both"},
		{"waf/gate", "waf/rx", false, "matches expressions with it"},
		{"waf/acl", "waf/gate", false, "finds SQL injection and XSS by what the engine finds them by, at a bounded cost"},
		{"waf/acl", "waf/rx", false, "the meter of that cost"},
		{"waf", "waf/payload", false, "the forms of bodies, which engine and rules read alike"},
		{"waf/acl", "waf/payload", false, "the same"},
		{"waf/acl", "internal/suggest", false, "what was probably meant by an unknown word"},
		{"waf/acl", "waf/ipset", false, "rules name sets of addresses, and countries"},
		{"waf", "authn/identity", false, "the one import that every policy may have"},
		{"proxy/ratelimit", "authn/identity", false, "the same"},

		{"authn", "internal/markup", false, "writes pages, and escapes in one place"},
		{"authn/devpool", "internal/markup", false, "the same"},
		{"waf/challenge", "internal/markup", false, "the same"},

		{"configs", "internal/suggest", false, "says which word was meant"},
		{"authn", "internal/suggest", false, "the same, in expressions"},

		{"configs", "internal/awslog", false, "the file has the log's section too"},
		{"internal/tuning", "waf", false, "judges recorded matches by the exclusions of the engine itself"},

		{"internal/ledger", "authn", false, "keeps authn's revocations; authn declares what a ledger is and opens no file"},

		{"configs", "internal/fleet", false, "the file has the store's section too"},
		{"internal/fleet", "authn", false, "carries authn's revocations and refreshes; authn declares what it needs of others and does no network for it"},
		{"internal/fleet", "internal/ledger", true, "proved with the ledger that it stands beside"},

		{"authn/cognitoapi", "internal/awssign", false, "signs the Admin operations of a user pool"},
		{"proxy/origin", "internal/awssign", false, "signs what is read of a private bucket"},

		{"proxy/wire", "internal/nowait", false, "sockets at less cost, to clients and to upstreams"},
		{"proxy/upstream", "internal/nowait", false, "the same"},

		{"authn", "authn/devpool", true, "logins are tested against a pool and not against a mock"},
		{"authn/cognitoapi", "authn/devpool", true, "the same"},
		{"e2e/bench", "authn/devpool", false, "signs somebody in"},
	}
}

// checkArrows reports imports between our packages that no arrow allows. A package's external tests
// may import the package itself.
func checkArrows(t *tree) (found []string) {
	table := arrows()
	for _, file := range t.files {
		for _, spec := range file.syntax.Imports {
			to, ours := strings.CutPrefix(imports(spec), t.module+"/")
			if !ours || file.test && to == file.dir {
				continue
			}
			allowed := slices.ContainsFunc(table, func(a arrow) bool {
				return a.from == file.dir && (a.to == to || a.to == everything) && (file.test || !a.tests)
			})
			if !allowed {
				found = append(found, fmt.Sprintf("%s: %s may not import %s; an arrow needs a row, with its reason, in internal/archtest", t.at(spec), file.dir, to))
			}
		}
	}
	return found
}

// A home says which of our packages may import a package and those below it. The longest row counts.
type home struct {
	imported string
	by, test []string // from test files, those of by and of test may
	why      string
}

// anywhere lets every package.
var anywhere = []string{everything}

// homes lists every package from outside the standard library, and those inside it that have a home.
func homes() []home {
	return []home{
		// The standard library.
		{"log", []string{"proxy/wire"}, []string{"proxy/certs", "e2e"}, "policies have hooks and no logger; http.Server.ErrorLog and pebble want a *log.Logger"},
		{"log/slog", []string{"cmd/gatehouse"}, nil, "one Event per request, written in one file"},
		{"expvar", nil, nil, "a registry of its own; metrics are Prometheus'"},
		{"net/http/pprof", []string{"cmd/gatehouse"}, nil, "it registers with the default mux: admin listener only"},
		{"unsafe", []string{"internal/nowait"}, nil, "a system call of its own; nothing else here needs it"},
		{"math/rand", nil, nil, "math/rand/v2, or crypto/rand for what nobody may guess"},
		{"math/rand/v2", anywhere, nil, "the other one"},
		{"plugin", nil, nil, "no plugins"},
		{"html/template", nil, nil, "keeps the linker from leaving out methods, as docs/rationale.md says: internal/markup"},
		{"text/template", nil, nil, "the same: fmt or strings"},

		// Named by the design.
		{"github.com/corazawaf/coraza/v3", []string{"waf", "waf/gate"}, nil, "the engine stays behind the connector"},
		{"github.com/corazawaf/coraza/v3/http", nil, nil, "WrapHandler answers 200 to what it cannot read"},
		{"github.com/corazawaf/coraza-coreruleset/v4", []string{"waf", "e2e/bench"}, nil, "the rules, which the other firewall of the comparison has too"},
		{"github.com/oschwald/maxminddb-golang/v2", []string{"waf/ipset"}, nil, "databases of countries stay behind what looks addresses up"},
		{"github.com/corazawaf/libinjection-go", []string{"waf/gate"}, nil, "the engine's operator"},
		{"github.com/coreos/go-oidc/v3", []string{"authn"}, []string{"authn/devpool"}, "tokens are verified in one place; the pool is tested with a client that others use"},
		{"golang.org/x/oauth2", []string{"authn"}, []string{"authn/devpool"}, "the same"},
		{"github.com/go-jose/go-jose/v4", []string{"authn", "authn/devpool"}, []string{"headers", "e2e", "cmd/gatehouse"}, "signing and key sets; elsewhere as the other reader"},
		{"github.com/gorilla/securecookie", []string{"authn"}, nil, "the session cookie"},
		{"github.com/caddyserver/certmagic", []string{"proxy/certs"}, nil, "certificates"},
		{"github.com/mholt/acmez/v3", []string{"proxy/certs"}, nil, "certmagic's types"},
		{"go.uber.org/zap", []string{"proxy/certs"}, nil, "certmagic's logger type"},
		{"github.com/google/cel-go", []string{"authn"}, nil, "expressions of require"},
		{"github.com/aws/aws-sdk-go-v2", []string{"internal/awssign"}, nil, "AWS's signature, and the credentials of a role"},
		{"github.com/gomodule/redigo", []string{"internal/fleet"}, nil, "the store of a fleet stays behind what its users declare"},
		{"golang.org/x/time/rate", []string{"proxy/ratelimit"}, nil, "token buckets"},
		{"golang.org/x/net/html", []string{"waf/gate"}, anywhere, "entities are decoded by what the engine decodes them with"},
		{"golang.org/x/net", []string{"proxy", "proxy/wire", "proxy/upstream"}, anywhere, "HTTP/2 and IDNA on the data path; tests speak HTTP/2 by hand"},
		{"golang.org/x/sync", []string{"authn"}, nil, "one refresh for many requests"},
		{"github.com/goccy/go-yaml", []string{"configs"}, []string{"waf"}, "yaml has one reader; CRS's tests are written in it"},
		{"github.com/invopop/jsonschema", []string{"configs"}, nil, "the schema"},
		{"github.com/kaptinlin/jsonschema", nil, []string{"configs"}, "the schema's other reader"},
		{"github.com/prometheus/client_golang", []string{"cmd/gatehouse"}, nil, "metrics are chosen in one file"},
		{"github.com/spf13/pflag", []string{"cmd/gatehouse"}, nil, "the command line"},
		{"github.com/coreos/go-systemd/v22", []string{"cmd/gatehouse"}, nil, "sockets and readiness"},
		{"github.com/fsnotify/fsnotify", []string{"cmd/gatehouse"}, nil, "--watch"},

		// Tests.
		{"github.com/google/go-cmp", nil, anywhere, "the one comparison library"},
		{"github.com/rogpeppe/go-internal", nil, anywhere, "txtar and testscript"},
		{"github.com/coder/websocket", []string{"cmd/gatehouse"}, anywhere, "the demo app's and the tests' end of a WebSocket"},
		{"github.com/chromedp", nil, []string{"e2e", "cmd/gatehouse"}, "a browser"},
		{"github.com/letsencrypt", nil, []string{"proxy/certs", "e2e", "cmd/gatehouse"}, "pebble, a certificate authority"},
		{"google.golang.org/grpc", nil, []string{"proxy/upstream", "e2e"}, "calls through the gateway, with the client and the server that people have"},
		{"google.golang.org/protobuf", nil, []string{"proxy/upstream", "e2e"}, "messages of such calls"},
		{"github.com/miekg/dns", nil, []string{"proxy/certs", "proxy/upstream", "e2e"}, "name servers of tests"},
	}
}

// checkHomes reports imports of packages away from home, and of third-party packages without one.
func checkHomes(t *tree) (found []string) {
	table := homes()
	for _, file := range t.files {
		for _, spec := range file.syntax.Imports {
			name := imports(spec)
			if name == t.module || strings.HasPrefix(name, t.module+"/") {
				continue
			}
			row := homeOf(table, name)
			if row == nil {
				if first, _, _ := strings.Cut(name, "/"); name == "C" || strings.Contains(first, ".") {
					found = append(found, fmt.Sprintf("%s: %s has no home; a new dependency needs a row in internal/archtest and a paragraph in docs/rationale.md", t.at(spec), name))
				}
				continue
			}
			if !admits(row.by, file.dir) && !(file.test && admits(row.test, file.dir)) {
				found = append(found, fmt.Sprintf("%s: %s may not import %s (%s)", t.at(spec), file.dir, name, row.why))
			}
		}
	}
	return found
}

func admits(list []string, dir string) bool {
	return slices.Contains(list, everything) || slices.Contains(list, dir)
}

// homeOf returns the longest row that name is at or below, or nil.
func homeOf(table []home, name string) (best *home) {
	for i, row := range table {
		if name != row.imported && !strings.HasPrefix(name, row.imported+"/") {
			continue
		}
		if best == nil || len(row.imported) > len(best.imported) {
			best = &table[i]
		}
	}
	return best
}

func TestCheckArrows(t *testing.T) {
	t.Parallel()
	runSamples(t, checkArrows, map[string]sample{
		"a policy imports proxy":          {"waf/a.go", "package waf\nimport _ \"gatehouse/proxy\"", "may not import proxy"},
		"a policy's test imports proxy":   {"waf/a_test.go", "package waf\nimport _ \"gatehouse/proxy\"", "may not import proxy"},
		"a policy imports another":        {"waf/a.go", "package waf\nimport _ \"gatehouse/authn\"", "may not import authn"},
		"proxy imports configs":           {"proxy/a.go", "package proxy\nimport _ \"gatehouse/configs\"", "may not import configs"},
		"upstream imports proxy":          {"proxy/upstream/a.go", "package upstream\nimport _ \"gatehouse/proxy\"", "may not import proxy"},
		"authn imports devpool":           {"authn/a.go", "package authn\nimport _ \"gatehouse/authn/devpool\"", "may not import authn/devpool"},
		"authn's test imports devpool":    {"authn/a_test.go", "package authn\nimport _ \"gatehouse/authn/devpool\"", ""},
		"devpool imports authn":           {"authn/devpool/a.go", "package devpool\nimport _ \"gatehouse/authn\"", "may not import authn"},
		"a policy imports identity":       {"headers/a.go", "package headers\nimport _ \"gatehouse/authn/identity\"", ""},
		"assemble imports what it needs":  {"cmd/gatehouse/a.go", "package main\nimport _ \"gatehouse/waf\"", ""},
		"an external test imports itself": {"waf/a_test.go", "package waf_test\nimport _ \"gatehouse/waf\"", ""},
		"cache imports proxy":             {"proxy/cache/a.go", "package cache\nimport _ \"gatehouse/proxy\"", "may not import proxy"},
		"a package without a row":         {"waf/other/a.go", "package other\nimport _ \"gatehouse/proxy\"", "may not import proxy"},
		"e2e outside a test":              {"e2e/a.go", "package e2e\nimport _ \"gatehouse/waf\"", "may not import waf"},
	})
}

func TestCheckHomes(t *testing.T) {
	t.Parallel()
	runSamples(t, checkHomes, map[string]sample{
		"coraza in proxy":            {"proxy/a.go", "package proxy\nimport _ \"github.com/corazawaf/coraza/v3\"", "may not import"},
		"coraza below waf":           {"waf/ipset/a.go", "package ipset\nimport _ \"github.com/corazawaf/coraza/v3/types\"", "may not import"},
		"coraza in waf":              {"waf/a.go", "package waf\nimport _ \"github.com/corazawaf/coraza/v3/types\"", ""},
		"WrapHandler in waf":         {"waf/a.go", "package waf\nimport _ \"github.com/corazawaf/coraza/v3/http\"", "answers 200"},
		"testify in a test":          {"waf/a_test.go", "package waf\nimport _ \"github.com/stretchr/testify/require\"", "has no home"},
		"log in a policy":            {"waf/a.go", "package waf\nimport _ \"log\"", "hooks and no logger"},
		"slog in a policy":           {"authn/a.go", "package authn\nimport _ \"log/slog\"", "may not import log/slog"},
		"slog in the program":        {"cmd/gatehouse/a.go", "package main\nimport _ \"log/slog\"", ""},
		"go-cmp outside a test":      {"waf/a.go", "package waf\nimport _ \"github.com/google/go-cmp/cmp\"", "may not import"},
		"go-cmp in a test":           {"waf/a_test.go", "package waf\nimport _ \"github.com/google/go-cmp/cmp\"", ""},
		"a name that only begins so": {"waf/a.go", "package waf\nimport _ \"github.com/corazawaf/coraza/v3more\"", "has no home"},
		"cgo":                        {"waf/a.go", "package waf\nimport \"C\"", "has no home"},
		"math/rand":                  {"waf/a.go", "package waf\nimport _ \"math/rand\"", "v2"},
		"math/rand/v2":               {"waf/a.go", "package waf\nimport _ \"math/rand/v2\"", ""},
		"the standard library":       {"waf/a.go", "package waf\nimport _ \"net/http\"", ""},
	})
}
