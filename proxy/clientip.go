package proxy

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxForwarded bounds the addresses of X-Forwarded-For; an ALB answers 463 beyond the same number.
const maxForwarded = 30

// peerAddr parses http.Request.RemoteAddr. It returns the zero Addr for what is not an IP address, such as a unix socket.
func peerAddr(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// unmapPrefixes returns prefixes with IPv4-mapped ones as IPv4, because addresses are compared unmapped.
func unmapPrefixes(prefixes []netip.Prefix) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		out = append(out, p.Masked())
	}
	return out
}

// trusts reports whether one of prefixes contains addr.
func trusts(prefixes []netip.Prefix, addr netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

// A forwardedChain is the part of X-Forwarded-For that trusted proxies vouch for, the client last.
type forwardedChain struct {
	addrs [maxForwarded]netip.Addr
	n     int
}

// client returns the client's address, or peer if nobody trusted says otherwise.
func (c *forwardedChain) client(peer netip.Addr) netip.Addr {
	if c.n == 0 {
		return peer
	}
	return c.addrs[c.n-1]
}

// String returns the chain as a header value, the client first.
func (c *forwardedChain) String() string {
	b := make([]byte, 0, c.n*17)
	for i := c.n - 1; i >= 0; i-- {
		b = c.addrs[i].AppendTo(b)
		if i > 0 {
			b = append(b, ", "...)
		}
	}
	return string(b)
}

// walkForwarded reads X-Forwarded-For from the right. Each address is believed only if the one to its right, which wrote it,
// is trusted; peer is the rightmost. An entry that is not an address ends the walk. A port is dropped. More than 30 entries are
// refused whoever sent them.
func walkForwarded(values []string, peer netip.Addr, trusted []netip.Prefix) (forwardedChain, error) {
	var chain forwardedChain
	entries := 0
	for _, v := range values {
		entries += 1 + strings.Count(v, ",")
	}
	if entries > maxForwarded {
		return chain, errForwardedLong
	}
	last := peer
	for i := len(values) - 1; i >= 0; i-- {
		rest, more := values[i], true
		for more {
			var entry string
			if j := strings.LastIndexByte(rest, ','); j >= 0 {
				rest, entry = rest[:j], rest[j+1:]
			} else {
				entry, more = rest, false
			}
			if !trusts(trusted, last) {
				return chain, nil
			}
			addr, ok := forwardedAddr(entry)
			if !ok {
				return chain, nil
			}
			chain.addrs[chain.n] = addr
			chain.n++
			last = addr
		}
	}
	return chain, nil
}

// forwardedAddr parses one entry: an address, "v4:port", "[v6]" or "[v6]:port".
func forwardedAddr(s string) (netip.Addr, bool) {
	s = strings.Trim(s, " \t")
	if len(s) > 64 { // the longest is [v6]:port with a zone, which is refused anyway
		return netip.Addr{}, false
	}
	addr, err := netip.ParseAddr(s)
	if err != nil {
		if ap, perr := netip.ParseAddrPort(s); perr == nil {
			addr = ap.Addr()
		} else if inner, ok := strings.CutPrefix(s, "["); ok && strings.HasSuffix(inner, "]") {
			if addr, err = netip.ParseAddr(inner[:len(inner)-1]); err != nil || !addr.Is6() {
				return netip.Addr{}, false
			}
		} else {
			return netip.Addr{}, false
		}
	}
	if addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// resolveClient sets Event.ClientIP and Event.Scheme from what trusted proxies say and leaves in X-Forwarded-For only what they
// vouch for, the client first and without the peer; the header goes if that is nothing.
func (x *exchange) resolveClient(h http.Header, trusted bool) error {
	e := &x.event
	values := h["X-Forwarded-For"]
	if len(values) > 0 {
		chain, err := walkForwarded(values, e.Peer, x.gen.opts.TrustedProxies)
		if err != nil {
			return err
		}
		e.ClientIP = chain.client(e.Peer)
		if chain.n == 0 {
			delete(h, "X-Forwarded-For")
		} else {
			h["X-Forwarded-For"] = []string{chain.String()}
		}
	}
	if proto := h["X-Forwarded-Proto"]; len(proto) > 0 {
		if trusted && len(proto) == 1 && (proto[0] == "https" || proto[0] == "http") {
			e.Scheme = proto[0]
		}
		delete(h, "X-Forwarded-Proto")
	}
	return nil
}
