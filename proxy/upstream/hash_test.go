package upstream

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// homes are the endpoints of keys 0 to n-1.
func homes(p *Pool, n int) []string {
	pl := p.current(p.now())
	out := make([]string, n)
	for i := range out {
		out[i] = pl.fit[pl.hashed(hashString("key "+strconv.Itoa(i)))].name
	}
	return out
}

func TestKeysStayWhereTheyAre(t *testing.T) {
	t.Parallel()
	const keys = 20_000
	now := time.Unix(1000, 0)
	ten := specs(slices.Repeat([]int{1}, 11)...)
	p := poolOf(t, Config{Balance: Hash, Hash: "address"}, &now, 1)
	p.replace(ten[:10])
	before := homes(p, keys)
	count := map[string]int{}
	for _, name := range before {
		count[name]++
	}
	for _, s := range ten[:10] {
		// The standard deviation of a tenth of 20000 is 42.
		if n := count[s.String()]; n < keys/10-250 || n > keys/10+250 {
			t.Errorf("%s: got %d of %d keys, want about a tenth", s, n, keys)
		}
	}

	p.replace(slices.Concat(ten[5:10], ten[1:5])) // one goes, and the others stand in another order
	for i, name := range homes(p, keys) {
		if gone := before[i] == ten[0].String(); !gone && name != before[i] || gone && name == before[i] {
			t.Fatalf("key %d: was at %s, is at %s", i, before[i], name)
		}
	}

	p.replace(ten) // it comes back, and one more
	moved := 0
	for i, name := range homes(p, keys) {
		if name != before[i] {
			moved++
			if name != ten[10].String() {
				t.Fatalf("key %d: moved from %s to %s", i, before[i], name)
			}
		}
	}
	if moved < keys/11-250 || moved > keys/11+250 {
		t.Errorf("one in eleven is new: %d of %d keys moved, want about %d", moved, keys, keys/11)
	}
}

func TestKeysByWeight(t *testing.T) {
	t.Parallel()
	const keys = 20_000
	now := time.Unix(1000, 0)
	p := poolOf(t, Config{Balance: Hash, Hash: "path"}, &now, 1, 3)
	n := 0
	for _, name := range homes(p, keys) {
		if name == "b:80" {
			n++
		}
	}
	if n < keys*3/4-300 || n > keys*3/4+300 {
		t.Errorf("got %d of %d keys at the one with three times the weight, want about three quarters", n, keys)
	}
}

// A key that everybody asks for goes to others too, before it takes its endpoint down.
func TestOneKeyOverloadsNobody(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	p := poolOf(t, Config{Balance: Hash, Hash: "path"}, &now, 1, 1, 1, 1)
	pl := p.current(now)
	home := pl.hashed(hashString("/hot"))
	for n := 1; n <= 400; n++ {
		at := pl.hashed(hashString("/hot"))
		if n <= hashFloor && at != home {
			t.Errorf("request %d: want it at home, there is next to nothing under way", n)
		}
		pl.fit[at].outstanding.Add(1)
	}
	for _, m := range pl.fit {
		if n := m.outstanding.Load(); n > 125 {
			t.Errorf("%s: has %d of 400 requests, want at most 125", m.name, n)
		}
	}
	if n := pl.fit[home].outstanding.Load(); n < 120 {
		t.Errorf("home: has %d, want its share and a quarter", n)
	}
}

