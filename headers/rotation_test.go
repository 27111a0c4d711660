package headers

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

const day = 24 * time.Hour

func newRotating(t testing.TB) *Assertion { return newTestAssertion(t, AssertionConfig{Rotate: "24h"}) }

// at returns the assertion with its key endpoint's clock at now.
func at(a *Assertion, now time.Time) *Assertion {
	shifted := *a
	shifted.now = func() time.Time { return now }
	return &shifted
}

// fetch asks the key endpoint.
func fetch(a *Assertion, now time.Time, path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	at(a, now).Keys().ServeHTTP(w, r)
	return w
}

// fetchSet returns the kids of the key set at now.
func fetchSet(t *testing.T, a *Assertion, now time.Time) (kids []string) {
	t.Helper()
	var set struct{ Keys []jwk }
	if err := json.Unmarshal(fetch(a, now, "/jwks.json").Body.Bytes(), &set); err != nil {
		t.Fatal(err)
	}
	for _, key := range set.Keys {
		kids = append(kids, key.ID)
	}
	return kids
}

// kidOf returns the key that signs at now, as the token itself names it.
func kidOf(t *testing.T, a *Assertion, now time.Time) string {
	t.Helper()
	id := alice()
	id.SessionID = now.String() // signed now, and not remembered
	head, _, _ := strings.Cut(tokenFor(t, a, id, now), ".")
	raw, err := base64Encoding("").DecodeString(head)
	if err != nil {
		t.Fatal(err)
	}
	var fields struct{ KID string }
	if err := json.Unmarshal(raw, &fields); err != nil {
		t.Fatal(err)
	}
	return fields.KID
}

func TestDerivedKeysRotateWithOverlap(t *testing.T) {
	t.Parallel()
	a := newRotating(t)
	midnight := noon.Truncate(day)
	yesterday, today, tomorrow := kidOf(t, a, midnight.Add(-1)), kidOf(t, a, midnight), kidOf(t, a, midnight.Add(day))
	if yesterday == today || today == tomorrow || yesterday == tomorrow {
		t.Fatalf("kids %s, %s, %s: want three", yesterday, today, tomorrow)
	}
	if last := kidOf(t, a, midnight.Add(day-1)); last != today {
		t.Errorf("at the end of the day %s signs, want %s", last, today)
	}
	if got, want := fetchSet(t, a, noon), []string{today, tomorrow, yesterday}; !slices.Equal(got, want) {
		t.Errorf("key set %v, want %v", got, want)
	}
	for _, tt := range []struct {
		at     time.Time
		status int
	}{
		{midnight.Add(-day - 1), 404}, // two periods early
		{midnight.Add(-day), 200},
		{midnight, 200},
		{midnight.Add(2*day - 1), 200}, // a whole day after it signed for the last time
		{midnight.Add(2 * day), 404},
	} {
		if got := fetch(a, tt.at, "/"+today).Code; got != tt.status {
			t.Errorf("the key of the day, at %v: %d, want %d", tt.at, got, tt.status)
		}
	}
}

// A verifier may have fetched its set KeyCacheTime ago, from an instance whose clock is a minute off, and get a
// token that was signed reuse ago, by another whose clock is a minute off the other way.
func TestNoVerifierMeetsAnUnknownKey(t *testing.T) {
	t.Parallel()
	signer, publisher := newRotating(t), newRotating(t)
	signed := map[string]bool{}
	for minute := range 3 * 24 * 60 {
		now := noon.Add(time.Duration(minute) * time.Minute)
		fetched := fetchSet(t, publisher, now)
		for _, signedAt := range []time.Duration{-time.Minute - reuse, 0, KeyCacheTime, KeyCacheTime + time.Minute} {
			set, err := signer.KeysAt(now.Add(signedAt))
			if err != nil {
				t.Fatal(err)
			}
			kid := set.List()[0].ID
			signed[kid] = true
			if !slices.Contains(fetched, kid) {
				t.Fatalf("the set of %v lacks %s, which signs %v later", now, kid, signedAt)
			}
		}
	}
	if len(signed) != 4 {
		t.Errorf("%d keys signed in three days that begin at noon, want 4", len(signed))
	}
}

