package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"embed"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"gatehouse/internal/markup"
)

//go:embed demo/static
var demoFiles embed.FS

const (
	// maxDemoKey bounds the answer of the key endpoint, in bytes.
	maxDemoKey = 8 << 10
	// maxDemoKeys bounds how many keys are remembered.
	maxDemoKeys = 16
	// maxDemoForm bounds the echoed form, in bytes.
	maxDemoForm = 64 << 10
	// shownHeader is how much of a secret header's value the page shows, in bytes.
	shownHeader = 24
)

// demoOptions are the settings of the demo app.
type demoOptions struct {
	// Key returns the public key that the gateway's assertions with this kid are signed by. The kid
	// is a UUID by then. See demoKeysFrom.
	Key func(ctx context.Context, kid string) (*ecdsa.PublicKey, error)
	// Signer is the ARN that assertions must name; empty takes any.
	Signer string
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Tick is the pace of /app/events; default a second.
	Tick time.Duration
}

// A demoApp is an application as it would stand behind an ALB: it knows nothing of logins and reads
// who is there from x-amzn-oidc-data, which it verifies as AWS asks applications to.
type demoApp struct {
	opts demoOptions
	mux  *http.ServeMux
}

// newDemoApp returns the application that `gatehouse dev` puts behind itself. Its pages work under
// the policy default-src 'self'.
func newDemoApp(opts demoOptions) (http.Handler, error) {
	if opts.Key == nil {
		return nil, errors.New("demo app: want a function that finds keys, got none")
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Tick == 0 {
		opts.Tick = time.Second
	}
	static, err := fs.Sub(demoFiles, "demo/static")
	if err != nil {
		return nil, fmt.Errorf("demo app: read the assets: %w", err)
	}
	a := &demoApp{opts: opts, mux: http.NewServeMux()}
	a.mux.HandleFunc("GET /{$}", a.page(demoHome, "Home", http.StatusOK))
	a.mux.HandleFunc("GET /public", a.page(demoPublic, "Public page", http.StatusOK))
	a.mux.HandleFunc("GET /app", a.signedIn(a.pageOf(demoIdentified, "Signed in")))
	a.mux.HandleFunc("GET /admin", a.signedIn(a.pageOf(demoAdmin, "Admins only")))
	a.mux.HandleFunc("GET /app/live", a.signedIn(a.pageOf(demoLive, "Live connections")))
	a.mux.HandleFunc("POST /app/echo", a.signedIn(a.serveEcho))
	a.mux.HandleFunc("GET /app/events", a.serveEvents)
	a.mux.HandleFunc("GET /ws", serveWebSocketEcho)
	a.mux.HandleFunc("GET /api/hello", a.serveHello)
	a.mux.Handle("GET /static/", http.StripPrefix("/static/", http.FileServerFS(static)))
	a.mux.HandleFunc("/", a.page(demoMissing, "No such page", http.StatusNotFound))
	return a.mux, nil
}

// A demoIdentity is what a verified assertion says.
type demoIdentity struct {
	Subject, Username, Name, Email string
	EmailVerified                  bool
	Groups                         []string
	GroupsSigned                   bool // false: they are from the access token, which this app does not verify
	Expires                        time.Time
	KeyID, Signer                  string
	Claims, Header                 []demoPair
}

// Who is the best name that there is.
func (id *demoIdentity) Who() string {
	for _, name := range []string{id.Name, id.Username, id.Email} {
		if name != "" {
			return name
		}
	}
	return id.Subject
}

// A demoPair is a row of a table.
type demoPair struct{ Name, Value string }

// errNoAssertion means that the request has no x-amzn-oidc-data: nobody is signed in, or it did not
// come through the gateway.
var errNoAssertion = errors.New("x-amzn-oidc-data: there is none")

// identify verifies the request's assertion.
func (a *demoApp) identify(r *http.Request) (*demoIdentity, error) {
	token := r.Header.Get("X-Amzn-Oidc-Data")
	if token == "" {
		return nil, errNoAssertion
	}
	header, claims, err := a.verify(r.Context(), token)
	if err != nil {
		return nil, err
	}
	text := func(name string) string { s, _ := claims[name].(string); return s }
	exp, _ := claims["exp"].(json.Number)
	seconds, err := exp.Int64()
	if err != nil {
		return nil, errors.New("exp: want a number of seconds")
	}
	id := &demoIdentity{
		Subject: text("sub"), Username: text("username"), Name: text("name"), Email: text("email"),
		// Cognito says "true", other providers true.
		EmailVerified: fmt.Sprint(claims["email_verified"]) == "true",
		Expires:       time.Unix(seconds, 0).UTC(),
		Claims:        demoPairs(claims), Header: demoPairs(header),
	}
	id.KeyID, _ = header["kid"].(string)
	id.Signer, _ = header["signer"].(string)
	if !a.opts.Now().Before(id.Expires) {
		return nil, fmt.Errorf("exp: the assertion ended at %s", id.Expires.Format(time.RFC3339))
	}
	if id.Subject == "" {
		return nil, errors.New("sub: want a name, got none")
	}
	id.Groups, id.GroupsSigned = demoGroups(claims, r.Header.Get("X-Amzn-Oidc-Accesstoken"))
	return id, nil
}

var demoKeyID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// verify checks the signature and the signer of an assertion. ALB writes base64url with padding and
// signs the padding too, so a strict JWT library refuses it; see
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/listener-authenticate-users.html.
func (a *demoApp) verify(ctx context.Context, token string) (header, claims map[string]any, err error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil, nil, fmt.Errorf("assertion: want 3 parts, got %d", len(parts))
	}
	if header, err = demoJSON(parts[0]); err != nil {
		return nil, nil, fmt.Errorf("assertion header: %w", err)
	}
	kid, _ := header["kid"].(string)
	switch {
	case header["alg"] != "ES256":
		return nil, nil, errors.New("alg: want ES256")
	case !demoKeyID.MatchString(kid):
		return nil, nil, errors.New("kid: want a UUID")
	case a.opts.Signer != "" && header["signer"] != a.opts.Signer:
		return nil, nil, fmt.Errorf("signer: want %s", a.opts.Signer)
	}
	key, err := a.opts.Key(ctx, kid)
	if err != nil {
		return nil, nil, fmt.Errorf("key %s: %w", kid, err)
	}
	sig, err := demoBase64(parts[2])
	if err != nil || len(sig) != 64 {
		return nil, nil, errors.New("signature: want 64 bytes")
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if !ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])) {
		return nil, nil, errors.New("signature: it is not the gateway's")
	}
	if claims, err = demoJSON(parts[1]); err != nil {
		return nil, nil, fmt.Errorf("assertion payload: %w", err)
	}
	return header, claims, nil
}

