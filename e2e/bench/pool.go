package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"time"

	"gatehouse/authn/devpool"
)

const (
	clientID     = "bench"
	clientSecret = "bench-client-secret-of-nobody-in-particular"
)

// A pool is where somebody signs in.
type pool struct{ server *httptest.Server }

func openPool() (*pool, error) {
	server := httptest.NewUnstartedServer(nil)
	p, err := devpool.New(devpool.Options{
		BaseURL: "http://" + server.Listener.Addr().String(), InsecureAnyLocalhost: true,
		Clients: []devpool.Client{{ID: clientID, Secret: clientSecret}},
	})
	if err != nil {
		return nil, err
	}
	server.Config.Handler = p
	server.Start()
	return &pool{server}, nil
}

var csrfField = regexp.MustCompile(`name="_csrf" value="([^"]+)"`)

// signIn signs alice in at a front and returns her cookies there.
func (f *field) signIn(ctx context.Context, front string) (cookies string, err error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return "", err
	}
	roots := x509.NewCertPool()
	roots.AddCert(f.cert)
	client := &http.Client{Jar: jar, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	page, err := http.NewRequestWithContext(ctx, http.MethodGet, front+"/app/1k", nil)
	if err != nil {
		return "", err
	}
	page.Header.Set("Accept", "text/html")
	var resp *http.Response
	var body string
	for tries := 0; ; tries++ {
		if resp, body, err = do(client, page); err != nil {
			return "", err
		}
		if resp.StatusCode != http.StatusServiceUnavailable || tries == 100 {
			break
		}
		time.Sleep(50 * time.Millisecond) // it has not reached the pool yet
	}
	csrf := csrfField.FindStringSubmatch(body)
	if csrf == nil {
		return "", fmt.Errorf("no login page at %s: %s", resp.Request.URL, resp.Status)
	}
	form := url.Values{"username": {"alice"}, "password": {"alice"}, "_csrf": {csrf[1]}}
	login := f.pool.server.URL + "/login?" + resp.Request.URL.RawQuery
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, login, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	post.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if resp, _, err = do(client, post); err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("signing in: %s", resp.Status)
	}
	var pairs []string
	for _, c := range jar.Cookies(page.URL) {
		pairs = append(pairs, c.Name+"="+c.Value)
	}
	return strings.Join(pairs, "; "), nil
}

func do(client *http.Client, req *http.Request) (resp *http.Response, body string, err error) {
	if resp, err = client.Do(req); err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp, string(text), err
}
