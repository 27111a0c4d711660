package upstream

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Bounds of StickyConfig.
const (
	defaultSticky = 24 * time.Hour // ALB's, as the others
	minSticky     = time.Second
	maxSticky     = 7 * 24 * time.Hour
	// minStickySecret is the shortest secret that a key is derived from, in bytes.
	minStickySecret = 32
)

// stickyLabel keeps the key apart from others that are derived from the same secret.
const stickyLabel = "gatehouse sticky cookie v1"

// StickyConfig has the requests of a client go to the endpoint that had its first one, by a cookie. An endpoint that is not well
// loses its clients to others.
type StickyConfig struct {
	// Cookie is the name of the cookie; default "gatehouse-sticky-" and the upstream's name. What is in it is encrypted, and is
	// good for one upstream alone. No upstream sees it.
	Cookie string `yaml:"cookie"`
	// Duration is how long a client is bound after its last request; 1s to 168h, default 24h.
	Duration string `yaml:"duration"`
	// AppCookie names a cookie of the application, with which a client becomes bound and without which it is not: nobody is
	// bound who has no session there.
	AppCookie string `yaml:"app_cookie"`
	// SameSite is "lax" (the default), "strict", or "none", for pages of others that ask with credentials; "none" takes HTTPS.
	SameSite string `yaml:"same_site"`
}

// CookieName is the cookie's name for the upstream with this name.
func (c StickyConfig) CookieName(upstream string) string {
	if c.Cookie != "" {
		return c.Cookie
	}
	return "gatehouse-sticky-" + upstream
}

func (c StickyConfig) validate(report func(field, msg string)) {
	for _, n := range []struct{ field, name string }{{"cookie", c.Cookie}, {"app_cookie", c.AppCookie}} {
		if n.name != "" && !validToken(n.name) {
			report(n.field, fmt.Sprintf("want the name of a cookie, got %q", n.name))
		}
	}
	if c.AppCookie != "" && c.AppCookie == c.Cookie {
		report("app_cookie", "want the name of a cookie that the application sets, got that of cookie")
	}
	if strings.HasPrefix(c.Cookie, "__") {
		report("cookie", "want a name without a prefix of browsers such as __Host-: the cookie is also set over plain HTTP")
	}
	if d, err := parseTimeout(c.Duration, defaultSticky); err != nil {
		report("duration", err.Error())
	} else if d < minSticky || d > maxSticky {
		report("duration", fmt.Sprintf("want %s to %s, got %s", minSticky, maxSticky, d))
	}
	switch c.SameSite {
	case "", "lax", "strict", "none":
	default:
		report("same_site", fmt.Sprintf("want lax, strict or none, got %q", c.SameSite))
	}
}

// Sticky binds clients to the endpoints of one upstream. It is safe for concurrent use.
type Sticky struct {
	upstream, cookie, app string
	duration              time.Duration
	attributes            string
	secure                string // attributes over HTTPS
	aead                  cipher.AEAD
	now                   func() time.Time
}

