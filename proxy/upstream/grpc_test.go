package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// text is a message of the test's service.
func text(s string) *wrapperspb.StringValue { return wrapperspb.String(s) }

// talk is the test's service: what a call does depends on the first message.
func talk(_ any, stream grpc.ServerStream) error {
	first := new(wrapperspb.StringValue)
	if err := stream.RecvMsg(first); err != nil {
		return err
	}
	stream.SetTrailer(metadata.Pairs("x-trailer", "t"))
	switch first.Value {
	case "sum": // one answer to many messages
		n := 0
		for {
			m := new(wrapperspb.StringValue)
			if err := stream.RecvMsg(m); errors.Is(err, io.EOF) {
				return stream.SendMsg(text(fmt.Sprint(n)))
			} else if err != nil {
				return err
			}
			n += len(m.Value)
		}
	case "count": // many answers to one message
		for i := range 5 {
			if err := stream.SendMsg(text(fmt.Sprint(i))); err != nil {
				return err
			}
		}
		return nil
	case "echo": // one answer to each message, before the next
		for {
			m := new(wrapperspb.StringValue)
			if err := stream.RecvMsg(m); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return err
			}
			if err := stream.SendMsg(m); err != nil {
				return err
			}
		}
	case "fail": // a status with nothing before it
		return status.Error(codes.FailedPrecondition, "not now: 100%")
	case "fail late": // a status behind a message
		if err := stream.SendMsg(text("x")); err != nil {
			return err
		}
		return status.Error(codes.Aborted, "after all")
	case "wait": // until the caller gives up
		stream.SendHeader(metadata.Pairs("x-header", "h"))
		<-stream.Context().Done()
		return status.FromContextError(stream.Context().Err()).Err()
	}
	return stream.SendMsg(text("hello " + first.Value))
}

// calls is a front of a real server of gRPC, and a real client of the front.
func calls(t *testing.T, edit func(*Config), opts Options) (*rig, *grpc.ClientConn, *grpc.Server) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(talk))
	go server.Serve(ln)
	t.Cleanup(server.Stop)
	cfg := Config{Endpoints: []string{"http://" + ln.Addr().String()}, Protocol: HTTP2}
	if edit != nil {
		edit(&cfg)
	}
	f := newRig(t, "http2", cfg, opts)
	roots := f.client.Transport.(*http.Transport).TLSClientConfig.RootCAs
	client, err := grpc.NewClient("passthrough:///"+f.Listener.Addr().String(), grpc.WithTransportCredentials(credentials.NewClientTLSFromCert(roots, "example.com")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return f, client, server
}

// open starts a call with its first message.
func open(t *testing.T, ctx context.Context, c *grpc.ClientConn, first string) grpc.ClientStream { //nolint:revive // t is first in a test's helpers
	t.Helper()
	s, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Talk/Do")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SendMsg(text(first)); err != nil {
		t.Fatal(err)
	}
	return s
}

