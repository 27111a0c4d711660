package headers

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
	"unique"

	"gatehouse/authn/identity"
)

// tokenFor returns what Set sends for the identity.
func tokenFor(t testing.TB, a *Assertion, id *identity.Identity, now time.Time) string {
	t.Helper()
	h := make(http.Header)
	if err := a.Set(h, id, now); err != nil {
		t.Fatal(err)
	}
	return h.Get(dataHeader)
}

func TestSignatureServesASessionFor30Seconds(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{})
	first := tokenFor(t, a, alice(), noon)
	for _, tt := range []struct {
		after time.Duration
		same  bool
	}{
		{-999 * time.Millisecond, true},
		{-time.Second, false},
		{0, true},
		{30*time.Second - 1, true},
		{30 * time.Second, false},
		{time.Hour, false},
	} {
		a := newTestAssertion(t, AssertionConfig{})
		first := tokenFor(t, a, alice(), noon)
		if got := tokenFor(t, a, alice(), noon.Add(tt.after)) == first; got != tt.same {
			t.Errorf("after %v: same signature: %v, want %v", tt.after, got, tt.same)
		}
	}
	if tokenFor(t, a, alice(), noon) != first {
		t.Error("an equal identity in another object is signed again")
	}
}

func TestSignatureIsNeverShared(t *testing.T) {
	t.Parallel()
	changes := map[string]func(id *identity.Identity){
		"session": func(id *identity.Identity) { id.SessionID = "session-2" },
		"issuer":  func(id *identity.Identity) { id.Issuer += "x" },
		"client":  func(id *identity.Identity) { id.ClientID += "x" },
		"claims":  func(id *identity.Identity) { id.Claims = []byte(`{"sub":"alice-sub","email":"other@example.com"}`) },
		"access token": func(id *identity.Identity) {
			id.AccessToken = "at.alice.2"
		},
		"groups":         func(id *identity.Identity) { id.Groups = nil },
		"email":          func(id *identity.Identity) { id.Email = "" },
		"email verified": func(id *identity.Identity) { id.EmailVerified = false },
		"subject": func(id *identity.Identity) {
			id.Subject, id.Claims = "bob-sub", []byte(`{"sub":"bob-sub"}`)
		},
	}
	for _, session := range []string{"session-1", ""} {
		for name, change := range changes {
			a := newTestAssertion(t, AssertionConfig{})
			one, two := alice(), alice()
			one.SessionID, two.SessionID = session, session
			change(two)
			if tokenFor(t, a, one, noon) == tokenFor(t, a, two, noon) {
				t.Errorf("session %q: two identities that differ in %s share a signature", session, name)
			}
		}
	}
}

func TestBearerTokensReuseTheirSignature(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{})
	id := alice()
	id.SessionID = ""
	if tokenFor(t, a, id, noon) != tokenFor(t, a, id, noon.Add(time.Second)) {
		t.Error("the same bearer token is signed twice")
	}
}

func TestManyRequestsAtOnceWaitForOneSignature(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{})
	tokens := make([]string, 50)
	var group sync.WaitGroup
	for i := range tokens {
		group.Go(func() {
			h := make(http.Header)
			if err := a.Set(h, alice(), noon); err != nil {
				t.Error(err)
			}
			tokens[i] = h.Get(dataHeader)
		})
	}
	group.Wait()
	for _, token := range tokens {
		if token != tokens[0] {
			t.Fatal("requests of one session carry different signatures")
		}
	}
}

func TestSignaturesAreBoundedAndDie(t *testing.T) {
	t.Parallel()
	const limit = 20 << 10
	c := newSignatures(limit)
	for i := range 1000 {
		id := alice()
		id.SessionID = strings.Repeat("s", i)
		c.get(unique.Make(""), id, noon.Add(time.Duration(i)*time.Millisecond))
		if c.size > limit || len(c.entries) != len(c.queue)-c.head {
			t.Fatalf("after %d sessions: %d bytes in %d entries, %d queued", i, c.size, len(c.entries), len(c.queue)-c.head)
		}
	}
	if len(c.queue) > 100 {
		t.Errorf("the queue has %d places, want it to shrink", len(c.queue))
	}
	c.get(unique.Make(""), alice(), noon.Add(time.Minute))
	if got := len(c.entries); got != 1 {
		t.Errorf("%d entries after all have expired, want only the new one", got)
	}
}

func TestFailuresDoNotCrowdOutSignatures(t *testing.T) {
	t.Parallel()
	a := newTestAssertion(t, AssertionConfig{})
	first := tokenFor(t, a, alice(), noon)
	for i := range 1000 {
		broken := alice()
		broken.SessionID, broken.Claims = strings.Repeat("s", i+1), []byte("{}")
		if err := a.Set(make(http.Header), broken, noon); err == nil {
			t.Fatal("signed claims without a subject")
		}
	}
	if got := len(a.signatures.queue); got != 1 {
		t.Errorf("%d places are queued, want the one that was signed", got)
	}
	if tokenFor(t, a, alice(), noon) != first {
		t.Error("failures of others made a session's signature anew")
	}
}

func TestSetAllocatesNothingForAKnownSession(t *testing.T) {
	a := newTestAssertion(t, AssertionConfig{Claims: map[string]string{"email": "X-Mail"}})
	id, h := alice(), browserHeader()
	if err := a.Set(h, id, noon); err != nil {
		t.Fatal(err)
	}
	got := testing.AllocsPerRun(100, func() {
		if err := a.Set(h, id, noon); err != nil {
			t.Error(err)
		}
	})
	if got != 0 {
		t.Errorf("Set allocates %v times, want 0", got)
	}
}

func BenchmarkSet(b *testing.B) {
	a := newTestAssertion(b, AssertionConfig{})
	id := alice()
	b.Run("known session", func(b *testing.B) {
		h := browserHeader()
		b.ReportAllocs()
		for b.Loop() {
			if err := a.Set(h, id, noon); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("new signature", func(b *testing.B) {
		h, now := browserHeader(), noon
		b.ReportAllocs()
		for b.Loop() {
			now = now.Add(time.Minute)
			if err := a.Set(h, id, now); err != nil {
				b.Fatal(err)
			}
		}
	})
}