// demoBase64 decodes base64url with or without padding.
func demoBase64(s string) ([]byte, error) {
	return base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
}

func demoJSON(part string) (map[string]any, error) {
	raw, err := demoBase64(part)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(&m); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("want one JSON object, got more")
	}
	return m, nil
}

// demoGroups finds the groups and says whether they are signed. Behind ALB they are not in the signed
// claims of a login: only the access token has them. That is shown, not trusted, and only when it is
// the same person's.
func demoGroups(claims map[string]any, accessToken string) (groups []string, signed bool) {
	list, signed := claims["cognito:groups"].([]any)
	if parts := strings.Split(accessToken, "."); !signed && len(parts) == 3 {
		if access, err := demoJSON(parts[1]); err == nil && access["sub"] == claims["sub"] {
			list, _ = access["cognito:groups"].([]any)
		}
	}
	groups = make([]string, 0, len(list))
	for _, g := range list {
		groups = append(groups, fmt.Sprint(g))
	}
	return groups, signed
}

// demoPairs sorts an object into rows.
func demoPairs(m map[string]any) []demoPair {
	pairs := make([]demoPair, 0, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		value, ok := m[name].(string)
		if !ok {
			raw, _ := json.Marshal(m[name])
			value = string(raw)
		}
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && !ok && (name == "exp" || name == "iat" || name == "auth_time") {
			value += " (" + time.Unix(n, 0).UTC().Format("15:04:05 MST") + ")"
		}
		pairs = append(pairs, demoPair{name, value})
	}
	return pairs
}

// demoKeysFrom returns a key function that fetches base/KID, a public key in PEM, as applications
// behind ALB do from https://public-keys.auth.elb.REGION.amazonaws.com. Each key is fetched once.
func demoKeysFrom(client *http.Client, base string) func(context.Context, string) (*ecdsa.PublicKey, error) {
	var mu sync.Mutex
	keys := make(map[string]*ecdsa.PublicKey)
	return func(ctx context.Context, kid string) (*ecdsa.PublicKey, error) {
		mu.Lock()
		key := keys[kid]
		mu.Unlock()
		if key != nil {
			return key, nil
		}
		key, err := fetchDemoKey(ctx, client, strings.TrimSuffix(base, "/")+"/"+kid)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if len(keys) >= maxDemoKeys {
			clear(keys)
		}
		keys[kid] = key
		return key, nil
	}
}

func fetchDemoKey(ctx context.Context, client *http.Client, url string) (*ecdsa.PublicKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxDemoKey))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("want 200, got %d", res.StatusCode)
	}
	block, _ := pem.Decode(body)
	if block == nil {
		return nil, errors.New("want PEM, got something else")
	}
	parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("want a P-256 key")
	}
	return key, nil
}

// A demoPage is what a page shows.
type demoPage struct {
	Title      string
	Host, Path string
	ID         *demoIdentity // nil: nobody, or not verified
	Problem    string        // why an assertion that is there was not believed
	RequestID  string
	Headers    []demoPair
	Form       []demoPair // what was posted
}

