package upstream

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// smallBody is the longest body that is read before the request is sent, in bytes. Such a request needs no
// goroutine, holds no upstream connection while a slow client sends, and can be sent again.
const smallBody = 16 << 10

// bodyPlan is how a request body is sent.
type bodyPlan uint8

const (
	planNone    bodyPlan = iota
	planSmall            // read already: one write with the head
	planSized            // streamed with Content-Length
	planChunked          // streamed with Transfer-Encoding: chunked
)

// prepare decides everything about the request but its endpoint. Nothing is sent when it fails.
func (x *exchange) prepare() error {
	if err := x.checkMethod(); err != nil {
		return err
	}
	if err := x.target(); err != nil {
		return err
	}
	if !validHost(x.r.Host) && (x.r.Host != "" || x.r.ProtoAtLeast(1, 1)) {
		return badRequest("Host: want a host and an optional port")
	}
	var err error
	if !x.p.http2 {
		if x.upgrade, err = x.wantsWebSocket(); err != nil {
			return err
		}
	}
	// RFC 9110 section 10.1.1: the expectation is passed on. In HTTP/2 net/http keeps it, and meets it when the body is
	// read. HTTP/1.0 has none.
	x.expect = x.r.ProtoAtLeast(1, 1) && hasToken(x.r.Header["Expect"], "100-continue")
	if err := x.planBody(); err != nil {
		return err
	}
	if err := x.deadline(); err != nil {
		return err
	}
	x.copyHeader()
	x.forwarded()
	if x.h.opts.Out != nil {
		return x.h.opts.Out(x.r, x.out)
	}
	return nil
}

func (x *exchange) checkMethod() error {
	switch m := x.r.Method; {
	case !validToken(m):
		return badRequest("method: want a token")
	case m == http.MethodConnect, m == http.MethodTrace:
		return &Error{Reason: ReasonMethod, Err: errors.New("method " + m + " is not forwarded")}
	}
	return nil
}

// target sets path and query as they are sent: what the gateway matched, byte for byte.
func (x *exchange) target() error {
	u := x.r.URL
	x.path, x.query = u.EscapedPath(), u.RawQuery
	x.mark = u.ForceQuery || u.RawQuery != ""
	if x.path == "" {
		x.path = "/"
	}
	if x.path == "*" {
		if x.r.Method != http.MethodOptions || x.mark || x.h.opts.StripPrefix != "" {
			return badRequest("target: * is for OPTIONS alone")
		}
		return nil
	}
	if rewrite := x.h.opts.Rewrite; rewrite != nil {
		var err error
		if x.path, x.query, x.host, err = rewrite(x.r); err != nil {
			return err
		}
		x.mark = x.query != ""
	}
	if x.path == "" || x.path[0] != '/' || !validTarget(x.path) || !validTarget(x.query) {
		return badRequest("target: want a path that starts with / and visible characters")
	}
	if prefix := x.h.opts.StripPrefix; prefix != "" {
		stripped, err := stripPrefix(x.path, prefix)
		if err != nil {
			return err
		}
		x.path = stripped
	}
	return nil
}

// stripPrefix takes prefix off an escaped path on a segment boundary. What is left must be a path as it stands: one
// that would need cleaning (//host, /..) could mean something else to the upstream than what was matched.
func stripPrefix(escaped, prefix string) (string, error) {
	prefix = strings.TrimSuffix(prefix, "/")
	rest, ok := strings.CutPrefix(escaped, prefix)
	if !ok || (rest != "" && rest[0] != '/') {
		return "", badRequest("strip_prefix: path is not below %s", prefix)
	}
	if rest == "" {
		return "/", nil
	}
	plain := strings.NewReplacer("%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/", "%5c", "\\", "%5C", "\\").Replace(rest)
	if clean := path.Clean(plain); strings.Contains(plain, "\\") || (clean != plain && clean+"/" != plain) {
		return "", badRequest("strip_prefix: want a clean path below %s", prefix)
	}
	return rest, nil
}

// planBody decides how the body is sent, and reads one that is small.
func (x *exchange) planBody() error {
	r := x.r
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		x.plan, x.expect = planNone, false
		return nil
	}
	if x.upgrade {
		return badRequest("websocket: want no body")
	}
	switch {
	case r.ContentLength > 0 && r.ContentLength <= smallBody && !x.expect:
		x.plan = planSmall
		return x.readSmall(int(r.ContentLength))
	case r.ContentLength > 0:
		x.plan = planSized
	case usuallyEmpty(r.Method) && !x.expect:
		return x.peekBody()
	default:
		x.plan = planChunked
	}
	return nil
}

