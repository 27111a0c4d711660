package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"slices"
	"strings"
	"testing"
)

// checkInit reports functions that run before main.
func checkInit(t *tree) (found []string) {
	for _, file := range t.files {
		for _, decl := range file.syntax.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				found = append(found, t.at(f)+": func init: pass what it sets up instead")
			}
		}
	}
	return found
}

// constructors are calls whose results nobody can change, or that nobody here does.
func constructors() []string {
	return []string{
		"errors.New", "fmt.Errorf", "regexp.MustCompile", "template.Must", "strings.NewReplacer",
		"sync.OnceFunc", "sync.OnceValue", "sync.OnceValues", // what they run depends on nothing, so it is the same whoever comes first
		"netip.MustParsePrefix", "netip.MustParseAddr", "netip.AddrFrom4", "netip.AddrFrom16",
	}
}

// A global is a package-level variable.
type global struct {
	name  *ast.Ident
	typ   ast.Expr // may be nil
	value ast.Expr // may be nil
	embed bool
}

// checkState reports package-level variables outside tests that are, or could become, state. Allowed are:
//
//   - sentinel errors: the name begins with err or Err;
//   - what one of the constructors returns, and go:embed;
//   - tables: unexported arrays, slices and maps written as literals, or as a function that is called
//     on the spot and returns an array;
//   - assertions that a type implements an interface: var _ I = T{}.
//
// None of them may be assigned to, in whole or in part, nor have its address taken.
func checkState(t *tree) (found []string) {
	packages := make(map[string][]*source)
	for _, file := range t.files {
		if !file.test {
			packages[file.dir] = append(packages[file.dir], file)
		}
	}
	for _, files := range packages {
		names := make(map[string]bool)
		for _, file := range files {
			for _, g := range globals(file.syntax) {
				names[g.name.Name] = true
				if why := refused(g); why != "" {
					found = append(found, fmt.Sprintf("%s: var %s: %s", t.at(g.name), g.name.Name, why))
				}
			}
		}
		delete(names, "_")
		for _, file := range files {
			for _, change := range changes(file.syntax, names) {
				found = append(found, fmt.Sprintf("%s: changes the package-level variable %s (or rename the local one)", t.at(change), change.Name))
			}
		}
	}
	slices.Sort(found)
	return found
}

func globals(file *ast.File) (all []global) {
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.VAR {
			continue
		}
		for _, spec := range group.Specs {
			values := spec.(*ast.ValueSpec)
			embed := isEmbed(group.Doc) || isEmbed(values.Doc)
			for i, name := range values.Names {
				g := global{name: name, typ: values.Type, embed: embed}
				if len(values.Values) == len(values.Names) {
					g.value = values.Values[i]
				}
				all = append(all, g)
			}
		}
	}
	return all
}

func isEmbed(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool { return strings.HasPrefix(c.Text, "//go:embed ") })
}

// refused says why a variable may not be, or "".
func refused(g global) string {
	name := g.name.Name
	switch value := g.value.(type) {
	case nil:
		if g.embed {
			return ""
		}
		return "has no value: it can only be state"
	case *ast.CallExpr:
		if name == "_" || isSentinel(name) || slices.Contains(constructors(), selector(value.Fun)) || makesArray(value) {
			return ""
		}
		return "is made by a call that internal/archtest does not know to be constant"
	case *ast.CompositeLit:
		switch {
		case name == "_" || isSentinel(name):
			return ""
		case g.name.IsExported():
			return "is exported, so that anybody can change it: return it from a function"
		}
		switch value.Type.(type) {
		case *ast.ArrayType, *ast.MapType:
			return pointersIn(value)
		}
		return "is a struct: make it a constant, a function or a field"
	case *ast.BasicLit:
		return "is a plain value: make it a constant"
	default:
		if name == "_" || isSentinel(name) {
			return ""
		}
		return "is neither a sentinel error, a compiled constant nor a table"
	}
}

func isSentinel(name string) bool {
	return strings.HasPrefix(name, "err") || strings.HasPrefix(name, "Err")
}

