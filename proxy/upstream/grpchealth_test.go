package upstream

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// grpcServer answers grpc.health.v1 as it is told to, over h2c or over TLS, and gives what it was asked.
func grpcServer(t *testing.T, secure bool, asked chan string) (url string, answer *atomic.Value) {
	t.Helper()
	answer = &atomic.Value{}
	answer.Store("")
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		select {
		case asked <- strings.Join([]string{r.Proto, r.Method, r.URL.Path, r.Header.Get("Content-Type"), r.Header.Get("Te"), string(b)}, " "):
		default:
		}
		body, status, _ := strings.Cut(answer.Load().(string), "|")
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		io.WriteString(w, body)
		w.Header().Set("Grpc-Status", status)
	}))
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP2(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	if secure {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.URL, answer
}

const (
	serving    = "\x00\x00\x00\x00\x02\x08\x01|0"
	notServing = "\x00\x00\x00\x00\x02\x08\x02|0"
	unknown    = "|5" // NOT_FOUND: the server does not know the service
)

func TestChecksByGRPC(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		asked := make(chan string, 1)
		url, answer := grpcServer(t, secure, asked)
		answer.Store(unknown)
		service := "shop.Cart"
		_, told := checked(t, Config{
			Endpoints: []string{url}, Protocol: HTTP2, TLS: TLS{InsecureSkipVerify: secure}, Health: &HealthConfig{GRPC: &service, Unhealthy: 1, Healthy: 1},
		})
		if got, want := <-asked, "HTTP/2.0 POST /grpc.health.v1.Health/Check application/grpc trailers \x00\x00\x00\x00\x0b\x0a\x09shop.Cart"; got != want {
			t.Errorf("asked: got %q, want %q", got, want)
		}
		for _, tt := range []struct {
			answer string
			well   bool
			reason string
		}{{unknown, false, "gRPC status 5"}, {serving, true, ""}, {notServing, false, "not serving"}} {
			answer.Store(tt.answer)
			if h := hear(t, told); h.Well != tt.well || h.Reason != tt.reason {
				t.Errorf("TLS %t, %q: got %+v", secure, tt.answer, h)
			}
		}
	}
}

// A server of HTTP/2 alone is checked in HTTP/2.
func TestChecksOverHTTP2(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		asked := make(chan string, 1)
		url, _ := grpcServer(t, secure, asked)
		p, told := checked(t, Config{
			Endpoints: []string{url}, Protocol: HTTP2, TLS: TLS{InsecureSkipVerify: secure}, Health: &HealthConfig{Path: "/health", Status: "201"},
		})
		if h := hear(t, told); h.Reason != "status 200" {
			t.Errorf("TLS %t: got %+v, want an answer", secure, h)
		}
		if got := <-asked; got != "HTTP/2.0 GET /health   " {
			t.Errorf("asked: got %q", got)
		}
		p.Close()
	}
}

// Checks leave alone how the connections of requests are made, which are opened meanwhile.
func TestChecksShareNothingWithRequests(t *testing.T) {
	t.Parallel()
	url, _ := grpcServer(t, true, make(chan string, 100))
	p := newClock().pool(t, Config{
		Endpoints: []string{url}, Protocol: HTTP2, TLS: TLS{InsecureSkipVerify: true}, Health: &HealthConfig{Path: "/health", Status: "200"},
	})
	ep := p.plan.Load().all[0].endpoint
	checked := make(chan error)
	go func() {
		client := p.checks.client(ep)
		defer client.CloseIdleConnections()
		checked <- p.checks.check(t.Context(), client, ep)
	}()
	c, err := ep.dial(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	c.abort()
	if err := <-checked; err != nil {
		t.Error(err)
	}
}

func TestAnswersOfGRPCHealth(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		frame string
		want  string
	}{
		"serving":                  {"\x00\x00\x00\x00\x02\x08\x01", ""},
		"not serving":              {"\x00\x00\x00\x00\x02\x08\x02", "not serving"},
		"unknown":                  {"\x00\x00\x00\x00\x00", "not serving"},
		"fields of later versions": {"\x00\x00\x00\x00\x14\x12\x02ab\x19abcdefgh\x25abcd\x08\x01", ""},
		"the last one counts":      {"\x00\x00\x00\x00\x04\x08\x01\x08\x02", "not serving"},
		"empty":                    {"", "no answer of grpc.health.v1"},
		"compressed":               {"\x01\x00\x00\x00\x02\x08\x01", "no answer of grpc.health.v1"},
		"too long a length":        {"\x00\x00\x00\x00\x03\x08\x01", "no answer of grpc.health.v1"},
		"two frames":               {"\x00\x00\x00\x00\x02\x08\x01\x00\x00\x00\x00\x00", "no answer of grpc.health.v1"},
		"a field that breaks off":  {"\x00\x00\x00\x00\x03\x12\x05a", "no answer of grpc.health.v1"},
		"a group":                  {"\x00\x00\x00\x00\x01\x0b", "no answer of grpc.health.v1"},
		"a number without an end":  {"\x00\x00\x00\x00\x02\x08\x80", "no answer of grpc.health.v1"},
	} {
		err, got := grpcHealthAnswer([]byte(tt.frame)), ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%s: got %q, want %q", name, got, tt.want)
		}
	}
	if got := grpcHealthRequest(""); !bytes.Equal(got, make([]byte, 5)) {
		t.Errorf("the server as a whole: got %q, want an empty message", got)
	}
}

func FuzzGRPCHealthAnswer(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02\x08\x01"))
	f.Add([]byte("\x00\x00\x00\x00\x14\x12\x02ab\x19abcdefgh\x25abcd\x08\x01"))
	f.Fuzz(func(t *testing.T, frame []byte) {
		if grpcHealthAnswer(frame) == nil && !bytes.Contains(frame, []byte{8}) {
			t.Errorf("%q is taken for SERVING without field 1", frame)
		}
	})
}
