package wire

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ProxyProtocol says which load balancers in front begin each connection with a header that names the client (HAProxy's
// PROXY protocol, versions 1 and 2). The zero value is none: no header is read.
type ProxyProtocol struct {
	// From are the networks of these load balancers. A connection from one of them must begin with a header, and the client
	// that it names is the peer from there on. A header of version 1 that says UNKNOWN and one of version 2 that says LOCAL
	// or has no address leave the load balancer as the peer, as its health checks want.
	From []netip.Prefix
	// Direct serves connections from elsewhere too, without a header, as what they are: one that begins with a header has
	// sent a malformed request. Without it they are closed.
	Direct bool
}

// maxProxyHeader bounds a header, in bytes, with what it says beside the addresses. An NLB sends some 100; HAProxy a client's
// certificate if it is told to, which is 1 to 2 KB.
const maxProxyHeader = 4 << 10

// A ProxyProtocolError is a connection that was closed because of what it began with, or did not. The load balancer, or who
// poses as one, is given to Options.OnError beside it.
type ProxyProtocolError struct{ Err error }

func (e *ProxyProtocolError) Error() string { return "proxy protocol: " + e.Err.Error() }

func (e *ProxyProtocolError) Unwrap() error { return e.Err }

// Refusals of a header. They hold nothing of what was sent.
var (
	errProxyPeer    = errors.New("the peer is none of the load balancers")
	errProxyAbsent  = errors.New("the connection does not begin with a header")
	errProxyLine    = errors.New(`version 1: want "PROXY", TCP4 or TCP6, two addresses and two ports on a line that ends in CRLF, or UNKNOWN`)
	errProxyLong    = errors.New("the header is too long: want at most 107 bytes in version 1 and 4 KiB in version 2")
	errProxyVersion = errors.New("want version 2 with the command LOCAL or PROXY")
	errProxyFamily  = errors.New("want addresses of TCP over IPv4 or IPv6")
	errProxyShort   = errors.New("version 2: the header ends within its addresses")
)

// A proxyHeader is what a header says.
type proxyHeader struct {
	client, server netip.AddrPort // the zero values leave both ends as they are
}

// identify reads the header of a connection, if it has to have one, and reports whether the connection is to be served.
func (s *Server) identify(l *link) bool {
	p := &s.opts.ProxyProtocol
	if len(p.From) == 0 {
		return true
	}
	peer := l.Conn.RemoteAddr()
	if !p.expects(peer) {
		if p.Direct {
			return true
		}
		s.misproxied(l, peer, errProxyPeer)
		return false
	}
	_ = l.SetReadDeadline(time.Now().Add(s.opts.HandshakeTimeout))
	header, silent, err := s.readProxyHeader(l)
	switch {
	case silent: // a health check that wants to know no more than whether the port is open
		_ = l.Close()
		return false
	case err != nil:
		s.misproxied(l, peer, err)
		return false
	}
	_ = l.SetReadDeadline(time.Time{})
	if header.client.IsValid() {
		l.client, l.server = net.TCPAddrFromAddrPort(header.client), net.TCPAddrFromAddrPort(header.server)
	} else {
		l.probe = true
	}
	return true
}

// expects reports whether peer is a load balancer.
func (p *ProxyProtocol) expects(peer net.Addr) bool {
	tcp, ok := peer.(*net.TCPAddr)
	if !ok {
		return false
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(p.From, func(from netip.Prefix) bool { return from.Contains(addr) })
}

func (s *Server) misproxied(l *link, peer net.Addr, err error) {
	_ = l.Close()
	if !s.closing.Load() {
		s.opts.OnError(peer, &ProxyProtocolError{err})
	}
}

// readProxyHeader reads a header, and keeps what came behind it for who reads next. silent reports a peer that went without
// a word.
func (s *Server) readProxyHeader(l *link) (header proxyHeader, silent bool, err error) {
	buf := s.buffer(maxProxyHeader)
	defer s.recycle(buf)
	for w := 0; ; {
		n, err := l.read(buf[w:maxProxyHeader])
		w += n
		if n == 0 && err != nil {
			return proxyHeader{}, w == 0 && hasLeft(err), err
		}
		header, n, err = parseProxyHeader(buf[:w])
		if err != nil {
			return proxyHeader{}, false, err
		}
		if n > 0 {
			l.rest = slices.Clone(buf[n:w])
			return header, false, nil
		}
	}
}

// hasLeft reports whether an error is that a peer ended the connection, orderly or not.
func hasLeft(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) }

// proxySignature begins a header of version 2. No request begins so, nor a TLS handshake.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n"

// parseProxyHeader reads the header that b begins with and returns its length, or 0 as long as more of it must come.
func parseProxyHeader(b []byte) (header proxyHeader, n int, err error) {
	const v1 = "PROXY "
	switch {
	case begins(b, proxySignature):
		return parseProxyV2(b)
	case begins(b, v1):
		return parseProxyV1(b)
	}
	return proxyHeader{}, 0, errProxyAbsent
}

// begins reports whether b begins with prefix, as far as there is any of b.
func begins(b []byte, prefix string) bool {
	n := min(len(b), len(prefix))
	return string(b[:n]) == prefix[:n]
}

// parseProxyV1 reads a header of version 1, which is a line.
func parseProxyV1(b []byte) (header proxyHeader, n int, err error) {
	const longest = 107 // of two IPv6 addresses, with CRLF
	line := string(b[:min(len(b), longest)])
	end := strings.IndexAny(line, "\r\n")
	switch {
	case end < 0 && len(line) == longest:
		return proxyHeader{}, 0, errProxyLong
	case end < 0, end == len(line)-1 && line[end] == '\r' && len(line) < longest:
		return proxyHeader{}, 0, nil
	case !strings.HasPrefix(line[end:], "\r\n"):
		return proxyHeader{}, 0, errProxyLine
	}
	header, err = parseProxyLine(line[:end])
	return header, end + 2, err
}

func parseProxyLine(line string) (proxyHeader, error) {
	fields := strings.Split(line, " ")
	if len(fields) >= 2 && fields[1] == "UNKNOWN" {
		return proxyHeader{}, nil // what follows is to be ignored
	}
	if len(fields) != 6 || fields[1] != "TCP4" && fields[1] != "TCP6" {
		return proxyHeader{}, errProxyLine
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		addr, err := netip.ParseAddr(fields[2+i])
		port, ok := proxyPort(fields[4+i])
		if err != nil || !ok || addr.Zone() != "" || addr.Is4() != (fields[1] == "TCP4") {
			return proxyHeader{}, errProxyLine
		}
		ends[i] = netip.AddrPortFrom(addr.Unmap(), port)
	}
	return proxyHeader{ends[0], ends[1]}, nil
}

// proxyPort reads a port in its only spelling.
func proxyPort(s string) (uint16, bool) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil && strconv.FormatUint(n, 10) == s
}

