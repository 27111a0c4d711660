package proxy

import (
	"net/http"
	"strings"
	"unicode/utf8"
)

// maxFields bounds the header fields of a request, as proxy/wire does for HTTP/1: browsers send under 40, and each costs every
// rule of a firewall. The crumbs of a cookie count as one.
const maxFields = 256

// A fieldClass says what admission does with a request header.
type fieldClass uint8

const (
	fieldKept    fieldClass = iota
	fieldSingle             // kept; a second value is a second reading
	fieldDropped            // names what only the gateway may say
	fieldEdge               // set by CDNs; kept only from a trusted proxy and in its own spelling
	fieldHop                // belongs to the connection; handled by connectionFields
	fieldFraming            // Content-Length and Transfer-Encoding
)

// classify returns the class of a header by its folded name: lower case, "_" and "." as "-", which is how CGI, WSGI, Rack and
// PHP see it. What is dropped are headers that applications and frameworks believe when a proxy sends them: another URL, host,
// method or client, a client certificate, a file to send, a routing decision.
func classify(folded []byte) fieldClass {
	switch string(folded) {
	case "content-length":
		return fieldFraming
	case "transfer-encoding":
		return fieldFraming
	case "authorization", "content-type", "content-range", "content-location", "date", "depth", "destination", "expect", "from",
		"host", "if-modified-since", "if-range", "if-unmodified-since", "max-forwards", "origin", "overwrite", "range", "referer",
		"sec-fetch-dest", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-user", "sec-websocket-key", "sec-websocket-version",
		"user-agent", "x-requested-with", "access-control-request-method":
		return fieldSingle
	case "connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "http2-settings", "te",
		"upgrade":
		return fieldHop
	case "forwarded", "proxy", "client-ip", "remote-addr", "remote-host", "remote-user", "auth-user", "auth-type", "path-info",
		"path-translated", "script-name", "request-uri", "request-method", "redirect-url", "redirect-status", "server-name",
		"x-host", "x-http-host-override", "x-http-method", "x-http-method-override", "x-method-override", "x-http-path-override",
		"x-real-port", "x-client-ip", "x-cluster-client-ip", "x-proxyuser-ip", "x-remote-ip", "x-remote-addr", "x-remote-user",
		"x-rewrite-url", "x-request-uri", "x-url-scheme", "x-scheme", "x-script-name", "x-backend-server", "x-backend-host",
		"x-server-name", "x-lighttpd-send-file", "x-request-id", "x-matched-path", "x-invoke-path", "x-now-route-matches",
		"front-end-https", "content-security-policy", "content-security-policy-report-only", "client-cert", "client-cert-chain",
		"x-client-cert", "x-client-dn", "x-client-verify", "x-arr-clientcert", "x-arr-ssl", "x-arr-log-id", "x-tls-client-cert":
		return fieldDropped
	case "true-client-ip", "x-real-ip", "x-cdn-src-ip", "incap-client-ip":
		return fieldEdge
	}
	return classifyPrefix(string(folded))
}

// classifyPrefix is classify for families of headers.
func classifyPrefix(name string) fieldClass {
	switch name[0] {
	case 'x':
		for _, prefix := range [...]string{
			"x-forwarded", "x-original-", "x-accel-", "x-sendfile", "x-middleware-", "x-envoy-", "x-ssl-", "x-amzn-mtls-",
			"x-amzn-tls-", "x-client-cert-",
		} {
			if strings.HasPrefix(name, prefix) {
				return fieldDropped
			}
		}
		if strings.HasPrefix(name, "x-azure-") || strings.HasPrefix(name, "x-fd-") {
			return fieldEdge
		}
	case 's':
		if strings.HasPrefix(name, "ssl-client-") {
			return fieldDropped
		}
	case 'c':
		if strings.HasPrefix(name, "cf-") || strings.HasPrefix(name, "cloudfront-") {
			return fieldEdge
		}
	case 'f':
		if strings.HasPrefix(name, "fastly-") {
			return fieldEdge
		}
	}
	return fieldKept
}

// aliased reports folded names of which another spelling than the standard one is dropped, because it would reach a CGI-like
// application as the standard header beside it.
func aliased(folded []byte) bool {
	switch string(folded) {
	case "content-encoding", "accept-encoding", "x-amzn-trace-id", "sec-websocket-protocol", "access-control-request-headers",
		"if-match", "if-none-match", "cache-control":
		return true
	}
	return false
}

