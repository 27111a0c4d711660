package e2e

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// startTalk is a server of gRPC that sends every message back, whatever is called.
func startTalk(t *testing.T) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
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
	}))
	go server.Serve(ln)
	t.Cleanup(server.Stop)
	return ln.Addr().String()
}

func TestCallsOfGRPC(t *testing.T) {
	t.Parallel()
	s := startOpen(t, siteSpec{
		upstream: fmt.Sprintf("{endpoints: [\"http://%s\"], protocol: http2}\n  dead: {endpoints: [\"http://127.0.0.1:9\"], protocol: http2}", startTalk(t)),
		top:      "limits: {one: {rate: 1/1h}}",
		routes: `
  - {match: app.example.test/open.Talk/*, to: u, require: nothing}
  - {match: app.example.test/limited.Talk/*, to: u, require: nothing, limit: one}
  - {match: app.example.test/small.Talk/*, to: u, require: nothing, max_body: 1KiB}
  - {match: app.example.test/dead.Talk/*, to: dead, require: nothing}
`,
	})
	c, err := grpc.NewClient(
		"passthrough:///"+s.addr, grpc.WithAuthority(appHost),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, ServerName: appHost})),
	)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	call := func(method, text string) (string, error) {
		m := new(wrapperspb.StringValue)
		err := c.Invoke(t.Context(), method, wrapperspb.String(text), m)
		return m.Value, err
	}
	if got, err := call("/open.Talk/Do", "hello"); err != nil || got != "hello" {
		t.Errorf("unary: got %q, %v", got, err)
	}
	if event := s.event(func(e map[string]any) bool { return e["path"] == "/open.Talk/Do" }); event["grpc_status"] != "0" || event["upstream"].(map[string]any)["protocol"] != "HTTP/2.0" {
		t.Errorf("event: got %v", event)
	}
	stream, err := c.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/open.Talk/Stream")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		m := new(wrapperspb.StringValue)
		if err := errors.Join(stream.SendMsg(wrapperspb.String(fmt.Sprint(i))), stream.RecvMsg(m)); err != nil || m.Value != fmt.Sprint(i) {
			t.Fatalf("stream: got %q, %v; want %d before the next message", m.Value, err, i)
		}
	}
	stream.CloseSend()
	if err := stream.RecvMsg(new(wrapperspb.StringValue)); err != io.EOF {
		t.Errorf("the stream's end: got %v", err)
	}
	call("/limited.Talk/Do", "the one that is allowed")
	for _, tt := range []struct {
		method, text string
		code         codes.Code
	}{
		{"/limited.Talk/Do", "one more", codes.Unavailable},
		{"/small.Talk/Do", strings.Repeat("a", 10<<10), codes.ResourceExhausted},
		{"/dead.Talk/Do", "x", codes.Unavailable},
		{"/nowhere.Talk/Do", "x", codes.Unimplemented},
	} {
		_, err := call(tt.method, tt.text)
		got := status.Convert(err)
		if got.Code() != tt.code || !strings.Contains(got.Message(), "(request ") {
			t.Errorf("%s: got %v, want %s with the request's id", tt.method, err, tt.code)
			continue
		}
		_, id, _ := strings.Cut(got.Message(), "(request ")
		if event := s.eventWithID(strings.TrimSuffix(id, ")")); event["denied"] == nil || event["grpc_status"] != fmt.Sprint(int(tt.code)) {
			t.Errorf("%s: event: got %v", tt.method, event)
		}
	}
}
