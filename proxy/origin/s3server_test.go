package origin

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// The keys of AWS's examples (docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html).
const (
	exampleKey    = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

// signatureOf recomputes the signature of a request as that page describes it, and shares no code with what made it. The error says
// what of the Authorization header is wrong by itself.
func signatureOf(r *http.Request, secret, region string) (want, got string, err error) {
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ")
	if !ok {
		return "", "", fmt.Errorf("no signature")
	}
	part := map[string]string{}
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		part[name] = value
	}
	date := r.Header.Get("X-Amz-Date")
	scope := date[:min(8, len(date))] + "/" + region + "/s3/aws4_request"
	if part["Credential"] != exampleKey+"/"+scope {
		return "", "", fmt.Errorf("credential %q, want %q", part["Credential"], exampleKey+"/"+scope)
	}
	signed := strings.Split(part["SignedHeaders"], ";")
	if !slices.IsSorted(signed) || !slices.Contains(signed, "host") {
		return "", "", fmt.Errorf("signed headers %q", signed)
	}
	for name := range r.Header {
		if lower := strings.ToLower(name); strings.HasPrefix(lower, "x-amz-") && !slices.Contains(signed, lower) {
			return "", "", fmt.Errorf("%s is not signed", name)
		}
	}
	raw, query, _ := strings.Cut(r.RequestURI, "?")
	path, err := url.PathUnescape(raw)
	if err != nil {
		return "", "", err
	}
	var params []string
	for param := range strings.SplitSeq(query, "&") {
		if param != "" && !strings.Contains(param, "=") {
			param += "="
		}
		params = append(params, param)
	}
	slices.Sort(params)
	canonical := r.Method + "\n" + uriEncode(path) + "\n" + strings.Join(params, "&") + "\n"
	for _, name := range signed {
		value := strings.Join(r.Header.Values(name), ",")
		if name == "host" {
			value = r.Host
		}
		canonical += name + ":" + strings.Join(strings.Fields(value), " ") + "\n"
	}
	canonical += "\n" + part["SignedHeaders"] + "\n" + r.Header.Get("X-Amz-Content-Sha256")
	hash := sha256.Sum256([]byte(canonical))
	key := []byte("AWS4" + secret)
	for _, data := range []string{date[:8], region, "s3", "aws4_request", "AWS4-HMAC-SHA256\n" + date + "\n" + scope + "\n" + hex.EncodeToString(hash[:])} {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(data))
		key = mac.Sum(nil)
	}
	return hex.EncodeToString(key), part["Signature"], nil
}

func uriEncode(path string) string {
	var b strings.Builder
	for _, c := range []byte(path) {
		if c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~' || c == '/' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// The verifier agrees with AWS's published examples, or its verdicts would mean nothing.
func TestTheVerifierKnowsAWSsExamples(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"GET object": "GET /test.txt|Range: bytes=0-9|X-Amz-Content-Sha256: " + noBody +
			"|SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
		"PUT object": "PUT /test$file.text|Date: Fri, 24 May 2013 00:00:00 GMT|X-Amz-Storage-Class: REDUCED_REDUNDANCY|X-Amz-Content-Sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072" +
			"|SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
		"GET lifecycle": "GET /?lifecycle|X-Amz-Content-Sha256: " + noBody +
			"|SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
		"GET list": "GET /?max-keys=2&prefix=J|X-Amz-Content-Sha256: " + noBody +
			"|SignedHeaders=host;x-amz-content-sha256;x-amz-date,Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
	} {
		lines := strings.Split(request, "|")
		method, target, _ := strings.Cut(lines[0], " ")
		r := httptest.NewRequest(method, target, nil)
		r.Host = "examplebucket.s3.amazonaws.com"
		r.Header.Set("X-Amz-Date", "20130524T000000Z")
		for _, line := range lines[1 : len(lines)-1] {
			field, value, _ := strings.Cut(line, ": ")
			r.Header.Set(field, value)
		}
		r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential="+exampleKey+"/20130524/us-east-1/s3/aws4_request,"+lines[len(lines)-1])
		want, got, err := signatureOf(r, exampleSecret, "us-east-1")
		if err != nil || want != got {
			t.Errorf("%s: computed %s, %v, AWS has %s", name, want, err, got)
		}
	}
}

// An object of a test's bucket.
type object struct {
	content string
	fields  map[string]string
}

// An s3Server is a bucket called assets that verifies every signature. Requests that it refuses for what they are, and not for what is not
// there, fail the test.
type s3Server struct {
	*httptest.Server
	t       *testing.T
	objects map[string]object
	secret  string // the right one
	list    bool   // the caller may list the bucket, and so learn what is not there

	mu   sync.Mutex
	seen []*http.Request
	fail []string // codes and statuses to answer the next requests with, such as "503 SlowDown"
}

var written = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newS3(t *testing.T, objects map[string]object) *s3Server {
	t.Helper()
	s := &s3Server{t: t, objects: objects, secret: exampleSecret}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func s3Error(w http.ResponseWriter, r *http.Request, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.Header().Set("X-Amz-Request-Id", "4442587FB7D0A2F9")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>secret arn:aws:iam::123456789012:role/x</Message><Resource>%s</Resource></Error>", code, r.URL.Path)
	}
}

func (s *s3Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.seen = append(s.seen, r)
	fail := ""
	if len(s.fail) > 0 {
		fail, s.fail = s.fail[0], s.fail[1:]
	}
	s.mu.Unlock()
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	want, got, verr := signatureOf(r, s.secret, "eu-west-1")
	key, inside := strings.CutPrefix(r.URL.Path, "/assets/")
	obj, found := s.objects[key]
	switch {
	case fail != "":
		status, code := 0, ""
		_, _ = fmt.Sscanf(fail, "%d %s", &status, &code)
		s3Error(w, r, status, code)
	case err != nil || time.Since(at).Abs() > 15*time.Minute:
		s3Error(w, r, http.StatusForbidden, "RequestTimeTooSkewed")
	case verr != nil || want != got:
		s3Error(w, r, http.StatusForbidden, "SignatureDoesNotMatch")
	case r.Header.Get("X-Amz-Content-Sha256") != noBody:
		s3Error(w, r, http.StatusBadRequest, "XAmzContentSHA256Mismatch")
	case !inside:
		s3Error(w, r, http.StatusNotFound, "NoSuchBucket")
	case !found && s.list:
		s3Error(w, r, http.StatusNotFound, "NoSuchKey")
	case !found:
		s3Error(w, r, http.StatusForbidden, "AccessDenied")
	default:
		h := w.Header()
		h.Set("X-Amz-Request-Id", "4442587FB7D0A2F9")
		h.Set("X-Amz-Meta-Owner", "alice")
		h.Set("Set-Cookie", "a=b")
		h.Set("Server", "AmazonS3")
		h.Set("Content-Type", "binary/octet-stream")
		hash := sha256.Sum256([]byte(obj.content))
		h.Set("ETag", fmt.Sprintf(`"%x"`, hash[:16]))
		for name, value := range obj.fields {
			h.Set(name, value)
		}
		http.ServeContent(w, r, "", written, bytes.NewReader([]byte(obj.content)))
	}
}

// requests returns what came since the last call.
func (s *s3Server) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := s.seen
	s.seen = nil
	return seen
}