// usuallyEmpty reports whether a request with this method hardly ever has a body. HTTP/2 can leave open whether one
// comes; an upstream should then not be sent an empty chunked one.
func usuallyEmpty(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete:
		return true
	}
	return false
}

func (x *exchange) readSmall(n int) error {
	x.small = slices.Grow(x.small[:0], n)[:n]
	if _, err := io.ReadFull(x.r.Body, x.small); err != nil {
		return clientBodyError(err)
	}
	return nil
}

// peekBody reads a body of unknown length up to its end or to smallBody, whichever is first.
func (x *exchange) peekBody() error {
	x.small = slices.Grow(x.small[:0], smallBody)[:smallBody]
	n, err := io.ReadFull(x.r.Body, x.small)
	x.small = x.small[:n]
	switch {
	case err == nil:
		x.plan, x.prefix = planChunked, true
	case errors.Is(err, io.EOF) && n == 0:
		x.plan = planNone
	case err == io.ErrUnexpectedEOF: //nolint:errorlint // ReadFull's own; the body's would say 400
		x.plan = planSmall
	default:
		return clientBodyError(err)
	}
	return nil
}

// copyHeader fills out with what of the client's fields may pass.
func (x *exchange) copyHeader() {
	in := x.r.Header
	x.drop = listed(x.drop[:0], in["Connection"], keepInRequest)
	for key, values := range in {
		if ownRequestField(key) || slices.Contains(x.drop, key) {
			continue
		}
		x.out[key] = values[:len(values):len(values)] // an append by Out must not reach the client's request
	}
}

// ownRequestField reports whether a request field is decided here: never the client's.
func ownRequestField(key string) bool {
	switch key {
	case "Host", "Content-Length", "Expect", "Forwarded", "Max-Forwards", "Via":
		return true
	}
	return hopByHop(key) || strings.HasPrefix(key, "X-Forwarded-")
}

// forwarded sets what the upstream is told about the client's side of the gateway. The values replace the client's:
// a chain that the client began says nothing that can be relied on.
func (x *exchange) forwarded() {
	r := x.r
	if ip := x.clientIP(); ip.IsValid() {
		x.set(&x.fwd[0], "X-Forwarded-For", ip.Unmap().WithZone("").String())
	}
	proto, port := x.entrance()
	x.set(&x.fwd[1], "X-Forwarded-Proto", proto)
	x.set(&x.fwd[2], "X-Forwarded-Port", port)
	if r.Host != "" {
		x.set(&x.fwd[3], "X-Forwarded-Host", r.Host)
	}
	if p := x.h.opts.StripPrefix; p != "" {
		x.set(&x.fwd[4], "X-Forwarded-Prefix", strings.TrimSuffix(p, "/"))
	}
	if x.p.via {
		x.via()
	}
	if hops := r.Header["Max-Forwards"]; len(hops) == 1 {
		if n, err := parseDecimal(hops[0]); err == nil {
			if r.Method == http.MethodOptions && n > 0 {
				n-- // RFC 9110 section 7.6.2; zero has been answered
			}
			x.set(&x.fwd[6], "Max-Forwards", strconv.FormatInt(n, 10))
		}
	}
}

// entrance returns the scheme and the port that the client used. Of a proxy in front that ended TLS, only the scheme is
// known: its port is then the one in Host, or the scheme's own.
func (x *exchange) entrance() (scheme, port string) {
	scheme = "http"
	if x.r.TLS != nil {
		scheme = "https"
	}
	if x.h.opts.Scheme == nil {
		return scheme, localPort(x.r)
	}
	switch said := x.h.opts.Scheme(x.r); said {
	case scheme:
		return scheme, localPort(x.r)
	case "https", "http":
		scheme = said
	default:
		return scheme, localPort(x.r)
	}
	if i := strings.LastIndexByte(x.r.Host, ':'); i >= 0 && x.r.Host[i+1:] != "" && !strings.Contains(x.r.Host[i:], "]") {
		return scheme, x.r.Host[i+1:]
	}
	if scheme == "https" {
		return scheme, "443"
	}
	return scheme, "80"
}

// set uses memory of the exchange for the one value; it is free again when the request has been sent.
func (x *exchange) set(slot *[1]string, key, value string) {
	slot[0] = value
	x.out[key] = slot[:]
}

