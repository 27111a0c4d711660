package proxy

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// admit decides whether a request has one reading and gives it that reading: afterwards r.URL, r.RequestURI, r.Host and
// r.Header agree with each other and with what is forwarded. It returns the request's route, or nil if admission answered.
// The order is that of cost, with the target first so that the Event of a refused request says where it went.
func (x *exchange) admit(r *http.Request) (*compiledRoute, error) {
	opts := &x.gen.opts
	if opts.Violation != nil {
		if err := opts.Violation(r); err != nil {
			x.closing = true
			x.event.Method, x.event.UserAgent = "", "" // of a stand-in, not of a client
			return nil, err
		}
	}
	if err := checkProtocol(r); err != nil {
		return nil, err
	}
	target, err := parseTarget(r)
	if err != nil {
		return nil, err
	}
	if err := x.admitHost(r, target); err != nil {
		return nil, err
	}
	if err := x.admitConnection(r); err != nil {
		return nil, err
	}
	if target.form == asteriskForm {
		x.answerOptions(standardMethods)
		return nil, nil
	}
	path, err := canonicalPath(target.path)
	if err != nil {
		return nil, err
	}
	x.event.Path = path.escaped
	if err := checkQuery(target.query); err != nil {
		return nil, err
	}
	if query := escapeQuery(target.query); query != target.query {
		target.query, target.rewritten = query, true
	}
	if err := x.admitFields(r); err != nil {
		return nil, err
	}
	return x.admitRoute(r, target, path)
}

// admitRoute finds the route, gives the request its one reading, and checks what depends on the route: a second path, the body,
// and whether an OPTIONS request ends here. It returns nil for a request that it answered.
func (x *exchange) admitRoute(r *http.Request, target requestTarget, path canonPath) (*compiledRoute, error) {
	x.gen.table.dropAliases(r.Header)
	q := lookup{host: x.event.Host, method: r.Method, header: r.Header, query: target.query, client: x.event.ClientIP}
	rt, err := x.gen.table.admitPath(&q, path)
	x.vary = q.vary
	if err != nil {
		return nil, err
	}
	x.route = rt
	x.event.Route = rt.Name
	setTarget(r, path, target)
	switch r.Method {
	case "COPY", "MOVE":
		if err := x.admitDestination(r, q); err != nil {
			return nil, err
		}
	case http.MethodOptions:
		last, err := maxForwards(r.Header)
		if err != nil {
			return nil, err
		}
		if last {
			x.answerOptions(x.gen.table.allowed(&q, rt))
			return nil, nil
		}
	}
	return rt, x.admitBody(r, rt.MaxBody)
}

// checkProtocol refuses versions, methods and transfer codings that are not exactly what we speak.
func checkProtocol(r *http.Request) error {
	switch {
	case r.ProtoMajor == 1 && r.ProtoMinor > 1, r.ProtoMajor < 1 || r.ProtoMajor > 3:
		return errVersion
	case len(r.TransferEncoding) == 0:
	case len(r.TransferEncoding) > 1 || r.TransferEncoding[0] != "chunked" || r.ProtoMajor != 1 || r.ProtoMinor != 1:
		return errTransferCoding
	}
	return checkMethod(r.Method)
}

// The forms of a request target that are admitted (RFC 9112, section 3.2).
const (
	originForm = iota
	absoluteForm
	asteriskForm
)

// A requestTarget is a request target taken apart and not yet checked.
type requestTarget struct {
	form      int
	authority string // of the absolute form
	path      string
	query     string
	hasQuery  bool
	rewritten bool // the query is not as it came
}

// parseTarget takes r.RequestURI apart. It reads the raw target, because net/url has decoded parts of its own by now.
func parseTarget(r *http.Request) (requestTarget, error) {
	raw := r.RequestURI
	if raw == "" {
		return requestTarget{}, errTargetForm
	}
	if len(raw) > maxTarget {
		return requestTarget{}, errTargetLong
	}
	t := requestTarget{path: raw}
	switch {
	case raw[0] == '/':
	case raw == "*" && r.Method == http.MethodOptions:
		return requestTarget{form: asteriskForm}, nil
	case r.ProtoMajor == 1:
		scheme, rest, ok := strings.Cut(raw, "://")
		if !ok || !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
			return requestTarget{}, errAbsoluteForm
		}
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		t = requestTarget{form: absoluteForm, authority: rest[:end], path: rest[end:]}
		if t.path == "" || t.path[0] == '?' {
			t.path = "/" + t.path
		}
	default:
		return requestTarget{}, errTargetForm
	}
	t.path, t.query, t.hasQuery = strings.Cut(t.path, "?")
	return t, nil
}

// admitHost settles which host the request is for. On HTTP/2 and 3 a Host field must agree with ":authority" (RFC 9113, section
// 8.3.1); an absolute target must agree with r.Host, in which net/http has put its authority; TLS must have been opened for
// the same name, or the certificate and client-certificate policy of one host would serve another (RFC 9110, section 7.4).
func (x *exchange) admitHost(r *http.Request, target requestTarget) error {
	if field, ok := r.Header["Host"]; ok {
		if len(field) != 1 || !strings.EqualFold(field[0], r.Host) {
			return errHostTwice
		}
		delete(r.Header, "Host")
	}
	if r.Host == "" && x.http10 && target.authority == "" {
		return nil
	}
	host, port, err := splitHost(r.Host)
	if err != nil {
		return err
	}
	x.event.Host = host
	if target.form == absoluteForm {
		if h, p, err := splitHost(target.authority); err != nil || h != host || p != port {
			return errAbsoluteForm
		}
	}
	if r.TLS != nil && r.TLS.ServerName != "" && !strings.EqualFold(strings.TrimSuffix(r.TLS.ServerName, "."), host) {
		return errMisdirect
	}
	if port != "" {
		host += ":" + port
	}
	r.Host = host
	return nil
}