func TestRotatingKeysAreThoseOfSecretAndPeriod(t *testing.T) {
	t.Parallel()
	kid := func(secret, rotate string) string {
		a, err := NewAssertion(AssertionConfig{Rotate: rotate}, []byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return kidOf(t, a, noon)
	}
	one := kid(strings.Repeat("a", 32), "24h")
	if again := kid(strings.Repeat("a", 32), "24h0m0s"); one != again {
		t.Error("two instances with the same secret have two keys")
	}
	others := map[string]string{
		"another secret": kid(strings.Repeat("b", 32), "24h"), "another period": kid(strings.Repeat("a", 32), "48h"),
		"no rotation": kid(strings.Repeat("a", 32), ""),
	}
	for name, other := range others {
		if other == one {
			t.Errorf("%s gives the same key", name)
		}
	}
	if _, err := NewAssertion(AssertionConfig{Rotate: "24h"}, []byte("short")); err == nil {
		t.Error("a short secret is taken")
	}
}

func TestKeyEndpointSpeaksForCaches(t *testing.T) {
	t.Parallel()
	a := newRotating(t)
	for _, path := range []string{"/jwks.json", "/" + kidOf(t, a, noon)} {
		first := fetch(a, noon, path)
		tag := first.Header().Get("ETag")
		if first.Code != 200 || tag == "" {
			t.Fatalf("%s: %d with ETag %q", path, first.Code, tag)
		}
		for _, match := range []string{tag, `"x", ` + tag, "W/" + tag, "*"} {
			again := fetch(a, noon, path, "If-None-Match", match)
			if again.Code != http.StatusNotModified || again.Body.Len() != 0 || again.Header().Get("ETag") != tag || again.Header().Get("Cache-Control") != cacheKeys {
				t.Errorf("%s, If-None-Match %s: %d %v %q, want 304 with the same tag", path, match, again.Code, again.Header(), again.Body)
			}
		}
		if other := fetch(a, noon, path, "If-None-Match", `"x"`); other.Code != 200 || other.Body.String() != first.Body.String() {
			t.Errorf("%s with another tag: %d %q, want all of it", path, other.Code, other.Body)
		}
	}
	if now, then := fetch(a, noon, "/jwks.json").Header().Get("ETag"), fetch(a, noon.Add(day), "/jwks.json").Header().Get("ETag"); now == then {
		t.Errorf("two sets have the tag %s", now)
	}
	if want := KeyCacheTime.Seconds(); cacheKeys != "public, max-age=3600" || want != 3600 {
		t.Errorf("Cache-Control %q, want KeyCacheTime, %v s", cacheKeys, want)
	}
}

// storeKeys is what a fleet's store may do: it has keys, or cannot be asked.
type storeKeys struct {
	set *KeySet
	err error
}

func (s *storeKeys) KeysAt(time.Time) (*KeySet, error) { return s.set, s.err }

func TestKeysOfAStore(t *testing.T) {
	t.Parallel()
	now, next := must(deriveKey([]byte(strings.Repeat("n", 32)), "")), must(deriveKey([]byte(strings.Repeat("x", 32)), ""))
	store := &storeKeys{set: must(NewKeySet(now, &next.PublicKey))}
	a, err := NewAssertionFrom(AssertionConfig{}, store)
	if err != nil {
		t.Fatal(err)
	}
	verify(t, &now.PublicKey, tokenFor(t, a, alice(), noon))
	if got, want := fetchSet(t, a, noon), []string{must(newSigningKey(now)).kid, must(newSigningKey(next)).kid}; !slices.Equal(got, want) {
		t.Errorf("key set %v, want %v", got, want)
	}

	store.err = errors.New("the store is away")
	if err := a.Set(make(http.Header), alice(), noon.Add(reuse)); !errors.Is(err, store.err) {
		t.Errorf("without keys: %v, want the store's error and no request", err)
	}
	if w := fetch(a, noon, "/jwks.json"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Cache-Control") != "no-store" || strings.Contains(w.Body.String(), "store is away") {
		t.Errorf("key set without keys: %d %q %q, want 503 that nobody remembers", w.Code, w.Header().Get("Cache-Control"), w.Body)
	}
	if _, err := NewKeySet(now, &now.PublicKey); err == nil {
		t.Error("a key is published twice")
	}
}
