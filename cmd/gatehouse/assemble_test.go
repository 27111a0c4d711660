package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"gatehouse/configs"
)

// loadText loads a file with a local authority and one upstream, and what is in rest.
func loadText(t *testing.T, rest string) *configs.Config {
	t.Helper()
	text := "listen: {https: \":443\"}\nupstreams: {app: \"http://127.0.0.1:9\"}\nwaf: off\n" + rest
	cfg, err := configs.Load(fstest.MapFS{"gatehouse.yaml": {Data: []byte(text)}}, "gatehouse.yaml", configs.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// A login that is taken out of the file by mistake and put back must not bring back who has signed out.
func TestSessionsOutliveAFileWithoutALogin(t *testing.T) {
	t.Parallel()
	with := loadText(t, `tls: {local: true}
login: {oidc: {issuer: "https://login.test", client_id: c, client_secret: 0123456789abcdef0123456789abcdef}}
routes: [{match: app.test, to: app, require: signed-in}]
`)
	without := loadText(t, "tls: {local: true}\nroutes: [{match: app.test, to: app, require: nothing}]\n")
	obs := newObserver(io.Discard)
	first, err := assemble(with, nil, obs)
	if err != nil {
		t.Fatal(err)
	}
	second, err := assemble(without, first.parts, obs)
	if err != nil {
		t.Fatal(err)
	}
	third, err := assemble(with, second.parts, obs)
	if err != nil {
		t.Fatal(err)
	}
	if first.parts.sessions != third.parts.sessions {
		t.Error("sessions: got new ones, want those of the first generation")
	}
	for _, a := range []*assembled{first, second, third} {
		a.parts.release()
	}
}

// What a start would refuse, a check and a reload refuse too.
func TestAssembleRefusesHostsWithoutACertificate(t *testing.T) {
	t.Parallel()
	cfg := loadText(t, "tls: {acme: {email: ops@app.test}}\nroutes: [{match: [app.test, 10.0.0.1], to: app, require: nothing}]\n")
	_, err := assemble(cfg, nil, newObserver(io.Discard))
	if want := "no certificate for 10.0.0.1"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want an error with %q", err, want)
	}
}

// Files that rules name are looked for all at once, and what is said of them stands at their place in the file.
func TestEveryMissingFileIsTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	systems, err := os.ReadFile("../../waf/ipset/testdata/asn.mmdb")
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "asn.mmdb")
	if err := os.WriteFile(other, systems, 0o600); err != nil {
		t.Fatal(err)
	}
	rest := func(country, asn string) string {
		return fmt.Sprintf(`tls: {local: true}
ip_sets: {a: {file: %[1]s/a.txt}, b: {file: %[1]s/b.txt}}
geo: {country: %[2]s, asn: %[3]s}
routes: [{match: app.test, to: app, require: nothing}]
`, dir, country, asn)
	}
	for _, tt := range []struct {
		country, asn string
		want         []string
	}{
		{dir + "/country.mmdb", dir + "/none.mmdb", []string{"geo.country: stat ", "geo.asn: stat "}},
		{other, other, []string{`geo.country: ` + other + `: is a database of another kind ("Test-ASN")`}},
	} {
		_, err := assemble(loadText(t, rest(tt.country, tt.asn)), nil, newObserver(io.Discard))
		for _, want := range append(tt.want, "gatehouse.yaml:5:14: ip_sets.a: stat ", "ip_sets.b: stat ") {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q in it", err, want)
			}
		}
	}
}

func TestHostsThatNeedACertificate(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"local: true": "*.dev.test app.test", "acme: {email: ops@app.test}": "app.test",
	} {
		cfg := loadText(t, "tls: {"+source+"}\nroutes:\n"+
			"  - {match: [App.test, \"*.dev.test\"], to: app, require: nothing}\n  - {match: app.test/x, to: app, require: nothing}\n")
		a, err := assemble(cfg, nil, newObserver(io.Discard))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(a.hosts, " "); got != want {
			t.Errorf("%s: got %s, want %s", source, got, want)
		}
		a.parts.release()
	}
}
