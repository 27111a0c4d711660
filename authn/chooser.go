package authn

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxProviders bounds how many there may be: a cookie that is none of ours is tried with each.
const maxProviders = 16

// serves says whether the provider is the one for a host.
func (p *Provider) serves(host string) bool {
	for _, pattern := range p.set.hosts {
		if matchHost(pattern, host) {
			return true
		}
	}
	return false
}

// matchHost compares a canonical host, which may have a port, with a name or *.name.
func matchHost(pattern, host string) bool {
	host = withoutPort(host)
	if suffix, ok := strings.CutPrefix(pattern, "*"); ok {
		return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	return host == pattern
}

// takes says whether a route lets people in whom p vouches for: one of those that it names; else one
// for its host; else, when the host has none of its own, one that is for no host in particular.
func (ps Providers) takes(p *Provider, names []string, host string) bool {
	switch {
	case len(names) > 0:
		return slices.Contains(names, p.set.name)
	case p.serves(host):
		return true
	case len(p.set.hosts) > 0:
		return false
	}
	return !slices.ContainsFunc(ps, func(other *Provider) bool { return other.serves(host) })
}

// taken returns all that takes allows.
func (ps Providers) taken(names []string, host string) Providers {
	var list Providers
	for _, p := range ps {
		if ps.takes(p, names, host) {
			list = append(list, p)
		}
	}
	return list
}

// errNoProvider is a route that nobody can sign in to. A configuration that was checked has none.
var errNoProvider = fail(ReasonUnhandled, http.StatusInternalServerError,
	"Nobody can sign in here at the moment.", "no provider is for this host")

// signInPath is the address that begins a login at one of the providers, which has to bring back what
// want says. With several it shows the chooser.
func (ps Providers) signInPath(at Providers, back string, want StepUp) string {
	params := []param{{"rd", back}}
	if len(ps) > 1 {
		for _, p := range at {
			params = append(params, param{"provider", p.set.name})
		}
	}
	return withQuery(ps.paths().signIn, append(params, want.query()...))
}

// chooser is the page that lets people choose.
func (ps Providers) chooser(at Providers, host, back string, want StepUp) page {
	p := page{Title: "Choose how to sign in", Text: []string{"There is more than one way to sign in to " + host + "."}}
	for _, provider := range at {
		p.Choices = append(p.Choices, choice{
			Label: provider.set.title, Href: ps.signInPath(Providers{provider}, back, want),
		})
	}
	return p
}

// signInParams is what the sign-in endpoint is asked for, beside the page to return to.
type signInParams struct {
	providers []string
	want      StepUp
}

// readSignIn reads the query of the sign-in endpoint. Anybody can write such a link, so that it asks a
// provider for nothing that a rule could not ask for; what a route wants is looked at when the login
// has come back.
func readSignIn(query string) (signInParams, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return signInParams{}, nil // it says nothing
	}
	in := signInParams{providers: values["provider"]}
	for _, name := range []string{"acr_values", "max_age", "prompt"} {
		if len(values[name]) > 1 {
			return signInParams{}, errSignInQuery
		}
	}
	in.want = StepUp{ACR: strings.Fields(values.Get("acr_values")), Prompt: values.Get("prompt")}
	if s := values.Get("max_age"); s != "" {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil || n == 0 {
			return signInParams{}, errSignInQuery
		}
		in.want.MaxAge = time.Duration(n) * time.Second
	}
	valid := len(in.providers) <= maxProviders
	in.want.Validate(func(string, string) { valid = false })
	if !valid {
		return signInParams{}, errSignInQuery
	}
	return in, nil
}

var errSignInQuery = fail(ReasonBadRequest, http.StatusBadRequest, "This sign-in link cannot be read.", "sign-in: malformed query")

// choices are the providers that a sign-in is about: those that the link names and that there are;
// else those for the host; else all.
func (e *endpoints) choices(names []string, host string) Providers {
	if len(names) > 0 {
		if list := e.providers.taken(names, host); len(list) > 0 {
			return list
		}
	}
	if list := e.providers.taken(nil, host); len(list) > 0 {
		return list
	}
	return e.providers
}

// choose shows the chooser. It ends nobody's session: whoever is signed in may go back.
func (e *endpoints) choose(w http.ResponseWriter, r *http.Request, at Providers, host, back string, want StepUp) {
	p := e.providers.chooser(at, host, back, want)
	if sess, err := e.sessions.read(e.providers, host, e.opts.Cookies(r), e.sessions.now()); err == nil && sess != nil {
		p.QuietLabel, p.QuietHref = "Stay signed in as "+account(sess.identity), back
	}
	p.write(w, r, http.StatusOK)
}

// elsewhere refuses a session whose provider the route does not take. Nobody is sent away without
// having been told: whoever signs in with another provider ends the session that they have.
func (g *Gate) elsewhere(r *http.Request, d Decision, sess *session, host string) (Decision, error) {
	switch g.rule.Mode {
	case ModeAllow:
		return d, nil
	case ModeDeny:
		return d, errUnauthenticated
	}
	d.at = g.providers.taken(g.rule.Providers, host)
	if len(d.at) == 0 {
		return d, errNoProvider
	}
	d.Login, d.told = true, true
	want, got := titles(d.at), g.providers.of(sess).set.title
	return d, &Error{
		Reason: ReasonOtherProvider, Status: http.StatusForbidden,
		public:  fmt.Sprintf("You are signed in with %s as %s, and this page takes %s.", got, account(sess.identity), want),
		account: account(sess.identity),
		offer:   "Sign in with " + want, offerHref: g.providers.signInPath(d.at, SafeReturn(ownReturn(r)), g.rule.StepUp),
		err: fmt.Errorf("provider: want %s, got %s", want, got),
	}
}

// titles lists providers for people.
func titles(ps Providers) string {
	var b strings.Builder
	for i, p := range ps {
		switch {
		case i > 0 && i == len(ps)-1:
			b.WriteString(" or ")
		case i > 0:
			b.WriteString(", ")
		}
		b.WriteString(p.set.title)
	}
	return b.String()
}