// NewSticky compiles the stickiness of the upstream with this name. The key is derived from secret, so that all instances with
// the same one, and the next process, take each other's cookies. A secret has at least 32 bytes.
func NewSticky(upstream string, c StickyConfig, secret []byte) (*Sticky, error) {
	if len(secret) < minStickySecret {
		return nil, fmt.Errorf("sticky: want a secret of at least %d bytes, got %d", minStickySecret, len(secret))
	}
	key, err := hkdf.Key(sha256.New, secret, nil, stickyLabel, 32)
	if err != nil {
		return nil, fmt.Errorf("sticky: %w", err)
	}
	s := &Sticky{upstream: upstream, cookie: c.CookieName(upstream), app: c.AppCookie, now: time.Now}
	if s.duration, err = parseTimeout(c.Duration, defaultSticky); err != nil {
		return nil, fmt.Errorf("sticky: duration: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("sticky: %w", err)
	}
	if s.aead, err = cipher.NewGCMWithRandomNonce(block); err != nil {
		return nil, fmt.Errorf("sticky: %w", err)
	}
	s.attributes = "; Path=/; Max-Age=" + strconv.FormatInt(int64(s.duration/time.Second), 10) + "; HttpOnly"
	switch c.SameSite {
	case "strict":
		s.attributes += "; SameSite=Strict"
		s.secure = s.attributes + "; Secure"
	case "none":
		s.secure = s.attributes + "; SameSite=None; Secure"
	default:
		s.attributes += "; SameSite=Lax"
		s.secure = s.attributes + "; Secure"
	}
	return s, nil
}

// Holds reports whether the client of r is bound to an endpoint of this upstream: a route that divides its requests among
// several sends such a client where it was. cookies are those that the gateway took out of the request.
func (s *Sticky) Holds(r *http.Request, cookies []*http.Cookie) bool {
	_, ok := s.bound(r, cookies)
	return ok
}

// bound is the hash of the endpoint that a client is bound to; false if it is not. A cookie that does not open is none: a new
// endpoint is chosen, and nothing says why.
func (s *Sticky) bound(r *http.Request, cookies []*http.Cookie) (uint64, bool) {
	if s.app != "" && cookieNamed(r.Header["Cookie"], s.app) == "" {
		return 0, false
	}
	for _, c := range cookies {
		if c.Name != s.cookie {
			continue
		}
		if hash, ok := s.open(c.Value); ok {
			return hash, true
		}
	}
	return 0, false
}

// sealed is the length of what seal returns: a nonce of 12 bytes, the hash and the time, and a tag of 16, in base64.
const sealed = (12+16+16)*4/3 + 1

// seal returns the value of a cookie that binds to the endpoint with this hash.
func (s *Sticky) seal(hash uint64) string {
	var plain [16]byte
	binary.BigEndian.PutUint64(plain[:8], hash)
	binary.BigEndian.PutUint64(plain[8:], uint64(s.now().Add(s.duration).Unix())) //nolint:gosec // after 1970
	return base64.RawURLEncoding.EncodeToString(s.aead.Seal(nil, nil, plain[:], []byte(s.upstream)))
}

func (s *Sticky) open(value string) (hash uint64, ok bool) {
	if len(value) != sealed {
		return 0, false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(value)
	if err != nil {
		return 0, false
	}
	plain, err := s.aead.Open(nil, nil, raw, []byte(s.upstream))
	if err != nil || len(plain) != 16 {
		return 0, false
	}
	until := int64(binary.BigEndian.Uint64(plain[8:])) //nolint:gosec // as sealed
	return binary.BigEndian.Uint64(plain[:8]), s.now().Unix() < until
}

// bind sets or takes back the cookie in an answer of an endpoint, as the rest of the answer asks for.
func (s *Sticky) bind(r *http.Request, ep *endpoint, https bool, h http.Header) {
	if s.app != "" {
		set, deleted := s.appCookie(h["Set-Cookie"])
		switch {
		case deleted:
			s.add(h, "; Path=/; Max-Age=0", "")
			return
		case !set && cookieNamed(r.Header["Cookie"], s.app) == "":
			return
		}
	}
	if shared(h["Cache-Control"]) {
		return // a cache between would bind everybody to one endpoint
	}
	attributes := s.attributes
	if https {
		attributes = s.secure
	}
	s.add(h, attributes, s.seal(ep.hash))
}

func (s *Sticky) add(h http.Header, attributes, value string) {
	lines := h["Set-Cookie"]
	h["Set-Cookie"] = append(lines[:len(lines):len(lines)], s.cookie+"="+value+attributes)
}

// appCookie reports whether the application sets its cookie, or deletes it.
func (s *Sticky) appCookie(lines []string) (set, deleted bool) {
	for _, line := range lines {
		c, err := http.ParseSetCookie(line)
		if err != nil || c.Name != s.app {
			continue
		}
		deleted = c.MaxAge < 0 || c.MaxAge == 0 && !c.Expires.IsZero() && c.Expires.Before(s.now())
		set = !deleted
	}
	return set, deleted
}

// shared reports whether an answer says that caches may give it to everybody.
func shared(cacheControl []string) bool {
	for _, line := range cacheControl {
		for part := range strings.SplitSeq(line, ",") {
			name, _, _ := strings.Cut(trim(part), "=")
			if strings.EqualFold(name, "public") || strings.EqualFold(name, "s-maxage") {
				return true
			}
		}
	}
	return false
}
