package wire

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// v2 builds a header of version 2.
func v2(command, family byte, payload ...byte) string {
	b := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), command, family)
	return string(append(binary.BigEndian.AppendUint16(b, uint16(len(payload))), payload...))
}

// Addresses of version 2: client, load balancer and their ports.
var (
	v2of4 = [...]byte{203, 0, 113, 7, 10, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb}
	v2of6 = [...]byte{
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7,
		0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0x30, 0x39, 0x01, 0xbb,
	}
	// The TLV that an NLB sends for an endpoint of PrivateLink: type, length, subtype, id (AWS, "Proxy protocol").
	v2endpoint = "\xea\x00\x17\x01vpce-08d2bf15fac5001c9"
)

func peerOf(w http.ResponseWriter, r *http.Request) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		deny(w, err)
		return
	}
	_, _ = io.WriteString(w, host)
}

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

func TestTheClientIsWhoTheLoadBalancerNames(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(peerOf), Options{ProxyProtocol: ProxyProtocol{From: loopback}})
	for name, c := range map[string]struct{ header, want string }{
		"version 1, IPv4":                     {"PROXY TCP4 203.0.113.7 10.0.0.1 12345 443\r\n", "203.0.113.7"},
		"version 1, IPv6":                     {"PROXY TCP6 2001:db8::7 2001:db8::1 12345 443\r\n", "2001:db8::7"},
		"version 1, IPv4 in IPv6":             {"PROXY TCP6 ::ffff:203.0.113.7 ::ffff:10.0.0.1 12345 443\r\n", "203.0.113.7"},
		"version 1, unknown":                  {"PROXY UNKNOWN\r\n", "127.0.0.1"},
		"version 1, unknown and what follows": {"PROXY UNKNOWN " + strings.Repeat("f", 91) + "\r\n", "127.0.0.1"},
		"version 2, IPv4":                     {v2(0x21, 0x11, v2of4[:]...), "203.0.113.7"},
		"version 2, IPv6":                     {v2(0x21, 0x21, v2of6[:]...), "2001:db8::7"},
		"version 2, with an endpoint's id":    {v2(0x21, 0x11, append(v2of4[:], v2endpoint...)...), "203.0.113.7"},
		"version 2, as long as may be":        {v2(0x21, 0x11, append(v2of4[:], make([]byte, maxProxyHeader-16-len(v2of4))...)...), "203.0.113.7"},
		"version 2, a health check":           {v2(0x20, 0x00), "127.0.0.1"},
		"version 2, one with addresses":       {v2(0x20, 0x11, v2of4[:]...), "127.0.0.1"},
		"version 2, no addresses":             {v2(0x21, 0x00), "127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// At once with what follows, and byte by byte.
			for _, dial := range []func(t *testing.T, address, header string) net.Conn{together, byByte} {
				plain := dial(t, f.plain, c.header)
				send(t, plain, "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
				equal(t, answers(t, plain), "200 "+c.want)
				for _, h2 := range []bool{false, true} {
					if got := f.through(t, h2, func() net.Conn { return dial(t, f.tls, c.header) }); got != c.want {
						t.Errorf("over TLS, HTTP/2 %t: got %s, want %s", h2, got, c.want)
					}
				}
			}
		})
	}
}

// through asks the TLS listener over connections that dial makes, and returns the answer.
func (f *front) through(t *testing.T, h2 bool, dial func() net.Conn) string {
	t.Helper()
	client := f.client(t, h2)
	client.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) { return dial(), nil }
	resp, err := client.Get("https://a.test/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.ProtoMajor == 2 != h2 {
		t.Fatalf("%s, %v", resp.Proto, err)
	}
	return string(got)
}

// A headed connection has a header to be sent in one write with the first bytes.
type headed struct {
	net.Conn
	header string
}

func (h *headed) Write(b []byte) (int, error) {
	header := h.header
	h.header = ""
	n, err := h.Conn.Write(append([]byte(header), b...))
	return max(0, n-len(header)), err
}

func together(t *testing.T, address, header string) net.Conn {
	t.Helper()
	return &headed{Conn: connect(t, address), header: header}
}

func byByte(t *testing.T, address, header string) net.Conn {
	t.Helper()
	c := connect(t, address)
	for i := range len(header) {
		send(t, c, header[i:i+1]) // a packet of its own: Go sets TCP_NODELAY
	}
	return c
}

