package wire

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// A marked client fills all that it sends with a mark of its own, and looks for those of others in what it gets.
type marked struct {
	t    *testing.T
	f    *front
	mark string
	rnd  *rand.Rand
	c    net.Conn
	br   *bufio.Reader
}

// filled is n bytes of the mark.
func filled(mark string, n int) string { return strings.Repeat(mark, n/len(mark)+1)[:n] }

// markedHandler answers with what it got, in the way that the path says, if all of that bears one mark.
func markedHandler(t *testing.T) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		mark := r.Header.Get("Mark")
		for key, values := range r.Header {
			if strings.HasPrefix(key, "Fill") && strings.Trim(strings.Join(values, ""), mark) != "" {
				t.Errorf("field %q of %q: %q", key, mark, values)
			}
		}
		if !strings.HasSuffix(r.URL.Path, mark) || mark == "" {
			t.Errorf("path %q of %q", r.URL.Path, mark)
		}
		w.Header().Set("Mark", mark)
		if strings.HasPrefix(r.URL.Path, "/early") {
			_, _ = io.WriteString(w, filled(mark, 5000))
			return
		}
		if strings.HasPrefix(r.URL.Path, "/hijack") {
			c, brw, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nMark: "+mark+"\r\n\r\n")
			_, _ = io.CopyN(c, brw, 4000)
			return
		}
		body, err := io.ReadAll(r.Body)
		if string(body) != filled(mark, len(body)) {
			t.Errorf("body of %q: %.100q", mark, body)
		}
		if err != nil {
			deny(w, err)
			return
		}
		switch {
		case strings.HasPrefix(r.URL.Path, "/panic"):
			body = body[:len(body)/len(mark)*len(mark)]
			_, _ = w.Write(body)
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(body)
			panic(http.ErrAbortHandler)
		case strings.HasPrefix(r.URL.Path, "/slow"):
			select {
			case <-time.After(3 * sweepEvery):
			case <-r.Context().Done():
			}
		}
		for len(body) > 0 {
			n, err := w.Write(body[:min(len(body), 1+len(body)/3)])
			if body = body[n:]; err != nil {
				return // the client has left
			}
		}
	}
}

func (m *marked) head(method, path, more string) string {
	return fmt.Sprintf("%s /%s/%s HTTP/1.1\r\nHost: a\r\nMark: %s\r\nFill: %s\r\n%s\r\n",
		method, path, m.mark, m.mark, filled(m.mark, m.rnd.IntN(3000)), more)
}

// post is a request with a body, and what its answer should have for one.
func (m *marked) post(path string, size int) (request, want string) {
	body := filled(m.mark, size)
	if m.rnd.IntN(2) == 0 {
		return m.head("POST", path, fmt.Sprintf("Content-Length: %d\r\n", size)) + body, body
	}
	var b strings.Builder
	for rest := body; len(rest) > 0; {
		n := 1 + m.rnd.IntN(len(rest))
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, rest[:n])
		rest = rest[n:]
	}
	return m.head("POST", path, "Transfer-Encoding: chunked\r\n") + b.String() + "0\r\n\r\n", body
}

// send sends in pieces, while the answers may be read already.
func (m *marked) send(s string, pause bool) {
	cut := m.rnd.IntN(len(s) + 1)
	_, _ = io.WriteString(m.c, s[:cut])
	if pause {
		<-time.After(3 * sweepEvery) // nothing to wait for: a client takes its time
	}
	_, _ = io.WriteString(m.c, s[cut:])
}

