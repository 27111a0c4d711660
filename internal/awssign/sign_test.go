package awssign

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// AWS goes by its own clock, and a request takes its time to get there: credentials that end soon are not used any more where
// there are others.
func TestCredentialsOfARoleAreRenewedBeforeTheyEnd(t *testing.T) {
	t.Parallel()
	lives := []time.Duration{4 * time.Minute, time.Hour}
	asked := 0
	role := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		life := lives[min(asked, len(lives)-1)]
		asked++
		fmt.Fprintf(w, `{"AccessKeyId": "KEY%d", "SecretAccessKey": "secret", "Token": "token", "Expiration": %q}`,
			asked, time.Now().Add(life).UTC().Format(time.RFC3339))
	}))
	t.Cleanup(role.Close)
	signer, err := New(nil, "s3", "eu-west-1", func(name string) (string, bool) {
		if name != "AWS_CONTAINER_CREDENTIALS_FULL_URI" {
			return "", false
		}
		return role.URL, true
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"KEY1", "KEY2", "KEY2"} {
		req := httptest.NewRequest("GET", "https://assets.s3.eu-west-1.amazonaws.com/x", nil)
		if err := signer.Sign(t.Context(), req, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", time.Now()); err != nil {
			t.Fatal(err)
		}
		if got := req.Header.Get("Authorization"); !strings.Contains(got, "Credential="+want+"/") {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