func connect(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// closed fails unless the server closes c without an answer.
func closed(t *testing.T, c net.Conn) {
	t.Helper()
	if got, err := io.ReadAll(c); len(got) > 0 || isTimeout(err) {
		t.Errorf("read %q, %v; want the connection closed", got, err)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

func TestWrongBeginningsOfConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	tcp4 := "PROXY TCP4 203.0.113.7 10.0.0.1 12345 443"
	for name, c := range map[string]struct {
		stream string
		want   error
	}{
		"none":                       {get, errProxyAbsent},
		"none, TLS":                  {"\x16\x03\x01\x02\x00\x01", errProxyAbsent},
		"version 1, bare LF":         {tcp4 + "\n" + get, errProxyLine},
		"version 1, bare CR":         {tcp4 + "\r" + get, errProxyLine},
		"version 1, no end":          {tcp4 + strings.Repeat(" ", 107), errProxyLong},
		"version 1, unknown, no end": {"PROXY UNKNOWN " + strings.Repeat("f", 107), errProxyLong},
		"version 1, another family":  {"PROXY UDP4 203.0.113.7 10.0.0.1 12345 443\r\n" + get, errProxyLine},
		"version 1, lower case":      {"proxy TCP4 203.0.113.7 10.0.0.1 12345 443\r\n" + get, errProxyAbsent},
		"version 1, two blanks":      {"PROXY TCP4  203.0.113.7 10.0.0.1 12345 443\r\n" + get, errProxyLine},
		"version 1, a field more":    {tcp4 + " 1\r\n" + get, errProxyLine},
		"version 1, a field less":    {"PROXY TCP4 203.0.113.7 10.0.0.1 12345\r\n" + get, errProxyLine},
		"version 1, mixed families":  {"PROXY TCP4 2001:db8::7 2001:db8::1 12345 443\r\n" + get, errProxyLine},
		"version 1, IPv4 as TCP6":    {"PROXY TCP6 203.0.113.7 10.0.0.1 12345 443\r\n" + get, errProxyLine},
		"version 1, a zone":          {"PROXY TCP6 fe80::7%eth0 2001:db8::1 12345 443\r\n" + get, errProxyLine},
		"version 1, octal":           {"PROXY TCP4 0203.0.113.7 10.0.0.1 12345 443\r\n" + get, errProxyLine},
		"version 1, a name":          {"PROXY TCP4 localhost 10.0.0.1 12345 443\r\n" + get, errProxyLine},
		"version 1, port too large":  {"PROXY TCP4 203.0.113.7 10.0.0.1 65536 443\r\n" + get, errProxyLine},
		"version 1, port with zero":  {"PROXY TCP4 203.0.113.7 10.0.0.1 012345 443\r\n" + get, errProxyLine},
		"version 1, port with sign":  {"PROXY TCP4 203.0.113.7 10.0.0.1 +12345 443\r\n" + get, errProxyLine},
		"version 1, nothing":         {"PROXY \r\n" + get, errProxyLine},
		"version 2, version 1":       {v2(0x11, 0x11, v2of4[:]...) + get, errProxyVersion},
		"version 2, another command": {v2(0x22, 0x11, v2of4[:]...) + get, errProxyVersion},
		"version 2, UDP":             {v2(0x21, 0x12, v2of4[:]...) + get, errProxyFamily},
		"version 2, UDP over IPv6":   {v2(0x21, 0x22, v2of6[:]...) + get, errProxyFamily},
		"version 2, unix":            {v2(0x21, 0x31, make([]byte, 216)...) + get, errProxyFamily},
		"version 2, short addresses": {v2(0x21, 0x11, v2of4[:11]...) + get, errProxyShort},
		"version 2, short IPv6":      {v2(0x21, 0x21, v2of4[:]...) + get, errProxyShort},
		"version 2, one byte longer": {v2(0x21, 0x11, make([]byte, maxProxyHeader-15)...), errProxyLong},
		"version 2, longest length":  {v2(0x20, 0x00, make([]byte, 65535)...)[:16], errProxyLong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, answer(echo), Options{ProxyProtocol: ProxyProtocol{From: loopback, Direct: true}})
			for i, address := range []string{f.plain, f.tls} {
				conn := connect(t, address)
				_, _ = io.WriteString(conn, c.stream) // it may be closed before the end
				closed(t, conn)
				await(t, func() bool { return len(f.reported()) == i+1 })
				err, ok := errors.AsType[*ProxyProtocolError](f.reported()[i])
				if !ok || !errors.Is(err, c.want) {
					t.Errorf("reported %v, want %v", f.reported()[i], c.want)
				}
			}
		})
	}
}

