package origin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func noEnv(string) (string, bool) { return "", false }

// front serves a bucket over HTTP/1.1 and HTTP/2.
type bucketFront struct {
	t       *testing.T
	s3      *s3Server
	bucket  *Bucket
	fetches chan Fetch
	reasons []string // of refusals, for the event
	clients map[string]*http.Client
	base    map[string]string
}

func newBucketFront(t *testing.T, s3 *s3Server, cfg Config, opts Options) *bucketFront {
	t.Helper()
	if cfg.S3 == nil {
		cfg.S3 = &S3Config{}
	}
	cfg.S3.Bucket, cfg.S3.Region, cfg.S3.Endpoint = "assets", "eu-west-1", s3.URL
	cfg.S3.Credentials, cfg.S3.AccessKeyID, cfg.S3.SecretAccessKey = CredentialsKeys, exampleKey, exampleSecret
	cfg.Validate(func(field, msg string) { t.Fatalf("%s: %s", field, msg) })
	bucket, err := NewBucket(cfg, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bucket.Close)
	f := &bucketFront{t: t, s3: s3, bucket: bucket, clients: map[string]*http.Client{}, base: map[string]string{}}
	opts.Navigates = func(r *http.Request) bool { return r.Header.Get("Accept") == "text/html" }
	opts.Deny = func(w http.ResponseWriter, r *http.Request, err error) {
		f.reasons = append(f.reasons, err.Error())
		deny(w, r, err)
	}
	f.fetches = make(chan Fetch, 1024)
	opts.OnFetch = func(_ context.Context, got Fetch) { f.fetches <- got }
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		server := httptest.NewUnstartedServer(bucket.Handler(opts))
		server.EnableHTTP2 = proto == "HTTP/2.0"
		server.StartTLS()
		t.Cleanup(server.Close)
		client := server.Client()
		client.Transport.(*http.Transport).DisableCompression = true
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		f.clients[proto], f.base[proto] = client, server.URL
	}
	return f
}

// ask sends a request and returns status, chosen fields and body as one text.
func (f *bucketFront) ask(proto, method, target string, fields ...string) (string, http.Header) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.base[proto]+target, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := f.clients[proto].Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.Proto != proto {
		f.t.Fatalf("%s: %v", resp.Proto, err)
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, body)), resp.Header
}

func site3() map[string]object {
	html := map[string]string{"Content-Type": "text/html"}
	return map[string]object{
		"site/index.html":          {"<h1>home</h1>", html},
		"site/404.html":            {"<h1>nothing</h1>", html},
		"site/app.js":              {"0123456789", map[string]string{"Content-Type": "text/javascript", "Cache-Control": "public, max-age=31536000, immutable"}},
		"site/docs/index.html":     {"<h1>docs</h1>", html},
		"site/a b+c=d&e$f;~'(ü).*": {"odd", nil},
		"site/.env":                {"SECRET=1", nil},
		"site/big.bin":             {strings.Repeat("x", 1<<20), nil},
		"index.html":               {"outside", html},
	}
}

