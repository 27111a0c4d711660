package tuning

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Bounds of a Samples that the program keeps.
const (
	MaxSamples      = 1000
	MaxSamplesBytes = 2 << 20
)

// Samples are the newest requests that matched a rule or were refused, within a number and a size. When they are
// full, the oldest of what there is most of goes: a flood that one rule matches pushes out only its own. They are safe
// for concurrent use.
type Samples struct {
	most, mostBytes int

	mu        sync.Mutex
	byID      map[string]*sample
	classes   map[string]*class // by rule, or by who refused
	bytes     int
	added     uint64
	forgotten uint64
}

// A sample is a record as JSON, which has no pointers for the collector to follow and a known size.
type sample struct {
	id    string
	text  []byte
	at    time.Time
	nth   uint64
	kinds []string // those of its classes; nil once it has been moved
}

// sampleOverhead is about what a sample takes beside its text. What it has of kinds is less than its text.
const sampleOverhead = 300

func (s *sample) size() int { return len(s.text) + len(s.id) + sampleOverhead }

// A class is the samples of one rule, oldest first.
type class struct {
	samples []*sample
	bytes   int
}

// NewSamples keeps at most so many samples, of so many bytes together.
func NewSamples(most, mostBytes int) *Samples {
	return &Samples{most: most, mostBytes: mostBytes, byID: map[string]*sample{}, classes: map[string]*class{}}
}

// Add keeps a record, with the exclusion of each match. It clips what a client could have made long.
func (s *Samples) Add(rec Record) {
	rec.clip()
	text, err := json.Marshal(rec)
	if err != nil {
		return // a year beyond 9999; nothing else in a record can fail
	}
	added := &sample{id: rec.ID, text: text, at: rec.Time, kinds: rec.kinds()}
	s.mu.Lock()
	defer s.mu.Unlock()
	if added.size() > s.mostBytes || s.byID[rec.ID] != nil {
		return
	}
	s.added++
	added.nth = s.added
	c := s.rarest(added.kinds)
	c.samples = append(c.samples, added)
	c.bytes += added.size()
	s.bytes += added.size()
	s.byID[added.id] = added
	for len(s.byID) > s.most {
		s.forget(func(c *class) int { return len(c.samples) })
	}
	for s.bytes > s.mostBytes {
		s.forget(func(c *class) int { return c.bytes })
	}
}

// rarest is the class, of those that a sample may be in, that has the fewest.
func (s *Samples) rarest(names []string) (best *class) {
	for _, name := range names {
		c := s.classes[name]
		if c == nil {
			c = &class{}
			s.classes[name] = c
		}
		if best == nil || len(c.samples) < len(best.samples) {
			best = c
		}
	}
	return best
}

// forget drops the oldest sample of the class that has most.
func (s *Samples) forget(size func(*class) int) {
	var from *class
	for _, c := range s.classes {
		if len(c.samples) > 0 && (from == nil || size(c) > size(from) ||
			size(c) == size(from) && c.samples[0].nth < from.samples[0].nth) {
			from = c
		}
	}
	oldest := from.samples[0]
	from.samples[0] = nil
	from.samples = from.samples[1:]
	from.bytes -= oldest.size()
	if s.move(oldest, from) {
		return
	}
	s.bytes -= oldest.size()
	delete(s.byID, oldest.id)
	s.forgotten++
}

// move keeps a sample for another of its rules, of which there are fewer than there are in from: when it came, that may
// not have been known. It does so once for each sample, so that nobody can keep it busy.
func (s *Samples) move(one *sample, from *class) bool {
	if len(one.kinds) < 2 {
		return false
	}
	to := s.rarest(one.kinds)
	one.kinds = nil
	if to == from || len(to.samples) >= len(from.samples) {
		return false
	}
	i, _ := slices.BinarySearchFunc(to.samples, one, func(a, b *sample) int { return cmp.Compare(a.nth, b.nth) })
	to.samples = slices.Insert(to.samples, i, one)
	to.bytes += one.size()
	return true
}

// Get returns the sample of a request as JSON, or nil.
func (s *Samples) Get(id string) json.RawMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	if found := s.byID[id]; found != nil {
		return found.text
	}
	return nil
}

// A Listing is what the samples are at one moment, as the admin listener shows it.
type Listing struct {
	Kept      int               `json:"kept"`
	Forgotten uint64            `json:"forgotten"` // pushed out by others since the start
	Oldest    time.Time         `json:"oldest,omitzero"`
	Samples   []json.RawMessage `json:"samples,omitempty"` // newest first
}

// List returns all samples, or with headOnly how many there are.
func (s *Samples) List(headOnly bool) Listing {
	s.mu.Lock()
	out := Listing{Kept: len(s.byID), Forgotten: s.forgotten}
	all := make([]*sample, 0, len(s.byID))
	for _, one := range s.byID {
		all = append(all, one)
		if out.Oldest.IsZero() || one.at.Before(out.Oldest) {
			out.Oldest = one.at
		}
	}
	s.mu.Unlock()
	if headOnly {
		return out
	}
	slices.SortFunc(all, func(a, b *sample) int { return cmp.Compare(b.nth, a.nth) })
	for _, one := range all {
		out.Samples = append(out.Samples, one.text)
	}
	return out
}

// kinds are the classes that a record may be counted to: its rules, or else the guard that refused it. There are as
// many as there are rules and guards, whatever clients send.
func (rec *Record) kinds() (names []string) {
	if rec.WAF != nil {
		for _, m := range rec.WAF.Matches {
			if name := strconv.Itoa(m.Rule); !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	if len(names) == 0 {
		names = append(names, string(rec.Decider()))
	}
	return names
}

// Bounds of a sample's texts, in bytes. Longer names cannot be excluded.
const (
	clipPath = 2048
	clipText = 256
)

func (rec *Record) clip() {
	rec.Msg = "request"
	rec.Path = clip(rec.Path, clipPath)
	rec.Host, rec.Denied, rec.Method = clip(rec.Host, clipText), clip(rec.Denied, clipText), clip(rec.Method, clipText)
	if rec.WAF == nil {
		return
	}
	waf := *rec.WAF
	waf.Matches = slices.Clone(waf.Matches[:min(len(waf.Matches), 2*maxRecorded)])
	for i := range waf.Matches {
		m := &waf.Matches[i]
		x := m.exclusion() // of the whole key
		m.Message, m.Key, m.Exclude = clip(m.Message, clipText), clip(m.Key, clipText), &x
	}
	rec.WAF = &waf
}

// clip keeps the first n bytes. A character that is cut in two becomes one that says so, in JSON.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
