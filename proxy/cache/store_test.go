package cache

import (
	"math/rand/v2"
	"strconv"
	"testing"
)

// thing makes an object of about a size.
func thing(path string, size int) *object {
	return (&object{target: target{"https", "app.example.com", path, ""}, policy: "p", body: make([]byte, size)}).finish()
}

func (s *store) has(path string) bool {
	return len(s.variants(target{"https", "app.example.com", path, ""}.key())) > 0
}

func TestTheStoreStaysInItsBounds(t *testing.T) {
	t.Parallel()
	s := newStore(1 << 20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 5000 {
		path := strconv.Itoa(random.IntN(500))
		switch {
		case s.has(path) && random.IntN(10) > 0:
			o := s.variants(target{"https", "app.example.com", path, ""}.key())[0]
			s.use(o)
			s.done(o)
		case random.IntN(100) == 0:
			s.removeKey(target{"https", "app.example.com", path, ""}.key())
		default:
			s.put(thing(path, random.IntN(30<<10)))
		}
		if i%100 != 0 {
			continue
		}
		checkStore(t, s)
	}
	if n := s.removeIf(func(*object) bool { return true }); n == 0 {
		t.Error("nothing was kept")
	}
	checkStore(t, s)
	if stats := s.stats(); stats.Objects != 0 || stats.Bytes != 0 || len(s.resources) != 0 {
		t.Errorf("left: %+v and %d targets", stats, len(s.resources))
	}
}

// checkStore reports what does not add up.
func checkStore(t *testing.T, s *store) {
	t.Helper()
	objects, bytes := 0, int64(0)
	for _, list := range s.resources {
		for _, o := range list {
			objects++
			bytes += o.size
			if o.in == nil {
				t.Fatal("an object is found that is in no queue")
			}
		}
	}
	if stats := s.stats(); stats.Objects != objects || stats.Bytes != bytes || bytes > s.limit {
		t.Fatalf("found %d objects of %d bytes, and the store says %+v", objects, bytes, stats)
	}
}

func TestWhatIsUsedOutlivesAScan(t *testing.T) {
	t.Parallel()
	s := newStore(1 << 20)
	use := func() {
		for i := range 20 {
			for _, o := range s.variants(target{"https", "app.example.com", "used" + strconv.Itoa(i), ""}.key()) {
				s.use(o)
				s.done(o)
			}
		}
	}
	for i := range 20 {
		s.put(thing("used"+strconv.Itoa(i), 10<<10))
	}
	use()
	use()
	for i := range 2000 { // 20 times what fits, each asked for once
		s.put(thing("once"+strconv.Itoa(i), 10<<10))
		if i%100 == 0 {
			use()
		}
	}
	left := 0
	for i := range 20 {
		if s.has("used" + strconv.Itoa(i)) {
			left++
		}
	}
	if left != 20 {
		t.Errorf("%d of 20 objects that are used are left", left)
	}
}

func TestWhatIsBeingSentCountsUntilItIs(t *testing.T) {
	t.Parallel()
	s := newStore(1 << 20)
	var sent []*object
	for i := range 10 {
		o := thing(strconv.Itoa(i), 90<<10)
		s.put(o)
		s.use(o)
		sent = append(sent, o)
	}
	s.removeIf(func(*object) bool { return true })
	if s.put(thing("new", 400<<10)) {
		t.Error("there is room although clients are being sent what was in it")
	}
	for _, o := range sent {
		s.done(o)
	}
	if !s.put(thing("new", 400<<10)) {
		t.Error("there is no room although nothing is being sent any more")
	}
	checkStore(t, s)
}
