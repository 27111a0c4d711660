package devpool

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Names of the endpoints, for [Pool.Calls] and [Faults].
const (
	EndpointDiscovery = "discovery"
	EndpointJWKS      = "jwks"
	EndpointAuthorize = "authorize"
	EndpointLogin     = "login"
	EndpointToken     = "token"
	EndpointUserInfo  = "userinfo"
	EndpointRevoke    = "revoke"
	EndpointLogout    = "logout"
	EndpointError     = "error"
)

const (
	defaultPoolID = "eu-west-1_DevPool01"
	// Cognito's defaults: an hour for ID and access tokens, thirty days for refresh tokens.
	defaultAccessTTL  = time.Hour
	defaultRefreshTTL = 30 * 24 * time.Hour
	// codeTTL is the life of an authorization code.
	codeTTL = 5 * time.Minute
	// loginTTL is how long a login page may stay open before it answers "Something went wrong".
	loginTTL = 5 * time.Minute
	// sessionTTL is the life of the pool's own cookie. A silent sign-in does not extend it.
	sessionTTL = time.Hour
	// maxGrace is the longest RetryGracePeriodSeconds that Cognito takes.
	maxGrace = time.Minute
	// sweepEvery is how often expired codes, sessions and tokens are forgotten.
	sweepEvery = time.Minute
)

// Options are the settings of a [Pool]. Only BaseURL and Clients are required.
type Options struct {
	// BaseURL is where the pool is reached, without a path: http://localhost:8444. It stands for
	// both https://cognito-idp.REGION.amazonaws.com and the pool's domain.
	BaseURL string
	// PoolID is the user pool's id; default eu-west-1_DevPool01. The issuer is BaseURL/PoolID.
	PoolID  string
	Clients []Client
	// Users are the people of the pool; nil means [DefaultUsers].
	Users []User

	// AccessTTL is the life of ID and access tokens, default an hour; RefreshTTL that of refresh
	// tokens, default thirty days.
	AccessTTL, RefreshTTL time.Duration
	// RotateRefresh answers each refresh with a new refresh token, valid for the rest of the first
	// one's life, and refuses the old one after RotateGrace (at most a minute).
	RotateRefresh bool
	RotateGrace   time.Duration

	// InsecureAnyLocalhost makes every client accept any https://localhost:PORT/… as a callback and
	// as a sign-out URL, beside its own lists.
	InsecureAnyLocalhost bool
	// Control serves /_faults, /_calls and /_codes to whoever asks.
	Control bool

	// IDKey and AccessKey sign the two kinds of token until [Pool.RotateKeys]; nil means a new
	// 2048-bit key. Tests share them because making one takes a tenth of a second and more.
	IDKey, AccessKey *rsa.PrivateKey
	// AdminKeys are the access keys that may call the Admin operations of the API, with their secrets; default none.
	AdminKeys map[string]string
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Rand is where codes, tokens and key ids come from; default crypto/rand. Keys always come from
	// crypto/rand. A reader that fails makes the request that needed it panic.
	Rand io.Reader
}

// A Client is an app client of the pool.
type Client struct {
	ID string
	// Name is shown on the login page; default ID.
	Name string
	// Secret makes the client confidential. Without one it is public and sends only its id.
	Secret string
	// CallbackURLs and LogoutURLs are compared byte for byte. A client without callback URLs cannot
	// sign people in.
	CallbackURLs, LogoutURLs []string
	// Scopes are those the client may ask for; default openid, email, profile. Scopes with a slash
	// belong to a resource server, and a client with a secret gets them by client_credentials.
	Scopes []string
	// ReadAttributes are the attributes the client may read; nil means all. A client that asks for
	// the scope email and may not read both email and email_verified gets invalid_grant.
	ReadAttributes []string
	// Implicit allows response_type=token.
	Implicit bool
	// NoRevocation turns the revoke endpoint off for the client.
	NoRevocation bool
}