// makesArray reports whether a call is that of a function literal that returns an array.
func makesArray(call *ast.CallExpr) bool {
	literal, ok := call.Fun.(*ast.FuncLit)
	if !ok || literal.Type.Results == nil || len(literal.Type.Results.List) != 1 {
		return false
	}
	array, ok := literal.Type.Results.List[0].Type.(*ast.ArrayType)
	return ok && array.Len != nil
}

// pointersIn reports what in a table could be changed although the table is not.
func pointersIn(table *ast.CompositeLit) (why string) {
	ast.Inspect(table, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.FuncLit:
			return false
		case *ast.UnaryExpr:
			if node.Op == token.AND {
				why = "holds a pointer: what it points to is state"
			}
		case *ast.CallExpr:
			if name := selector(node.Fun); name == "new" || name == "make" {
				why = "holds what " + name + " made: that is state"
			}
		case *ast.ChanType:
			why = "holds channels"
		}
		return why == ""
	})
	return why
}

// selector returns "pkg.Name" or "name" of an expression, or "".
func selector(expr ast.Expr) string {
	switch expr := expr.(type) {
	case *ast.Ident:
		return expr.Name
	case *ast.SelectorExpr:
		if x, ok := expr.X.(*ast.Ident); ok {
			return x.Name + "." + expr.Sel.Name
		}
	}
	return ""
}

// changes returns each place where a function assigns to one of the names, to a part of it, or takes
// its address. A function that declares a local of the same name is taken not to mean the global.
func changes(file *ast.File, names map[string]bool) (found []*ast.Ident) {
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok || f.Body == nil {
			continue
		}
		local := locals(f)
		add := func(expr ast.Expr) {
			if root := rootOf(expr); root != nil && names[root.Name] && !local[root.Name] {
				found = append(found, root)
			}
		}
		ast.Inspect(f.Body, func(node ast.Node) bool {
			switch node := node.(type) {
			case *ast.AssignStmt:
				if node.Tok != token.DEFINE {
					for _, left := range node.Lhs {
						add(left)
					}
				}
			case *ast.IncDecStmt:
				add(node.X)
			case *ast.RangeStmt:
				if node.Tok == token.ASSIGN {
					add(node.Key)
					add(node.Value)
				}
			case *ast.UnaryExpr:
				if _, literal := node.X.(*ast.CompositeLit); node.Op == token.AND && !literal {
					add(node.X)
				}
			case *ast.CallExpr:
				switch selector(node.Fun) {
				case "delete", "clear", "copy", "append", "slices.Sort", "slices.SortFunc", "slices.Reverse", "sort.Strings", "sort.Slice", "maps.Copy":
					add(node.Args[0])
				}
			}
			return true
		})
	}
	return found
}

// rootOf returns the variable that an expression is a part of, or nil.
func rootOf(expr ast.Expr) *ast.Ident {
	for {
		switch e := expr.(type) {
		case *ast.Ident:
			return e
		case *ast.IndexExpr:
			expr = e.X
		case *ast.SliceExpr:
			expr = e.X
		case *ast.SelectorExpr:
			expr = e.X
		case *ast.ParenExpr:
			expr = e.X
		case *ast.StarExpr:
			expr = e.X
		default:
			return nil
		}
	}
}

// locals returns the names that a function declares: parameters, results and variables.
func locals(f *ast.FuncDecl) map[string]bool {
	names := make(map[string]bool)
	ast.Inspect(f, func(node ast.Node) bool {
		switch node := node.(type) {
		case *ast.Field:
			for _, name := range node.Names {
				names[name.Name] = true
			}
		case *ast.ValueSpec:
			for _, name := range node.Names {
				names[name.Name] = true
			}
		case *ast.AssignStmt:
			if node.Tok == token.DEFINE {
				for _, left := range node.Lhs {
					if name, ok := left.(*ast.Ident); ok {
						names[name.Name] = true
					}
				}
			}
		case *ast.RangeStmt:
			for _, expr := range []ast.Expr{node.Key, node.Value} {
				if name, ok := expr.(*ast.Ident); ok && node.Tok == token.DEFINE {
					names[name.Name] = true
				}
			}
		}
		return true
	})
	return names
}

