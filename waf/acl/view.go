package acl

import (
	"io"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"gatehouse/waf/ipset"
	"gatehouse/waf/rx"
)

// A view is one request as rules see it: what they look at is worked out when one asks for it, and once.
type view struct {
	acl    *ACL
	req    *http.Request
	client netip.Addr
	labels []string
	meter  *rx.Meter
	broke  bool // the client may have no more work done

	body   *body // nil until a rule asks for it
	text   string
	plain  string // text as a reader of JSON takes it; "" until a rule asks for it
	failed error  // why the request cannot be judged

	place  ipset.Place // of the client; zero until a rule asks for it
	system uint32
	looked bool // system is the client's
}

// path is the path as it is forwarded: decoded, or as it is sent.
func (v *view) path(decoded bool) string {
	if decoded {
		return v.req.URL.Path
	}
	return v.req.URL.EscapedPath()
}

// eachArg calls f with the value of each argument whose name is name in any case, or of all where name is "", until f
// returns true.
func (v *view) eachArg(name string, f func(string) bool) bool {
	query := v.req.URL.RawQuery
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		key, value, _ := strings.Cut(pair, "=")
		if name != "" && !strings.EqualFold(key, name) && !strings.EqualFold(decodeURL(key), name) {
			continue
		}
		if f(value) {
			return true
		}
	}
	return false
}

// header is the values of a header under its canonical name, with those that net/http keeps elsewhere.
func (v *view) header(name string) []string {
	switch name {
	case "Host":
		return []string{v.req.Host}
	case "Transfer-Encoding":
		return v.req.TransferEncoding
	case "Content-Length":
		if values := v.req.Header["Content-Length"]; len(values) > 0 || v.req.ContentLength <= 0 {
			return values
		}
		return []string{strconv.FormatInt(v.req.ContentLength, 10)}
	}
	return v.req.Header[name]
}

// fieldNames are the canonical names of all headers, in order: a map has none.
func (v *view) fieldNames() []string {
	names := make([]string, 0, len(v.req.Header)+2)
	for name := range v.req.Header {
		names = append(names, name)
	}
	for _, name := range [...]string{"Host", "Content-Length", "Transfer-Encoding"} {
		if v.req.Header[name] == nil && len(v.header(name)) > 0 {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// eachCookie calls f with each cookie that the client sent and Gatehouse has not taken out, until f returns true. Blanks around names
// and values do not count, as with most readers.
func (v *view) eachCookie(f func(name, value string) bool) bool {
	for _, line := range v.req.Header["Cookie"] {
		for line != "" {
			var pair string
			pair, line, _ = strings.Cut(line, ";")
			name, value, _ := strings.Cut(pair, "=")
			name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
			if name+value != "" && f(name, value) {
				return true
			}
		}
	}
	return false
}

// where is the place of an address; that of the client is looked up once.
func (v *view) where(addr netip.Addr) ipset.Place {
	if addr != v.client {
		return v.acl.geo.Place(addr)
	}
	if v.place.Country == "" {
		v.place = v.acl.geo.Place(addr)
	}
	return v.place
}

func (v *view) systemOf(addr netip.Addr) uint32 {
	if addr != v.client {
		return v.acl.geo.System(addr)
	}
	if !v.looked {
		v.system, v.looked = v.acl.geo.System(addr), true
	}
	return v.system
}

// addLabel puts a label on the request. Clients make none up: there are as many as rules and places, and all are kept, so that no
// noise hides one from the rules that ask for it.
func (v *view) addLabel(label string) {
	if !slices.Contains(v.labels, label) {
		v.labels = append(v.labels, label)
	}
}

// readBody returns the beginning of the body, and whether there is more of it. A body that is a stream is not read: all
// of it is more.
func (v *view) readBody() (text string, more bool) {
	if v.body == nil {
		v.body = v.acl.readBody(v.req, v.client)
		if v.body.err != nil {
			v.failed = v.body.err
		} else {
			v.text = string(v.body.buf[:min(len(v.body.buf), v.acl.bodyLimit)])
		}
	}
	return v.text, v.body.more
}

// jsonText is what readBody returns, as a reader of JSON takes it.
func (v *view) jsonText() string {
	if v.plain == "" {
		v.plain = plainJSON(v.text)
	}
	return v.plain
}

// bodySize is the size of the body, and whether it is known without reading what is not looked at. One that is not, of a body in
// chunks or a stream, is larger than any: nobody is to get past a bound by not saying how much comes.
func (v *view) bodySize() (n int64, known bool) {
	if v.req.ContentLength >= 0 {
		return v.req.ContentLength, true
	}
	text, more := v.readBody()
	if more {
		return math.MaxInt64, false
	}
	return int64(len(text)), true
}

// A body replays what was looked at and then reads on. Read and Close may be called by another goroutine than the handler's.
type body struct {
	mu    sync.Mutex
	buf   []byte
	off   int
	rest  io.ReadCloser // nil where there is no body
	more  bool          // than buf
	begun bool          // it has been read from
	err   error         // why it could not be read
	free  func()
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	if b.off < len(b.buf) {
		n := copy(p, b.buf[b.off:])
		b.off += n
		b.mu.Unlock()
		return n, nil
	}
	b.mu.Unlock()
	if !b.more {
		return 0, io.EOF
	}
	return b.rest.Read(p) //nolint:wrapcheck // it stands for the body itself
}

// Close implements io.Closer.
func (b *body) Close() error { return b.rest.Close() } //nolint:wrapcheck // the same

// Inspected returns what was read of the body, and whether that is all of it, for the next one that wants to look at it
// before it is forwarded. It must not be changed.
func (b *body) Inspected() (beginning []byte, whole bool) { return b.buf, !b.more }

// decodeURL decodes s as a part of a form; what is no escape stays.
func decodeURL(s string) string { return percentDecode(s, false) }
