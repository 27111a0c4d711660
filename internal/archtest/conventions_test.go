package archtest

import (
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
	"testing"
)

const (
	// maxFunction and maxFile are where the style guide says split, in lines.
	maxFunction = 100
	maxFile     = 700
)

// checkPackageDocs reports packages without exactly one doc comment, in a file that is not a test.
func checkPackageDocs(t *tree) (found []string) {
	docs := make(map[string][]string) // by directory
	for _, file := range t.files {
		if file.test {
			continue
		}
		docs[file.dir] = append(docs[file.dir], "")
		if doc := file.syntax.Doc; doc != nil {
			docs[file.dir] = append(docs[file.dir], file.path)
			want := "Package " + file.syntax.Name.Name + " "
			if file.syntax.Name.Name != "main" && !strings.HasPrefix(doc.Text(), want) {
				found = append(found, fmt.Sprintf("%s: the doc comment begins %.20q, want %q", file.path, doc.Text(), want))
			}
		}
	}
	for _, dir := range slices.Sorted(maps.Keys(docs)) {
		files := slices.DeleteFunc(docs[dir], func(name string) bool { return name == "" })
		switch {
		case len(files) == 0:
			found = append(found, dir+": no file has a package doc comment")
		case len(files) > 1:
			found = append(found, fmt.Sprintf("%s: the package doc comment stands in several files: %s", dir, strings.Join(files, ", ")))
		}
	}
	return found
}

// forbidden is what no code calls or names, and why.
func forbidden() map[string]string {
	return map[string]string{
		"http.DefaultClient":           "has no timeout and is everybody's: pass a client",
		"http.DefaultTransport":        "is everybody's, and httptest closes its connections under other tests: make a transport",
		"http.DefaultServeMux":         "is everybody's: make a mux",
		"http.Get":                     "uses http.DefaultClient",
		"http.Head":                    "uses http.DefaultClient",
		"http.Post":                    "uses http.DefaultClient",
		"http.PostForm":                "uses http.DefaultClient",
		"http.Handle":                  "uses http.DefaultServeMux",
		"http.HandleFunc":              "uses http.DefaultServeMux",
		"http.ListenAndServe":          "has no timeouts",
		"http.ListenAndServeTLS":       "has no timeouts",
		"certmagic.Default":            "is everybody's: make a Cache and a Config",
		"certmagic.DefaultACME":        "is everybody's: make an issuer",
		"certmagic.NewDefault":         "uses certmagic.Default",
		"prometheus.MustRegister":      "uses the default registry",
		"prometheus.Register":          "uses the default registry",
		"prometheus.DefaultRegisterer": "is everybody's: make a registry",
		"prometheus.DefaultGatherer":   "is everybody's: make a registry",
		"promhttp.Handler":             "uses the default registry: HandlerFor",
		"slog.SetDefault":              "pass the logger",
		"slog.Default":                 "pass the logger",
		"log.Print":                    "use a hook",
		"log.Printf":                   "use a hook",
		"log.Println":                  "use a hook",
		"log.Fatal":                    "return an error",
		"log.Fatalf":                   "return an error",
		"log.Fatalln":                  "return an error",
		"log.Panic":                    "return an error",
		"log.Panicf":                   "return an error",
		"log.Panicln":                  "return an error",
		"log.Default":                  "pass the logger",
	}
}

// checkCalls reports what is forbidden, and certificates that are not verified outside tests.
func checkCalls(t *tree) (found []string) {
	table := forbidden()
	for _, file := range t.files {
		ast.Inspect(file.syntax, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.SelectorExpr:
				name := selector(node)
				if why := table[name]; why != "" {
					found = append(found, fmt.Sprintf("%s: %s: %s", t.at(node), name, why))
				}
			case *ast.CompositeLit:
				if selector(node.Type) == "http.Client" && !names(node, "Transport") {
					found = append(found, t.at(node)+": http.Client without Transport: "+table["http.DefaultTransport"])
				}
			case *ast.KeyValueExpr:
				if selector(node.Key) == "InsecureSkipVerify" && selector(node.Value) == "true" && !file.test {
					found = append(found, t.at(node)+": InsecureSkipVerify: true: only what the operator wrote may say so")
				}
			}
			return true
		})
	}
	return found
}

// names reports whether a literal of a struct sets a field.
func names(literal *ast.CompositeLit, field string) bool {
	return slices.ContainsFunc(literal.Elts, func(element ast.Expr) bool {
		pair, ok := element.(*ast.KeyValueExpr)
		return ok && selector(pair.Key) == field
	})
}

// policies are the packages that decide about requests.
func policies() []string {
	return []string{"authn", "authn/cognitoapi", "headers", "proxy/clientcert", "proxy/compress", "proxy/ratelimit", "waf", "waf/acl", "waf/challenge", "waf/ipset"}
}

// answerWriter holds answers back until they are inspected, on routes that ask for it. Nothing but a writer that the
// handler writes to can do so, and others pay nothing for one that is not proxy's.
const answerWriter = "waf/response.go"

