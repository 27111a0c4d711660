package waf

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	crstests "github.com/corazawaf/coraza-coreruleset/v4/tests"
	"github.com/corazawaf/coraza/v3/experimental"
	"github.com/goccy/go-yaml"
)

// The Core Rule Set's own regression suite, through net/http's server and the connector: judged by the ids of the
// rules that match, and by whether the request is blocked, over HTTP/1.1 and HTTP/2.

type ftwFile struct {
	RuleID int       `yaml:"rule_id"`
	Tests  []ftwTest `yaml:"tests"`
}

type ftwTest struct {
	ID     int `yaml:"test_id"`
	Stages []struct {
		Input  ftwInput  `yaml:"input"`
		Output ftwOutput `yaml:"output"`
	} `yaml:"stages"`
}

type ftwInput struct {
	Method       *string       `yaml:"method"`
	URI          *string       `yaml:"uri"`
	Version      *string       `yaml:"version"`
	Headers      yaml.MapSlice `yaml:"headers"`
	Data         string        `yaml:"data"`
	Encoded      string        `yaml:"encoded_request"`
	Autocomplete *bool         `yaml:"autocomplete_headers"`
}

type ftwOutput struct {
	Status      int  `yaml:"status"`
	ExpectError bool `yaml:"expect_error"`
	Log         struct {
		Expect   []int  `yaml:"expect_ids"`
		NoExpect []int  `yaml:"no_expect_ids"`
		Match    string `yaml:"match_regex"`
		NoMatch  string `yaml:"no_match_regex"`
	} `yaml:"log"`
}

// ftwSettings are those of the suite's README, and the set's defaults where ours differ.
const ftwSettings = `
SecAction "id:900005,phase:1,nolog,pass,\
  setvar:tx.crs_validate_utf8_encoding=1,\
  setvar:tx.arg_name_length=100,setvar:tx.arg_length=400,setvar:tx.total_arg_length=64000,\
  setvar:tx.max_num_args=255,setvar:tx.max_file_size=64100,setvar:tx.combined_file_sizes=65535,\
  setvar:'tx.allowed_methods=GET HEAD POST OPTIONS',\
  setvar:'tx.allowed_request_content_type=|application/x-www-form-urlencoded| |multipart/form-data| |text/xml| |application/xml| |application/soap+xml| |application/json|',\
  setvar:'tx.restricted_headers_basic=/content-encoding/ /proxy/ /lock-token/ /content-range/ /if/ /x-http-method-override/ /x-http-method/ /x-method-override/ /x-middleware-subrequest/ /expect/'"
`

// request writes the bytes that go-ftw would send.
func (in ftwInput) request() []byte {
	if in.Encoded != "" {
		b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(in.Encoded), ""))
		if err == nil {
			return b
		}
	}
	or := func(p *string, def string) string {
		if p == nil {
			return def
		}
		return *p
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s %s\r\n", or(in.Method, "GET"), or(in.URI, "/"), or(in.Version, "HTTP/1.1"))
	header := http.Header{}
	for _, h := range in.Headers {
		fmt.Fprintf(&b, "%s: %v\r\n", h.Key, h.Value)
		header.Add(fmt.Sprint(h.Key), fmt.Sprint(h.Value))
	}
	data := in.Data
	if in.Autocomplete == nil || *in.Autocomplete {
		if data != "" && header.Get("Content-Type") == "" {
			header.Set("Content-Type", "application/x-www-form-urlencoded")
			b.WriteString("Content-Type: application/x-www-form-urlencoded\r\n")
		}
		if header.Get("Content-Type") == "application/x-www-form-urlencoded" {
			data = encodeForm(data)
		}
	}
	if strings.HasPrefix(strings.ToLower(header.Get("Content-Type")), "multipart/") && !strings.Contains(data, "\r\n") {
		data = strings.ReplaceAll(data, "\n", "\r\n")
	}
	if in.Autocomplete == nil || *in.Autocomplete {
		if data != "" && header.Get("Content-Length") == "" && header.Get("Transfer-Encoding") == "" {
			fmt.Fprintf(&b, "Content-Length: %d\r\n", len(data))
		}
		if header.Get("Connection") == "" {
			b.WriteString("Connection: close\r\n")
		}
	}
	b.WriteString("\r\n")
	b.WriteString(data)
	return b.Bytes()
}

// encodeForm encodes a form that is not encoded yet.
func encodeForm(data string) string {
	if plain, err := url.QueryUnescape(data); err == nil && plain != data {
		return data
	}
	values, err := url.ParseQuery(data)
	if err != nil {
		return data
	}
	encoded := values.Encode()
	if strings.TrimSuffix(encoded, "=") == url.QueryEscape(data) {
		return data
	}
	return encoded
}