func TestObjectsOfABucket(t *testing.T) {
	t.Parallel()
	for _, list := range []bool{false, true} {
		s3 := newS3(t, site3())
		s3.list = list
		f := newBucketFront(t, s3, Config{S3: &S3Config{Prefix: "site"}, NotFound: "404.html"}, Options{StripPrefix: "/assets"})
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			etag := func() string {
				_, h := f.ask(proto, "GET", "/assets/app.js")
				return h.Get("ETag")
			}()
			for _, c := range []struct {
				method, target string
				fields         []string
				want           string
			}{
				{"GET", "/assets/", nil, "200 <h1>home</h1>"},
				{"GET", "/assets", nil, "200 <h1>home</h1>"},
				{"HEAD", "/assets/app.js", nil, "200"},
				{"GET", "/assets/app.js", nil, "200 0123456789"},
				{"GET", "/assets/app.js?versionId=1&response-content-type=text/html", nil, "200 0123456789"},
				{"GET", "/assets/a%20b+c=d&e$f;~'(%C3%BC).*", nil, "200 odd"},
				{"GET", "/assets/a%20b%2Bc%3Dd%26e%24f%3B~%27%28%C3%BC%29.%2A", nil, "200 odd"},
				{"GET", "/assets/docs/", nil, "200 <h1>docs</h1>"},
				{"GET", "/assets/docs", nil, "301"},
				{"GET", "/assets/docs/index.html", nil, "200 <h1>docs</h1>"},
				{"GET", "/assets/app.js", []string{"Range", "bytes=2-4"}, "206 234"},
				{"GET", "/assets/app.js", []string{"Range", "bytes=2-4", "If-Range", etag}, "206 234"},
				{"GET", "/assets/app.js", []string{"Range", "bytes=2-4", "If-Range", `"other"`}, "200 0123456789"},
				{"GET", "/assets/app.js", []string{"Range", "bytes=99-"}, "416 denied"},
				{"GET", "/assets/app.js", []string{"If-None-Match", etag}, "304"},
				{"GET", "/assets/app.js", []string{"If-Modified-Since", written.Format(http.TimeFormat)}, "304"},
				{"GET", "/assets/app.js", []string{"If-Match", `"other"`}, "412 denied"},
				{"GET", "/assets/none.js", nil, "404 <h1>nothing</h1>"},
				{"GET", "/assets/none", nil, "404 <h1>nothing</h1>"},
				{"GET", "/assets/none.js", []string{"Range", "bytes=0-1"}, "404 <h1>nothing</h1>"},
				{"HEAD", "/assets/none.js", nil, "404"},
				{"GET", "/assets/.env", nil, "404 <h1>nothing</h1>"},
				{"GET", "/assets/docs//index.html", nil, "404 <h1>nothing</h1>"},
				{"GET", "/elsewhere", nil, "404 denied"},
				{"PUT", "/assets/app.js", nil, "405 denied"},
				{"DELETE", "/assets/app.js", nil, "405 denied"},
				{"POST", "/assets/app.js", nil, "405 denied"},
				{"OPTIONS", "/assets/app.js", nil, "405 denied"},
			} {
				got, h := f.ask(proto, c.method, c.target, c.fields...)
				if got != c.want {
					t.Errorf("%s, list %t: %s %s %q: got %q, want %q; %v", proto, list, c.method, c.target, c.fields, got, c.want, f.reasons)
				}
				for _, name := range []string{"Set-Cookie", "Server", "X-Amz-Request-Id", "X-Amz-Meta-Owner"} {
					if h.Get(name) != "" {
						t.Errorf("%s: %s: %s", c.target, name, h.Get(name))
					}
				}
			}
		}
		if got := <-f.fetches; got.Address != strings.TrimPrefix(s3.URL, "http://") || got.Attempts != 1 || got.FirstByte <= 0 {
			t.Errorf("told of %v", got)
		}
		for _, r := range s3.requests() {
			if r.URL.RawQuery != "" || !strings.HasPrefix(r.URL.Path, "/assets/site/") {
				t.Errorf("asked S3 for %s", r.RequestURI)
			}
		}
	}
}

// Nothing of who the client is gets to S3, and nothing that changes what is asked for.
func TestABucketIsToldNothingOfTheClient(t *testing.T) {
	t.Parallel()
	s3 := newS3(t, site3())
	f := newBucketFront(t, s3, Config{S3: &S3Config{Prefix: "site"}}, Options{})
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		got, _ := f.ask(proto, "GET", "/app.js", "Authorization", "Bearer secret", "Cookie", "session=secret", "X-Amzn-Oidc-Data", "secret",
			"X-Amz-Security-Token", "secret", "X-Amz-Date", "20130524T000000Z", "X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD", "X-Forwarded-For", "1.2.3.4",
			"X-Amz-Server-Side-Encryption-Customer-Key", "secret", "Referer", "https://secret", "If-None-Match", `"x"`)
		if got != "200 0123456789" {
			t.Errorf("%s: got %s, %v", proto, got, f.reasons)
		}
		for _, r := range s3.requests() {
			var names []string
			for name := range r.Header {
				names = append(names, name)
			}
			slices.Sort(names)
			want := []string{"Authorization", "If-None-Match", "User-Agent", "X-Amz-Content-Sha256", "X-Amz-Date"}
			if diff := cmp.Diff(names, want); diff != "" || strings.Contains(fmt.Sprint(r.Header), "secret") {
				t.Errorf("%s: fields (-got +want)\n%s", proto, diff)
			}
		}
	}
}

