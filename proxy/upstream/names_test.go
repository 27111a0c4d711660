package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"golang.org/x/net/dns/dnsmessage"
)

// nameServer answers with what it was last told.
type nameServer struct {
	mu      sync.Mutex
	asked   sync.Cond
	answers map[string][]string // by name and type, "a.test. A": records
	rcode   int
	count   int
	odd     func(m *dns.Msg) // has the last word on an answer over UDP
	res     *resolver
}

func newNameServer(t *testing.T) *nameServer {
	t.Helper()
	s := &nameServer{answers: map[string][]string{}}
	s.asked.L = &s.mu
	ln, packets := bothPorts(t)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for _, d := range []*dns.Server{
		{PacketConn: packets, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.serve(w, q, true) })},
		{Listener: ln, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { s.serve(w, q, false) })},
	} {
		started := make(chan struct{})
		d.NotifyStartedFunc = func() { close(started) }
		go d.ActivateAndServe()
		<-started
		t.Cleanup(func() { d.Shutdown() })
	}
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 127.0.0.1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.res = &resolver{config: conf, port: port}
	return s
}

// bothPorts listens on the same port in TCP and UDP.
func bothPorts(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 50 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", ln.Addr().String())
		if err == nil {
			return ln, packets
		}
		ln.Close()
	}
	t.Fatal("no port is free in TCP and UDP")
	return nil, nil
}

func (s *nameServer) serve(w dns.ResponseWriter, q *dns.Msg, udp bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count++
	s.asked.Broadcast()
	m := new(dns.Msg).SetReply(q)
	m.Rcode = s.rcode
	if m.Rcode == dns.RcodeSuccess {
		for _, text := range s.answers[q.Question[0].Name+" "+dns.TypeToString[q.Question[0].Qtype]] {
			rr, err := dns.NewRR(text)
			if err != nil {
				panic(err)
			}
			m.Answer = append(m.Answer, rr)
		}
	}
	if udp && s.odd != nil {
		s.odd(m)
	}
	w.WriteMsg(m)
}

// say has the server answer with these records from now on, or with an error if there are none.
func (s *nameServer) say(rcode int, records ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rcode = rcode
	clear(s.answers)
	for _, text := range records {
		f := strings.Fields(text)
		s.answers[f[0]+" "+f[3]] = append(s.answers[f[0]+" "+f[3]], text)
	}
}

// change has odd the last word.
func (s *nameServer) change(odd func(m *dns.Msg)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.odd = odd
}

// heard waits until what the server says now has come to the pool: until so many questions more have been asked that the
// last belongs to a round which began after one that had all of it.
func (s *nameServer) heard(round int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for until := s.count + 2*round + 1; s.count < until; {
		s.asked.Wait()
	}
}

// named is a rig with a pool whose endpoints are names.
func named(t *testing.T, s *nameServer, least time.Duration, endpoints ...string) *rig {
	t.Helper()
	pool, err := NewPool("test", Config{Endpoints: endpoints, DeregistrationDelay: "0s"})
	if err != nil {
		t.Fatal(err)
	}
	pool.names.resolver, pool.names.least, pool.names.retry = s.res, least, least
	f := newRigOf(t, "http1", pool, Options{})
	pool.Start(nil)
	return f
}

// whereabouts is an upstream at all addresses of this machine, which answers with the one that was called.
func whereabouts(t *testing.T) (port string) {
	ln, err := net.Listen("tcp", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	up := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Context().Value(http.LocalAddrContextKey).(net.Addr).String())
		io.WriteString(w, host)
	}))
	up.Listener = ln
	up.Start()
	t.Cleanup(up.Close)
	_, port, _ = net.SplitHostPort(ln.Addr().String())
	return port
}

// gets counts the answers to n requests.
func (f *rig) gets(t *testing.T, n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		res, body := f.do(t, "GET", "/", nil)
		if res.StatusCode != 200 {
			body = fmt.Sprintf("%d %s", res.StatusCode, res.Header.Get("X-Reason"))
		}
		got[body]++
	}
	return got
}