// ftwSeen is what the connector made of one request.
type ftwSeen struct {
	ids    []int
	log    string
	status int
}

// ftwServer keeps, by the client's address, what was seen.
type ftwServer struct {
	h1, h2 *httptest.Server
	mu     sync.Mutex
	seen   map[string]ftwSeen
}

// newFTWServer has an engine that counts in front of nothing.
func newFTWServer(t *testing.T) *ftwServer {
	t.Helper()
	e := newTestEngineAs(t, Config{Mode: ModeCount, Paranoia: 4, Limits: Limits{Work: "10s"}}, Options{Deny: denyPlain},
		variant{extra: ftwSettings, logs: true})
	s := &ftwServer{seen: map[string]ftwSeen{}}
	s.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tx := e.waf.NewTransactionWithOptions(experimental.Options{Context: r.Context()}).(transaction)
		var v verdict
		in := e.begin(tx)
		e.run(tx, in, r, &v)
		e.end(in, &v)
		defer v.body.release()
		seen := ftwSeen{status: v.result.Status}
		if v.err != nil {
			seen.status = status(v.err)
		}
		var log strings.Builder
		for _, m := range tx.MatchedRules() {
			seen.ids = append(seen.ids, m.Rule().ID())
			log.WriteString(m.ErrorLog())
			log.WriteByte('\n')
		}
		seen.log = strings.NewReplacer("ARGS_GET", "ARGS", "ARGS_POST", "ARGS").Replace(log.String())
		if err := tx.Close(); err != nil {
			t.Error(err)
		}
		s.mu.Lock()
		s.seen[r.RemoteAddr] = seen
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}))
	return s
}

func (s *ftwServer) serve(t *testing.T, h http.Handler) {
	t.Helper()
	s.h1, s.h2 = httptest.NewUnstartedServer(h), httptest.NewUnstartedServer(h)
	for _, srv := range []*httptest.Server{s.h1, s.h2} {
		srv.Config.DisableGeneralOptionsHandler = true // OPTIONS * is for the engine too
	}
	s.h1.Start()
	s.h2.EnableHTTP2 = true
	s.h2.StartTLS()
	t.Cleanup(s.h1.Close)
	t.Cleanup(s.h2.Close)
}

// play sends raw over HTTP/1.1 and returns what the connector saw, if it saw anything, and the answer's status.
func (s *ftwServer) play(raw []byte) (ftwSeen, bool, string, error) {
	conn, err := net.Dial("tcp", s.h1.Listener.Addr().String())
	if err != nil {
		return ftwSeen{}, false, "", err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return ftwSeen{}, false, "", err
	}
	s.forget(conn.LocalAddr().String())
	if _, err := conn.Write(raw); err != nil {
		return ftwSeen{}, false, "", err
	}
	if c, ok := conn.(*net.TCPConn); ok {
		if err := c.CloseWrite(); err != nil {
			return ftwSeen{}, false, "", err
		}
	}
	answer, err := io.ReadAll(conn)
	line, _, _ := strings.Cut(string(answer), "\r\n")
	_, line, _ = strings.Cut(line, " ")
	line, _, _ = strings.Cut(line, " ")
	seen, ok := s.take(conn.LocalAddr().String())
	return seen, ok, line, err
}

// forget removes what was seen of an earlier connection from addr: the kernel gives ports out again.
func (s *ftwServer) forget(addr string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, addr)
}

// take is what was seen of the last request from addr.
func (s *ftwServer) take(addr string) (ftwSeen, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen, ok := s.seen[addr]
	return seen, ok
}

// judge says what is wrong, or nothing.
func (o ftwOutput) judge(seen ftwSeen, reached bool, line string, err error) error {
	if o.ExpectError && (err != nil || line == "" || line == "400") {
		return nil
	}
	var wrong []error
	for _, id := range o.Log.Expect {
		if !slices.Contains(seen.ids, id) {
			wrong = append(wrong, fmt.Errorf("rule %d did not match", id))
		}
	}
	for _, id := range o.Log.NoExpect {
		if slices.Contains(seen.ids, id) {
			wrong = append(wrong, fmt.Errorf("rule %d matched", id))
		}
	}
	if o.Log.Match != "" && !regexp.MustCompile(o.Log.Match).MatchString(seen.log) {
		wrong = append(wrong, errors.New("log does not match"))
	}
	if o.Log.NoMatch != "" && regexp.MustCompile(o.Log.NoMatch).MatchString(seen.log) {
		wrong = append(wrong, errors.New("log matches"))
	}
	if o.Status == 400 && reached && seen.status != 400 {
		wrong = append(wrong, errors.New("was not refused with 400"))
	}
	if len(wrong) > 0 && !reached {
		wrong = append(wrong, fmt.Errorf("net/http answered %q", line))
	}
	return errors.Join(wrong...)
}