func TestAnswersOfABucketSayWhatCachesMay(t *testing.T) {
	t.Parallel()
	s3 := newS3(t, site3())
	f := newBucketFront(t, s3, Config{S3: &S3Config{Prefix: "site"}, Fallback: "index.html", CacheControl: "public, max-age=60"}, Options{})
	navigation := []string{"Accept", "text/html"}
	for target, want := range map[string]string{
		"/app.js":      "200 public, max-age=31536000, immutable",
		"/":            "200 public, max-age=60",
		"/orders/17":   "200 no-cache",
		"/nothing.css": "404 ",
	} {
		for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
			got, h := f.ask(proto, "GET", target, navigation...)
			if got := got[:3] + " " + h.Get("Cache-Control"); got != want {
				t.Errorf("%s: got %s, want %s", target, got, want)
			}
		}
	}
	// The page of an application that routes in the browser is asked for again with its tag.
	_, h := f.ask("HTTP/1.1", "GET", "/orders/17", navigation...)
	if got, _ := f.ask("HTTP/1.1", "GET", "/orders/18", "Accept", "text/html", "If-None-Match", h.Get("ETag"), "Range", "bytes=0-1"); got != "304" {
		t.Errorf("with its tag: got %s", got)
	}
	if got, _ := f.ask("HTTP/1.1", "GET", "/orders/17"); got != "404 denied" {
		t.Errorf("a script: got %s", got)
	}
}

// What is S3's own trouble is not the client's to read, and is in the event.
func TestErrorsOfABucket(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		fail   []string
		want   string
		reason string
	}{
		{[]string{"403 SignatureDoesNotMatch"}, "502 denied", "s3: 403 SignatureDoesNotMatch"},
		{[]string{"403 InvalidAccessKeyId"}, "502 denied", "s3: 403 InvalidAccessKeyId"},
		{[]string{"403 RequestTimeTooSkewed"}, "502 denied", "s3: 403 RequestTimeTooSkewed"},
		{[]string{"404 NoSuchBucket"}, "502 denied", "s3: 404 NoSuchBucket"},
		{[]string{"301 PermanentRedirect"}, "502 denied", "s3: 301 PermanentRedirect"},
		{[]string{"400 AuthorizationHeaderMalformed"}, "502 denied", "s3: 400 AuthorizationHeaderMalformed"},
		{[]string{"403 AccessDenied"}, "404 denied", "s3: 403 AccessDenied"},
		{[]string{"404 NoSuchKey"}, "404 denied", "s3: 404 NoSuchKey"},
		{[]string{"503 SlowDown"}, "200 0123456789", ""},
		{[]string{"503 SlowDown", "503 SlowDown"}, "503 denied", "s3: 503 SlowDown"},
		{[]string{"500 InternalError", "500 InternalError"}, "502 denied", "s3: 500 InternalError"},
		{[]string{"418 <script>"}, "502 denied", "s3: 418"},
	} {
		s3 := newS3(t, site3())
		f := newBucketFront(t, s3, Config{S3: &S3Config{Prefix: "site"}}, Options{})
		s3.fail = c.fail
		got, h := f.ask("HTTP/2.0", "GET", "/app.js")
		if got != c.want || h.Get("X-Amz-Request-Id") != "" {
			t.Errorf("%q: got %q, want %q", c.fail, got, c.want)
		}
		if c.reason != "" && (len(f.reasons) != 1 || strings.TrimSpace(f.reasons[0]) != "origin: "+c.reason) {
			t.Errorf("%q: reason %q, want %q", c.fail, f.reasons, c.reason)
		}
	}
	// A wrong secret, and a bucket that nobody serves.
	s3 := newS3(t, site3())
	f := newBucketFront(t, s3, Config{S3: &S3Config{Prefix: "site"}}, Options{})
	s3.secret = "another"
	if got, _ := f.ask("HTTP/1.1", "GET", "/app.js"); got != "502 denied" || f.reasons[0] != "origin: s3: 403 SignatureDoesNotMatch" {
		t.Errorf("a wrong secret: got %q, %q", got, f.reasons)
	}
	s3.Close()
	if got, _ := f.ask("HTTP/1.1", "GET", "/app.js"); got != "502 denied" {
		t.Errorf("nobody there: got %q", got)
	}
}

