package configs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestMaskLines(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, in, want string }{
		{"a plain value", "client_secret: hush", "client_secret: <redacted>"},
		{"a value with commas and braces outside a flow mapping", "secret: hush, hush} hush # hush", "secret: <redacted>"},
		{"in a flow mapping", "{a: b, client_secret: hush, c: d}", "{a: b, client_secret: <redacted>, c: d}"},
		{"quoted", `{client_secret: "hush \" hush", c: d}`, `{client_secret: <redacted>, c: d}`},
		{"single-quoted", `{client_secret: 'hush '' hush', c: d}`, `{client_secret: <redacted>, c: d}`},
		{"a quoted key", `{"client_secret": hush, c: d}`, `{"client_secret": <redacted>, c: d}`},
		{"a list", "keys: [hush, hush]", "keys: <redacted>"},
		{"a misspelt key", "client_secert: hush", "client_secert: <redacted>"},
		{"another spelling", "clientSecret: hush", "clientSecret: <redacted>"},
		{"a password", "db_password: hush", "db_password: <redacted>"},
		{"a token", "admin_token: hush", "admin_token: <redacted>"},
		{"a block list", "keys:\n- hush\n- hush\nnext: 1", "keys:\n- <redacted>\n- <redacted>\nnext: 1"},
		{"an indented block list", "keys:\n  - hush\nnext: 1", "keys:\n  - <redacted>\nnext: 1"},
		{"a literal block", "secret: |\n  hush\n\n  hush\nnext: 1", "secret: |\n  <redacted>\n\n  <redacted>\nnext: 1"},
		{"a value on the next line", "secret:\n  hush\nnext: 1", "secret:\n  <redacted>\nnext: 1"},
		{"a quoted value over two lines", "secret: \"hush\n  hush\"\nnext: 1", "secret: <redacted>\n  <redacted>\nnext: 1"},
		{"a plain value over two lines", "secret: hush\n  hush\nnext: 1", "secret: <redacted>\n  <redacted>\nnext: 1"},
		{"a list over two lines", "keys: [hush,\n  hush]\nnext: 1", "keys: <redacted>\n  <redacted>\nnext: 1"},
		{"in a list of mappings", "- secret: hush\n  next: 1", "- secret: <redacted>\n  next: 1"},
		{"a reference is no secret", "client_secret: ${env:X}", "client_secret: ${env:X}"},
		{"nor is a quoted one", `{client_secret: "${file:${env:D}/x}", c: d}`, `{client_secret: "${file:${env:D}/x}", c: d}`},
		{"but a reference with more is", "client_secret: ${env:X}hush", "client_secret: <redacted>"},
		{"an address of listen.keys", "listen: {keys: \":9902\"}", "listen: {keys: \":9902\"}"},
		{"a list of keys, misspelt", "session: {key: [hush, hush]}", "session: {key: <redacted>}"},
		{"a block list of keys, misspelt", "key:\n- hush\nnext: 1", "key:\n- <redacted>\nnext: 1"},
		{"a password in an address", "app: http://user:hush@host:1", "app: http://user:<redacted>@host:1"},
		{"a password in an address with signs that belong escaped", `[{url: "http://u:hu/sh@,x@h:1"}]`, `[{url: "http://u:<redacted>@h:1"}]`},
		{"a password without a name", "{store: redis://:hush@h:6379/0, b: c}", "{store: redis://:<redacted>@h:6379/0, b: c}"},
		{"a password in an address without a scheme", `upstreams: {app: "user:hush@host:3000"}`, `upstreams: {app: "user:<redacted>@host:3000"}`},
		{"a name in an address", "{store: redis://name@h:6379/0}", "{store: redis://name@h:6379/0}"},
		{"an address without either", "app: http://host:1 # mail ops@host", "app: http://host:1 # mail ops@host"},
		{"a key file is no secret", "{cert: /a, key: /b}", "{cert: /a, key: /b}"},
		{"scopes of tokens are none", "require: {token: {scopes: [a]}}", "require: {token: {scopes: [a]}}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := strings.Join(maskLines(strings.Split(tt.in, "\n")), "\n")
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("masked (-got +want):\n%s", diff)
			}
		})
	}
}