func TestAPoolFollowsTheAddressesOfAName(t *testing.T) {
	t.Parallel()
	s := newNameServer(t)
	s.say(dns.RcodeSuccess, "app.test. 0 IN A 127.0.0.1", "app.test. 0 IN A 127.0.0.2")
	f := named(t, s, time.Millisecond, "dns://app.test:"+whereabouts(t))
	for _, tt := range []struct {
		name    string
		rcode   int
		records []string
		want    map[string]int
	}{
		{"two", dns.RcodeSuccess, []string{"app.test. 0 IN A 127.0.0.1", "app.test. 0 IN A 127.0.0.2"}, map[string]int{"127.0.0.1": 5, "127.0.0.2": 5}},
		{"another", dns.RcodeSuccess, []string{"app.test. 0 IN A 127.0.0.3"}, map[string]int{"127.0.0.3": 10}},
		{"a server that fails", dns.RcodeServerFailure, nil, map[string]int{"127.0.0.3": 10}},
		{"a name that is not there", dns.RcodeNameError, nil, map[string]int{"503 no_endpoint": 10}},
		{"and is again", dns.RcodeSuccess, []string{"app.test. 0 IN A 127.0.0.4"}, map[string]int{"127.0.0.4": 10}},
		{"a name with nothing", dns.RcodeSuccess, nil, map[string]int{"503 no_endpoint": 10}},
	} {
		s.say(tt.rcode, tt.records...)
		s.heard(4) // a server that fails is asked twice
		if got := f.gets(t, 10); cmp.Diff(got, tt.want) != "" {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestNoQuestionPerRequest(t *testing.T) {
	t.Parallel()
	s := newNameServer(t)
	s.say(dns.RcodeSuccess, "app.test. 300 IN A 127.0.0.1")
	f := named(t, s, minRefresh, "dns://app.test:"+whereabouts(t))
	f.gets(t, 50)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.count != 2 { // A and AAAA
		t.Errorf("got %d questions for 50 requests, want 2", s.count)
	}
}

func TestServices(t *testing.T) {
	t.Parallel()
	port := whereabouts(t)
	s := newNameServer(t)
	service := func(priority, weight int, target string) string {
		return fmt.Sprintf("_http._tcp.app.test. 0 IN SRV %d %d %s %s", priority, weight, port, target)
	}
	addresses := []string{
		"a.test. 0 IN A 127.0.0.1", "b.test. 0 IN A 127.0.0.2", "c.test. 0 IN A 127.0.0.3",
	}
	s.say(dns.RcodeSuccess, append(addresses, service(1, 3, "a.test."), service(1, 1, "b.test."), service(2, 9, "c.test."))...)
	f := named(t, s, time.Millisecond, "srv://_http._tcp.app.test")
	if got, want := f.gets(t, 40), map[string]int{"127.0.0.1": 30, "127.0.0.2": 10}; cmp.Diff(got, want) != "" {
		t.Errorf("the best priority, by weight: got %v, want %v", got, want)
	}
	s.say(dns.RcodeSuccess, append(addresses, service(1, 3, "gone.test."), service(1, 1, "."), service(2, 9, "c.test."))...)
	s.heard(5)
	if got := f.gets(t, 10)["127.0.0.3"]; got != 10 {
		t.Errorf("the next priority: got %d of 10", got)
	}
}

func TestResolver(t *testing.T) {
	t.Parallel()
	many := make([]string, 300)
	for i := range many {
		many[i] = fmt.Sprintf("app.test. 60 IN A 10.0.%d.%d", i/256, i%256)
	}
	for _, tt := range []struct {
		name    string
		rcode   int
		records []string
		odd     func(m *dns.Msg)
		want    string // addresses; or a number of them
		ttl     time.Duration
		none    bool // the answer is that there is nothing
		fails   bool
	}{
		{name: "both families", records: []string{"app.test. 60 IN A 10.0.0.1", "app.test. 30 IN AAAA 2001:db8::1"}, want: "10.0.0.1 2001:db8::1", ttl: 30 * time.Second},
		{name: "twice the same", records: []string{"app.test. 60 IN A 10.0.0.1", "app.test. 60 IN A 10.0.0.1"}, want: "10.0.0.1", ttl: -1},
		{name: "aliases", records: []string{"app.test. 20 IN CNAME b.test.", "b.test. 60 IN A 10.0.0.9"}, odd: func(m *dns.Msg) {
			if len(m.Answer) > 0 {
				return
			}
			alias, _ := dns.NewRR("app.test. 20 IN CNAME B.test.")
			a, _ := dns.NewRR("b.test. 60 IN A 10.0.0.1")
			other, _ := dns.NewRR("evil.test. 60 IN A 10.6.6.6")
			if m.Question[0].Qtype == dns.TypeA {
				m.Answer = []dns.RR{other, a, alias}
			}
		}, want: "10.0.0.1", ttl: -1},
		{name: "aliases in a circle", odd: func(m *dns.Msg) {
			a, _ := dns.NewRR("app.test. 20 IN CNAME b.test.")
			b, _ := dns.NewRR("b.test. 20 IN CNAME app.test.")
			m.Answer = []dns.RR{a, b}
		}, none: true},
		{name: "no addresses of hosts", records: []string{"app.test. 60 IN A 0.0.0.0", "app.test. 60 IN A 224.0.0.1", "app.test. 60 IN AAAA ::", "app.test. 60 IN A 255.255.255.255"}, none: true},
		{name: "an answer that is cut is asked for over TCP", records: []string{"app.test. 60 IN A 10.0.0.1"}, odd: func(m *dns.Msg) { m.Truncated, m.Answer = true, nil }, want: "10.0.0.1", ttl: -1},
		{name: "more than anybody has", records: many, odd: func(m *dns.Msg) { m.Truncated, m.Answer = true, nil }, want: "256", ttl: -1},
		{name: "no such name", rcode: dns.RcodeNameError, odd: func(m *dns.Msg) {
			soa, _ := dns.NewRR("test. 90 IN SOA a.test. b.test. 1 2 3 4 40")
			m.Ns = []dns.RR{soa}
		}, none: true, ttl: 40 * time.Second},
		{name: "a refusal", rcode: dns.RcodeRefused, fails: true},
		{name: "the answer to another question", records: []string{"app.test. 60 IN A 10.0.0.1"}, odd: func(m *dns.Msg) { m.Question[0].Name = "evil.test." }, fails: true},
		{name: "the answer to a question of another type", records: []string{"app.test. 60 IN A 10.0.0.1"}, odd: func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeTXT }, fails: true},
		{name: "a question for an answer", odd: func(m *dns.Msg) { m.Response = false }, fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newNameServer(t)
			s.say(tt.rcode, tt.records...)
			s.change(tt.odd)
			found, ttl, err := s.res.addresses(t.Context(), "app.test")
			var texts []string
			for _, a := range found {
				texts = append(texts, a.String())
			}
			got := strings.Join(texts, " ")
			if n, err := strconv.Atoi(tt.want); err == nil {
				got = tt.want
				if len(found) != n {
					t.Errorf("got %d addresses, want %d", len(found), n)
				}
			}
			if got != tt.want || errors.Is(err, errNoName) != tt.none || (err != nil) != (tt.none || tt.fails) {
				t.Errorf("got %s, %v; want %q, none %t, failure %t", got, err, tt.want, tt.none, tt.fails)
			}
			if tt.ttl > 0 && ttl != tt.ttl {
				t.Errorf("TTL: got %s, want %s", ttl, tt.ttl)
			}
		})
	}
}

func TestServerThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	s := newNameServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.change(func(*dns.Msg) { cancel() })
	s.say(dns.RcodeServerFailure)
	if _, _, err := s.res.addresses(ctx, "app.test"); err == nil || errors.Is(err, errNoName) {
		t.Errorf("got %v, want a failure", err)
	}
}

