package authn

import (
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// maxCached bounds the cache of opened cookies, in bytes of what they hold.
	maxCached = 64 << 20
	// maxUsed bounds the memory of callbacks that have been. Only a login that this gateway began
	// can enter one.
	maxUsed = 1 << 15
	// maxBegun bounds the memory of where logins want to go, in bytes.
	maxBegun = 8 << 20
)

// Sessions keeps logins in encrypted cookies. It holds what has to outlive a request, and a
// configuration: sessions that were ended, refreshes under way, cookies that were opened before.
// It is safe for concurrent use.
type Sessions struct {
	set   sessionSettings
	seal  *sealer
	now   func() time.Time
	clear []string // Set-Cookie lines that delete every shard
	*memory
}

// memory is what With hands on.
type memory struct {
	opened  *cache[openedKey, *opened]
	seed    maphash.Seed // of openedKey
	revoked *revocations
	used    *cache[loginState, struct{}]
	// begun says where a login wanted to go when its cookie has given way to a later one, as when
	// twenty tabs are restored at once, and the way is too long for its ticket. It is a courtesy:
	// nothing is decided by it.
	begun   *cache[loginState, string]
	renewal *renewals
	*outlasting
}

// outlasting is what all configurations share.
type outlasting struct {
	life    atomic.Int64 // the longest timeout that sessions have been made with, in nanoseconds
	ledger  Ledger       // nil when revocations are kept in memory only
	onError func(error)
	watches watches
	claimed *revocations // what anybody could have claimed, apart from what is known
	logouts *cache[RevocationKey, struct{}]
	shared  Shared // nil when other instances are not asked
}

type loginState [16]byte

// SessionsOptions are the surroundings of Sessions. The zero value is fine.
type SessionsOptions struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Ledger keeps revocations beyond the process. Without one, who has signed out is known until it
	// ends.
	Ledger Ledger
	// OnError is told of revocations that the ledger did not take.
	OnError func(error)
	// Shared lets several instances redeem a refresh token once. Without it each does so by itself.
	Shared Shared
}

