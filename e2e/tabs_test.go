package e2e

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"
)

// spaPage is an application that keeps what it knows in the page, under the default policy, which takes no
// script but those of its own host.
const spaPage = `<!doctype html>
<html lang="en"><head><title>SPA</title>
<script src="/oauth2/session.js"></script><script src="/app/spa.js" defer></script></head>
<body><h1>%s</h1><p id="who">%s</p><input id="note" autocomplete="off"><button id="again">Sign in</button></body></html>`

const spaScript = `"use strict";
window.heard = [];
for (const name of ["expiring", "signedout", "signedin", "blocked"]) {
  gatehouse.addEventListener(name, (event) => heard.push(event.detail.changed ? name + " changed" : name));
}
document.querySelector("#again").onclick = () => gatehouse.signIn().then(() => heard.push("back"), (err) => heard.push(err.message));
`

// spaLate is the application on a slow network: its own script comes after the session's has its answer.
const spaLate = `<!doctype html>
<html lang="en"><head><title>Late</title>
<script src="/app/tell.js"></script><script src="/oauth2/session.js"></script><script src="/app/late.js" defer></script></head>
<body><h1>Late</h1><button id="again">Sign in</button></body></html>`

const spaTell = `"use strict";
const send = window.fetch;
window.fetch = (...what) => send(...what).then((answer) => { new Image().src = "/app/answered"; return answer; });
`

// spaPlanted is a page with a comment of somebody whom the application lets write HTML without scripts. Its name hides a
// property of the document (https://html.spec.whatwg.org/#dom-document-nameditem).
const spaPlanted = `<!doctype html>
<html lang="en"><head><title>Comments</title></head>
<body><img name="currentScript" src="/x//planted.test/y.js"><script src="/oauth2/session.js"></script></body></html>`

// startSPA is an upstream with that application at /app/ and an API at /api/.
func startSPA(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /app/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprintf(w, spaPage, r.URL.Path, r.Header.Get("X-Amzn-Oidc-Identity"))
	})
	mux.HandleFunc("GET /app/spa.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		io.WriteString(w, spaScript)
	})
	answered := make(chan struct{})
	tell := sync.OnceFunc(func() { close(answered) })
	mux.HandleFunc("GET /app/late", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, spaLate)
	})
	mux.HandleFunc("GET /app/tell.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		io.WriteString(w, spaTell)
	})
	mux.HandleFunc("GET /app/answered", func(http.ResponseWriter, *http.Request) { tell() })
	mux.HandleFunc("GET /app/late.js", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-answered:
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "text/javascript")
		io.WriteString(w, spaScript)
	})
	mux.HandleFunc("GET /app/comments", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		io.WriteString(w, spaPlanted)
	})
	mux.HandleFunc("/api/", serveEcho)
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// startSPASite puts it behind a front door on localhost, with these flags of the pool, and opens a browser.
func startSPASite(t *testing.T, flags ...string) (*site, *window) {
	t.Helper()
	return startSPASiteWith(t, "", flags...)
}

// startSPASiteWith is startSPASite with a further line in the login section.
func startSPASiteWith(t *testing.T, login string, flags ...string) (*site, *window) {
	t.Helper()
	spec := siteSpec{
		host: "localhost", upstream: startSPA(t),
		login:  login,
		routes: "\n  - {match: localhost/app/spa.js, to: u, require: nothing}\n  - {match: localhost, to: u, require: signed-in}\n",
	}
	s := newSite(t, spec)
	s.pool = startPool(t, flags...) // takes any address on localhost
	s.write(s.fileText(spec, s.pool.login()))
	s.run(spec)
	_, port, _ := strings.Cut(s.addr, ":")
	s.base = "https://localhost:" + port
	return s, openWindow(t, filepath.Join(s.state, "local-ca", "root.pem"), s.addr)
}