// An object that stops coming, or ends early, must not look whole.
func TestAnObjectThatBreaksOff(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]func(net.Conn){
		"ends early":   func(c net.Conn) { c.Close() },
		"stops coming": func(net.Conn) {},
	} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				t.Cleanup(func() { c.Close() })
				if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
					continue
				}
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nContent-Type: text/plain\r\n\r\nthe beginning")
				then(c)
			}
		}()
		bucket, err := NewBucket(Config{S3: &S3Config{
			Bucket: "assets", Region: "eu-west-1", Endpoint: "http://" + ln.Addr().String(),
			Credentials: CredentialsKeys, AccessKeyID: exampleKey, SecretAccessKey: exampleSecret,
		}}, noEnv)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(bucket.Close)
		bucket.wait = 50 * time.Millisecond
		server := httptest.NewServer(bucket.Handler(Options{Deny: deny}))
		t.Cleanup(server.Close)
		resp, err := server.Client().Get(server.URL + "/x")
		if err != nil {
			continue // the beginning had not been sent yet
		}
		if got, err := io.ReadAll(resp.Body); err == nil {
			t.Errorf("%s: %d bytes looked whole", name, len(got))
		}
		resp.Body.Close()
	}
}

// An account of an error that does not come to its end keeps nobody waiting.
func TestAnErrorOfABucketThatStopsComing(t *testing.T) {
	t.Parallel()
	s3 := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<Error><Code>SignatureDoesNotMatch</Code>")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(s3.Close)
	bucket, err := NewBucket(Config{S3: &S3Config{
		Bucket: "assets", Region: "eu-west-1", Endpoint: s3.URL, Credentials: CredentialsKeys, AccessKeyID: exampleKey, SecretAccessKey: exampleSecret,
	}}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bucket.Close)
	bucket.wait = 50 * time.Millisecond
	w := httptest.NewRecorder()
	bucket.Handler(Options{Deny: deny}).ServeHTTP(w, httptest.NewRequest("GET", "/x", nil))
	if w.Code != http.StatusBadGateway {
		t.Errorf("got %d", w.Code)
	}
}

// S3 has no such objects, and says so of its own as if the gateway had asked wrongly.
func TestNamesThatNoObjectHas(t *testing.T) {
	t.Parallel()
	s3 := newS3(t, site3())
	f := newBucketFront(t, s3, Config{S3: &S3Config{Prefix: "site"}}, Options{})
	for target, want := range map[string]string{
		"/" + strings.Repeat("a", 1025-len("site/")): "404 denied",
		"/%ff": "404 denied",
		"/" + strings.Repeat("a", 1025-len("site/")) + "/": "404 denied",
	} {
		if got, _ := f.ask("HTTP/2.0", "GET", target); got != want {
			t.Errorf("%.20s: got %s, want %s", target, got, want)
		}
	}
	if got := s3.requests(); len(got) > 0 {
		t.Errorf("asked S3 %d times", len(got))
	}
	if got, _ := f.ask("HTTP/2.0", "GET", "/"+strings.Repeat("a.", 512-len("site/")/2-1)); got != "404 denied" || len(s3.requests()) != 1 {
		t.Errorf("a name that an object can have: got %s", got)
	}
}

// A condition in bytes that S3 reads otherwise than who signs them is left out: its answer would be an error of ours.
func TestConditionsThatCannotBeSigned(t *testing.T) {
	t.Parallel()
	s3 := newS3(t, site3())
	f := newBucketFront(t, s3, Config{S3: &S3Config{Prefix: "site"}}, Options{})
	if got, _ := f.ask("HTTP/2.0", "GET", "/app.js", "If-None-Match", "\"\xe9\"", "Range", "bytes=2-4"); got != "206 234" {
		t.Errorf("got %s", got)
	}
	if got, _ := f.ask("HTTP/2.0", "GET", "/app.js", "If-Range", "\"\xe9\"", "Range", "bytes=2-4"); got != "200 0123456789" {
		t.Errorf("a range of another object: got %s", got)
	}
	for _, r := range s3.requests() {
		if got := r.Header.Values("If-None-Match"); len(got) > 0 {
			t.Errorf("S3 was sent %q", got)
		}
	}
}

// Who has left is no trouble of S3's.
func TestAClientThatLeavesWhileABucketIsAsked(t *testing.T) {
	t.Parallel()
	ctx, leave := context.WithCancel(t.Context())
	s3 := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		leave()
		<-r.Context().Done()
	}))
	t.Cleanup(s3.Close)
	bucket, err := NewBucket(Config{S3: &S3Config{
		Bucket: "assets", Region: "eu-west-1", Endpoint: s3.URL, Credentials: CredentialsKeys, AccessKeyID: exampleKey, SecretAccessKey: exampleSecret,
	}}, noEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bucket.Close)
	w := httptest.NewRecorder()
	bucket.Handler(Options{Deny: deny}).ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/x", nil))
	if w.Code != 499 {
		t.Errorf("got %d", w.Code)
	}
}

