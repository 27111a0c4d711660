// Gatehouse: window.gatehouse knows the session of this page. See README, "Single-page applications".
"use strict";
(() => {
  const base = "/oauth2/session";
  // An element of the page's that is named currentScript would be here in its place.
  const script = document.currentScript;
  const done = script instanceof HTMLScriptElement && "done" in script.dataset;
  const self = (window.gatehouse = new EventTarget());
  const channel = window.BroadcastChannel ? new BroadcastChannel("gatehouse") : null;
  const warning = 60; // seconds before the end
  // No event before deferred scripts and modules could listen.
  const loaded = new Promise((resolve) => {
    if (document.readyState === "complete") resolve();
    for (const name of ["DOMContentLoaded", "load"]) addEventListener(name, resolve);
  });
  let end = 0, warned, timer, asking, popup, waiting, settle;

  const tell = (name, detail) => self.dispatchEvent(new CustomEvent(name, { detail }));
  const look = () => channel && channel.postMessage("look");

  // wake says what is to be said now, and comes back when there is more.
  function wake() {
    clearTimeout(timer);
    if (!self.state.signed_in) return;
    const left = end - Date.now() / 1000;
    if (left <= 0) return quietly();
    if (left > warning) warned = false;
    else if (!warned) tell("expiring", { seconds: Math.ceil(left) }), (warned = true);
    timer = setTimeout(wake, Math.min((left > warning ? left - warning : left) * 1000 + 50, 1e9));
  }

  function take(state) {
    const was = self.state;
    self.state = state;
    end = Date.now() / 1000 + state.expires_in;
    wake();
    const other = self.account && state.account && self.account !== state.account;
    if (state.signed_in) {
      if (settle) other ? settle[1](new Error("somebody else signed in")) : settle[0](state);
      settle = waiting = null;
      self.account = state.account;
    }
    if (was ? was.account !== state.account : !state.signed_in || done) look();
    if (was && was.account !== state.account) tell(state.signed_in ? "signedin" : "signedout", { changed: !!other });
    return state;
  }

  function ask(method) {
    return fetch(base, { method, cache: "no-store", redirect: "error" }).then((answer) => {
      if (!answer.ok) throw new Error("session: status " + answer.status);
      return answer.json();
    }).then((state) => loaded.then(() => take(state)));
  }

  // check asks once for all who want to know.
  const check = () => (asking ||= ask("GET").finally(() => (asking = null)));
  const quietly = () => check().catch(() => {});

  // signIn resolves when somebody is signed in again. Call it from a click: browsers open windows then.
  function signIn() {
    if (!self.state) return self.ready.then(signIn);
    waiting ||= new Promise((...both) => (settle = both));
    if (!popup || popup.closed) popup = open(self.state.popup_url, "_blank", "popup,width=480,height=720");
    else popup.focus();
    if (!popup) tell("blocked", { url: self.state.popup_url });
    return waiting;
  }

  // A fetch that waits for the person to sign in again, and is then sent once more: as the same person.
  async function signedInFetch(input, init) {
    const request = new Request(input, init);
    const again = request.clone();
    const mine = self.account;
    const answer = await fetch(request);
    const json = /json/.test(answer.headers.get("Content-Type"));
    if (answer.status !== 401 || !json || new URL(answer.url).origin !== location.origin) return answer;
    if (!(await answer.clone().json().catch(() => ({}))).login_url) return answer;
    if (!(await check()).signed_in) await signIn();
    if (mine && mine !== self.account) throw new Error("somebody else signed in");
    return fetch(again);
  }

  Object.assign(self, { check, renew: () => ask("POST"), signIn, fetch: signedInFetch });
  if (channel) channel.onmessage = quietly;
  document.addEventListener("visibilitychange", () => document.hidden || quietly());
  self.ready = check();
  self.ready.then(() => done && close(), () => {});
})();