// tab opens another tab of the same browser.
func (w *window) tab(opts ...chromedp.ContextOption) *window {
	w.t.Helper()
	ctx, closeTab := chromedp.NewContext(w.ctx, opts...)
	w.t.Cleanup(closeTab)
	tab := &window{t: w.t, ctx: ctx}
	if err := chromedp.Listen(ctx, tab.heed); err != nil {
		w.t.Fatalf("open a tab: %v", err)
	}
	return tab
}

// toFront makes the tab the one that a person looks at.
func (w *window) toFront() {
	w.t.Helper()
	w.domain(page.BringToFront)
}

// fillIn signs somebody in on the pool's page.
func (w *window) fillIn(user string) []chromedp.Action[chromedp.Void] {
	return []chromedp.Action[chromedp.Void]{
		chromedp.SendKeys(chromedp.CSS("#username"), user),
		chromedp.SendKeys(chromedp.CSS("#password"), user),
		chromedp.Click(chromedp.CSS("#password ~ button")),
	}
}

// TestTwentyTabs is attack case O26 as people meet it: twenty pages opened at once by somebody who is
// signed out. They sign in in one of them.
func TestTwentyTabs(t *testing.T) {
	t.Parallel()
	const tabs, first = 20, 7
	s, w := startSPASite(t)
	windows := make([]*window, tabs)
	for i := range windows {
		windows[i] = w.tab()
	}
	address := func(i int) string { return fmt.Sprintf("%s/app/page-%d?tab=%d", s.base, i, i) }
	var all sync.WaitGroup
	errs := make([]error, tabs)
	for i, tab := range windows {
		all.Go(func() { errs[i] = chromedp.Do(tab.ctx, chromedp.Navigate(address(i))) })
	}
	all.Wait()
	for i, tab := range windows {
		if errs[i] != nil {
			t.Fatalf("tab %d: %v", i, errs[i])
		}
		if at := tab.location(); !strings.HasPrefix(at, s.pool.url+"/login?") {
			t.Fatalf("tab %d: at %s, want the pool's sign-in page", i, at)
		}
	}
	header, kept := w.cookies(s.base)
	if len(kept) != 1 || kept[0].Name != loginCookie || len(header) >= 4096 {
		t.Errorf("Cookie: got %d cookies of %d bytes, want %s alone, below 4096", len(kept), len(header), loginCookie)
	}
	one := windows[first]
	one.toFront()
	one.expect(http.StatusOK, address(first), one.fillIn("alice")...)
	for i, tab := range windows {
		if i == first {
			continue
		}
		// The pool signs in by itself whoever asks it again.
		asked := strings.Replace(tab.location(), "/login?", "/oauth2/authorize?", 1)
		tab.toFront()
		tab.expect(http.StatusOK, address(i), chromedp.Navigate(asked))
		if got := tab.text("#who"); got != aliceSub {
			t.Errorf("tab %d: the page is for %q, want alice", i, got)
		}
	}
	if header, _ := w.cookies(s.base); strings.Count(header, sessionCookie) != 1 {
		t.Errorf("Cookie: got %d sessions, want one", strings.Count(header, sessionCookie))
	}
	// No tab took the session of another one away.
	for i, tab := range windows {
		if got := await[int](tab, `fetch("/api/who").then((answer) => answer.status)`); got != http.StatusOK {
			t.Errorf("tab %d: a fetch got %d, want 200", i, got)
		}
		tab.assertNoComplaints()
	}
}

// await evaluates a promise.
func await[T any](w *window, expression string) T {
	w.t.Helper()
	value, err := chromedp.Run(w.ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		w.t.Fatalf("%s: %v\n%s", expression, err, w.describe())
	}
	return value
}

// signedInAt opens a page and signs alice in.
func (w *window) signedInAt(s *site, address string) {
	w.t.Helper()
	w.expect(http.StatusOK, s.pool.url, chromedp.Navigate(address))
	w.expect(http.StatusOK, address, w.fillIn("alice")...)
}