func TestWhatIsHashed(t *testing.T) {
	t.Parallel()
	var urls []string
	for i := range 8 {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, i) }))
		t.Cleanup(s.Close)
		urls = append(urls, s.URL)
	}
	// request n of a kind: those with the same n must go to the same endpoint, whatever else differs.
	for _, tt := range []struct {
		hash string
		set  func(r *http.Request, n int)
	}{
		{"address", func(r *http.Request, n int) { r.RemoteAddr = fmt.Sprintf("192.0.2.%d:4711", n) }},
		{"address", func(r *http.Request, n int) {
			r.RemoteAddr = fmt.Sprintf("[2001:db8:0:%d::%d]:4711", n, len(r.URL.RawQuery))
		}},
		{"path", func(r *http.Request, n int) { r.URL.Path = "/" + strconv.Itoa(n) }},
		{"identity", func(r *http.Request, n int) { r.Header.Set("X-Who", strconv.Itoa(n)) }},
		{"header:x-tenant", func(r *http.Request, n int) { r.Header.Set("X-Tenant", strconv.Itoa(n)) }},
		{"cookie:user", func(r *http.Request, n int) {
			r.Header["Cookie"] = []string{"other=1", "a=b; user=" + strconv.Itoa(n) + "; c=d"}
		}},
	} {
		p, err := NewPool("x", Config{Endpoints: urls, Balance: Hash, Hash: tt.hash})
		if err != nil {
			t.Fatal(err)
		}
		h := p.Handler(Options{Deny: deny, Subject: func(r *http.Request) string { return r.Header.Get("X-Who") }})
		ask := func(n int, query string) string {
			r := httptest.NewRequestWithContext(t.Context(), "GET", "http://app.test/?"+query, nil)
			tt.set(r, n)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			return w.Body.String()
		}
		seen := map[string]bool{}
		for n := range 30 {
			first := ask(n, "a")
			seen[first] = true
			for _, query := range []string{"bb", "ccc"} {
				if got := ask(n, query); got != first {
					t.Errorf("%s: key %d went to %s and to %s", tt.hash, n, first, got)
				}
			}
		}
		if len(seen) < 5 {
			t.Errorf("%s: 30 keys met at %d of 8 endpoints", tt.hash, len(seen))
		}
		p.Close()
	}
}

// Requests without a key take turns.
func TestNothingToHash(t *testing.T) {
	t.Parallel()
	a, b := newPatient(t, "a"), newPatient(t, "b")
	for _, hash := range []string{"header:X-None", "cookie:none", "identity"} {
		p, err := NewPool("x", Config{Endpoints: []string{a.URL, b.URL}, Balance: Hash, Hash: hash})
		if err != nil {
			t.Fatal(err)
		}
		if got := answers(t, p, 10); got["a"] != 5 || got["b"] != 5 {
			t.Errorf("%s: got %v, want five each", hash, got)
		}
		p.Close()
	}
}

func TestValidateHash(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ balance, hash, field string }{
		{Hash, "address", ""},
		{Hash, "path", ""},
		{Hash, "identity", ""},
		{Hash, "header:X-Tenant", ""},
		{Hash, "cookie:user", ""},
		{Hash, "", "hash"},
		{Hash, "header", "hash"},
		{Hash, "header:", "hash"},
		{Hash, "cookie:a b", "hash"},
		{Hash, "address:x", "hash"},
		{Hash, "query:x", "hash"},
		{RoundRobin, "path", "hash"},
		{"", "path", "hash"},
	} {
		var got []string
		Config{Endpoints: []string{"http://a"}, Balance: tt.balance, Hash: tt.hash}.Validate(func(field, _ string) { got = append(got, field) })
		if strings.Join(got, " ") != tt.field {
			t.Errorf("%q by %q: got problems at %q, want %q", tt.balance, tt.hash, got, tt.field)
		}
	}
}

func BenchmarkHashed(b *testing.B) {
	now := time.Unix(1000, 0)
	for _, n := range []int{4, 64} {
		p := poolOf(b, Config{Balance: Hash, Hash: "path"}, &now, slices.Repeat([]int{1}, 1)...)
		var many []spec
		for i := range n {
			host := "h" + strconv.Itoa(i)
			many = append(many, spec{address{scheme: "http", network: "tcp", dial: host + ":80", host: host, name: host}, 1})
		}
		p.replace(many)
		pl := p.current(now)
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			for i := range b.N {
				pl.hashed(uint64(i))
			}
		})
	}
}
