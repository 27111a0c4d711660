package cache

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestPurge(t *testing.T) {
	t.Parallel()
	kept := []string{
		"app.example.com/ -", "app.example.com/a -", "app.example.com/a?x=1 red", "app.example.com/a/b blue", "app.example.com/a%20b red blue",
		"app.example.com:8443/a -", "other.example.com/a red",
	}
	for name, tt := range map[string]struct {
		purge Purge
		want  []int // of kept, which go
	}{
		"an address":                     {Purge{URLs: []string{"https://app.example.com/a"}}, []int{1, 5}},
		"one with a query":               {Purge{URLs: []string{"https://app.example.com/a?x=1"}}, []int{2}},
		"one with a port":                {Purge{URLs: []string{"https://app.example.com:8443/a"}}, []int{5}},
		"one that is encoded":            {Purge{URLs: []string{"https://APP.example.com/a%20b"}}, []int{4}},
		"the start":                      {Purge{URLs: []string{"http://app.example.com"}}, []int{0}},
		"a prefix":                       {Purge{Prefixes: []string{"https://app.example.com/a/"}}, []int{3}},
		"a prefix that is no whole name": {Purge{Prefixes: []string{"https://app.example.com/a"}}, []int{1, 2, 3, 4, 5}},
		"a prefix of queries":            {Purge{Prefixes: []string{"https://app.example.com/a?"}}, []int{2}},
		"a host":                         {Purge{Hosts: []string{"other.example.com"}}, []int{6}},
		"a host on every port":           {Purge{Hosts: []string{"App.example.com"}}, []int{0, 1, 2, 3, 4, 5}},
		"a tag":                          {Purge{Tags: []string{"red"}}, []int{2, 4, 6}},
		"several":                        {Purge{Tags: []string{"blue", "none"}, URLs: []string{"https://other.example.com/a"}}, []int{3, 4, 6}},
		"all":                            {Purge{All: true}, []int{0, 1, 2, 3, 4, 5, 6}},
	} {
		c := New(StoreConfig{})
		var objects []*object
		for _, line := range kept {
			at, tags, _ := strings.Cut(line, " ")
			host, rest, _ := strings.Cut(at, "/")
			path, query, _ := strings.Cut("/"+rest, "?")
			o := (&object{target: target{"https", host, path, query}, tags: strings.Fields(tags)}).finish()
			c.store.put(o)
			objects = append(objects, o)
		}
		n, err := c.Purge(tt.purge)
		var gone []int
		for i, o := range objects {
			if o.in == nil {
				gone = append(gone, i)
			}
		}
		if err != nil || n != len(tt.want) || !slices.Equal(gone, tt.want) {
			t.Errorf("%s: got %d and %v (%v), want %v", name, n, gone, err, tt.want)
		}
		_ = c.Close()
	}
	for _, bad := range []Purge{{}, {URLs: []string{"/a"}}, {Prefixes: []string{"app.example.com/a"}}, {Hosts: []string{"https://a"}}, {URLs: []string{"ftp://a/"}}} {
		c := New(StoreConfig{})
		if _, err := c.Purge(bad); err == nil {
			t.Errorf("%+v: no error", bad)
		}
		_ = c.Close()
	}
}

func TestAPurgeByTagHoldsForWhatIsBeingFetched(t *testing.T) {
	t.Parallel()
	begin := make(chan struct{})
	s := newSite(t, "HTTP/1.1", StoreConfig{}, Config{}, func(w http.ResponseWriter, _ *http.Request) {
		<-begin
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Cache-Tag", "red")
		_, _ = io.WriteString(w, "x")
	})
	got := make(chan reply, 1)
	go func() { got <- s.do("GET /") }()
	eventually(t, "it waits", func() bool { return s.waiting() == 1 })
	if _, err := s.cache.Purge(Purge{Tags: []string{"red"}}); err != nil {
		t.Fatal(err)
	}
	close(begin)
	s.wants("the answer", <-got, 200, "x", "Miss", 1)
	s.wants("the next", s.do("GET /"), 200, "x", "Miss", 2)
	s.wants("and that one", s.do("GET /"), 200, "x", "Hit", 2)
}
