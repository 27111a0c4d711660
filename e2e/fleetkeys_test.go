package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// publish waits until every instance publishes n keys, the same ones, and returns them.
func publish(t *testing.T, fleet [3]*site, n int) []string {
	t.Helper()
	var sets [3][]string
	same := func() bool {
		for i, s := range fleet {
			sets[i] = slices.Sorted(slices.Values(s.publishedKeys(t)))
		}
		return len(sets[0]) == n && slices.Equal(sets[0], sets[1]) && slices.Equal(sets[0], sets[2])
	}
	for deadline := time.Now().Add(startTimeout); !same(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("published: %q, want %d keys that are the same", sets, n)
		}
	}
	return sets[0]
}

// signer returns the key that an instance signs with, once every instance publishes it where verifiers look.
func (s *site) signer(t *testing.T, fleet [3]*site, cookies string) string {
	t.Helper()
	seen, err := s.echoed(newClient(t, s.addr, true), cookies, "/page")
	if err != nil {
		t.Fatal(err)
	}
	kid, err := kidOf(seen.Header.Get("X-Amzn-Oidc-Data"))
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range fleet {
		if !slices.Contains(other.publishedKeys(t), kid) {
			t.Errorf("%s signs with %s, which %s does not publish", s.addr, kid, other.addr)
		}
	}
	return kid
}

// The keys that sign are in the store, and stay the same while there is one instance or the store that knows them.
func TestAFleetKeepsItsKeys(t *testing.T) {
	t.Parallel()
	spec := siteSpec{listen: `, keys: "127.0.0.1:0"`, sockets: []string{"keys"}, top: "assertion: {source: fleet}\n"}
	st, fleet := startFleet(t, spec)
	a, b := fleet[0], fleet[1]
	cookies := a.signIn("alice", "/").cookies(a.base)
	published := publish(t, fleet, 2)
	kid := a.signer(t, fleet, cookies)
	for _, s := range fleet[1:] {
		if got := s.signer(t, fleet, cookies); got != kid {
			t.Errorf("%s signs with %s, want %s as the first does", s.addr, got, kid)
		}
	}
	a.write(strings.Replace(a.text, "{source: fleet}", "{source: fleet, padding: unpadded}", 1))
	a.reload(t, reloaded)
	if got := a.signer(t, fleet, cookies); got != kid {
		t.Errorf("after a reload %s signs, want %s", got, kid)
	}
	b.kill()
	b.run(spec)
	if got := b.signer(t, fleet, cookies); got != kid {
		t.Errorf("after a restart %s signs, want %s", got, kid)
	}
	st.kill() // and what it had
	a.message("fleet: the store does not answer, this instance works alone until it does", 0)
	if got := a.signer(t, fleet, cookies); got != kid {
		t.Errorf("without the store %s signs, want %s", got, kid)
	}
	st.start()
	b.kill()
	a.message(storeAnswers, 1)
	b.run(spec)
	b.message(storeAnswers, 0)
	if got := publish(t, fleet, 2); !slices.Equal(got, published) {
		t.Errorf("with a new store %q are published, want %q", got, published)
	}
	if got := b.signer(t, fleet, cookies); got != kid {
		t.Errorf("with a new store %s signs, want %s", got, kid)
	}
}

// Whoever comes with a token is asserted with the same keys, also where nobody signs in.
func TestAFleetWithoutALoginKeepsItsKeys(t *testing.T) {
	t.Parallel()
	st, p := startStore(t), startPool(t)
	token := machineToken(t, p.url)
	var kids [2]string
	for i := range kids {
		spec := siteSpec{
			upstream: startEcho(t),
			top: fmt.Sprintf("secret: ${env:GATEHOUSE_SECRET}\nfleet: {store: \"unix://%s\"}\nassertion: {source: fleet}\ntokens: {issuers: {first: {issuer: %q, client_ids: [%s]}}}\n",
				st.socket, p.url+"/"+poolID, clientID),
			env:    []string{"GATEHOUSE_SECRET=" + strings.Repeat("0123456789abcdef", 4)},
			routes: fmt.Sprintf("\n  - {match: %q, to: u, require: token, waf: off}\n", appHost),
		}
		s := startOpen(t, spec)
		resp, body := fetch(t, newClient(t, s.addr, true), s.base+"/x", "", "Authorization", "Bearer "+token)
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("got %s, want 200\n%s", resp.Status, body)
		}
		var err error
		if kids[i], err = kidOf(readEcho(t, body).Header.Get("X-Amzn-Oidc-Data")); err != nil {
			t.Fatal(err)
		}
	}
	if kids[0] != kids[1] {
		t.Errorf("two instances sign with %s and %s, want one key", kids[0], kids[1])
	}
}

// Each instance has a key of its own, which all publish.
func TestAFleetPublishesTheKeysOfItsInstances(t *testing.T) {
	t.Parallel()
	spec := siteSpec{listen: `, keys: "127.0.0.1:0"`, sockets: []string{"keys"}, top: "assertion: {source: instance}\n"}
	_, fleet := startFleet(t, spec)
	cookies := fleet[0].signIn("alice", "/").cookies(fleet[0].base)
	before := publish(t, fleet, 1+3)
	for _, s := range fleet {
		s.signer(t, fleet, cookies)
	}
	fleet[1].kill()
	fleet[1].run(spec)
	after := publish(t, fleet, 1+4)
	for _, kid := range before {
		if !slices.Contains(after, kid) {
			t.Errorf("%s is gone at once, and with it what it has signed", kid)
		}
	}
	fleet[1].signer(t, fleet, cookies)
}
