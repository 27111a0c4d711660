package gate

import (
	"testing"

	"github.com/corazawaf/libinjection-go"

	"gatehouse/waf/rx"
)

// injections are values on both sides of what the shortcuts before libinjection let pass.
func injections() []string {
	return []string{
		"", "a", "union", "json.union", "json.items.0.name", "json.", "json.1", "1", "123", "12a", "a12", "0x1f", "1e5", "_x", "a.b", "sleep",
		"1 or 1=1", "x onerror=alert(1)", "onerror", "<script>", "javascript:alert(1)", "style", "a b", "json.a b", "json.select.1", "select.1",
		"user", "json.user", "X", "'", "\"", "`", "a`", "--", "/*!", "1/*", "@@version", "\\N", "json_keys", "json_keys.a",
	}
}

func TestShortcutsSayWhatLibinjectionSays(t *testing.T) {
	t.Parallel()
	m := rx.NewMeter(1 << 40)
	for _, v := range injections() {
		checkInjection(t, v, m)
	}
}

func checkInjection(t *testing.T, v string, m *rx.Meter) {
	t.Helper()
	if want, _ := libinjection.IsSQLi(v); detectSQLi(v, m) != want {
		t.Errorf("detectSQLi(%q): got %v, want %v", v, !want, want)
	}
	if want := libinjection.IsXSS(v); detectXSS(v, m) != want {
		t.Errorf("detectXSS(%q): got %v, want %v", v, !want, want)
	}
}

func FuzzInjectionShortcuts(f *testing.F) {
	for _, v := range injections() {
		f.Add(v)
	}
	f.Fuzz(func(t *testing.T, v string) {
		checkInjection(t, v, rx.NewMeter(1<<40))
		checkInjection(t, "json."+v, rx.NewMeter(1<<40))
	})
}
