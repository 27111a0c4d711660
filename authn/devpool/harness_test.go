package devpool_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/authn/devpool"
)

const (
	webID, webSecret = "1example23456789", "9example87654321"
	spaID            = "2public23456789"
	jobID, jobSecret = "3machine23456789", "7machine87654321"
	callback         = "https://app.example.com/oauth2/idpresponse"
	signedOut        = "https://app.example.com/signed-out"
)

// testKeys are made once, because RSA keys take their time.
var testKeys = sync.OnceValue(func() (keys [2]*rsa.PrivateKey) {
	for i := range keys {
		var err error
		if keys[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			panic(err)
		}
	}
	return keys
})

// clock is a clock that stands until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// A bench is a pool behind a real server, with a browser that follows no redirects.
type bench struct {
	*devpool.Pool
	t     *testing.T
	url   string
	http  *http.Client
	clock *clock
}

// newBench starts a pool with a confidential client for the web, a public one and one for machines.
func newBench(t *testing.T, change ...func(*devpool.Options)) *bench {
	t.Helper()
	srv := httptest.NewUnstartedServer(nil)
	clk := &clock{now: time.Now().Truncate(time.Second)}
	opts := devpool.Options{
		BaseURL: "http://" + srv.Listener.Addr().String(),
		IDKey:   testKeys()[0], AccessKey: testKeys()[1], Now: clk.Now,
		Clients: []devpool.Client{
			{
				ID: webID, Secret: webSecret, Name: "Reports", CallbackURLs: []string{callback, "https://app.example.com/cb?x=1", "myapp:/done"},
				LogoutURLs: []string{signedOut},
			},
			{ID: spaID, CallbackURLs: []string{callback}, Scopes: []string{"openid", "orders/read"}, Implicit: true, NoRevocation: true},
			{ID: jobID, Secret: jobSecret, Scopes: []string{"orders/read", "orders/write"}},
		},
	}
	for _, f := range change {
		f(&opts)
	}
	pool, err := devpool.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Config.Handler = pool
	srv.Start()
	t.Cleanup(srv.Close)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{Pool: pool, t: t, url: srv.URL, clock: clk, http: &http.Client{
		Transport: srv.Client().Transport, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response whose body has been read.
type answer struct {
	*http.Response
	body string
}

func (b *bench) do(req *http.Request) answer {
	b.t.Helper()
	res, err := b.http.Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return answer{res, string(body)}
}

func (b *bench) get(pathAndQuery string) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), "GET", b.absolute(pathAndQuery), nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return b.do(req)
}

func (b *bench) absolute(target string) string {
	if strings.HasPrefix(target, "/") {
		return b.url + target
	}
	return target
}

func (b *bench) post(path string, form url.Values, user ...string) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), "POST", b.absolute(path), strings.NewReader(form.Encode()))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if len(user) == 2 {
		req.SetBasicAuth(user[0], user[1])
	}
	return b.do(req)
}

// query returns the parameters of a correct authorization request, changed by pairs of name and
// value; the value "-" takes the parameter away.
func query(pairs ...string) url.Values {
	q := url.Values{
		"client_id": {webID}, "redirect_uri": {callback}, "response_type": {"code"},
		"scope": {"openid email profile"}, "state": {"a+b/c="},
	}
	for i := 0; i < len(pairs); i += 2 {
		if q.Set(pairs[i], pairs[i+1]); pairs[i+1] == "-" {
			q.Del(pairs[i])
		}
	}
	return q
}

var csrfField = regexp.MustCompile(`name="_csrf" value="([^"]+)"`)

// csrf returns the hidden field of a login page.
func (b *bench) csrf(page answer) string {
	b.t.Helper()
	m := csrfField.FindStringSubmatch(page.body)
	if m == nil {
		b.t.Fatalf("login page: want a CSRF field, got %d %q", page.StatusCode, page.body)
	}
	return html.UnescapeString(m[1])
}

// signIn goes through the login page and returns where the pool sends the browser in the end.
func (b *bench) signIn(username string, q url.Values) *url.URL {
	b.t.Helper()
	res := b.get("/oauth2/authorize?" + q.Encode())
	if login := res.Header.Get("Location"); strings.HasPrefix(login, "/login?") {
		form := url.Values{"_csrf": {b.csrf(b.get(login))}, "username": {username}, "password": {username}}
		res = b.post(login, form)
	}
	return b.location(res)
}

func (b *bench) location(res answer) *url.URL {
	b.t.Helper()
	u, err := res.Location()
	if res.StatusCode != http.StatusFound || err != nil {
		b.t.Fatalf("got %d %v %q, want a redirect", res.StatusCode, res.Header, res.body)
	}
	return u
}

func (b *bench) code(username string, q url.Values) string {
	b.t.Helper()
	u := b.signIn(username, q)
	code := u.Query().Get("code")
	if code == "" {
		b.t.Fatalf("redirect: want a code, got %s", u)
	}
	return code
}

// tokenAnswer is what the token endpoint says.
type tokenAnswer struct {
	ID          string `json:"id_token"`
	Access      string `json:"access_token"`
	Refresh     string `json:"refresh_token"`
	ExpiresIn   int    `json:"expires_in"`
	Type        string `json:"token_type"`
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

// token posts a form of pairs to the token endpoint, as the web client.
func (b *bench) token(pairs ...string) (int, tokenAnswer) {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	res := b.post("/oauth2/token", form, webID, webSecret)
	return res.StatusCode, decode[tokenAnswer](b.t, res.body)
}

// tokens signs a user in and returns their tokens.
func (b *bench) tokens(username string, q url.Values) tokenAnswer {
	b.t.Helper()
	status, t := b.token("grant_type", "authorization_code", "code", b.code(username, q), "redirect_uri", q.Get("redirect_uri"))
	if status != http.StatusOK {
		b.t.Fatalf("token: want 200, got %d %+v", status, t)
	}
	return t
}

func (b *bench) userInfo(authorization string) answer {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), "GET", b.url+"/oauth2/userInfo", nil)
	if err != nil {
		b.t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return b.do(req)
}

func decode[T any](t *testing.T, body string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("decode %q: %v", body, err)
	}
	return v
}

// part decodes one part of a JWT without verifying anything.
func part(t *testing.T, token string, i int) map[string]any {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[i])
	if err != nil {
		t.Fatal(err)
	}
	return decode[map[string]any](t, string(raw))
}