// The task's role has its credentials where ECS says, and they have a token to be sent along.
func TestABucketIsReadWithTheCredentialsOfARole(t *testing.T) {
	t.Parallel()
	role := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"AccessKeyId": %q, "SecretAccessKey": %q, "Token": "role-token", "Expiration": %q}`,
			exampleKey, exampleSecret, time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(role.Close)
	s3 := newS3(t, site3())
	bucket, err := NewBucket(Config{S3: &S3Config{Bucket: "assets", Region: "eu-west-1", Endpoint: s3.URL, Prefix: "site"}}, func(name string) (string, bool) {
		if name == "AWS_CONTAINER_CREDENTIALS_FULL_URI" {
			return role.URL, true
		}
		return "", false
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bucket.Close)
	ask := func() (int, string) {
		w := httptest.NewRecorder()
		bucket.Handler(Options{Deny: deny}).ServeHTTP(w, httptest.NewRequest("GET", "/app.js", nil))
		return w.Code, w.Body.String()
	}
	for range 2 {
		if status, body := ask(); status != 200 || body != "0123456789" {
			t.Errorf("got %d %s", status, body)
		}
	}
	for _, r := range s3.requests() {
		if r.Header.Get("X-Amz-Security-Token") != "role-token" {
			t.Errorf("token: %q", r.Header.Get("X-Amz-Security-Token"))
		}
	}
}

func TestWhereABucketIs(t *testing.T) {
	t.Parallel()
	for want, cfg := range map[string]S3Config{
		"https://example-assets.s3.eu-west-1.amazonaws.com":     {Bucket: "example-assets", Region: "eu-west-1"},
		"https://s3.eu-west-1.amazonaws.com/assets.example.com": {Bucket: "assets.example.com", Region: "eu-west-1"},
		"https://assets.s3.cn-north-1.amazonaws.com.cn":         {Bucket: "assets", Region: "cn-north-1"},
		"https://minio.example.com:9000/assets":                 {Bucket: "assets", Region: "eu-west-1", Endpoint: "https://MinIO.example.com:9000/"},
	} {
		if got, err := cfg.base(); err != nil || got.String() != want {
			t.Errorf("got %v, %v, want %s", got, err, want)
		}
	}
	for name, c := range map[string]struct {
		cfg  Config
		want []string
	}{
		"good":               {Config{S3: &S3Config{Bucket: "assets", Region: "eu-west-1", Prefix: "a/b"}}, nil},
		"nothing":            {Config{S3: &S3Config{}}, []string{"s3.bucket", "s3.region"}},
		"both":               {Config{Directory: "x", S3: &S3Config{Bucket: "assets", Region: "eu-west-1"}}, []string{"s3"}},
		"odd":                {Config{S3: &S3Config{Bucket: "a/b", Region: "Ireland", Prefix: "/a/", Endpoint: "http://example.com", Credentials: "env"}}, []string{"s3.bucket", "s3.region", "s3.prefix", "s3.endpoint", "s3.credentials"}},
		"keys without":       {Config{S3: &S3Config{Bucket: "assets", Region: "eu-west-1", Credentials: CredentialsKeys}}, []string{"s3.access_key_id", "s3.secret_access_key"}},
		"keys beside a role": {Config{S3: &S3Config{Bucket: "assets", Region: "eu-west-1", AccessKeyID: "A"}}, []string{"s3.credentials"}},
	} {
		var got []string
		c.cfg.Validate(func(field, _ string) { got = append(got, field) })
		if diff := cmp.Diff(got, c.want); diff != "" {
			t.Errorf("%s (-got +want)\n%s", name, diff)
		}
	}
}

// FuzzEscapeKey: S3 decodes what is sent to the key that was meant, and nothing in it ends the path.
func FuzzEscapeKey(f *testing.F) {
	for _, s := range []string{"/a b", "/ü?#%2F+", "/a//b;c", "/\x00\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		escaped := escapeKey("/" + key)
		decoded, err := url.PathUnescape(escaped)
		if err != nil || decoded != "/"+key || strings.ContainsAny(escaped, "?#+ ") {
			t.Fatalf("%q: %q, %q, %v", key, escaped, decoded, err)
		}
		u := url.URL{Path: "/" + key, RawPath: escaped}
		if u.EscapedPath() != escaped {
			t.Fatalf("%q: sent as %q", key, u.EscapedPath())
		}
	})
}
