package ratelimit

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseRate(t *testing.T) {
	t.Parallel()
	type rate struct {
		Count  int
		Period time.Duration
	}
	for text, want := range map[string]rate{
		"20/5m":         {20, 5 * time.Minute},
		"600/1m":        {600, time.Minute},
		"1/s":           {1, time.Second},
		"10/m":          {10, time.Minute},
		"10/h":          {10, time.Hour},
		"5/1h30m":       {5, 90 * time.Minute},
		"1/24h":         {1, 24 * time.Hour},
		"2000000000/1s": {2_000_000_000, time.Second},
	} {
		count, period, err := parseRate(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		} else if got := (rate{count, period}); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	for _, text := range []string{
		"", "20", "/5m", "20/", "0/5m", "-1/5m", "+1/5m", "1.5/5m", "1e3/5m", "2000000001/1s", "99999999999999999999/1s",
		"20/5", "20/0s", "20/-5m", "20/500ms", "20/1500ms", "20/25h", "20/1d", "20/5m/1h", " 20/5m", "20/ 5m", "20 / 5m", "0x14/5m", "٢/5m",
	} {
		if count, period, err := parseRate(text); err == nil {
			t.Errorf("%q is taken as %d/%v", text, count, period)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		cfg  Config
		want []string
	}{
		"whole":          {Config{Rate: "20/5m", Burst: 5, By: "identity", Mode: "count"}, nil},
		"rate alone":     {Config{Rate: "20/5m"}, nil},
		"nothing":        {Config{}, []string{"rate"}},
		"negative burst": {Config{Rate: "20/5m", Burst: -1}, []string{"burst"}},
		"endless burst":  {Config{Rate: "2/24h", Burst: 2001}, []string{"burst"}},
		"all at once":    {Config{Rate: "x", Burst: -1, By: "cookie", Mode: "off"}, []string{"rate", "burst", "by", "mode"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			tt.cfg.Validate(func(field, _ string) { got = append(got, field) })
			if diff := cmp.Diff(got, tt.want); diff != "" {
				t.Errorf("fields (-got +want):\n%s", diff)
			}
			if _, err := New(tt.cfg); (err != nil) != (tt.want != nil) {
				t.Errorf("New: %v, but Validate reports %q", err, tt.want)
			}
		})
	}
}

func FuzzParseRate(f *testing.F) {
	for _, seed := range []string{"20/5m", "1/s", "2000000000/24h", "1/1h0m0s", "/", "1/9223372036s"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		count, period, err := parseRate(text)
		if err != nil {
			return
		}
		if count < 1 || count > maxCount || period < minPeriod || period > maxPeriod {
			t.Errorf("%q: %d/%v is out of bounds", text, count, period)
		}
		l, err := New(Config{Rate: text})
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if ok, _ := l.Allow(NameKey("k"), noon); !ok {
			t.Errorf("%q: the first request is refused", text)
		}
	})
}
