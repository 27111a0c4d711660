package ratelimit

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// result is what became of one request.
type result struct {
	Status   int
	Header   http.Header
	Err      string
	Decision []Decision
}

// run sends a request of key through a guard at now.
func run(t *testing.T, l *Limiter, name string, key Key, now time.Time) result {
	t.Helper()
	var got result
	guard := l.Wrap(func(*http.Request) Key { return key }, WrapOptions{
		Name: name,
		Deny: func(w http.ResponseWriter, _ *http.Request, err error) {
			var exceeded *Exceeded
			if !errors.As(err, &exceeded) {
				t.Errorf("error %v, want *Exceeded", err)
			}
			got.Err = err.Error()
			w.WriteHeader(exceeded.HTTPStatus())
		},
		OnDecision: func(_ context.Context, d Decision) { got.Decision = append(got.Decision, d) },
		Now:        func() time.Time { return now },
	})
	next := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	recorder := httptest.NewRecorder()
	guard(next).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/", nil))
	got.Status, got.Header = recorder.Code, recorder.Header()
	return got
}

func TestWrapBlocks(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, Config{Rate: "2/5m", Burst: 1})
	want := result{Status: 204, Header: http.Header{}, Decision: []Decision{{Name: `log"in`, Allowed: true}}}
	if diff := cmp.Diff(run(t, l, `log"in`, NameKey("k"), noon), want); diff != "" {
		t.Errorf("first (-got +want):\n%s", diff)
	}
	retry := 150*time.Second - 1500*time.Millisecond
	want = result{
		Status: 429,
		Header: http.Header{
			"Retry-After":      {"149"},
			"Ratelimit-Policy": {`"log\"in";q=2;w=300`},
			"Ratelimit":        {`"log\"in";r=0;t=149`},
		},
		Err:      `rate limit "log\"in": exceeded, want the next request in 149 s`,
		Decision: []Decision{{Name: `log"in`, Blocked: true, RetryAfter: retry}},
	}
	if diff := cmp.Diff(run(t, l, `log"in`, NameKey("k"), noon.Add(1500*time.Millisecond)), want); diff != "" {
		t.Errorf("second (-got +want):\n%s", diff)
	}
	if got := run(t, l, "", NameKey("k"), noon.Add(151*time.Second)).Status; got != 204 {
		t.Errorf("status %d after Retry-After, want 204", got)
	}
}

func TestWrapOnlyCounts(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, Config{Rate: "1/10s", Mode: "count"})
	run(t, l, "api", NameKey("k"), noon)
	want := result{Status: 204, Header: http.Header{}, Decision: []Decision{{Name: "api", RetryAfter: 10 * time.Second}}}
	if diff := cmp.Diff(run(t, l, "api", NameKey("k"), noon), want); diff != "" {
		t.Errorf("second (-got +want):\n%s", diff)
	}
}

func TestWrapLeavesRequestsWithoutKeyAlone(t *testing.T) {
	t.Parallel()
	l := newTestLimiter(t, Config{Rate: "1/10s"})
	for range 3 {
		if diff := cmp.Diff(run(t, l, "api", Key{}, noon), result{Status: 204, Header: http.Header{}}); diff != "" {
			t.Errorf("(-got +want):\n%s", diff)
		}
	}
}

func TestSecondsRoundUp(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]int{0: 1, 1: 1, time.Second: 1, time.Second + 1: 2, 90*time.Second - 1: 90} {
		if got := seconds(d); got != want {
			t.Errorf("%v: %d s, want %d", d, got, want)
		}
	}
}
