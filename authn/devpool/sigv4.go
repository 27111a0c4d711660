package devpool

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	sigAlgorithm  = "AWS4-HMAC-SHA256"
	sigTimeLayout = "20060102T150405Z"
	sigSkew       = 5 * time.Minute
)

var (
	errSigMissing = &apiError{"MissingAuthenticationTokenException", "Missing Authentication Token"}
	errSigKey     = &apiError{"UnrecognizedClientException", "The security token included in the request is invalid."}
	errSigWrong   = &apiError{"InvalidSignatureException", "The request signature we calculated does not match the signature you provided."}
)

// verifySignature checks an AWS Signature Version 4, as the Admin operations have it.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
func (p *Pool) verifySignature(r *http.Request, body []byte) error {
	rest, ok := strings.CutPrefix(r.Header.Get("Authorization"), sigAlgorithm+" ")
	if !ok {
		return errSigMissing
	}
	parts := map[string]string{}
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		parts[name] = value
	}
	key, scope, _ := strings.Cut(parts["Credential"], "/")
	secret, known := p.opts.AdminKeys[key]
	if !known {
		return errSigKey
	}
	region, _, _ := strings.Cut(p.opts.PoolID, "_")
	date := r.Header.Get("X-Amz-Date")
	at, err := time.Parse(sigTimeLayout, date)
	names := strings.Split(parts["SignedHeaders"], ";")
	if err != nil || p.opts.Now().Sub(at).Abs() > sigSkew || scope != date[:8]+"/"+region+"/cognito-idp/aws4_request" ||
		!slices.Contains(names, "host") || !slices.Contains(names, "x-amz-target") {
		return errSigWrong
	}
	sign := []byte("AWS4" + secret)
	for _, part := range [...]string{date[:8], region, "cognito-idp", "aws4_request"} {
		sign = mac256(sign, part)
	}
	canonical := hexHash(canonicalRequest(r, names, body))
	want := hex.EncodeToString(mac256(sign, strings.Join([]string{sigAlgorithm, date, scope, canonical}, "\n")))
	if !equal(want, parts["Signature"]) {
		return errSigWrong
	}
	return nil
}

func canonicalRequest(r *http.Request, names []string, body []byte) string {
	var b strings.Builder
	b.WriteString(r.Method + "\n" + r.URL.EscapedPath() + "\n" + r.URL.RawQuery + "\n")
	for _, name := range names {
		value := strings.Join(r.Header.Values(name), ",")
		switch name {
		case "host":
			value = r.Host
		case "content-length": // net/http takes it out of the header
			value = strconv.FormatInt(r.ContentLength, 10)
		}
		b.WriteString(name + ":" + strings.TrimSpace(value) + "\n")
	}
	b.WriteString("\n" + strings.Join(names, ";") + "\n" + hexHash(string(body)))
	return b.String()
}

func mac256(key []byte, text string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return mac.Sum(nil)
}

func hexHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}
