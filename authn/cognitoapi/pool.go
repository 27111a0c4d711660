package cognitoapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"time"
)

const (
	// callTimeout bounds everything that the pool is asked for one request. The pool itself waits 5 s for each of up to
	// three Lambda triggers.
	callTimeout = 20 * time.Second
	// maxAnswer bounds what the pool answers; the tokens of somebody in many groups are the largest.
	maxAnswer = 1 << 20
	// maxConnections bounds how many requests to the pool are under way at once, so that a slow pool is not asked for ever
	// more. The pool's own quota is 120 sign-ins a second.
	maxConnections = 128
	// mediaType is that of requests and answers of the API.
	mediaType = "application/x-amz-json-1.1"
)

// An answer is what the pool answered, read to its end and understood.
type answer struct {
	status    int
	body      []byte
	kind      string // the __type of an error, without a namespace; "" for none
	message   string
	requestID string
}

// mismatch reports whether the pool did not take the secret.
func (a *answer) mismatch() bool {
	return a.kind == typeUnauthorised && strings.Contains(strings.ToLower(a.message), "secret") ||
		a.kind == "UnauthorizedException" && strings.Contains(strings.ToLower(a.message), "secret")
}

// kindPattern is what the names of the API's errors look like.
var kindPattern = regexp.MustCompile(`^[A-Za-z]{1,100}$`)

// ownFault reports whether an error is about this program's AWS credentials, of which the client is told nothing.
func ownFault(kind string) bool {
	switch kind {
	case "AccessDenied", typeDenied, "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch",
		"ExpiredTokenException", "ExpiredToken", "IncompleteSignature", "IncompleteSignatureException",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "OptInRequired":
		return true
	}
	return false
}

// transport speaks to the pool and to nobody else: bounded, and without following redirects.
func transport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: callTimeout}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    callTimeout,
		ResponseHeaderTimeout:  callTimeout,
		MaxResponseHeaderBytes: 64 << 10,
		MaxConnsPerHost:        maxConnections,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        30 * time.Second,
		ForceAttemptHTTP2:      true,
	}
}

// loadRoots returns nil, the system's roots, when there is no file.
func loadRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("ca: %s: want PEM certificates, got none", file)
	}
	return pool, nil
}

// exchange asks the pool, with the other secret too if it does not take the first. unproven is true if it took none: the
// answer is then as good as any, and the operator should know.
func (p *Proxy) exchange(ctx context.Context, c *call, userAgent string) (a *answer, unproven bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if c.client == nil {
		a, err = p.send(ctx, c, "", userAgent)
		return a, false, err
	}
	first, other, took := c.client.order()
	if a, err = p.send(ctx, c, first, userAgent); err != nil || !a.mismatch() {
		return a, false, err
	}
	if other == "" {
		return a, true, nil
	}
	if a, err = p.send(ctx, c, other, userAgent); err != nil {
		return nil, false, err
	}
	if a.status == http.StatusOK {
		took()
	}
	return a, a.mismatch(), nil
}

// send is one call of the pool.
func (p *Proxy) send(ctx context.Context, c *call, secret, userAgent string) (*answer, error) {
	body := c.body(secret)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.endpoint+"/", bytes.NewReader(body))
	if err != nil {
		return nil, fail(http.StatusInternalServerError, "make a request: %w", err)
	}
	req.Header.Set("Content-Type", mediaType)
	req.Header.Set("X-Amz-Target", targetPrefix+c.operation)
	req.Header.Set("User-Agent", userAgent)
	if c.admin {
		if err := p.signer.Sign(ctx, req, sha256Hex(body), p.opts.Now()); err != nil {
			return nil, fail(http.StatusBadGateway, "aws credentials: %w", err)
		}
	}
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, unreachable(ctx, err)
	}
	a, err := read(resp.StatusCode, got)
	if err != nil {
		return nil, fail(http.StatusBadGateway, "%s answered %d: %w", c.operation, resp.StatusCode, err)
	}
	if c.admin && ownFault(a.kind) {
		return nil, fail(http.StatusBadGateway, "%s: the AWS credentials were refused: %s", c.operation, a.kind)
	}
	if secret != "" && a.tells(secret, c.hash(secret)) {
		return nil, fail(http.StatusBadGateway, "%s: the answer held the secret or its hash", c.operation)
	}
	a.requestID = plain(resp.Header.Get("X-Amzn-Requestid"))
	return a, nil
}

func unreachable(ctx context.Context, err error) error {
	var timeout interface{ Timeout() bool }
	if ctx.Err() != nil || errors.As(err, &timeout) && timeout.Timeout() {
		return fail(http.StatusGatewayTimeout, "the pool did not answer in time: %w", err)
	}
	return fail(http.StatusBadGateway, "the pool cannot be reached: %w", err)
}

// read understands an answer. It is an object, or nothing at all from operations that have nothing to say.
func read(status int, body []byte) (*answer, error) {
	switch {
	case len(body) > maxAnswer:
		return nil, fmt.Errorf("larger than %d bytes", maxAnswer)
	case status != http.StatusOK && (status < 400 || status > 599):
		return nil, errors.New("want 200 or an error")
	case len(bytes.TrimSpace(body)) == 0 && status == http.StatusOK:
		body = []byte("{}")
	}
	a := &answer{status: status, body: body}
	if !json.Valid(body) {
		return nil, errors.New("not JSON")
	}
	o, err := members(body)
	if err != nil {
		return nil, err
	}
	if status == http.StatusOK {
		return a, nil
	}
	kind, _ := o.text("__type")
	kind = kind[strings.LastIndexByte(kind, '#')+1:]
	if !kindPattern.MatchString(kind) {
		return nil, errors.New("an error without a type")
	}
	a.kind = kind
	if a.message, _ = o.text("message"); a.message == "" {
		a.message, _ = o.text("Message")
	}
	return a, nil
}

// tells reports whether the answer holds a secret. The API quotes values that it finds wrong.
func (a *answer) tells(secrets ...string) bool {
	for _, s := range secrets {
		if bytes.Contains(a.body, []byte(s)) || strings.Contains(a.message, s) {
			return true
		}
	}
	return false
}

// plain returns s if it is an id, else "".
func plain(s string) string {
	if len(s) > 64 || strings.Trim(s, "0123456789abcdefABCDEF-") != "" {
		return ""
	}
	return s
}

// sha256Hex is the payload hash of a signature.
func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