// parseProxyV2 reads a header of version 2. What it says beside the addresses is skipped.
func parseProxyV2(b []byte) (header proxyHeader, n int, err error) {
	const (
		fixed        = 16
		local, proxy = 0x20, 0x21 // version and command
		unspec       = 0x00       // family and protocol
		tcp4, tcp6   = 0x11, 0x21
	)
	if len(b) < fixed {
		return proxyHeader{}, 0, nil
	}
	n = fixed + int(binary.BigEndian.Uint16(b[14:fixed]))
	switch {
	case b[12] != local && b[12] != proxy:
		return proxyHeader{}, 0, errProxyVersion
	case n > maxProxyHeader:
		return proxyHeader{}, 0, errProxyLong
	case len(b) < n:
		return proxyHeader{}, 0, nil
	case b[12] == local, b[13] == unspec:
		return proxyHeader{}, n, nil
	}
	size := map[byte]int{tcp4: net.IPv4len, tcp6: net.IPv6len}[b[13]]
	switch {
	case size == 0:
		return proxyHeader{}, 0, errProxyFamily
	case n < fixed+2*size+4:
		return proxyHeader{}, 0, errProxyShort
	}
	end := func(i int) netip.AddrPort {
		addr, _ := netip.AddrFromSlice(b[fixed+i*size:][:size])
		return netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(b[fixed+2*size+2*i:]))
	}
	return proxyHeader{end(0), end(1)}, n, nil
}
