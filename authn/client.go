package authn

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

const (
	// callTimeout is how long one call to the provider may take by default; ALB's is 5 s.
	callTimeout = 5 * time.Second
	// maxAnswer bounds every body that the provider sends, after decompression.
	maxAnswer = 1 << 20
)

var errAnswerTooLarge = fmt.Errorf("answer is larger than %d bytes", maxAnswer)

// newClient returns the one client that speaks to the provider: bounded in time and size, following
// no redirect, since a provider that redirects a token request is not the one that was configured.
func newClient(roots *x509.CertPool, timeout time.Duration) *http.Client {
	return &http.Client{
		Transport: bounded{&http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: timeout}).DialContext,
			TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    timeout,
			ResponseHeaderTimeout:  timeout,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    16,
			IdleConnTimeout:        30 * time.Second,
			ForceAttemptHTTP2:      true,
		}},
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
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

// bounded is a RoundTripper whose answers fail to read beyond maxAnswer.
type bounded struct{ next *http.Transport }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = &boundedBody{ReadCloser: resp.Body, left: maxAnswer}
	}
	return resp, err
}

type boundedBody struct {
	io.ReadCloser
	left int
}

func (b *boundedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.left -= n; b.left < 0 {
		return 0, errAnswerTooLarge
	}
	return n, err
}

// answer is a reply of the provider, read to its end.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func do(client *http.Client, r *http.Request) (*answer, error) {
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	return &answer{resp.StatusCode, resp.Header, body}, nil
}

// tooLarge tells an answer that broke the bound from one that did not come.
func tooLarge(err error) bool { return errors.Is(err, errAnswerTooLarge) }
