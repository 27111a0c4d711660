package e2e

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestDevMachineToken does what dev proposes: curl comes by a token of the client's own and calls the API.
func TestDevMachineToken(t *testing.T) {
	t.Parallel()
	p := start(t, []string{"dev", "--state-dir", t.TempDir()}, "https", "admin", "pool")
	form := strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+p.addrs["pool"]+"/oauth2/token", form)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth("1example23456789", "development-only-not-a-secret-0123456789")
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := direct(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var token struct {
		Access string `json:"access_token"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&token); err != nil || token.Access == "" {
		t.Fatalf("the pool gave no token: status %d, %v", resp.StatusCode, err)
	}

	_, port, _ := strings.Cut(p.addrs["https"], ":")
	call, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://localhost:"+port+"/api/hello", nil)
	if err != nil {
		t.Fatal(err)
	}
	call.Header.Set("Authorization", "Bearer "+token.Access)
	answer, body := newBrowser(t, p.addrs["https"], "").do(call)
	if answer.StatusCode != http.StatusOK || !strings.Contains(body, `"subject": "1example23456789"`) {
		t.Errorf("got %d %s, want 200 for the client", answer.StatusCode, body)
	}
}

func TestDevSaysHowToGoElsewhere(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, flag := range []string{"--https", "--pool", "--admin"} {
		args := []string{"dev", "--state-dir", t.TempDir()}
		for _, f := range []string{"--https", "--pool", "--admin"} {
			address := "127.0.0.1:0"
			if f == flag {
				address = taken.Addr().String()
			}
			args = append(args, f, address)
		}
		if got := runToEnd(t, t.TempDir(), nil, args...); got.code != 1 || !strings.Contains(got.stderr, "--https, --pool and --admin choose other addresses") {
			t.Errorf("%s is taken: exit %d\n%s", flag, got.code, got.stderr)
		}
	}
}
