package fleet

import (
	"strings"
	"testing"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	for store, want := range map[string]string{
		"rediss://store.example.com":                      "",
		"rediss://gatehouse@store.example.com:6380/2":     "",
		"redis://127.0.0.1:6379/0":                        "",
		"redis://[::1]":                                   "",
		"redis://localhost:1":                             "",
		"unix:///run/valkey/valkey.sock":                  "",
		"unix://gatehouse@/run/valkey.sock":               "",
		"":                                                "required",
		"store.example.com:6379":                          "want",
		"redis://store.example.com":                       "want rediss://",
		"redis://127.0.0.1.example.com":                   "want rediss://",
		"rediss://gatehouse:hush-hush@store.example.com":  "want no password",
		"rediss://:hush-hush@store.example.com":           "want no password",
		"rediss://store.example.com:6379/0?timeout=1":     "without a query",
		"rediss://store.example.com:0":                    "want a port",
		"rediss://store.example.com:70000":                "want a port",
		"rediss://store.example.com/one":                  "number of a database",
		"rediss://:6379":                                  "want a host",
		"unix://run/valkey.sock":                          "absolute path",
		"http://store.example.com":                        "want rediss://",
		"rediss://hush-hush%zz@store.example.com:6379/0 ": "want an address",
	} {
		found := ""
		Config{Store: store, Password: "p"}.Validate(func(field, msg string) { found += field + ": " + msg })
		if (found == "") != (want == "") || !strings.Contains(found, want) {
			t.Errorf("%s: got %q, want %q", store, found, want)
		}
		if strings.Contains(found, "hush") {
			t.Errorf("%s: the message holds the password: %s", store, found)
		}
	}
}

func TestValidateTheRest(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"a user without a password": {Config{Store: "rediss://gatehouse@store.example.com"}, "password"},
		"roots without TLS":         {Config{Store: "redis://127.0.0.1", CA: "roots.pem"}, "ca"},
		"a prefix with a colon":     {Config{Store: "redis://127.0.0.1", Prefix: "a:b"}, "prefix"},
	} {
		var fields []string
		tt.cfg.Validate(func(field, _ string) { fields = append(fields, field) })
		if got := strings.Join(fields, " "); got != tt.want {
			t.Errorf("%s: problems of %q, want %q", name, got, tt.want)
		}
	}
}

func TestOpenReadsTheRoots(t *testing.T) {
	t.Parallel()
	if _, err := Open(Config{Store: "rediss://store.example.com", CA: "no-such-file.pem"}, Options{}); err == nil || !strings.Contains(err.Error(), "no-such-file.pem") {
		t.Errorf("got %v, want an error that names the file", err)
	}
}
