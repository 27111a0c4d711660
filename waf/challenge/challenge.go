package challenge

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

const (
	// Path is where browsers send their work.
	Path = "/.gatehouse/challenge"
	// CookieName is the token's cookie. The prefix keeps other hosts from setting it (RFC 6265bis, section 4.1.3.2).
	CookieName = "__Host-GatehouseToken"
	// Status is that of an answer that asks for work, as AWS WAF has it.
	Status = http.StatusAccepted
	// maxWork bounds what is read of a solution. One has some 300 bytes.
	maxWork = 4 << 10
)

// Options are a challenger's ties to the program around it. All but Now are required.
type Options struct {
	// Deny answers what a challenge is no answer to. The error has HTTPStatus.
	Deny func(http.ResponseWriter, *http.Request, error)
	// ClientIP is the client's address.
	ClientIP func(*http.Request) netip.Addr
	// Cookies are those of Gatehouse's own that the request came with.
	Cookies func(*http.Request) []*http.Cookie
	// RequestID is shown on the page.
	RequestID func(*http.Request) string
	// Navigates reports whether a person will see the answer.
	Navigates func(*http.Request) bool
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// A Challenger asks clients for a proof of work and knows those that have given one. It keeps nothing about them, is immutable and
// safe for concurrent use. Challengers with one secret know each other's tokens.
//
// A token is bound to the host, to the client's address (an IPv6 address by its /64) and to its User-Agent, and expires. It says that
// its owner has done some work, not that it is a person.
type Challenger struct {
	difficulty int
	immunity   time.Duration
	sealer     *sealer
	policy     string
	opts       Options
}

// New returns a challenger. The secret is one that instances share, of 32 bytes at least.
func New(cfg Config, secret []byte, opts Options) (*Challenger, error) {
	var wrong error
	cfg.Validate(func(field, msg string) { wrong = errors.Join(wrong, fmt.Errorf("challenge: %s: %s", field, msg)) })
	if len(secret) < 32 {
		wrong = errors.Join(wrong, fmt.Errorf("challenge: want a secret of at least 32 bytes, got %d", len(secret)))
	}
	if wrong != nil {
		return nil, wrong
	}
	c := &Challenger{difficulty: cmp.Or(cfg.Difficulty, defaultDifficulty), policy: pagePolicy(), opts: opts}
	if c.opts.Now == nil {
		c.opts.Now = time.Now
	}
	c.immunity, _ = cfg.immunity() // it has been validated
	var err error
	c.sealer, err = newSealer(secret)
	return c, err
}

// OwnCookie reports the cookie of the token, in any case.
func OwnCookie(name string) bool { return strings.EqualFold(name, CookieName) }

// clientOf is whom r is from.
func (c *Challenger) clientOf(r *http.Request) client {
	return client{host: r.Host, addr: c.opts.ClientIP(r), agent: r.Header.Get("User-Agent")}
}

// Check says what the token of r is: one of Accepted, Absent, Expired, DomainMismatch and Invalid. Of several tokens an accepted
// one counts, or the last of the first four. Each costs at most three hashes.
func (c *Challenger) Check(r *http.Request) string {
	state := Absent
	tried := 0
	for _, cookie := range c.opts.Cookies(r) {
		if cookie.Name != CookieName {
			continue
		}
		if tried++; tried > 4 {
			break
		}
		now, _ := c.sealer.open(kindToken, cookie.Value, c.clientOf(r), c.opts.Now())
		if state = now; now == Accepted {
			break
		}
	}
	return state
}

// A Refused is the error of a request that a challenge is no answer to, or of work that is not taken.
type Refused struct {
	Reason string
	Status int
}

// Error implements error.
func (e *Refused) Error() string { return "challenge: " + e.Reason }

// HTTPStatus is the status of the answer.
func (e *Refused) HTTPStatus() int { return e.Status }

// Challenge asks for work: people get a page that does it and then opens what they wanted; programs get the same status and
// header, which a script can act on. Who cannot do it, because it upgrades its connection or speaks gRPC, gets instead, or 403
// where that is nil.
func (c *Challenger) Challenge(w http.ResponseWriter, r *http.Request, instead error) {
	if !answerable(r) {
		if instead == nil {
			instead = &Refused{"no token, and the client cannot be asked for one", http.StatusForbidden}
		}
		c.opts.Deny(w, r, instead)
		return
	}
	h := w.Header()
	h.Set("X-Amzn-Waf-Action", "challenge")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	var body string
	if c.opts.Navigates(r) {
		seed := c.sealer.seal(kindSeed, c.difficulty, c.opts.Now().Add(seedLife), c.clientOf(r))
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", c.policy)
		body = page(seed, c.difficulty, r.Method != http.MethodGet && r.Method != http.MethodHead, c.opts.RequestID(r))
	} else {
		h.Set("Content-Type", "application/json")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		text, _ := json.Marshal(map[string]any{ // texts and a number: it cannot fail
			"action": "challenge", "error": "This client has not shown lately that it is a browser: load a page of this site.",
			"status": Status, "request_id": c.opts.RequestID(r),
		})
		body = string(text) + "\n"
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(Status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, body) // the client may have left; there is nobody to tell
	}
}

// answerable reports whether whoever sent r reads an answer as HTTP has them.
func answerable(r *http.Request) bool {
	if r.Header["Upgrade"] != nil || r.Method == http.MethodConnect {
		return false
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err != nil || !strings.HasPrefix(media, "application/grpc")
}

// ServeHTTP takes work and gives a token for it.
func (c *Challenger) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := c.take(w, r); err != nil {
		c.opts.Deny(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusNoContent)
}

// take checks work and sets the token's cookie for it.
func (c *Challenger) take(w http.ResponseWriter, r *http.Request) error {
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || media != "application/json" {
		return &Refused{"work is JSON", http.StatusUnsupportedMediaType}
	}
	text, err := io.ReadAll(io.LimitReader(r.Body, maxWork+1))
	if err != nil {
		return &Refused{"work could not be read", http.StatusBadRequest}
	}
	var work struct {
		Seed    string   `json:"seed"`
		Numbers []uint64 `json:"numbers"`
	}
	if len(text) > maxWork || json.Unmarshal(text, &work) != nil {
		return &Refused{"work has not its form", http.StatusBadRequest}
	}
	now, who := c.opts.Now(), c.clientOf(r)
	state, difficulty := c.sealer.open(kindSeed, work.Seed, who, now)
	if state != Accepted {
		return &Refused{"seed " + state, http.StatusForbidden}
	}
	if !solved(work.Seed, difficulty, work.Numbers) {
		return &Refused{"rejected:not_solved", http.StatusForbidden}
	}
	http.SetCookie(w, &http.Cookie{
		Name: CookieName, Value: c.sealer.seal(kindToken, difficulty, now.Add(c.immunity), who), Path: "/", MaxAge: int(c.immunity / time.Second),
		Secure: true, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	return nil
}