func TestAReloadKeepsWhatNamesStandFor(t *testing.T) {
	t.Parallel()
	s := newNameServer(t)
	s.say(dns.RcodeSuccess, "app.test. 300 IN A 127.0.0.1")
	f := named(t, s, minRefresh, "dns://app.test:"+whereabouts(t))
	f.gets(t, 1)
	before := f.pool.members[0].endpoint
	next, err := NewPool("test", Config{Endpoints: []string{f.pool.names.all[0].text}, DeregistrationDelay: "1s"})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	next.Succeed(f.pool)
	if len(next.members) != 1 || next.members[0].endpoint != before {
		t.Errorf("got %v, want the endpoint of before", next.members)
	}
	select {
	case <-next.names.done:
	default:
		t.Error("somebody would have to wait for a first answer")
	}
}

func TestParseName(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"dns://app.internal:8080":                "http app.internal:8080 app.internal:8080",
		"dns+https://app.internal weight=3":      "https app.internal:443 app.internal",
		"srv://_http._tcp.app.internal":          "http srv://_http._tcp.app.internal _http._tcp.app.internal",
		"srv+https://_http._tcp.app.internal":    "https srv+https://_http._tcp.app.internal _http._tcp.app.internal",
		"dns://10.0.0.1:80":                      "",
		"dns://[::1]:80":                         "",
		"dns://app.internal/path":                "",
		"dns+ftp://app.internal":                 "",
		"srv://app":                              "",
		"srv://_http._tcp.app.internal:80":       "",
		"srv://_http._tcp.app.internal weight=2": "",
		"srv://u@_http._tcp.app.internal":        "",
		"dns://":                                 "",
	} {
		n, ok, err := parseName(in)
		got := ""
		if err == nil {
			got = n.scheme + " " + n.dial + " " + n.host
		}
		if !ok || got != want {
			t.Errorf("%s: got %q, %v; want %q", in, got, err, want)
		}
	}
	if _, ok, _ := parseName("http://app.internal"); ok {
		t.Error("an ordinary endpoint was taken for a name")
	}
}