// A spelling says how far a header name is from the usual letters, digits and "-".
type spelling uint8

const (
	plainName spelling = iota
	aliasName          // has "_" or ".", which CGI-like applications cannot tell from "-"
	oddName            // has other token punctuation, which Apache's CGI turns into "_" too; no real header has it
	badName            // is not a token (RFC 9110, section 5.6.2)
)

// foldName writes the folded form of a header name to buf. Names longer than buf are folded to its length, which no known name
// has.
func foldName(buf *[64]byte, name string) (folded []byte, s spelling) {
	if name == "" {
		return nil, badName
	}
	for i := 0; i < len(name); i++ {
		b := name[i]
		switch {
		case 'A' <= b && b <= 'Z':
			b += 'a' - 'A'
		case 'a' <= b && b <= 'z' || '0' <= b && b <= '9' || b == '-':
		case b == '_' || b == '.':
			s, b = max(s, aliasName), '-'
		case tokenPunctuation(b):
			s = oddName
		default:
			return nil, badName
		}
		if i < len(buf) {
			buf[i] = b
		}
	}
	return buf[:min(len(name), len(buf))], s
}

// tokenPunctuation reports the token characters that are neither letters, digits, "-", "_" nor ".".
func tokenPunctuation(b byte) bool {
	switch b {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '^', '`', '|', '~':
		return true
	}
	return false
}

// isToken reports a token of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	var buf [64]byte
	_, spelling := foldName(&buf, s)
	return spelling != badName
}

// checkFields refuses malformed, doubled and too many headers and deletes those that a client may not send. It returns the size of what
// came, names and values, in bytes. The header Host must be gone already.
func checkFields(h http.Header, trusted bool) (size int, err error) {
	var buf [64]byte
	fields := 0
	for name, values := range h {
		if fields += len(values); fields > maxFields {
			return 0, errFieldsMany
		}
		folded, spelling := foldName(&buf, name)
		if spelling == badName {
			return 0, errFieldName
		}
		for _, v := range values {
			if err := checkValue(v, name == "Cookie"); err != nil {
				return 0, err
			}
			size += len(name) + len(v) + 4
		}
		drop, err := judgeField(folded, spelling, len(values), trusted)
		if err != nil {
			return 0, err
		}
		if drop && name != "X-Forwarded-For" { // resolveClient left only what can be believed
			delete(h, name)
		}
	}
	return size, nil
}

// judgeField decides whether a header with n values is deleted or the request refused.
func judgeField(folded []byte, s spelling, n int, trusted bool) (drop bool, err error) {
	class := classify(folded)
	switch {
	case class == fieldFraming && s != plainName, class == fieldKept && looksLikeFraming(folded):
		return false, errFieldAlias
	case s == oddName:
		return true, nil
	case class == fieldDropped:
		return true, nil
	case class == fieldEdge:
		return !trusted || s != plainName, nil
	case class == fieldHop:
		return s != plainName, nil
	case class == fieldSingle && s == plainName && n > 1:
		return false, errFieldTwice
	case class == fieldSingle:
		return s != plainName, nil
	}
	return s != plainName && aliased(folded), nil
}

// looksLikeFraming finds names that a lax reader may take for Content-Length or Transfer-Encoding: the same letters with other
// bytes between or around them. The filter of HTTP/1 streams refuses them too.
func looksLikeFraming(folded []byte) bool {
	return len(folded) >= len("contentlength") && (lettersOf(folded, "contentlength") || lettersOf(folded, "transferencoding"))
}

// lettersOf reports whether the letters of a folded name are want.
func lettersOf(folded []byte, want string) bool {
	i := 0
	for _, b := range folded {
		if b < 'a' || b > 'z' {
			continue
		}
		if i == len(want) || b != want[i] {
			return false
		}
		i++
	}
	return i == len(want)
}

