package main

import (
	"net/http"

	"gatehouse/configs"
	"gatehouse/proxy"
	"gatehouse/proxy/ratelimit"
	"gatehouse/waf/challenge"
)

// workLimit bounds what one address may send as work: a solution costs a few hashes to check, and an office behind one address
// opens no thirty browsers a second.
func workLimit() ratelimit.Config { return ratelimit.Config{Rate: "1800/1m"} }

// takeChallenger builds what asks for a proof of work, where something says that it should.
func (a *assembler) takeChallenger() (err error) {
	if !a.cfg.Challenges() {
		return nil
	}
	a.challenger, err = challenge.New(a.cfg.Challenge, []byte(a.cfg.Secret), challenge.Options{
		Deny: proxy.Deny, ClientIP: proxy.ClientIP, Cookies: proxy.OwnCookies, RequestID: proxy.RequestID, Navigates: proxy.Navigates,
	})
	return at("challenge", err)
}

// ownCookie reports cookies that are Gatehouse's own: no upstream and no WAF sees them, and no upstream sets one.
func (a *assembler) ownCookie(name string) bool { return a.privateCookie(name) || a.stickyCookie(name) }

// privateCookie reports those of them that tell who somebody is, or what they have done.
func (a *assembler) privateCookie(name string) bool {
	return a.sessions != nil && a.sessions.OwnCookie(name) || a.challenger != nil && challenge.OwnCookie(name)
}

// challengeRoutes adds the place where browsers send their work, on every host. No rule stands before it: one that challenges
// would keep everybody from answering.
func (a *assembler) challengeRoutes() error {
	if a.challenger == nil {
		return nil
	}
	limit, _, err := a.limit("proofs of work", workLimit())
	if err != nil {
		return err
	}
	for _, hosts := range a.hostLists(func(configs.Route, string) bool { return true }) {
		suffix := ""
		if len(hosts) > 0 {
			suffix = " " + hosts[0]
		}
		a.routes = append(a.routes, proxy.Route{
			Name: ownPrefix + challenge.Path + suffix, Match: proxy.Match{Hosts: hosts, Path: challenge.Path, Methods: []string{http.MethodPost}},
			Group: ownPrefix + challenge.Path, Guards: []func(http.Handler) http.Handler{limit}, Handler: a.challenger,
			Response: a.security.Apply, ResponseLines: a.security.Lines, MaxBody: 8 << 10, Gateway: true,
		})
	}
	return nil
}