// via adds the gateway to the list of recipients (RFC 9110 section 7.6.3).
func (x *exchange) via() {
	own := "1.1 gatehouse"
	switch {
	case x.r.ProtoMajor == 2:
		own = "2.0 gatehouse"
	case x.r.ProtoMajor == 1 && x.r.ProtoMinor == 0:
		own = "1.0 gatehouse"
	}
	if prior := x.r.Header["Via"]; len(prior) > 0 {
		own = strings.Join(prior, ", ") + ", " + own
	}
	x.set(&x.fwd[5], "Via", own)
}

func (x *exchange) clientIP() netip.Addr {
	if x.h.opts.ClientIP != nil {
		return x.h.opts.ClientIP(x.r)
	}
	ap, _ := netip.ParseAddrPort(x.r.RemoteAddr)
	return ap.Addr()
}

// localPort is the port that the client connected to.
func localPort(r *http.Request) string {
	port := 0
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		port = a.Port
	}
	switch {
	case port == 443, port == 0 && r.TLS != nil:
		return "443"
	case port == 0:
		return "80"
	}
	return strconv.Itoa(port)
}

// lastRecipient reports whether an OPTIONS request may not be forwarded any more (RFC 9110 section 7.6.2).
func lastRecipient(r *http.Request) bool {
	if r.Method != http.MethodOptions {
		return false
	}
	hops := r.Header["Max-Forwards"]
	return len(hops) == 1 && hops[0] != "" && strings.Trim(hops[0], "0") == ""
}

// appendHead writes the request's head for an endpoint into wbuf. It refuses what would not be read as written.
func (x *exchange) appendHead(ep *endpoint) error {
	b := append(x.wbuf[:0], x.r.Method...)
	b = append(b, ' ')
	b = append(b, x.path...)
	if x.mark {
		b = append(b, '?')
		b = append(b, x.query...)
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, x.sentHost(ep)...)
	b = append(b, "\r\n"...)
	for key, values := range x.out {
		if err := checkOut(key, values); err != nil {
			return err
		}
		for _, v := range values {
			b = append(b, key...)
			b = append(b, ": "...)
			b = append(b, v...)
			b = append(b, "\r\n"...)
		}
	}
	x.wbuf = append(x.appendFraming(b), "\r\n"...)
	return nil
}

// sentHost is the Host that an endpoint is sent.
func (x *exchange) sentHost(ep *endpoint) string {
	switch {
	case x.host != "":
		return x.host
	case x.p.preserveHost && x.r.Host != "":
		return x.r.Host
	}
	return ep.addr.host
}

// checkOut refuses a field that would not be read as it is written, and one that is not a hook's to set.
func checkOut(key string, values []string) error {
	if !validToken(key) {
		return badRequest("field name: want a token, got %.40q", key)
	}
	if reservedField(key) {
		return &Error{Reason: ReasonHook, Err: errors.New("field " + key + " cannot be set")}
	}
	for _, v := range values {
		if !validValue(v) {
			return badRequest("field %.40s: control character in the value", key)
		}
	}
	return nil
}

// appendFraming writes the fields that belong to this hop.
func (x *exchange) appendFraming(b []byte) []byte {
	switch x.plan {
	case planSmall:
		b = appendLength(b, int64(len(x.small)))
	case planSized:
		b = appendLength(b, x.r.ContentLength)
	case planChunked:
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	case planNone:
		// RFC 9110 section 8.6: a method that gives a body a meaning says that there is none.
		switch x.r.Method {
		case http.MethodPost, http.MethodPut, http.MethodPatch:
			b = appendLength(b, 0)
		}
	}
	if x.expect {
		b = append(b, "Expect: 100-continue\r\n"...)
	}
	if x.upgrade {
		b = append(b, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
	}
	return b
}

func appendLength(b []byte, n int64) []byte {
	b = append(b, "Content-Length: "...)
	b = strconv.AppendInt(b, n, 10)
	return append(b, "\r\n"...)
}

// reservedField reports whether a field, in any case, is one that only appendHead writes.
func reservedField(key string) bool {
	switch len(key) {
	case 2, 4, 6, 7, 10, 14, 16, 17:
	default:
		return false
	}
	for _, name := range [...]string{
		"te", "host", "expect", "upgrade", "trailer", "connection", "keep-alive", "content-length", "proxy-connection",
		"transfer-encoding",
	} {
		if strings.EqualFold(key, name) {
			return true
		}
	}
	return false
}
