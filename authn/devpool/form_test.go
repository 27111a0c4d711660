package devpool

import (
	"errors"
	"net/url"
	"testing"
	"time"
)

var fixedTime = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

const formType = "application/x-www-form-urlencoded"

// The vector of the Cognito documentation.
const vector = "Basic ZGpjOTh1M2ppZWRtaTI4M2V1OTI4OmFiY2RlZjAxMjM0NTY3ODkw"

func TestParseForm(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, contentType, authorization, body string
		id, secret, err                        string
	}{
		{"Cognito's vector", formType, vector, "grant_type=x", "djc98u3jiedmi283eu928", "abcdef01234567890", ""},
		{"the id once more in the body", formType, vector, "client_id=djc98u3jiedmi283eu928", "djc98u3jiedmi283eu928", "abcdef01234567890", ""},
		{"in the body", formType + ";charset=utf-8", "", "client_id=a&client_secret=b%2Bc", "a", "b+c", ""},
		{"empty", formType, "", "", "", "", ""},
		{"JSON", "application/json", "", "{}", "", "", errInvalidRequest},
		{"no content type", "", "", "", "", "", errInvalidRequest},
		{"bad escape", formType, "", "a=%zz", "", "", errInvalidRequest},
		{"semicolon", formType, "", "a=1;b=2", "", "", errInvalidRequest},
		{"twice", formType, "", "a=1&a=2", "", "", errInvalidRequest},
		{"another scheme", formType, "Bearer x", "", "", "", errInvalidClient},
		{"not base64", formType, "Basic !", "", "", "", errInvalidClient},
		{"no colon", formType, "Basic YQ==", "", "", "", errInvalidClient},
		{"no id", formType, "Basic OmE=", "", "", "", errInvalidClient},
		{"bad escape in basic", formType, "Basic YTolenp6", "", "", "", errInvalidClient},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f, err := parseForm(test.contentType, test.authorization, test.body)
			if test.err != "" {
				if e, ok := errors.AsType[*oauthError](err); !ok || e.code != test.err {
					t.Errorf("got %v, want %s", err, test.err)
				}
				return
			}
			if err != nil || f.clientID != test.id || f.secret != test.secret {
				t.Errorf("got %+v, %v; want %q, %q", f, err, test.id, test.secret)
			}
		})
	}
}

func FuzzParseForm(f *testing.F) {
	f.Add(formType, vector, "grant_type=authorization_code&code=x&redirect_uri=https%3A%2F%2Fa%2Fb")
	f.Add(formType, "", "client_id=a&client_secret=b")
	f.Add("application/json", "Basic OmE=", "a=1&a=2;%")
	f.Fuzz(func(t *testing.T, contentType, authorization, body string) {
		form, err := parseForm(contentType, authorization, body)
		if err != nil {
			if _, ok := errors.AsType[*oauthError](err); !ok {
				t.Errorf("got %v, want an oauthError", err)
			}
			return
		}
		for name, values := range form.values {
			if len(values) != 1 {
				t.Errorf("%s: got %d values, want 1", name, len(values))
			}
		}
		again, err := parseForm(formType, authorization, form.values.Encode())
		if err != nil || again.clientID != form.clientID || again.secret != form.secret {
			t.Errorf("encoded again: got %+v, %v; want %+v", again, err, form)
		}
		if authorization != "" && form.clientID == "" {
			t.Error("got credentials without a client")
		}
	})
}

func FuzzAuthorize(f *testing.F) {
	p, err := New(Options{
		BaseURL: "http://localhost:8444", InsecureAnyLocalhost: true,
		Clients: []Client{{ID: "a", CallbackURLs: []string{"https://app.example.com/cb"}}},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("client_id=a&redirect_uri=https://app.example.com/cb&response_type=code&state=x")
	f.Add("client_id=a&redirect_uri=https://localhost:1/cb&scope=openid&prompt=none")
	f.Add("client_id=a&redirect_uri=https://localhost:1@example.com/cb")
	f.Fuzz(func(t *testing.T, query string) {
		q, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		req, err := p.parseAuthorize(q)
		if req == nil {
			return // nobody is redirected
		}
		target := req.answer("code=x")
		u, perr := url.Parse(target)
		if perr != nil || (u.Hostname() != "app.example.com" && u.Hostname() != "localhost") || u.Scheme != "https" || u.User != nil {
			t.Errorf("got a redirect to %q after %v", target, err)
		}
	})
}

func TestSweepForgetsWhatHasExpired(t *testing.T) {
	t.Parallel()
	s := newStore()
	now := fixedTime
	g := &grant{}
	s.codes[hash("a")] = &authCode{expires: now}
	s.sessions[hash("a")] = &session{expires: now}
	s.access[hash("a")] = &accessToken{grant: g, expires: now}
	s.refresh[hash("a")] = &refreshToken{grant: g, expires: now}
	s.refresh[hash("b")] = &refreshToken{grant: g, expires: now.Add(1), usableUntil: now}
	s.refresh[hash("c")] = &refreshToken{grant: g, expires: now.Add(1)}
	s.sweep(now)
	if got, want := len(s.codes)+len(s.sessions)+len(s.access)+len(s.refresh), 1; got != want {
		t.Errorf("left: got %d, want %d", got, want)
	}
	s.codes[hash("a")] = &authCode{expires: now}
	s.sweep(now.Add(sweepEvery - 1))
	if len(s.codes) != 1 {
		t.Error("swept again at once, want once a minute")
	}
	if s.sweep(now.Add(sweepEvery)); len(s.codes) != 0 {
		t.Error("not swept after a minute")
	}
}