func TestWeightsOfServices(t *testing.T) {
	t.Parallel()
	targets := []target{{weight: 0}, {weight: 65535}, {weight: 32768}}
	scale(targets)
	var got []int
	for _, x := range targets {
		got = append(got, x.weight)
	}
	if want := []int{1, 1000, 500}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := usable([]netip.Addr{netip.MustParseAddr("10.0.0.1")}); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

func FuzzNameServerAnswer(f *testing.F) {
	q, err := newQuestion("app.test", dnsmessage.TypeSRV)
	if err != nil {
		f.Fatal(err)
	}
	m := new(dns.Msg).SetQuestion("app.test.", dns.TypeSRV)
	m.Id, m.Response = 1, true
	for _, text := range []string{"app.test. 60 IN SRV 1 2 80 a.test.", "app.test. 60 IN CNAME b.test.", "app.test. 60 IN A 10.0.0.1", "app.test. 60 IN AAAA ::1"} {
		rr, err := dns.NewRR(text)
		if err != nil {
			f.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	seed, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Add(seed[:20])
	f.Fuzz(func(t *testing.T, m []byte) {
		got, _, err := q.read(m, 1)
		if err == nil && (got.ttl < 0 || got.ttl > resolverTTL || len(got.addrs) > maxRecords || len(got.services) > maxRecords) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestQuestionsAreWhatAnotherReads(t *testing.T) {
	t.Parallel()
	q, err := newQuestion("_http._tcp.app.test", dnsmessage.TypeSRV)
	if err != nil {
		t.Fatal(err)
	}
	var m dns.Msg
	if err := m.Unpack(q.wire); err != nil {
		t.Fatal(err)
	}
	if opt := m.IsEdns0(); len(m.Question) != 1 || m.Question[0].String() != ";_http._tcp.app.test.\tIN\t SRV" || !m.RecursionDesired || opt == nil || opt.UDPSize() != dnsSize {
		t.Errorf("got %s", m.String())
	}
	for _, bad := range []string{"", ".", "a..b", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 127) + "test"} {
		if _, err := newQuestion(bad, dnsmessage.TypeA); err == nil {
			t.Errorf("%q: want an error", bad)
		}
	}
}