// page returns a handler that shows a page to whoever comes.
func (a *demoApp) page(content func(demoPage) markup.HTML, title string, status int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		p := demoPage{Title: title}
		var err error
		if p.ID, err = a.identify(r); err != nil && !errors.Is(err, errNoAssertion) {
			p.Problem = err.Error()
		}
		a.show(w, r, status, content, p)
	}
}

// signedIn refuses requests without a verified assertion. The gateway has decided already; an
// application that can be reached around it must decide again.
func (a *demoApp) signedIn(next func(http.ResponseWriter, *http.Request, *demoIdentity)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id, err := a.identify(r)
		if err == nil {
			next(w, r, id)
			return
		}
		p := demoPage{Title: "Not signed in"}
		if !errors.Is(err, errNoAssertion) {
			p.Problem = err.Error()
		}
		a.show(w, r, http.StatusUnauthorized, demoRefused, p)
	}
}

// pageOf returns what shows a page to somebody who is signed in.
func (a *demoApp) pageOf(content func(demoPage) markup.HTML, title string) func(http.ResponseWriter, *http.Request, *demoIdentity) {
	return func(w http.ResponseWriter, r *http.Request, id *demoIdentity) {
		a.show(w, r, http.StatusOK, content, demoPage{Title: title, ID: id})
	}
}

func (a *demoApp) show(w http.ResponseWriter, r *http.Request, status int, content func(demoPage) markup.HTML, p demoPage) {
	p.Host, p.Path, p.Headers, p.RequestID = r.Host, r.URL.Path, demoHeaders(r), demoRequestID(r)
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, p.html(content(p)).String())
}

func demoRequestID(r *http.Request) string {
	for _, name := range []string{"X-Request-Id", "X-Amzn-Trace-Id"} {
		if id := r.Header.Get(name); id != "" {
			return id
		}
	}
	return ""
}

// demoHeaders lists what the application received. Of secrets it shows the beginning.
func demoHeaders(r *http.Request) []demoPair {
	pairs := []demoPair{{"Host", r.Host}}
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		for _, value := range r.Header[name] {
			switch strings.ToLower(name) {
			case "cookie", "authorization", "x-amzn-oidc-data", "x-amzn-oidc-accesstoken":
				if len(value) > shownHeader {
					value = fmt.Sprintf("%s… (%d bytes)", value[:shownHeader], len(value))
				}
			}
			pairs = append(pairs, demoPair{name, value})
		}
	}
	return pairs
}

// serveEcho shows a posted form.
func (a *demoApp) serveEcho(w http.ResponseWriter, r *http.Request, id *demoIdentity) {
	r.Body = http.MaxBytesReader(w, r.Body, maxDemoForm)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "Bad Request", http.StatusBadRequest)
		return
	}
	p := demoPage{Title: "What the app received", ID: id}
	for _, name := range slices.Sorted(maps.Keys(r.PostForm)) {
		for _, value := range r.PostForm[name] {
			p.Form = append(p.Form, demoPair{name, value})
		}
	}
	a.show(w, r, http.StatusOK, demoEcho, p)
}

// serveHello is the API: it says who calls.
func (a *demoApp) serveHello(w http.ResponseWriter, r *http.Request) {
	answer, status := map[string]any{"hello": "stranger", "signed_in": false}, http.StatusOK
	id, err := a.identify(r)
	switch {
	case err == nil:
		answer = map[string]any{
			"hello": id.Who(), "signed_in": true, "subject": id.Subject, "username": id.Username,
			"email": id.Email, "email_verified": id.EmailVerified, "groups": id.Groups,
			"assertion_expires": id.Expires.Format(time.RFC3339),
		}
	case !errors.Is(err, errNoAssertion):
		answer, status = map[string]any{"error": err.Error()}, http.StatusUnauthorized
	}
	answer["request_id"] = demoRequestID(r)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(answer)
}

// serveEvents streams server-sent events until the client leaves.
func (a *demoApp) serveEvents(w http.ResponseWriter, r *http.Request) {
	id, err := a.identify(r)
	if err != nil {
		http.Error(w, "Unauthorized", http.StatusUnauthorized)
		return
	}
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Time{})
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	tick := time.NewTicker(a.opts.Tick)
	defer tick.Stop()
	for n := 1; ; n++ {
		_, err := fmt.Fprintf(w, "id: %d\nevent: tick\ndata: {\"n\":%d,\"time\":%q,\"for\":%q}\n\n",
			n, n, a.opts.Now().UTC().Format(time.TimeOnly), id.Subject)
		if err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// serveWebSocketEcho answers every message with itself. The library checks that Origin is the
// request's own host.
func serveWebSocketEcho(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = c.CloseNow() }()
	for {
		kind, message, err := c.Read(r.Context())
		if err != nil {
			return
		}
		if err := c.Write(r.Context(), kind, message); err != nil {
			return
		}
	}
}