// ftwCase is one test of the suite.
type ftwCase struct {
	name    string
	answers bool // it is about what the application answers
	ftwTest
}

// ftwSuite is the whole suite.
func ftwSuite(t *testing.T) []ftwCase {
	t.Helper()
	files, err := fs.Glob(crstests.FS, "*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var out []ftwCase
	for _, name := range files {
		b, err := fs.ReadFile(crstests.FS, name)
		if err != nil {
			t.Fatal(err)
		}
		var f ftwFile
		if err := yaml.Unmarshal(b, &f); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, test := range f.Tests {
			out = append(out, ftwCase{fmt.Sprintf("%d-%d", f.RuleID, test.ID), strings.HasPrefix(name, "RESPONSE-"), test})
		}
	}
	if len(out) != 4674 {
		t.Fatalf("tests: got %d, want 4674", len(out))
	}
	return out
}

// A ftwTally is what has come of the tests.
type ftwTally struct {
	passed, failed, left int
}

// ftwPlay plays the suite on several goroutines, each of which makes its own player. The player says what is wrong
// with a test, or that it cannot be played. Known are the failures that are expected, with the reason.
func ftwPlay(t *testing.T, known map[string]string, player func() (play func(c ftwCase) (wrong error, played bool), done func())) {
	t.Helper()
	suite := ftwSuite(t)
	jobs := make(chan ftwCase)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var tally ftwTally
	for range 4 {
		wg.Go(func() {
			play, done := player()
			defer done()
			for c := range jobs {
				wrong, played := play(c)
				reason, isKnown := known[c.name]
				mu.Lock()
				switch {
				case !played:
					tally.left++
				case wrong == nil:
					tally.passed++
				default:
					tally.failed++
				}
				mu.Unlock()
				switch {
				case wrong != nil && !isKnown:
					t.Errorf("%s: %v", c.name, strings.ReplaceAll(wrong.Error(), "\n", "; "))
				case wrong == nil && played && isKnown:
					t.Errorf("%s passes now: take it from the known failures (%s)", c.name, reason)
				}
			}
		})
	}
	answers := 0
	for n, c := range suite {
		switch {
		case c.answers:
			answers++
		case n%100 == 0 || !raceEnabled && !testing.Short():
			jobs <- c
		}
	}
	close(jobs)
	wg.Wait()
	t.Logf("%d tests: %d passed, %d failed as known, %d cannot be sent so, %d about answers were not played",
		len(suite), tally.passed, tally.failed, tally.left, answers)
}

func TestCoreRuleSetRegressionSuite(t *testing.T) {
	t.Parallel()
	srv := newFTWServer(t)
	ftwPlay(t, ftwKnownFailures(), func() (func(ftwCase) (error, bool), func()) {
		return func(c ftwCase) (wrong error, played bool) {
			for _, stage := range c.Stages {
				seen, reached, line, err := srv.play(stage.Input.request())
				wrong = errors.Join(wrong, stage.Output.judge(seen, reached, line, err))
			}
			return wrong, true
		}, func() {}
	})
}

func TestCoreRuleSetRegressionSuiteOverHTTP2(t *testing.T) {
	t.Parallel()
	srv := newFTWServer(t)
	ftwPlay(t, ftwKnownFailuresOfHTTP2(), func() (func(ftwCase) (error, bool), func()) {
		client := &h2Client{addr: srv.h2.Listener.Addr().String()}
		return func(c ftwCase) (wrong error, played bool) {
			for _, stage := range c.Stages {
				carried, why := carry(stage.Input.request())
				if why != "" {
					return nil, false
				}
				seen, reached, line, err := srv.playHTTP2(client, carried)
				wrong = errors.Join(wrong, stage.Output.judge(seen, reached, line, err))
			}
			return wrong, true
		}, client.close
	})
}

// playHTTP2 is play over HTTP/2.
func (s *ftwServer) playHTTP2(client *h2Client, r *h2Request) (ftwSeen, bool, string, error) {
	if err := client.connect(); err != nil {
		return ftwSeen{}, false, "", err
	}
	addr := client.conn.LocalAddr().String()
	s.forget(addr)
	line, err := client.do(r)
	seen, ok := s.take(addr)
	return seen, ok, line, err
}

// Whether a request is blocked is the same for the engine as it is sold, behind a listener, and for Coraza alone,
// with its own operators, asked in the process.
func TestBlockedAsByCorazaAlone(t *testing.T) {
	t.Parallel()
	cfg := Config{Paranoia: 4, Limits: Limits{Work: "10s"}} // Coraza alone has no limit
	opts := Options{Deny: denyPlain}
	srv := &ftwServer{seen: map[string]ftwSeen{}}
	h := newTestEngineAs(t, cfg, opts, variant{extra: ftwSettings}).Wrap(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}))
	srv.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		srv.mu.Lock()
		srv.seen[r.RemoteAddr] = ftwSeen{}
		srv.mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	oracle := newTestEngineAs(t, cfg, opts, variant{extra: ftwSettings, arrange: separate})
	// agree compares an answer with what Coraza alone says of a request. What the server itself refuses reaches
	// neither.
	agree := func(c ftwCase, r *http.Request, reached bool, got string, err error) error {
		want := "204"
		switch {
		case err != nil:
			return err
		case !reached && got >= "400" && got < "600":
			return nil
		case !reached || r == nil:
			return fmt.Errorf("got status %q, reached the handler: %v", got, reached)
		}
		r.RemoteAddr = "127.0.0.1:1" // rule 190300 goes by who it is
		if refused := inspect(oracle, r).Refused; refused != 0 {
			want = strconv.Itoa(refused)
		}
		if other := ftwOtherStatus()[c.name]; other != "" && want != "204" {
			want = other
		}
		if got != want {
			return fmt.Errorf("got status %q, want %s", got, want)
		}
		return nil
	}
	t.Run("HTTP/1.1", func(t *testing.T) {
		t.Parallel()
		ftwPlay(t, nil, func() (func(ftwCase) (error, bool), func()) {
			return func(c ftwCase) (wrong error, played bool) {
				for _, stage := range c.Stages {
					raw := stage.Input.request()
					_, reached, got, err := srv.play(raw)
					wrong = errors.Join(wrong, agree(c, readRequest(raw), reached, got, err))
				}
				return wrong, true
			}, func() {}
		})
	})
	t.Run("HTTP/2", func(t *testing.T) {
		t.Parallel()
		ftwPlay(t, nil, func() (func(ftwCase) (error, bool), func()) {
			client := &h2Client{addr: srv.h2.Listener.Addr().String()}
			return func(c ftwCase) (wrong error, played bool) {
				for _, stage := range c.Stages {
					carried, why := carry(stage.Input.request())
					if why != "" {
						return nil, false
					}
					_, reached, got, err := srv.playHTTP2(client, carried)
					wrong = errors.Join(wrong, agree(c, carried.request(), reached, got, err))
				}
				return wrong, true
			}, client.close
		})
	})
}

