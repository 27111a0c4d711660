package ratelimit

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// WrapOptions says what a limit does with its decisions.
type WrapOptions struct {
	// Name is the limit's name in the file. It is shown to clients in the RateLimit fields, and
	// consists of printable ASCII; default "default".
	Name string
	// Deny answers a request that is over the limit. Required. The error is an *Exceeded, and the
	// answer's header already has Retry-After and the RateLimit fields.
	Deny func(http.ResponseWriter, *http.Request, error)
	// OnDecision, if set, is called once for every request that has a key.
	OnDecision func(ctx context.Context, d Decision)
	// Challenger lets clients pass that have given a proof of work and asks the others for one, instead of Deny; nil does not.
	Challenger Challenger
	// Now is the clock; default time.Now.
	Now func() time.Time
}

// A Challenger asks clients for a proof of work.
type Challenger interface {
	// Check says "accepted" of a request that has one.
	Check(r *http.Request) string
	// Challenge answers r by asking for one, or with instead where the client cannot be asked.
	Challenge(w http.ResponseWriter, r *http.Request, instead error)
}

// A Decision is what a limit made of one request.
type Decision struct {
	Name       string
	Allowed    bool          // there was a token
	Blocked    bool          // there was none, and the limit does not only count
	Challenged bool          // the client is asked for a proof of work instead of being refused
	Token      string        // what Challenger.Check said; "" if it was not asked
	RetryAfter time.Duration // when not Allowed: until there is a token
}

// Exceeded refuses a request because its key is over the limit.
type Exceeded struct {
	Limit      string        // the limit's name
	RetryAfter time.Duration // until the next request may come
}

// Error says which limit and for how long, and nothing about whose request it is.
func (e *Exceeded) Error() string {
	return fmt.Sprintf("rate limit %q: exceeded, want the next request in %d s", e.Limit, seconds(e.RetryAfter))
}

// HTTPStatus is 429 (RFC 6585, section 4).
func (e *Exceeded) HTTPStatus() int { return http.StatusTooManyRequests }

// A policy is what the RateLimit-Policy field says of a limit.
type policy struct {
	count  int
	window time.Duration
}

// Wrap returns a guard that counts each request under its key. A zero Key is not limited. A limiter
// may be wrapped several times; the buckets are then shared.
func (l *Limiter) Wrap(key func(*http.Request) Key, opts WrapOptions) func(http.Handler) http.Handler {
	if opts.Name == "" {
		opts.Name = "default"
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	name := quote(opts.Name)
	// draft-ietf-httpapi-ratelimit-headers-10, sections 3 and 4.
	policyValue := []string{fmt.Sprintf("%s;q=%d;w=%d", name, l.policy.count, seconds(l.policy.window))}

	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			k := key(r)
			if k.IsZero() {
				next.ServeHTTP(w, r)
				return
			}
			ok, retryAfter := l.Allow(k, opts.Now())
			blocked := !ok && !l.count
			d := Decision{Name: opts.Name, Allowed: ok, RetryAfter: retryAfter}
			if blocked && opts.Challenger != nil {
				d.Token = opts.Challenger.Check(r)
				d.Challenged = d.Token != "accepted"
				blocked = d.Challenged
			}
			d.Blocked = blocked
			if opts.OnDecision != nil {
				opts.OnDecision(r.Context(), d)
			}
			if !blocked {
				next.ServeHTTP(w, r)
				return
			}
			wait := strconv.Itoa(seconds(retryAfter))
			h := w.Header()
			h["Retry-After"] = []string{wait}
			h["Ratelimit-Policy"] = policyValue
			h["Ratelimit"] = []string{name + ";r=0;t=" + wait}
			exceeded := &Exceeded{Limit: opts.Name, RetryAfter: retryAfter}
			if d.Challenged {
				opts.Challenger.Challenge(w, r, exceeded)
				return
			}
			opts.Deny(w, r, exceeded)
		})
	}
}

// seconds rounds d up to whole seconds, 1 at least: a client that waits that long is let in.
func seconds(d time.Duration) int {
	return max(1, int((d+time.Second-1)/time.Second))
}

// quote returns name as a string of RFC 9651, section 3.3.3, with what it cannot hold left out.
func quote(name string) string {
	quoted := []byte{'"'}
	for i := range len(name) {
		switch c := name[i]; {
		case c < ' ' || c > '~':
		case c == '"' || c == '\\':
			quoted = append(quoted, '\\', c)
		default:
			quoted = append(quoted, c)
		}
	}
	return string(append(quoted, '"'))
}
