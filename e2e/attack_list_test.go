package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// loginCases says where each case about login and tokens of the list of attacks is played: by the test of
// this name, or, where that is "", by one whose name or entry in a table begins with its id.
func loginCases() map[string]string {
	cases := map[string]string{
		"O29": "TestParallelRequestsRefreshOnce",
		"O30": "TestInvalidGrantEndsTheSessionWithoutALoop",
		"O31": "TestAProviderThatFailsWhileRefreshing",
		"O33": "TestEmailOfALogin",
		"O37": "TestHostileBearerTokens",
		"O40": "TestHostileBearerTokens",
		"O41": "TestHostileBearerTokens",
		"O43": "TestHostileBearerTokens",
		"O48": "TestTokenOfOneProviderIsNotTakenByAnother",
		"O49": "TestNobodyGetsAnothersIdentity",
		"O54": "TestHostileLogoutTokens",
		"O61": "TestAWebSocketEndsWithItsSession",
	}
	for id := range strings.FieldsSeq("O02 O03 O04 O05 O06 O07 O10 O11 O12 O14 O16 O17 O18 O21 O23 O24 O25 O26 O28 O36 O44 O45 O47 O56 O58 O59 O60") {
		cases[id] = ""
	}
	return cases
}

// wafCases is the same of the cases about the WAF.
func wafCases() map[string]string {
	cases := map[string]string{
		"W25": "TestHostIsAHeaderToTheRules", // there is no HTTP/3 yet
		"W29": "TestDisruptiveActions",
		"W30": "TestAClientThatLeavesIsNotBlocked",
		"W32": "TestEventsStream",
		"W33": "TestTheWAFChangesNoAnswer",
	}
	for id := range strings.FieldsSeq("W01 W04 W05 W06 W07 W08 W09 W10 W11 W12 W13 W14 W16 W18 W19 W20 W21 W23 W26") {
		cases[id] = ""
	}
	return cases
}

// TestWAFCasesArePlayed holds the list together with the tests.
func TestWAFCasesArePlayed(t *testing.T) {
	t.Parallel()
	names := testNames(t, "*_test.go", "../waf/*_test.go")
	for id, test := range wafCases() {
		if test == "" {
			test = id
		}
		if !names[test] {
			t.Errorf("%s: no test %q", id, test)
		}
	}
}

// TestLoginCasesArePlayed holds the list together with the tests.
func TestLoginCasesArePlayed(t *testing.T) {
	t.Parallel()
	names := testNames(t, "*_test.go", "../authn/*_test.go", "../proxy/upstream/*_test.go")
	cases := loginCases()
	if len(cases) != 39 {
		t.Errorf("cases: got %d, want the 39 of the list", len(cases))
	}
	for id, test := range cases {
		if test == "" {
			test = id
		}
		if !names[test] {
			t.Errorf("%s: no test %q", id, test)
		}
	}
}

// testNames are the names of the test functions in these files, and the first word of every text in them,
// which is where the subtests and the tables of attacks have their ids.
func testNames(t *testing.T, patterns ...string) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	for _, pattern := range patterns {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		for _, file := range files {
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.FuncDecl:
					if n.Name.Name == "loginCases" || n.Name.Name == "wafCases" {
						return false
					}
					names[n.Name.Name] = true
				case *ast.BasicLit:
					if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
						word, _, _ := strings.Cut(text, " ")
						names[word] = true
					}
				}
				return true
			})
		}
	}
	return names
}
