package tuning

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// matched is a request that rules matched at query.q.
func matched(id string, rules ...int) Record {
	rec := Record{ID: id, Time: time.Unix(1, 0), Status: 403, WAF: &WAF{Mode: "block", Verdict: "block", Threshold: 5, Paranoia: 1}}
	for _, rule := range rules {
		rec.WAF.Matches = append(rec.WAF.Matches, Match{Rule: rule, Variable: "ARGS_GET", Key: "q", Score: 5})
		rec.WAF.Score += 5
	}
	return rec
}

func TestAFloodOfOneRuleKeepsTheOthers(t *testing.T) {
	t.Parallel()
	s := NewSamples(10, 1<<20)
	s.Add(matched("rare", 941100))
	s.Add(matched("rare too", 941100, 942100))
	s.Add(Record{ID: "limited", Denied: "limit: too many", Guards: map[string]string{"limit": "block"}})
	for i := range 1000 {
		s.Add(matched(fmt.Sprint("flood ", i), 942100))
	}
	for i := range 1000 {
		s.Add(Record{ID: fmt.Sprint("limited ", i), Denied: "limit: too many", Guards: map[string]string{"limit": "block"}})
	}
	list := s.List(false)
	if list.Kept != 10 || len(list.Samples) != 10 || list.Forgotten != 1993 {
		t.Errorf("got %d kept, %d samples, %d forgotten, want 10, 10 and 1993", list.Kept, len(list.Samples), list.Forgotten)
	}
	for id, want := range map[string]bool{"rare": true, "rare too": true, "limited": false, "flood 0": false, "flood 999": true, "limited 999": true} {
		if got := s.Get(id) != nil; got != want {
			t.Errorf("%s: got kept %t, want %t", id, got, want)
		}
	}
	if !strings.Contains(string(list.Samples[0]), `"limited 999"`) {
		t.Errorf("got %s first, want the newest", list.Samples[0])
	}
}

func TestSamplesAreBoundedInBytes(t *testing.T) {
	t.Parallel()
	const most = 64 << 10
	s := NewSamples(1000, most)
	long := strings.Repeat("\x00", 1<<20) // six bytes each as JSON
	for i := range 200 {
		rec := matched(fmt.Sprint(i), 942100)
		rec.Path, rec.Host, rec.Denied = long, long, long
		for range 500 {
			rec.WAF.Matches = append(rec.WAF.Matches, Match{Rule: 942100 + i%3, Message: long, Key: long})
		}
		s.Add(rec)
		small := matched(fmt.Sprint("small ", i), 920100)
		s.Add(small)
	}
	sum := 0
	for _, text := range s.List(false).Samples {
		sum += len(text)
	}
	if sum > most || s.bytes > most {
		t.Errorf("got %d bytes, counted as %d, want at most %d", sum, s.bytes, most)
	}
	if s.Get("small 199") == nil || s.Get("small 150") == nil {
		t.Error("large samples pushed out small ones of another rule")
	}
}

func TestASampleHasTheExclusionOfTheWholeKey(t *testing.T) {
	t.Parallel()
	s := NewSamples(10, 1<<20)
	rec := matched("x", 942100)
	rec.WAF.Matches[0].Key = strings.Repeat("k", 300) // as a target, too long to be excluded
	s.Add(rec)
	s.Add(matched("y", 942100))
	for id, want := range map[string]string{"x": "", "y": "query.q"} {
		var got Record
		if err := json.Unmarshal(s.Get(id), &got); err != nil {
			t.Fatal(err)
		}
		if x := got.WAF.Matches[0].Exclude; x == nil || x.Rule != 942100 || x.Target != want {
			t.Errorf("%s: got %+v, want the target %q", id, x, want)
		}
	}
}

func TestSamplesFromManyRequestsAtOnce(t *testing.T) {
	t.Parallel()
	s := NewSamples(20, 1<<20)
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 200 {
				s.Add(matched(fmt.Sprint(g, "-", i), 942100+i%7))
				s.List(i%2 == 0)
				s.Get("0-0")
			}
		})
	}
	all.Wait()
	if list := s.List(true); list.Kept != 20 || list.Forgotten != 1580 || list.Samples != nil {
		t.Errorf("got %+v, want 20 kept, 1580 forgotten", list)
	}
}

// BenchmarkSamplesOfAFlood is what a flood of refusals pays for samples that are full, of many rules.
func BenchmarkSamplesOfAFlood(b *testing.B) {
	s := NewSamples(MaxSamples, MaxSamplesBytes)
	for i := range MaxSamples {
		s.Add(matched(fmt.Sprint("old ", i), 910000+i%300))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		s.Add(matched(fmt.Sprint(i), 942100, 942190, 942360))
	}
}