// ftwOtherStatus are the tests whose requests are refused with another status than the rules'.
func ftwOtherStatus() map[string]string {
	return map[string]string{
		"920400-1": "499", // less body than was announced: the client has closed its end of the connection
	}
}

// Why tests do not pass.
const (
	ftwAdmission = "refused by the proxy's admission, before any guard"
	ftwInspected = "JSON and XML without a type are inspected as such instead of refused"
	ftwApache    = "expects what Apache httpd does with two Content-Type fields: not to see the second"
	ftwSyntax    = "types with the syntax +json are inspected as JSON instead of refused"
	ftwLeftOut   = "the rule is left out, see leftOut"
)

// ftwKnownFailures are the tests that do not pass, each with the reason.
func ftwKnownFailures() map[string]string {
	return map[string]string{
		"920100-8":  ftwAdmission + " (# in the target)",
		"920270-4":  ftwAdmission + " (% in Host)",
		"920274-1":  ftwAdmission + " (Host outside its grammar)",
		"920290-1":  ftwAdmission + " (empty Host)",
		"920290-4":  ftwAdmission + " (empty Host; of HTTP/1.0 net/http gives no Host and an empty one alike)",
		"920610-2":  ftwAdmission + " (# in the target)",
		"920430-8":  "net/http answers 505 before any handler",
		"920620-1":  ftwApache,
		"920340-1":  ftwLeftOut,
		"920420-19": ftwSyntax,
		"920420-20": ftwSyntax,
		"920420-22": ftwSyntax,
		"920640-1":  ftwInspected,
		"920640-7":  ftwInspected,
		"920640-8":  ftwInspected,
		"920640-10": ftwInspected,
	}
}

// ftwKnownFailuresOfHTTP2 are those of the tests that HTTP/2 can carry.
func ftwKnownFailuresOfHTTP2() map[string]string {
	const noLength = "the rule is about HTTP/1.1: HTTP/2 needs no length to find the end of a body"
	known := ftwKnownFailures()
	known["920180-1"], known["920180-3"] = noLength, noLength
	for _, name := range []string{"920290-4", "920430-8"} {
		delete(known, name) // HTTP/2 cannot carry them
	}
	return known
}