// take receives one message.
func take(t *testing.T, s grpc.ClientStream) string {
	t.Helper()
	m := new(wrapperspb.StringValue)
	if err := s.RecvMsg(m); err != nil {
		t.Fatal(err)
	}
	return m.Value
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	f, c, _ := calls(t, nil, Options{})
	t.Run("unary", func(t *testing.T) {
		m := new(wrapperspb.StringValue)
		var trailer metadata.MD
		if err := c.Invoke(t.Context(), "/test.Talk/Do", text("world"), m, grpc.Trailer(&trailer)); err != nil || m.Value != "hello world" {
			t.Errorf("got %q, %v", m.Value, err)
		}
		if got := trailer.Get("x-trailer"); len(got) != 1 || got[0] != "t" {
			t.Errorf("trailer: got %v", trailer)
		}
		if r := <-f.results; r.GRPC != "0" || r.Status != 200 || r.Protocol != "HTTP/2.0" || r.Err != nil {
			t.Errorf("result: got %+v", r)
		}
	})
	t.Run("a stream of the client's", func(t *testing.T) {
		s := open(t, t.Context(), c, "sum")
		big := text(strings.Repeat("a", 100_000))
		for range 20 {
			if err := s.SendMsg(big); err != nil {
				t.Fatal(err)
			}
		}
		s.CloseSend()
		if got := take(t, s); got != "2000000" {
			t.Errorf("got %q", got)
		}
		if err := s.RecvMsg(new(wrapperspb.StringValue)); err != io.EOF {
			t.Errorf("end: got %v", err)
		}
	})
	t.Run("a stream of the server's", func(t *testing.T) {
		s := open(t, t.Context(), c, "count")
		s.CloseSend()
		for i := range 5 {
			if got := take(t, s); got != fmt.Sprint(i) {
				t.Errorf("got %q, want %d", got, i)
			}
		}
		if err := s.RecvMsg(new(wrapperspb.StringValue)); err != io.EOF {
			t.Errorf("end: got %v", err)
		}
	})
	t.Run("streams both ways, each message before the next", func(t *testing.T) {
		s := open(t, t.Context(), c, "echo")
		for i := range 5 {
			if err := s.SendMsg(text(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
			if got := take(t, s); got != fmt.Sprint(i) {
				t.Errorf("got %q, want %d", got, i)
			}
		}
		s.CloseSend()
		if err := s.RecvMsg(new(wrapperspb.StringValue)); err != io.EOF {
			t.Errorf("end: got %v", err)
		}
	})
	t.Run("a status with nothing before it", func(t *testing.T) {
		err := c.Invoke(t.Context(), "/test.Talk/Do", text("fail"), new(wrapperspb.StringValue))
		if s := status.Convert(err); s.Code() != codes.FailedPrecondition || s.Message() != "not now: 100%" {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a status behind a message", func(t *testing.T) {
		s := open(t, t.Context(), c, "fail late")
		take(t, s)
		if err := s.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.Aborted {
			t.Errorf("got %v", err)
		}
	})
}

func TestACallThatIsCancelledEndsAtTheUpstream(t *testing.T) {
	t.Parallel()
	f, c, server := calls(t, nil, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	s := open(t, ctx, c, "wait")
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if r := <-f.results; r.Err == nil {
		t.Errorf("result: got %+v, want an error", r)
	}
	server.GracefulStop() // returns when the call is over there
}

// The client's own clock is not what ends these calls: they tell the gateway of less time than they give themselves.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	f, _, server := calls(t, nil, Options{})
	call := func(t *testing.T, timeout, first string) *http.Response {
		req, err := http.NewRequestWithContext(t.Context(), "POST", f.URL+"/test.Talk/Do", strings.NewReader("\x00\x00\x00\x00"+string(rune(len(first)+2))+"\x0a"+string(rune(len(first)))+first))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc+proto")
		req.Header.Set("Te", "trailers")
		req.Header.Set("Grpc-Timeout", timeout)
		res, err := f.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	t.Run("over before an answer", func(t *testing.T) {
		res := call(t, "1n", "wait")
		var e *Error
		if r := <-f.results; res.StatusCode != 504 || !errors.As(r.Err, &e) || e.Reason != ReasonDeadline || e.GRPCCode() != 4 {
			t.Errorf("got %d, %+v; want 504 %s", res.StatusCode, r, ReasonDeadline)
		}
	})
	t.Run("over within an answer", func(t *testing.T) {
		res := call(t, "500m", "wait")
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		if got := res.Trailer.Get("Grpc-Status"); res.Header.Get("X-Header") != "h" || got != "4" {
			t.Errorf("got status %q, header %v; want 4", got, res.Header)
		}
		<-f.results
	})
	t.Run("enough", func(t *testing.T) {
		res := call(t, "99999999H", "you")
		if body, err := io.ReadAll(res.Body); err != nil || !strings.HasSuffix(string(body), "hello you") || res.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("got %q, %v, %v", body, err, res.Trailer)
		}
	})
	for _, bad := range []string{"", "1", "S", "1x", "123456789S", "-1S", "+1S", "1.5S", " 1S"} {
		t.Run(fmt.Sprintf("%q is refused", bad), func(t *testing.T) {
			if _, err := parseGRPCTimeout(bad); err == nil {
				t.Error("want an error")
			}
		})
	}
	server.GracefulStop()
}

func TestACallThatBreaksOffHasAStatus(t *testing.T) {
	t.Parallel()
	_, c, server := calls(t, nil, Options{})
	s := open(t, t.Context(), c, "wait")
	if _, err := s.Header(); err != nil {
		t.Fatal(err)
	}
	server.Stop()
	if err := s.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
}

// A server that stops in good order ends no call: those that it has go on, others go elsewhere.
func TestCallsOutlastAServerThatStops(t *testing.T) {
	t.Parallel()
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	second := grpc.NewServer(grpc.UnknownServiceHandler(talk))
	go second.Serve(other)
	t.Cleanup(second.Stop)
	_, c, first := calls(t, func(cfg *Config) { cfg.Endpoints = append(cfg.Endpoints, "http://"+other.Addr().String()) }, Options{})
	streams := []grpc.ClientStream{open(t, t.Context(), c, "echo"), open(t, t.Context(), c, "echo")} // one at each
	for _, s := range streams {
		s.SendMsg(text("a"))
		take(t, s)
	}
	stopped := make(chan struct{})
	go func() { first.GracefulStop(); close(stopped) }()
	for range 20 {
		m := new(wrapperspb.StringValue)
		if err := c.Invoke(t.Context(), "/test.Talk/Do", text("x"), m); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range streams {
		s.SendMsg(text("b"))
		take(t, s)
		s.CloseSend()
		if err := s.RecvMsg(new(wrapperspb.StringValue)); err != io.EOF {
			t.Errorf("end: got %v", err)
		}
	}
	<-stopped
}

func FuzzGRPCTimeout(f *testing.F) {
	for _, s := range []string{"1S", "99999999H", "0n", "5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := parseGRPCTimeout(s); err == nil && (d < 0 || d > maxGRPCTimeout) {
			t.Errorf("%q: got %s", s, d)
		}
	})
}