// encodingWriter compresses answers, on routes that ask for it, for the same reason.
const encodingWriter = "proxy/compress/answer.go"

// serverWriter is no wrapper but the server's own.
const serverWriter = "proxy/wire/response.go"

// cacheWriter takes what an upstream says for everybody who waits for it: it is no client's writer. The other one in it sees
// the status of requests that change what is kept, on routes with a cache.
const cacheWriter = "proxy/cache/writers.go"

// checkOwners reports goroutines that a policy starts, because nobody would wait for them, and second
// wrappers of an http.ResponseWriter: each would have to carry Unwrap, Flush and Hijack.
func checkOwners(t *tree) (found []string) {
	for _, file := range t.files {
		if file.test {
			continue
		}
		ast.Inspect(file.syntax, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.GoStmt:
				if slices.Contains(policies(), file.dir) {
					found = append(found, t.at(node)+": a policy starts no goroutine: nobody would wait for it")
				}
			case *ast.FuncDecl:
				if node.Recv != nil && node.Name.Name == "WriteHeader" && file.dir != "proxy" &&
					file.path != answerWriter && file.path != encodingWriter && file.path != serverWriter && file.path != cacheWriter {
					found = append(found, t.at(node)+": proxy's recorder, "+answerWriter+", "+encodingWriter+" and "+cacheWriter+" are the only wrappers of a ResponseWriter")
				}
			}
			return true
		})
	}
	return found
}

// An exception lets one test file do what others may not.
type exception struct{ path, call, why string }

// exceptions are the test files that may sleep. None may skip.
func exceptions() []exception {
	return []exception{
		{"proxy/upstream/upstream_test.go", "Sleep", "polls for the end of goroutines, of which nothing tells"},
		{"proxy/wire/pace_test.go", "Sleep", "silence on a socket is what is tested, and testing/synctest has no clock for sockets"},
	}
}

// checkTestCalls reports tests that sleep, and tests that may pass without having run. A loop that
// polls may sleep after each round: for deadline := …; !reached(); time.Sleep(…).
func checkTestCalls(t *tree) (found []string) {
	table := exceptions()
	for _, file := range t.files {
		if !file.test {
			continue
		}
		polls := make(map[ast.Node]bool)
		ast.Inspect(file.syntax, func(node ast.Node) bool {
			if loop, ok := node.(*ast.ForStmt); ok && loop.Cond != nil {
				if post, ok := loop.Post.(*ast.ExprStmt); ok {
					polls[post.X] = true
				}
			}
			call, ok := node.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := selector(call.Fun)
			_, method, _ := strings.Cut(name, ".")
			if slices.ContainsFunc(table, func(e exception) bool { return e.path == file.path && e.call == method }) {
				return true
			}
			switch {
			case name == "time.Sleep" && !polls[call]:
				found = append(found, t.at(call)+": time.Sleep: wait for what is to happen, pass the time, or use testing/synctest")
			case method == "Skip" || method == "Skipf" || method == "SkipNow":
				found = append(found, t.at(call)+": "+name+": a test that cannot run fails; what the race detector spoils goes into a file with //go:build !race")
			}
			return true
		})
	}
	return found
}

// checkSizes reports functions and files that are to be split. Tests' functions may be as long as
// their tables.
func checkSizes(t *tree) (found []string) {
	for _, file := range t.files {
		if lines := t.set.File(file.syntax.Pos()).LineCount(); lines > maxFile {
			found = append(found, fmt.Sprintf("%s: %d lines, want at most %d", file.path, lines, maxFile))
		}
		if file.test {
			continue
		}
		for _, decl := range file.syntax.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if lines := t.set.Position(f.End()).Line - t.set.Position(f.Pos()).Line + 1; lines > maxFunction {
				found = append(found, fmt.Sprintf("%s: %s has %d lines, want at most %d", t.at(f), f.Name.Name, lines, maxFunction))
			}
		}
	}
	return found
}

func TestCheckPackageDocs(t *testing.T) {
	t.Parallel()
	runSamples(t, checkPackageDocs, map[string]sample{
		"one":            {"waf/a.go", "// Package waf inspects.\npackage waf", ""},
		"another's name": {"waf/a.go", "// Package firewall inspects.\npackage waf", "want \"Package waf \""},
		"the program":    {"cmd/gatehouse/a.go", "// Gatehouse is a front door.\npackage main", ""},
		"not in a test":  {"waf/a_test.go", "package waf", ""},
	})
}

func TestCheckPackageDocsCounts(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"none":  {map[string]string{"waf/a.go": "package waf", "waf/a_test.go": "// Package waf x.\npackage waf"}, "waf: no file has"},
		"apart": {map[string]string{"waf/a.go": "// Package waf x.\n\npackage waf"}, "waf: no file has"},
		"two":   {map[string]string{"waf/a.go": "// Package waf x.\npackage waf", "waf/b.go": "// Package waf y.\npackage waf"}, "several files: waf/a.go, waf/b.go"},
	} {
		if found := checkPackageDocs(small(t, tt.files)); len(found) != 1 || !strings.Contains(found[0], tt.want) {
			t.Errorf("%s: found %q, want one about %q", name, found, tt.want)
		}
	}
}