// Pool is a user pool. It is safe for concurrent use.
type Pool struct {
	opts    Options
	issuer  string
	secure  bool // BaseURL is https, so cookies are Secure
	clients map[string]*Client
	pages   *pages
	mux     *http.ServeMux
	csrfKey []byte

	randMu sync.Mutex // guards opts.Rand

	mu        sync.Mutex // guards what follows
	users     map[string]User
	userNames []string // in the order they were added
	keys      keyring
	faults    Faults
	calls     map[string]int
	store     store
	apiState  apiState
}

// New makes a pool. It returns every mistake in opts, joined.
func New(opts Options) (*Pool, error) {
	opts = withDefaults(opts)
	base, err := checkOptions(opts)
	if err != nil {
		return nil, err
	}
	pages, err := newPages()
	if err != nil {
		return nil, err
	}
	p := &Pool{
		opts:     opts,
		issuer:   opts.BaseURL + "/" + opts.PoolID,
		secure:   base.Scheme == "https",
		clients:  make(map[string]*Client, len(opts.Clients)),
		pages:    pages,
		users:    make(map[string]User, len(opts.Users)),
		calls:    make(map[string]int),
		store:    newStore(),
		apiState: newAPIState(),
	}
	for _, c := range opts.Clients {
		p.clients[c.ID] = clientWithDefaults(c)
	}
	for _, u := range opts.Users {
		p.PutUser(u)
	}
	p.csrfKey = p.random(32)
	if p.keys, err = p.newKeyring(opts.IDKey, opts.AccessKey); err != nil {
		return nil, err
	}
	p.routes()
	return p, nil
}