// admitConnection asks whether the connection is good enough for the host.
func (x *exchange) admitConnection(r *http.Request) (err error) {
	if x.gen.opts.Connection == nil {
		return nil
	}
	if x.event.Certificate, err = x.gen.opts.Connection(r.TLS, x.event.Host); err != nil {
		return connectionError{err}
	}
	return nil
}

// A connectionError is why Options.Connection does not let a connection carry a request.
type connectionError struct{ error }

func (e connectionError) Unwrap() error { return e.error }

// admitFields puts the headers in order: malformed ones refused, the client's claims about itself resolved or deleted, the
// gateway's cookies taken out, identifiers set.
func (x *exchange) admitFields(r *http.Request) error {
	opts := &x.gen.opts
	h := r.Header
	trusted := trusts(opts.TrustedProxies, x.event.Peer)
	if err := x.resolveClient(h, trusted); err != nil {
		return err
	}
	size, err := checkFields(h, trusted)
	if err != nil {
		return err
	}
	if opts.StripHeaders != nil {
		opts.StripHeaders(h)
	}
	if expect, ok := h["Expect"]; ok {
		if x.http10 {
			delete(h, "Expect") // RFC 9110, section 10.1.1
		} else if !strings.EqualFold(expect[0], "100-continue") {
			return errExpect
		}
	}
	if _, err := connectionFields(r); err != nil {
		return err
	}
	x.cookies = takeCookies(h, opts.OwnCookie)
	x.setTrace(h, size)
	return nil
}

// setTarget makes r.URL and r.RequestURI the origin form of the canonical path and the query, which in ASCII is as it came.
func setTarget(r *http.Request, path canonPath, target requestTarget) {
	if target.form != originForm || path.escaped != target.path || target.rewritten {
		r.RequestURI = path.escaped
		if target.hasQuery {
			r.RequestURI += "?" + target.query
		}
	}
	u := r.URL
	u.Scheme, u.Opaque, u.User, u.Host, u.Fragment, u.RawFragment = "", "", nil, "", "", ""
	u.Path, u.RawPath = path.path, ""
	if u.EscapedPath() != path.escaped {
		u.RawPath = path.escaped
	}
	u.RawQuery, u.ForceQuery = target.query, target.hasQuery && target.query == ""
}

// admitDestination holds the second path of a COPY or MOVE (RFC 4918, section 10.3) to the route of the first, so that it
// cannot write where another route's guards would have a say, and puts it in canonical form.
func (x *exchange) admitDestination(r *http.Request, q lookup) error {
	values := r.Header["Destination"]
	if len(values) != 1 {
		return errDestination
	}
	target, err := parseTarget(&http.Request{RequestURI: values[0], ProtoMajor: 1})
	if err != nil || target.hasQuery || target.form == asteriskForm {
		return errDestination
	}
	if target.form == absoluteForm {
		if host, _, err := splitHost(target.authority); err != nil || host != x.event.Host {
			return errDestination
		}
	}
	path, err := canonicalPath(target.path)
	if err != nil {
		return errDestination
	}
	if rt, err := x.gen.table.admitPath(&q, path); err != nil || rt != x.route {
		return errDestination
	}
	r.Header["Destination"] = []string{strings.TrimSuffix(values[0], target.path) + path.escaped}
	return nil
}

// admitBody checks that the declared length is one number and the one that net/http goes by, which on HTTP/2 it is not when
// the header is odd or the stream has ended, and puts the limit around the body.
func (x *exchange) admitBody(r *http.Request, limit int64) error {
	if values, ok := r.Header["Content-Length"]; ok {
		if len(values) != 1 {
			return errLength
		}
		n, err := strconv.ParseUint(values[0], 10, 63)
		if err != nil || int64(n) != r.ContentLength {
			return errLength
		}
	}
	if r.ProtoMajor > 1 && r.ContentLength == 0 && r.Body != nil && r.Body != http.NoBody {
		// The stream is open although its body is declared empty. The next thing must be its end.
		var one [1]byte
		if n, err := r.Body.Read(one[:]); n > 0 || !errors.Is(err, io.EOF) {
			return errLength
		}
		r.Body = http.NoBody
	}
	return x.wrapBody(r, limit)
}

// maxForwards reports whether an OPTIONS request ends here (RFC 9110, section 7.6.2). Who forwards it counts down.
func maxForwards(h http.Header) (last bool, err error) {
	values, ok := h["Max-Forwards"]
	if !ok {
		return false, nil
	}
	n, err := strconv.ParseUint(values[0], 10, 31)
	if err != nil {
		return false, errMaxForwards
	}
	return n == 0, nil
}

// answerOptions answers an OPTIONS request that is for the gateway itself.
func (x *exchange) answerOptions(allow string) {
	x.event.Note("admission", "answered")
	h := x.rec.Header()
	h.Set("Allow", allow)
	x.rec.WriteHeader(http.StatusNoContent)
}