// NewSessions returns sessions sealed with the configured keys, or, when there is none, with one
// derived from secret, which must then be at least 32 bytes. It loads the ledger.
func NewSessions(cfg SessionConfig, secret []byte, opts SessionsOptions) (*Sessions, error) {
	m := &memory{
		opened:  newCache[openedKey, *opened](maxCached),
		seed:    maphash.MakeSeed(),
		revoked: newRevocations(maxRevoked),
		used:    newCache[loginState, struct{}](maxUsed),
		begun:   newCache[loginState, string](maxBegun),
		renewal: newRenewals(),
	}
	m.outlasting = &outlasting{
		ledger: opts.Ledger, onError: opts.OnError, shared: opts.Shared,
		claimed: newRevocations(maxClaimed), logouts: newCache[RevocationKey, struct{}](maxLogoutTokens),
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	s, err := newSessions(cfg, secret, opts.Now, m)
	if err == nil && opts.Ledger != nil {
		err = opts.Ledger.Load(func(rev Revocation) { s.Learn(rev) })
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// With returns sessions for another configuration that know what these know: a reload neither
// brings back who has signed out nor repeats a refresh. Cookies that were opened before are opened
// again, since they may have been sealed with a key that is gone.
func (s *Sessions) With(cfg SessionConfig, secret []byte) (*Sessions, error) {
	m := &memory{
		opened:  newCache[openedKey, *opened](maxCached),
		seed:    maphash.MakeSeed(),
		revoked: s.revoked, used: s.used, begun: s.begun, renewal: s.renewal,
		outlasting: s.outlasting,
	}
	return newSessions(cfg, secret, s.now, m)
}

func newSessions(cfg SessionConfig, secret []byte, now func() time.Time, m *memory) (*Sessions, error) {
	set, err := check(cfg.resolve)
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	var secrets [][]byte
	for _, key := range set.keys {
		secrets = append(secrets, []byte(key))
	}
	if len(secrets) == 0 {
		secrets = [][]byte{secret}
	}
	seal, err := newSealer(secrets)
	if err != nil {
		return nil, err
	}
	s := &Sessions{set: set, seal: seal, now: now, memory: m}
	for life := s.life.Load(); int64(set.timeout) > life && !s.life.CompareAndSwap(life, int64(set.timeout)); {
		life = s.life.Load()
	}
	for i := range maxShards {
		s.clear = append(s.clear, setCookie(s.shardName(i), "", 0, set.sameSite))
	}
	return s, nil
}

func (s *Sessions) shardName(i int) string { return s.set.cookie + "-" + string(rune('0'+i)) }

func (s *Sessions) loginName() string { return s.set.cookie + "-login" }

// OwnCookie says whether a cookie is one of ours, in any case: a shard of the session, the login
// cookie, the one that outlives a sign-out, or the bare name. Such cookies are taken out of the request before anybody else reads it.
func (s *Sessions) OwnCookie(name string) bool {
	n := len(s.set.cookie)
	if len(name) < n || !strings.EqualFold(name[:n], s.set.cookie) {
		return false
	}
	switch rest := name[n:]; {
	case rest == "", strings.EqualFold(rest, "-login"), strings.EqualFold(rest, "-switch"):
		return true
	case len(rest) == 2:
		return rest[0] == '-' && rest[1] >= '0' && rest[1] <= '9'
	}
	return false
}

// errNoSession is why cookies were there and no session.
var errNoSession = errors.New("the session is not valid")

// read returns the session of a request. It is nil without an error when no cookie of ours came;
// every cookie that is no session gives errNoSession.
func (s *Sessions) read(ps Providers, host string, cookies []*http.Cookie, now time.Time) (*session, error) {
	shards := s.collect(cookies)
	if !shards.any {
		return nil, nil
	}
	key := s.openedKey(host, &shards)
	var sess *session
	if o, ok := s.opened.get(key); ok && o.is(ps, host, &shards) {
		sess = o.sess
	} else if sess = s.open(ps, host, &shards); sess != nil {
		s.remember(host, &shards, key, sess)
	} else {
		return nil, errNoSession
	}
	if now.Unix() >= sess.end || s.over(sess) || shards.twice {
		return nil, errNoSession
	}
	return sess, nil
}

// open returns the session that is in the shards, or nil. It opens for one provider only: the value
// is bound to it.
func (s *Sessions) open(ps Providers, host string, shards *presented) *session {
	value, joined := shards.join()
	if !joined {
		return nil
	}
	for _, p := range ps {
		b, err := s.seal.open(p.binding("session", s.set.cookie, host), value)
		if err != nil {
			continue
		}
		sess, err := parseSession(b)
		if err != nil {
			return nil
		}
		// One that was made when sessions lived longer ends before its revocations are forgotten.
		sess.end = min(sess.end, s.longest(time.Unix(sess.start, 0)))
		return sess.finish(p)
	}
	return nil
}

// forget ends the session that a request carries, and reports whether it carries one.
func (s *Sessions) forget(ps Providers, host string, cookies []*http.Cookie) bool {
	sess, err := s.read(ps, host, cookies, s.now())
	if err != nil || sess == nil {
		return false
	}
	s.end(sess)
	return true
}

// openedKey finds an opened cookie: a keyed hash of the host and of each shard. It only finds; what
// decides is that the values are equal, in opened.is. Nobody outside can make two values meet, so
// the time that the comparison takes tells nothing.
type openedKey [maxShards + 1]uint64

// opened is a cookie that was opened, and what it was bound to.
type opened struct {
	host   string
	values [maxShards]string
	sess   *session
}

func (s *Sessions) openedKey(host string, shards *presented) (key openedKey) {
	key[maxShards] = maphash.String(s.seed, host)
	for i, v := range shards.values {
		if v != "" {
			key[i] = maphash.String(s.seed, v)
		}
	}
	return key
}

func (o *opened) is(ps Providers, host string, shards *presented) bool {
	return o.values == shards.values && o.host == host && ps.of(o.sess) != nil
}

// remember keeps an opened cookie. The values are copied: they are parts of a whole header.
func (s *Sessions) remember(host string, shards *presented, key openedKey, sess *session) {
	o := &opened{host: strings.Clone(host), sess: sess}
	weight := sess.weight()
	for i, v := range shards.values {
		o.values[i] = strings.Clone(v)
		weight += len(v)
	}
	s.opened.put(key, o, weight)
}

// write returns the Set-Cookie lines of a session: its shards, and deletions for the rest.
func (s *Sessions) write(p *Provider, host string, sess *session) ([]string, error) {
	shards, err := s.shards(p, host, sess)
	if err != nil {
		return nil, err
	}
	life := time.Duration(sess.end-s.now().Unix()) * time.Second
	lines := make([]string, maxShards)
	copy(lines, s.clear)
	for i, v := range shards {
		lines[i] = setCookie(s.shardName(i), v, life, s.set.sameSite)
	}
	return lines, nil
}

// shards seals a session. When it is too large, the ID token, which only makes signing out
// smoother, is the first thing left out.
func (s *Sessions) shards(p *Provider, host string, sess *session) ([]string, error) {
	for {
		value, err := s.seal.seal(p.binding("session", s.set.cookie, host), sess.append(nil))
		if err != nil {
			return nil, fail(ReasonUnhandled, http.StatusInternalServerError, publicTryAgain, "%w", err)
		}
		if shards, ok := split(value); ok {
			return shards, nil
		}
		if sess.idToken == "" {
			return nil, fail(ReasonTooLarge, http.StatusInternalServerError,
				"Your account holds more data than this site can take. Please tell its operator.",
				"session: want at most %d cookies of %d bytes, got %d bytes", maxShards, shardSize, len(value))
		}
		sess.idToken = ""
	}
}

// newSession makes the session of a login. Its id is new, whatever the browser had before.
func (s *Sessions) newSession(p *Provider, c *connection, t *tokens, userinfo []byte) (*session, error) {
	now := s.now()
	sess := &session{start: now.Unix(), began: now.UnixNano(), end: now.Add(s.set.timeout).Unix()}
	rand.Read(sess.id[:])
	if err := sess.take(p, c, t, userinfo); err != nil {
		return nil, err
	}
	return sess.finish(p), nil
}

// pending opens the login cookie. The logins may be those of several providers.
func (s *Sessions) pending(host string, cookies []*http.Cookie) loginCookie {
	name, value, present := s.loginName(), "", false
	for _, c := range cookies {
		if c.Name != name {
			continue
		}
		if present {
			return loginCookie{present: true} // twice
		}
		present, value = true, c.Value
	}
	if value == "" {
		return loginCookie{}
	}
	if len(value) > maxLoginCookie {
		return loginCookie{present: true}
	}
	b, err := s.seal.open(s.loginBinding(host), value)
	if err != nil {
		return loginCookie{present: true}
	}
	c, err := parsePending(b)
	c.present, c.opened = true, err == nil
	return c
}

// setPending returns the Set-Cookie line of the login cookie; when there is nothing to say it
// deletes it.
func (s *Sessions) setPending(host string, c loginCookie) (string, error) {
	sameSite := "Lax" // Strict would keep it from coming back with the provider's redirect
	if s.set.sameSite == "None" {
		sameSite = "None"
	}
	life := loginTimeout
	if len(c.logins) == 0 {
		life = trailLife
		if c.trail.over(s.now()) {
			return setCookie(s.loginName(), "", 0, sameSite), nil
		}
	}
	value, err := s.sealPending(s.loginBinding(host), c)
	if err != nil {
		return "", fail(ReasonUnhandled, http.StatusInternalServerError, publicTryAgain, "%w", err)
	}
	return setCookie(s.loginName(), value, life, sameSite), nil
}

// loginBinding is the name under which login cookies are sealed. Each login in it says itself at which
// provider it was begun.
func (s *Sessions) loginBinding(host string) string {
	return strings.Join([]string{"login", s.set.cookie, host}, "\n")
}

// beginning is what led to a login. But for all, the zero value is a page that wants somebody signed in.
type beginning struct {
	all    Providers
	want   StepUp // what has to come back
	rounds uint8  // attempts that this one continues
	again  bool   // somebody with a session signs in once more, which no loop does
}

// begin starts a login at p: the provider's address to go to, and the cookie to set, which is there
// with an error too when it has to go.
func (s *Sessions) begin(r *http.Request, p *Provider, back string, cookies []*http.Cookie, how beginning) (location, cookie string, err error) {
	c, err := p.connected()
	if err != nil {
		return "", "", err
	}
	if err := p.awake(r.Context(), c); err != nil {
		return "", "", err
	}
	now, host := s.now(), canonicalHost(r.Host)
	jar := s.pending(host, cookies)
	if jar.trail.circling(now) && !how.again && s.counts(r) {
		cookie, err = s.setPending(host, loginCookie{logins: jar.logins.live(now)}) // a person is next
		if err == nil {
			err = s.circling(how.all, host, back, cookies, now)
		}
		return "", cookie, err
	}
	login := newPendingLogin(p, now, back, how.want)
	if login.ticket, err = s.sealTicket(&login, host, how.rounds); err != nil {
		return "", "", err
	}
	jar.logins = append(jar.logins.live(now), login)
	if cookie, err = s.setPending(host, jar); err != nil {
		return "", "", err
	}
	s.begun.put(login.state, back, 64+len(back))
	return p.authorizeURL(c, host, &login), cookie, nil
}

// wanted returns where the login of a ticket wanted to go, or "/" when that is forgotten.
func (s *Sessions) wanted(t *ticket) string {
	if t == nil {
		return "/"
	}
	if t.back != "" {
		return t.back
	}
	if back, ok := s.begun.get(t.state); ok {
		return back
	}
	return "/"
}

// spend marks a state as used and reports whether it was the first to do so.
func (s *Sessions) spend(l *pendingLogin) bool {
	_, first := s.used.add(l.state, struct{}{}, 1)
	return first
}