func withDefaults(o Options) Options {
	o.BaseURL = strings.TrimSuffix(o.BaseURL, "/")
	if o.PoolID == "" {
		o.PoolID = defaultPoolID
	}
	if o.Users == nil {
		o.Users = DefaultUsers()
	}
	if o.AccessTTL == 0 {
		o.AccessTTL = defaultAccessTTL
	}
	if o.RefreshTTL == 0 {
		o.RefreshTTL = defaultRefreshTTL
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	return o
}

func clientWithDefaults(c Client) *Client {
	if c.Name == "" {
		c.Name = c.ID
	}
	if c.Scopes == nil {
		c.Scopes = []string{"openid", "email", "profile"}
	}
	return &c
}

// poolIDPattern is Cognito's: the region, an underscore, letters and digits.
var poolIDPattern = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]+_[0-9A-Za-z]{1,46}$`)

func checkOptions(o Options) (*url.URL, error) {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf("devpool: "+format, args...)) }
	base, err := url.Parse(o.BaseURL)
	if err != nil || base.Host == "" || base.Path != "" || base.RawQuery != "" || base.User != nil ||
		(base.Scheme != "http" && base.Scheme != "https") {
		fail("base URL: want http(s)://HOST[:PORT], got %q", o.BaseURL)
	}
	if !poolIDPattern.MatchString(o.PoolID) {
		fail("pool id: want REGION_NAME as in %s, got %q", defaultPoolID, o.PoolID)
	}
	if o.AccessTTL < 0 || o.RefreshTTL < 0 {
		fail("token life: want a positive duration, got %v and %v", o.AccessTTL, o.RefreshTTL)
	}
	if o.RotateGrace < 0 || o.RotateGrace > maxGrace {
		fail("rotation grace: want 0 to %v, got %v", maxGrace, o.RotateGrace)
	}
	checkNames(o, fail)
	return base, errors.Join(errs...)
}

func checkNames(o Options, fail func(string, ...any)) {
	if len(o.Clients) == 0 {
		fail("clients: want at least one")
	}
	ids, names := make(map[string]bool), make(map[string]bool)
	for i, c := range o.Clients {
		if c.ID == "" || ids[c.ID] {
			fail("clients[%d]: want an id of its own, got %q", i, c.ID)
		}
		ids[c.ID] = true
		for _, raw := range slices.Concat(c.CallbackURLs, c.LogoutURLs) {
			if u, err := url.Parse(raw); err != nil || u.Scheme == "" || strings.Contains(raw, "#") {
				fail("clients[%d]: want absolute URLs without a fragment, got %q", i, raw)
			}
		}
	}
	for i, u := range o.Users {
		if u.Username == "" || names[u.Username] {
			fail("users[%d]: want a name of their own, got %q", i, u.Username)
		}
		names[u.Username] = true
	}
}

// Issuer returns the "iss" of the pool's tokens: BaseURL/PoolID.
func (p *Pool) Issuer() string { return p.issuer }

// Calls returns how many requests an endpoint has got since the start or the last [Pool.ResetCalls],
// those that a fault ate included. Token requests are also counted by grant type, as
// "token:refresh_token".
func (p *Pool) Calls(endpoint string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[endpoint]
}

// ResetCalls sets all counters to zero.
func (p *Pool) ResetCalls() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.calls)
}

func (p *Pool) allCalls() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.calls)
}

func (p *Pool) count(endpoint string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls[endpoint]++
}

// ServeHTTP serves the pool's endpoints.
func (p *Pool) ServeHTTP(w http.ResponseWriter, r *http.Request) { p.mux.ServeHTTP(w, r) }

func (p *Pool) routes() {
	p.mux = http.NewServeMux()
	wellKnown := "/" + p.opts.PoolID + "/.well-known/"
	p.handle(wellKnown+"openid-configuration", EndpointDiscovery, p.serveDiscovery, "GET")
	p.handle(wellKnown+"jwks.json", EndpointJWKS, p.serveJWKS, "GET")
	p.handle("/oauth2/authorize", EndpointAuthorize, p.serveAuthorize, "GET")
	p.handle("/login", EndpointLogin, p.serveLogin, "GET", "POST")
	p.handle("/error", EndpointError, p.serveError, "GET")
	p.handle("/logout", EndpointLogout, p.serveLogout, "GET")
	p.handle("/oauth2/token", EndpointToken, cors(p.serveToken), "POST", "OPTIONS")
	p.handle("/oauth2/revoke", EndpointRevoke, cors(p.serveRevoke), "POST", "OPTIONS")
	p.handle("/oauth2/userInfo", EndpointUserInfo, cors(p.serveUserInfo), "GET", "OPTIONS")
	p.mux.HandleFunc("GET /{$}", p.serveHome)
	p.handle("POST /{$}", EndpointAPI, p.serveAPI, "POST")
	p.mux.HandleFunc("/", p.serveNotFound)
	if p.opts.Control {
		p.mux.HandleFunc("GET /_calls", p.serveCalls)
		p.mux.HandleFunc("GET /_codes", p.serveCodes)
		p.mux.HandleFunc("GET /_faults", p.serveFaults)
		p.mux.HandleFunc("POST /_faults", p.acceptFaults)
	}
}

// handle adds an endpoint that is counted, can be made to fail, and answers a request id as Cognito
// does.
func (p *Pool) handle(path, endpoint string, h http.HandlerFunc, methods ...string) {
	p.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
		p.count(endpoint)
		w.Header().Set("X-Amz-Cognito-Request-Id", p.uuid())
		if p.misbehave(w, r, endpoint) {
			return
		}
		if !slices.Contains(methods, r.Method) && (r.Method != http.MethodHead || methods[0] != "GET") {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
			return
		}
		h(w, r)
	})
}

// cors lets pages of any origin read the answer, as Cognito does for its token, revoke and userInfo
// endpoints.
func cors(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next(w, r)
	}
}

// random returns n random bytes. It panics when Rand fails, because there is no answer without them.
func (p *Pool) random(n int) []byte {
	b := make([]byte, n)
	p.randMu.Lock()
	defer p.randMu.Unlock()
	if _, err := io.ReadFull(p.opts.Rand, b); err != nil {
		panic(fmt.Errorf("devpool: random bytes: %w", err))
	}
	return b
}

// uuid returns a random UUID (version 4).
func (p *Pool) uuid() string { return formatUUID(p.random(16)) }

func formatUUID(b []byte) string {
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// equal compares in constant time.
func equal(a, b string) bool { return hmac.Equal([]byte(a), []byte(b)) }