func TestAnSPAFetchesAcrossAnExpiry(t *testing.T) {
	t.Parallel()
	for name, flags := range map[string][]string{"lasting": shortLived, "rotating": append([]string{"--rotate"}, shortLived...)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, w := startSPASite(t, flags...)
			w.signedInAt(s, s.base+"/app/board")
			for round := range 3 {
				expire(t)
				before := s.pool.calls(t, "token:refresh_token")
				got := await[[]string](w, `Promise.all(Array.from({ length: 50 }, (_, i) =>
					fetch("/api/item/" + i).then(async (answer) => answer.status + " " + answer.redirected + " " + (await answer.json()).Subject)))`)
				for i, answer := range got {
					if want := "200 false " + aliceSub; answer != want {
						t.Errorf("round %d, fetch %d: got %q, want %q", round, i, answer, want)
					}
				}
				if len(got) != 50 || s.pool.calls(t, "token:refresh_token") == before {
					t.Errorf("round %d: got %d answers, and the session was not renewed", round, len(got))
				}
			}
			w.assertNoComplaints()
		})
	}
}

// TestSignOutInOneTab signs out in one tab and goes on in another one, which has something to lose.
func TestSignOutInOneTab(t *testing.T) {
	t.Parallel()
	s, w := startSPASite(t)
	w.signedInAt(s, s.base+"/app/board")
	w.until("window.gatehouse?.state?.signed_in === true")
	w.do(chromedp.SendKeys(chromedp.CSS("#note"), "half a sentence"))
	evaluate[bool](w, `window.kept = { deep: "state" }; true`)
	if left := evaluate[int](w, "gatehouse.state.expires_in"); left < 40000 || left > 43200 {
		t.Errorf("expires_in: got %d s, want what is left of 12 hours", left)
	}

	other := w.tab()
	other.expect(http.StatusOK, s.base+"/app/other", chromedp.Navigate(s.base+"/app/other"))
	other.toFront()
	other.expect(http.StatusOK, s.base+"/oauth2/signed_out", chromedp.Navigate(s.base+"/oauth2/sign_out"))

	w.until(`heard.includes("signedout")`)
	w.toFront()
	if got := await[int](w, `fetch("/api/who").then((answer) => answer.status)`); got != http.StatusUnauthorized {
		t.Errorf("a fetch in the other tab: got %d, want 401", got)
	}
	// A fetch of the script waits until somebody is signed in again. No click led to it, so that a browser with
	// a head opens no window; this one has none, and would.
	evaluate[bool](w, `window.mayOpen = window.open; window.open = () => null; true`)
	evaluate[bool](w, `gatehouse.fetch("/api/late").then(async (answer) => { window.late = answer.status + " " + (await answer.json()).Subject }); true`)
	w.until(`heard.includes("blocked")`)
	evaluate[bool](w, `window.open = window.mayOpen; true`)

	popup := s.popup(w)
	popup.do(popup.fillIn("alice")...) // after which it closes
	if end := s.event(func(e map[string]any) bool { return e["path"] == "/oauth2/signed_in" }); end["status"] != 200.0 {
		t.Errorf("the window ended with %v, want 200", end["status"])
	}
	w.until(`heard.includes("back") && window.late !== undefined`)
	if got, want := evaluate[string](w, "window.late"), "200 "+aliceSub; got != want {
		t.Errorf("the fetch that waited: got %q, want %q", got, want)
	}
	if got := evaluate[string](w, `document.querySelector("#note").value + ", " + window.kept.deep`); got != "half a sentence, state" {
		t.Errorf("what the page knew: got %q, want all of it", got)
	}
	if got, want := evaluate[string](w, `heard.join(", ")`), "signedout, blocked, signedin, back"; got != want && got != "signedout, blocked, back, signedin" {
		t.Errorf("events: got %q, want %q", got, want)
	}
	w.assertNoComplaints()
}