func TestCheckCalls(t *testing.T) {
	t.Parallel()
	body := func(code string) string { return "package waf\nfunc f() { " + code + " }" }
	runSamples(t, checkCalls, map[string]sample{
		"log.Fatal":               {"waf/a.go", body("log.Fatal(1)"), "log.Fatal"},
		"the default client":      {"waf/a.go", body("c := http.DefaultClient; _ = c"), "http.DefaultClient"},
		"the same in a test":      {"waf/a_test.go", body("c := http.DefaultClient; _ = c"), "http.DefaultClient"},
		"a bare client in a test": {"waf/a_test.go", body("c := &http.Client{Timeout: 1}; _ = c"), "without Transport"},
		"a client of one's own":   {"waf/a.go", body("c := http.Client{Transport: t}; _ = c"), ""},
		"log.Fatal in a test":     {"waf/a_test.go", body("log.Fatal(1)"), "log.Fatal"},
		"http.Get":                {"waf/a.go", body("http.Get(u)"), "http.Get"},
		"Get of a client":         {"waf/a.go", body("client.Get(u)"), ""},
		"the default registry":    {"cmd/gatehouse/a.go", body("prometheus.MustRegister(c)"), "default registry"},
		"a registry of our own":   {"cmd/gatehouse/a.go", body("registry.MustRegister(c)"), ""},
		"no verification":         {"waf/a.go", body("_ = tls.Config{InsecureSkipVerify: true}"), "InsecureSkipVerify"},
		"what the operator said":  {"waf/a.go", body("_ = tls.Config{InsecureSkipVerify: cfg.Insecure}"), ""},
		"no verification in test": {"waf/a_test.go", body("_ = tls.Config{InsecureSkipVerify: true}"), ""},
	})
}

func TestCheckOwners(t *testing.T) {
	t.Parallel()
	runSamples(t, checkOwners, map[string]sample{
		"a goroutine in a policy":   {"headers/a.go", "package headers\nfunc f() { go f() }", "starts no goroutine"},
		"a goroutine in its test":   {"headers/a_test.go", "package headers\nfunc f() { go f() }", ""},
		"a goroutine in the server": {"proxy/wire/a.go", "package wire\nfunc f() { go f() }", ""},
		"a second wrapper":          {"waf/a.go", "package waf\nfunc (w *writer) WriteHeader(int) {}", "the only wrapper"},
		"the one that is inspected": {"waf/response.go", "package waf\nfunc (x *answer) WriteHeader(int) {}", ""},
		"the recorder":              {"proxy/a.go", "package proxy\nfunc (w *recorder) WriteHeader(int) {}", ""},
	})
}

func TestCheckTestCalls(t *testing.T) {
	t.Parallel()
	body := func(code string) string { return "package waf\nfunc f() { " + code + " }" }
	runSamples(t, checkTestCalls, map[string]sample{
		"sleep":             {"waf/a_test.go", body("time.Sleep(1)"), "time.Sleep"},
		"skip":              {"waf/a_test.go", body("t.Skip()"), "t.Skip"},
		"skipf":             {"waf/a_test.go", body("b.Skipf(\"x\")"), "b.Skipf"},
		"skip now":          {"waf/a_test.go", body("t.SkipNow()"), "t.SkipNow"},
		"sleep in the code": {"waf/a.go", body("time.Sleep(1)"), ""},
		"a polling loop":    {"waf/a_test.go", body("for !reached() { time.Sleep(1) }"), "time.Sleep"},
		"the polling loop":  {"waf/a_test.go", body("for deadline := f(); !reached(); time.Sleep(1) { g(deadline) }"), ""},
		"an endless loop":   {"waf/a_test.go", body("for ;; time.Sleep(1) { }"), "time.Sleep"},
		"a timer":           {"waf/a_test.go", body("time.NewTimer(1)"), ""},
	})
}

func TestCheckSizes(t *testing.T) {
	t.Parallel()
	lines := func(n int) string { return strings.Repeat("\n", n) }
	runSamples(t, checkSizes, map[string]sample{
		"a long function":           {"waf/a.go", "package waf\nfunc f() {" + lines(100) + "}", "f has 101 lines"},
		"a function of 100 lines":   {"waf/a.go", "package waf\nfunc f() {" + lines(99) + "}", ""},
		"a long function in a test": {"waf/a_test.go", "package waf\nfunc f() {" + lines(100) + "}", ""},
		"a long file":               {"waf/a_test.go", "package waf\n" + lines(700), "701 lines"},
		"a file of 700 lines":       {"waf/a.go", "package waf\n" + lines(699), ""},
	})
}
