package cognitoapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/internal/awssign"
)

// Options are what a [Proxy] needs of the program around it. The zero value is complete for a server without proxies in front.
type Options struct {
	// ClientIP returns the viewer's address; default the connection's.
	ClientIP func(*http.Request) netip.Addr
	// Scheme returns what the viewer used, "https" or "http"; default what the connection is.
	Scheme func(*http.Request) string
	// OnError is told of every request that the Proxy refuses or that fails. Its error holds no secret and nothing that the
	// client sent.
	OnError func(context.Context, error)
	// Env looks an environment variable up, for the credentials of a role; default none.
	Env func(string) (string, bool)
	// Now is the clock of signatures; default time.Now.
	Now func() time.Time
}

// Proxy is a proxy of one user pool's API. It is safe for concurrent use.
type Proxy struct {
	opts       Options
	endpoint   string
	userPool   string
	clients    map[string]*client
	operations map[string]bool
	flows      map[string]bool
	origins    []string
	propagate  bool
	admin      bool
	signer     *awssign.Signer // nil without admin
	http       *http.Client
}

// New makes a proxy. It does no network; it reads cfg.CA.
func New(cfg Config, opts Options) (*Proxy, error) {
	var problems []error
	cfg.Validate(func(field, msg string) { problems = append(problems, fmt.Errorf("%s: %s", field, msg)) })
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	roots, err := loadRoots(cfg.CA)
	if err != nil {
		return nil, err
	}
	p := &Proxy{
		opts: opts.withDefaults(), endpoint: cfg.endpoint(), userPool: cfg.UserPool,
		clients:    make(map[string]*client, len(cfg.Clients)),
		operations: choose(cfg.Operations, Operations()),
		flows:      choose(cfg.AuthFlows, Flows()),
		origins:    cfg.Origins, propagate: cfg.PropagateAddress, admin: cfg.Admin != nil,
		http: &http.Client{
			Transport:     transport(roots),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
	for _, c := range cfg.Clients {
		p.clients[c.ID] = newClient(c)
	}
	if p.admin {
		if p.signer, err = awssign.New(cfg.Admin.keys(), "cognito-idp", cfg.region(), p.opts.Env); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (o Options) withDefaults() Options {
	if o.ClientIP == nil {
		o.ClientIP = func(r *http.Request) netip.Addr {
			peer, _ := netip.ParseAddrPort(r.RemoteAddr)
			return peer.Addr().Unmap()
		}
	}
	if o.Scheme == nil {
		o.Scheme = func(r *http.Request) string {
			if r.TLS == nil {
				return "http"
			}
			return "https"
		}
	}
	if o.OnError == nil {
		o.OnError = func(context.Context, error) {}
	}
	if o.Env == nil {
		o.Env = func(string) (string, bool) { return "", false }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

func choose(names, all []string) map[string]bool {
	if names == nil {
		names = all
	}
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

// Close closes the idle connections to the pool.
func (p *Proxy) Close() { p.http.CloseIdleConnections() }

// Handler returns the proxy for one route, which lets through only the operations named, and all of the proxy's if none is.
// Any path that the route has stands for the API.
func (p *Proxy) Handler(names []string) http.Handler {
	if len(names) == 0 {
		return p
	}
	narrow := *p // shares clients, connections and credentials
	narrow.operations = make(map[string]bool)
	for _, name := range names {
		if p.operations[name] {
			narrow.operations[name] = true
		}
	}
	return &narrow
}

// ServeHTTP answers one call of the API, or the question of a browser whether it may make one.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := p.cors(w.Header(), r); err != nil {
		p.deny(w, r, err)
		return
	}
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	a, err := p.serve(r)
	if err != nil {
		p.deny(w, r, err)
		return
	}
	h := w.Header()
	if a.kind != "" {
		h.Set("X-Amzn-Errortype", a.kind+":")
	}
	if a.requestID != "" {
		h.Set("X-Amzn-Requestid", a.requestID)
	}
	write(w, a.status, a.body)
}

// serve is the whole of a call but for the writing.
func (p *Proxy) serve(r *http.Request) (*answer, error) {
	target, body, err := readRequest(r)
	if err != nil {
		return nil, err
	}
	v := viewer{p.opts.ClientIP(r), r.Host, r.URL.Path, r.Header}
	c, refused := p.decide(target, body, v)
	if refused != nil {
		return nil, refused
	}
	userAgent := r.Header.Get("User-Agent")
	if len(userAgent) > maxField {
		userAgent = ""
	}
	a, unproven, err := p.exchange(r.Context(), c, userAgent)
	if unproven {
		p.opts.OnError(r.Context(), fmt.Errorf("cognito api: %s: the pool took no secret of client %s", c.operation, c.client.id))
	}
	return a, err
}

// readRequest returns what a request says, having looked at everything about it but its content.
func readRequest(r *http.Request) (target string, body []byte, err error) {
	switch {
	case r.Method != http.MethodPost:
		return "", nil, &Error{typeMethod, http.StatusMethodNotAllowed, "Want POST.", errors.New("want POST")}
	case r.URL.RawQuery != "" || r.URL.ForceQuery:
		return "", nil, refuse(typeInvalid, "The API has no query.")
	case len(r.Header["Content-Encoding"]) > 0 || len(r.Header["Content-Type"]) != 1 || !isAPI(r.Header.Get("Content-Type")):
		return "", nil, &Error{
			typeSerializing, http.StatusUnsupportedMediaType, "Want Content-Type: " + mediaType + " and no Content-Encoding.",
			errors.New("another Content-Type or a Content-Encoding"),
		}
	case len(r.Header["X-Amz-Target"]) != 1:
		return "", nil, refuse(typeUnknown, "Want one X-Amz-Target.")
	}
	body, err = io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = tooLarge{}
	}
	if err != nil {
		return "", nil, unread(err)
	}
	return r.Header.Get("X-Amz-Target"), body, nil
}

// tooLarge is a body beyond maxBody.
type tooLarge struct{}

func (tooLarge) Error() string   { return fmt.Sprintf("more than %d bytes", maxBody) }
func (tooLarge) HTTPStatus() int { return http.StatusRequestEntityTooLarge }

// unread is the refusal of a body that could not be read to its end, with the status that the error asks for: a limit of the
// route's may be smaller than ours.
func unread(err error) *Error {
	e := &Error{typeSerializing, http.StatusBadRequest, "The request could not be read.", fmt.Errorf("request body: %w", err)}
	if s, ok := errors.AsType[interface {
		error
		HTTPStatus() int
	}](err); ok && s.HTTPStatus() >= 400 && s.HTTPStatus() <= 599 {
		e.Status = s.HTTPStatus()
	}
	if e.Status == http.StatusRequestEntityTooLarge {
		e.Type, e.public = typeTooLarge, "The request is too large."
	}
	return e
}

// isAPI reports whether a Content-Type is the API's. Pages cannot send it to another host without asking first.
func isAPI(contentType string) bool {
	media, params, err := mime.ParseMediaType(contentType)
	if err != nil || media != mediaType {
		return false
	}
	charset, ok := params["charset"]
	return len(params) == 0 || len(params) == 1 && ok && strings.EqualFold(charset, "utf-8")
}

// cors lets pages of the route's own host and of the configured origins call and read the answer, and refuses all others.
func (p *Proxy) cors(h http.Header, r *http.Request) error {
	h.Set("Vary", "Origin")
	switch origins := r.Header["Origin"]; {
	case len(origins) == 0 && r.Method == http.MethodOptions:
		return &Error{typeMethod, http.StatusMethodNotAllowed, "Want POST.", errors.New("OPTIONS without an Origin")}
	case len(origins) == 0: // no browser
		return nil
	case len(origins) > 1 || !p.mayCall(r, origins[0]):
		return &Error{typeDenied, http.StatusForbidden, "Pages of this origin may not call.", errors.New("a page of another origin")}
	default:
		h.Set("Access-Control-Allow-Origin", origins[0])
		h.Set("Access-Control-Expose-Headers", "x-amzn-errortype, x-amzn-requestid")
	}
	if r.Method == http.MethodOptions {
		h.Set("Access-Control-Allow-Methods", http.MethodPost)
		h.Set("Access-Control-Allow-Headers", "cache-control, content-type, x-amz-target, x-amz-user-agent")
		h.Set("Access-Control-Max-Age", "600")
	}
	return nil
}

func (p *Proxy) mayCall(r *http.Request, origin string) bool {
	return origin == p.opts.Scheme(r)+"://"+strings.ToLower(r.Host) || slices.Contains(p.origins, origin)
}

// deny answers an error in the API's shape and tells the operator why.
func (p *Proxy) deny(w http.ResponseWriter, r *http.Request, err error) {
	p.opts.OnError(r.Context(), err)
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = fail(http.StatusInternalServerError, "%w", err)
	}
	if e.Status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", "POST, OPTIONS")
	}
	w.Header().Set("X-Amzn-Errortype", e.Type+":")
	write(w, e.Status, e.body())
}

func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may have left; there is nobody to tell
}