func TestHeadersOfOthersAreNotBelieved(t *testing.T) {
	t.Parallel()
	elsewhere := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, header := range []string{"PROXY TCP4 203.0.113.7 10.0.0.1 12345 443\r\n", v2(0x21, 0x11, v2of4[:]...), v2(0x20, 0x00), ""} {
		refuse := newFront(t, answer(peerOf), Options{ProxyProtocol: ProxyProtocol{From: elsewhere}})
		for _, address := range []string{refuse.plain, refuse.tls} {
			c := connect(t, address)
			_, _ = io.WriteString(c, header+get)
			closed(t, c)
		}
		await(t, func() bool { return len(refuse.reported()) == 2 })
		if err := refuse.reported()[0]; !errors.Is(err, errProxyPeer) {
			t.Errorf("reported %v, want %v", err, errProxyPeer)
		}

		direct := newFront(t, answer(peerOf), Options{ProxyProtocol: ProxyProtocol{From: elsewhere, Direct: true}})
		if header == "" {
			if got := direct.through(t, true, func() net.Conn { return connect(t, direct.tls) }); got != "127.0.0.1" {
				t.Errorf("without a header: got %s, want the peer", got)
			}
			continue
		}
		c := connect(t, direct.plain)
		send(t, c, header+"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
		if got := answers(t, c); len(got) != 1 || !strings.HasPrefix(got[0], "400 ") {
			t.Errorf("%q before a request: got %q, want 400", header, got)
		}
		if err := tls.Client(&headed{Conn: connect(t, direct.tls), header: header}, &tls.Config{RootCAs: direct.roots, ServerName: "a.test"}).Handshake(); err == nil {
			t.Errorf("%q before TLS: the handshake was answered", header)
		}
	}
}

func TestAHeaderThatDoesNotComeHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(peerOf), Options{ProxyProtocol: ProxyProtocol{From: loopback}})
	for range 4 * maxHandshakes() {
		send(t, connect(t, f.tls), "PROXY TCP4 203.0.113.7 ")
	}
	await(t, func() bool { return f.Stats().Handshaking == 4*maxHandshakes() })
	if got := f.through(t, true, func() net.Conn { return together(t, f.tls, v2(0x21, 0x11, v2of4[:]...)) }); got != "203.0.113.7" {
		t.Errorf("got %s", got)
	}

	hasty := newFront(t, answer(peerOf), Options{ProxyProtocol: ProxyProtocol{From: loopback}, HandshakeTimeout: 20 * time.Millisecond})
	for _, address := range []string{hasty.plain, hasty.tls} {
		c := connect(t, address)
		send(t, c, "PROXY ")
		closed(t, c)
	}
	await(t, func() bool { return hasty.open() == 0 })
}

// Health checks of an NLB connect, some of them say LOCAL, and go.
func TestHealthChecksAreNoErrors(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(peerOf), Options{ProxyProtocol: ProxyProtocol{From: loopback}})
	for _, address := range []string{f.plain, f.tls} {
		for _, header := range []string{"", v2(0x20, 0x00), "PROXY UNKNOWN\r\n"} {
			c := connect(t, address)
			send(t, c, header)
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			closed(t, c)
		}
	}
	await(t, func() bool { return f.open() == 0 })
	if errs := f.reported(); len(errs) > 0 {
		t.Errorf("reported %v, want nothing", errs)
	}
}

// Others, such as HAProxy's, end by a reset.
func TestHealthChecksThatResetAreNoErrors(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(peerOf), Options{ProxyProtocol: ProxyProtocol{From: loopback}})
	accepted := uint64(0)
	for _, address := range []string{f.plain, f.tls} {
		for _, header := range []string{"", v2(0x20, 0x00)} {
			c := connect(t, address)
			send(t, c, header)
			accepted++
			await(t, func() bool { return f.Stats().Accepted == accepted })
			if err := c.(*net.TCPConn).SetLinger(0); err != nil {
				t.Fatal(err)
			}
			c.Close()
			await(t, func() bool { return f.open() == 0 })
		}
	}
	if errs := f.reported(); len(errs) > 0 {
		t.Errorf("reported %v, want nothing", errs)
	}
}

// FuzzProxyHeader holds the reader of headers to what it may say of bytes: never more than there are, the same however they are
// cut, and nothing of a header that is not the whole of one.
func FuzzProxyHeader(f *testing.F) {
	for _, s := range []string{
		"PROXY TCP4 203.0.113.7 10.0.0.1 12345 443\r\nGET", "PROXY TCP6 2001:db8::7 ::1 1 2\r\n", "PROXY UNKNOWN\r\n", get,
		v2(0x21, 0x11, v2of4[:]...) + get, v2(0x21, 0x21, v2of6[:]...), v2(0x20, 0x00), v2(0x21, 0x31, make([]byte, 216)...),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		header, n, err := parseProxyHeader(b)
		if n > len(b) || n > maxProxyHeader || err == nil && n == 0 && (len(b) >= maxProxyHeader || header.client.IsValid()) {
			t.Fatalf("%q: %v, %d, %v", b, header, n, err)
		}
		if addr := header.client.Addr(); addr.Is4In6() || addr.Zone() != "" {
			t.Fatalf("%q: %v is not in its one form", b, addr)
		}
		for i := range b {
			part, m, perr := parseProxyHeader(b[:i])
			switch {
			case perr != nil && err == nil, m > 0 && (m != n || part != header):
				t.Fatalf("%q read to %v, %d, %v; its first %d bytes to %v, %d, %v", b, header, n, err, i, part, m, perr)
			}
			if err == nil && n > 0 && i < n && m > 0 {
				t.Fatalf("%q: %d of its %d bytes were a header", b, i, n)
			}
		}
	})
}