func TestCheckInit(t *testing.T) {
	t.Parallel()
	runSamples(t, checkInit, map[string]sample{
		"init":           {"waf/a.go", "package waf\nfunc init() {}", "func init"},
		"init in a test": {"waf/a_test.go", "package waf\nfunc init() {}", "func init"},
		"a method":       {"waf/a.go", "package waf\ntype t int\nfunc (t) init() {}", ""},
	})
}

func TestCheckState(t *testing.T) {
	t.Parallel()
	code := func(body string) string { return "package waf\n" + body }
	runSamples(t, checkState, map[string]sample{
		"a counter":                  {"waf/a.go", code("var n int"), "can only be state"},
		"a plain value":              {"waf/a.go", code("var n = 5"), "make it a constant"},
		"a map that is made":         {"waf/a.go", code("var m = make(map[string]int)"), "does not know to be constant"},
		"a mutex":                    {"waf/a.go", code("var mu sync.Mutex"), "can only be state"},
		"a client":                   {"waf/a.go", code("var client = http.Client{}"), "is a struct"},
		"a pointer":                  {"waf/a.go", code("var client = &http.Client{}"), "neither"},
		"a function":                 {"waf/a.go", code("var now = time.Now"), "neither"},
		"an exported table":          {"waf/a.go", code("var Table = []int{1}"), "is exported"},
		"a table of pointers":        {"waf/a.go", code("var table = []*int{&x}"), "holds a pointer"},
		"a table of made":            {"waf/a.go", code("var table = []any{new(int)}"), "what new made"},
		"a sentinel":                 {"waf/a.go", code("var ErrX = errors.New(\"x\")"), ""},
		"a sentinel of a type":       {"waf/a.go", code("var errX = &Refusal{Status: 1}"), ""},
		"a sentinel that is changed": {"waf/a.go", code("var errX = &Refusal{}\nfunc f() { errX.Status = 2 }"), "changes the package-level variable errX"},
		"a pattern":                  {"waf/a.go", code("var p = regexp.MustCompile(`x`)"), ""},
		"an embedded file":           {"waf/a.go", code("//go:embed x\nvar files embed.FS"), ""},
		"an assertion":               {"waf/a.go", code("var _ http.Handler = (*T)(nil)"), ""},
		"a table":                    {"waf/a.go", code("var table = map[string]int{\"a\": 1}\nfunc f() int { return table[\"a\"] }"), ""},
		"a table from a literal":     {"waf/a.go", code("var table = func() (t [256]bool) { t[1] = true; return t }()"), ""},
		"a slice from a literal":     {"waf/a.go", code("var table = func() []bool { return nil }()"), "does not know"},
		"an element is assigned":     {"waf/a.go", code("var table = [2]int{1, 2}\nfunc f() { table[0] = 3 }"), "changes the package-level variable table"},
		"an element is counted up":   {"waf/a.go", code("var table = [2]int{1, 2}\nfunc f() { table[0]++ }"), "changes"},
		"an element is deleted":      {"waf/a.go", code("var table = map[string]int{\"a\": 1}\nfunc f() { delete(table, \"a\") }"), "changes"},
		"a table is sorted":          {"waf/a.go", code("var table = []int{1}\nfunc f() { slices.Sort(table) }"), "changes"},
		"a table's address":          {"waf/a.go", code("var table = [2]int{1, 2}\nfunc f() *int { return &table[0] }"), "changes"},
		"an inner field":             {"waf/a.go", code("var table = []t{{}}\nfunc f() { (table[0]).a.b[1] = 2 }"), "changes"},
		"a local of the same name":   {"waf/a.go", code("var table = [2]int{1, 2}\nfunc f(table []int) { table[0] = 3 }"), ""},
		"in a test":                  {"waf/a_test.go", code("var update = flag.Bool(\"update\", false, \"\")"), ""},
	})
}