// Somebody else may sign in where one person has left. What the page holds is not theirs.
func TestSomebodyElseSignsIn(t *testing.T) {
	t.Parallel()
	s, w := startSPASite(t)
	w.signedInAt(s, s.base+"/app/board")
	w.until("window.gatehouse?.state?.signed_in === true")
	w.tab().expect(http.StatusOK, s.base+"/oauth2/signed_out", chromedp.Navigate(s.base+"/oauth2/sign_out"))
	w.until(`heard.includes("signedout")`)
	w.toFront()
	popup := s.popup(w)
	popup.do(popup.fillIn("bob")...)
	w.until(`heard.includes("signedin changed") && heard.includes("somebody else signed in")`)
	if evaluate[bool](w, `heard.includes("back")`) {
		t.Error("the page goes on as if it were still alice's")
	}
}

// A request that one person has made is not sent again when another one is signed in by then.
func TestARequestIsNotSentAgainForSomebodyElse(t *testing.T) {
	t.Parallel()
	s, w := startSPASite(t)
	w.signedInAt(s, s.base+"/app/board")
	w.until("window.gatehouse?.state?.signed_in === true")
	other := w.tab()
	other.expect(http.StatusOK, s.base+"/oauth2/signed_out", chromedp.Navigate(s.base+"/oauth2/sign_out"))
	w.until(`heard.includes("signedout")`)
	evaluate[bool](w, `{ // the answer takes its time to come
		const send = window.fetch;
		window.fetch = async (...what) => {
			const answer = await send(...what);
			if (!window.refused && answer.status === 401) {
				window.refused = true;
				await new Promise((resolve) => { window.arrive = resolve; });
			}
			return answer;
		};
	}
	gatehouse.fetch("/api/transfer", { method: "POST", body: "alice's" }).then(
		async (answer) => { window.end = answer.status + " " + (await answer.json()).Subject; },
		(err) => { window.end = err.message; });
	true`)
	w.until("window.arrive !== undefined")

	other.expect(http.StatusOK, s.pool.url, chromedp.Navigate(s.base+"/app/other"))
	other.expect(http.StatusOK, s.base+"/app/other", other.fillIn("bob")...)
	evaluate[bool](w, "window.arrive(); true")
	w.until("window.end !== undefined")
	if got, want := evaluate[string](w, "window.end"), "somebody else signed in"; got != want {
		t.Errorf("the request of alice's: got %q, want %q", got, want)
	}
}

func TestAPlantedElementMisleadsNoScript(t *testing.T) {
	t.Parallel()
	s, w := startSPASite(t)
	w.signedInAt(s, s.base+"/app/comments")
	w.until("window.gatehouse?.state?.signed_in === true")
}

func TestAPageIsToldBeforeItsSessionEnds(t *testing.T) {
	t.Parallel()
	s, w := startSPASiteWith(t, "  session: {timeout: 20s}\n")
	w.signedInAt(s, s.base+"/app/board")
	w.until(`heard.includes("expiring")`)
	w.until(`heard.includes("signedout")`)
	if got, want := evaluate[string](w, `heard.join(", ")`), "expiring, signedout"; got != want {
		t.Errorf("events: got %q, want %q", got, want)
	}
	w.assertNoComplaints()
}

func TestAScriptThatComesLateMissesNoEvent(t *testing.T) {
	t.Parallel()
	s, w := startSPASiteWith(t, "  session: {timeout: 50s}\n")
	w.signedInAt(s, s.base+"/app/late")
	w.until(`window.heard?.includes("expiring")`)
}

// popup clicks the page's button and returns the window that it opens, at the pool.
func (s *site) popup(w *window) *window {
	s.t.Helper()
	opened := chromedp.WaitNewTarget(w.ctx, func(info *target.Info) bool { return info.OpenerID != "" })
	w.do(chromedp.Click(chromedp.CSS("#again")))
	popup := w.tab(chromedp.WithTargetID(<-opened))
	popup.until(`document.querySelector("#username") !== null`)
	if at := popup.location(); !strings.HasPrefix(at, s.pool.url+"/login?") {
		s.t.Fatalf("the window: at %s, want the pool's sign-in page", at)
	}
	return popup
}