// checkValue refuses control bytes, bytes outside ASCII, and blanks at the ends, which HTTP/1 cannot carry and HTTP/2 forbids
// (RFC 9113, section 8.2.1). Cookies may hold UTF-8, because scripts write it and browsers send it.
func checkValue(v string, cookie bool) error {
	if v == "" {
		return nil
	}
	if first, last := v[0], v[len(v)-1]; first == ' ' || first == '\t' || last == ' ' || last == '\t' {
		return errFieldBlank
	}
	ascii := true
	for i := 0; i < len(v); i++ {
		if len(v)-i >= 8 && allPrintable(v[i:i+8]) {
			i += 7
		} else if b := v[i]; b < ' ' && b != '\t' || b == 0x7f {
			return errFieldValue
		} else if b >= utf8.RuneSelf {
			ascii = false
		}
	}
	switch {
	case ascii:
		return nil
	case !cookie:
		return errFieldValue
	case !utf8.ValidString(v):
		return errCookieBytes
	}
	return nil
}

// allPrintable reports whether eight bytes are all printable ASCII. It may say no to some that are: it looks at them together,
// which matters for cookies of several thousand bytes.
func allPrintable(s string) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
	del := w ^ ones*0x7f // a byte equal to 0x7f is zero here
	return (w|(w-ones*' ')|(del-ones)&^del)&highs == 0
}

// An upgrade says what a request wants of its connection.
type upgrade uint8

const (
	noUpgrade upgrade = iota
	webSocket
)

// connectionFields consumes the hop-by-hop headers (RFC 9110, section 7.6.1): it deletes what Connection names unless that is
// a header which policies read, then the hop-by-hop headers themselves. "TE: trailers" stays because gRPC needs it. After it
// Connection and Upgrade are there only for a WebSocket.
func connectionFields(r *http.Request) (upgrade, error) {
	h := r.Header
	wantsUpgrade := false
	for _, line := range h["Connection"] {
		for option := range strings.SplitSeq(line, ",") {
			option = strings.Trim(option, " \t")
			switch {
			case strings.EqualFold(option, "upgrade"):
				wantsUpgrade = true
			case option == "" || protectedField(option):
			default:
				h.Del(option)
			}
		}
	}
	kind, err := upgradeOf(r, wantsUpgrade)
	if err != nil {
		return noUpgrade, err
	}
	if te, ok := h["Te"]; ok {
		delete(h, "Te")
		if containsToken(te, "trailers") {
			h["Te"] = []string{"trailers"}
		}
	}
	for _, name := range [...]string{
		"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Http2-Settings", "Upgrade",
	} {
		delete(h, name)
	}
	if kind == webSocket {
		h["Connection"] = []string{"Upgrade"}
		h["Upgrade"] = []string{"websocket"}
	}
	return kind, nil
}

// upgradeOf decides on Upgrade. HTTP/1.0 clients cannot upgrade and the header means nothing without the connection option
// (RFC 9110, section 7.8). Everything but a WebSocket opened by a plain GET is refused: h2c and unknown protocols would be a
// tunnel past every guard.
func upgradeOf(r *http.Request, wanted bool) (upgrade, error) {
	values := r.Header["Upgrade"]
	if len(values) == 0 || !wanted || r.ProtoMajor != 1 || r.ProtoMinor == 0 {
		return noUpgrade, nil
	}
	if len(values) != 1 || !strings.EqualFold(values[0], "websocket") {
		return noUpgrade, errUpgrade
	}
	if r.Method != http.MethodGet || r.ContentLength != 0 || len(r.TransferEncoding) > 0 {
		return noUpgrade, errUpgradeForm
	}
	return webSocket, nil
}

// protectedField reports headers that Connection cannot remove: those that policies, framing and routing read, and those that
// are dealt with by name.
func protectedField(name string) bool {
	var buf [64]byte
	folded, spelling := foldName(&buf, name)
	if spelling == badName {
		return true // not a header
	}
	switch string(folded) {
	case "te", "close", "keep-alive", "host", "cookie", "authorization", "origin", "referer", "user-agent", "expect", "traceparent",
		"tracestate", "x-request-id", "x-requested-with", "range", "cache-control", "date", "via", "forwarded", "trailer":
		return true
	}
	for _, prefix := range [...]string{"content-", "x-forwarded", "x-amzn-", "sec-", "accept", "access-control-", "if-"} {
		if strings.HasPrefix(string(folded), prefix) {
			return true
		}
	}
	return false
}

// containsToken reports whether a list header has an element that is token, without regard to case or parameters.
func containsToken(values []string, token string) bool {
	for _, line := range values {
		for element := range strings.SplitSeq(line, ",") {
			element, _, _ = strings.Cut(element, ";")
			if strings.EqualFold(strings.Trim(element, " \t"), token) {
				return true
			}
		}
	}
	return false
}