// answer reads an answer and reports whether it came whole.
func (m *marked) answer(want string, any bool) bool {
	resp, err := http.ReadResponse(m.br, nil)
	if err != nil {
		return false
	}
	body, err := io.ReadAll(resp.Body)
	if mark := resp.Header.Get("Mark"); mark != m.mark && (resp.StatusCode == http.StatusOK || mark != "") {
		m.t.Errorf("%q got an answer to %q", m.mark, mark)
	}
	if resp.StatusCode != http.StatusOK {
		return any
	}
	if whole := filled(m.mark, len(body)); string(body) != whole || !any && string(body) != want {
		m.t.Errorf("%q got %.20q (%d bytes), want %d", m.mark, body, len(body), len(want))
	}
	return err == nil && !resp.Close
}

// act does one thing to the server, and reports whether the connection can be used again.
func (m *marked) act() bool {
	switch m.rnd.IntN(9) {
	case 0: // several requests at once
		var all strings.Builder
		var want []string
		for range 1 + m.rnd.IntN(5) {
			s, body := m.post("echo", m.rnd.IntN(20_000))
			all.WriteString(s)
			want = append(want, body)
		}
		go m.send(all.String(), false)
		for _, body := range want {
			if !m.answer(body, false) {
				m.t.Errorf("%q: an answer is missing", m.mark)
				return false
			}
		}
		return true
	case 1: // an upgrade that is refused, and a slow head
		m.send(m.head("GET", "up", "Upgrade: x\r\n"), false)
		if !m.answer("", false) {
			return false
		}
		m.send(m.head("GET", "next", ""), true)
		return m.answer("", false)
	case 2: // a slow handler, and a part of the next head meanwhile
		next, body := m.post("echo", m.rnd.IntN(20_000))
		cut := m.rnd.IntN(len(next))
		_, _ = io.WriteString(m.c, m.head("GET", "slow", "")+next[:cut])
		ok := m.answer("", false)
		_, _ = io.WriteString(m.c, next[cut:])
		return ok && m.answer(body, false)
	case 3: // two readings
		m.send(m.head("GET", "bad", "Fill-"+m.mark+" : x\r\n"), false)
		m.answer("", true)
	case 4: // a body that breaks off
		s, _ := m.post("echo", 1000+m.rnd.IntN(20_000))
		m.send(s[:len(s)-900], false)
	case 5: // a handler that does
		s, _ := m.post("panic", m.rnd.IntN(20_000))
		go m.send(s, false)
		m.answer("", true)
	case 6: // another protocol
		m.send(m.head("GET", "hijack", "Upgrade: x\r\n")+filled(m.mark, 1000), false)
		resp, err := http.ReadResponse(m.br, nil)
		if err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
			return false // it was early
		}
		_, _ = io.WriteString(m.c, filled(m.mark, 4000)[1000:])
		if got, err := io.ReadAll(m.br); string(got) != filled(m.mark, 4000) || err != nil {
			m.t.Errorf("%q got %d bytes of its protocol: %.100q, %v", m.mark, len(got), got, err)
		}
	case 7: // an answer to a body that nobody reads
		s, _ := m.post("early", m.rnd.IntN(20_000))
		go m.send(s, false)
		return m.answer(filled(m.mark, 5000), false)
	case 8: // a client that leaves a slow handler
		s, _ := m.post("slow", m.rnd.IntN(20_000))
		m.send(s, false)
	}
	return false
}

// Nothing that one client has sent reaches a handler, or another client, in the place of something else: buffers are shared.
func TestNothingMingles(t *testing.T) {
	t.Parallel()
	f := newFront(t, answer(markedHandler(t)), Options{})
	end := time.Now().Add(2 * time.Second)
	var clients sync.WaitGroup
	for i := range 48 {
		clients.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 1))
			for time.Now().Before(end) {
				m := &marked{t: t, f: f, mark: fmt.Sprintf("%c%c%c", 'A'+i%26, 'a'+i/26, '0'+i%10), rnd: rnd}
				m.c = f.dial(t, []string{"http", "https"}[i%2])
				m.br = bufio.NewReader(m.c)
				for time.Now().Before(end) && m.act() {
				}
				_ = m.c.Close()
			}
		})
	}
	clients.Wait()
}
