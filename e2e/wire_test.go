package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// ioTimeout bounds one exchange; it only ends a test that has already failed.
const ioTimeout = 30 * time.Second

// An answer is what came back for a raw request.
type answer struct {
	status int // 0 if the connection or stream ended without one
	header http.Header
	body   string
	reset  bool // HTTP/2: the stream or connection was reset
	ended  bool // HTTP/2: the stream ended with the whole answer
}

// dialTLS opens a connection as a client of sni would, trusting any certificate: what the tests of this
// package look at is above TLS.
func dialTLS(t *testing.T, addr, sni string, protos ...string) *tls.Conn {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{ServerName: sni, NextProtos: protos, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(ioTimeout))
	t.Cleanup(func() { conn.Close() })
	return conn
}

// sendRaw writes a byte stream on a new HTTP/1.1 connection and reads the first final answer.
func sendRaw(t *testing.T, addr, sni, raw string) answer {
	t.Helper()
	conn := dialTLS(t, addr, sni, "http/1.1")
	go io.WriteString(conn, raw) // a refusal may come before all is written
	method, _, _ := strings.Cut(raw, " ")
	return readAnswer(bufio.NewReader(conn), method)
}

// readAnswer reads one final HTTP/1.1 answer; a connection that ends first gives status 0.
func readAnswer(r *bufio.Reader, method string) answer {
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			return answer{}
		}
		if resp.StatusCode == http.StatusContinue || resp.StatusCode == http.StatusEarlyHints {
			continue
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return answer{status: resp.StatusCode, header: resp.Header}
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		return answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
	}
}

// A field is one header field as it is put on the wire, pseudo-headers included.
type field struct{ name, value string }

// sendH2 sends one HTTP/2 request with exactly these fields, whatever they are.
func sendH2(t *testing.T, addr, sni string, fields []field, body string) answer {
	t.Helper()
	conn := dialTLS(t, addr, sni, "h2")
	if p := conn.ConnectionState().NegotiatedProtocol; p != "h2" {
		t.Fatalf("negotiated protocol: got %q, want h2", p)
	}
	fr := http2.NewFramer(conn, conn)
	fr.SetMaxReadFrameSize(1 << 20)
	fr.ReadMetaHeaders = hpack.NewDecoder(1<<20, nil)
	io.WriteString(conn, http2.ClientPreface)
	fr.WriteSettings()
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range fields {
		enc.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
	}
	writeHeaders(fr, block.Bytes(), body == "")
	for body != "" { // up to 64 KiB, which nobody has to allow first (RFC 9113 section 6.9.2)
		n := min(len(body), 16<<10)
		fr.WriteData(1, n == len(body), []byte(body[:n]))
		body = body[n:]
	}
	return readH2(fr)
}

// writeHeaders writes a header block on stream 1, in as many frames as it takes.
func writeHeaders(fr *http2.Framer, block []byte, endStream bool) {
	const most = 16 << 10 // SETTINGS_MAX_FRAME_SIZE, RFC 9113 section 6.5.2
	first, rest := block[:min(most, len(block))], block[min(most, len(block)):]
	fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndHeaders: len(rest) == 0, EndStream: endStream})
	for len(rest) > 0 {
		first, rest = rest[:min(most, len(rest))], rest[min(most, len(rest)):]
		fr.WriteContinuation(1, len(rest) == 0, first)
	}
}

// readH2 reads the answer on stream 1.
func readH2(fr *http2.Framer) answer {
	var a answer
	for {
		frame, err := fr.ReadFrame()
		if err != nil {
			a.reset = a.status == 0
			return a
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				fr.WriteSettingsAck()
			}
		case *http2.MetaHeadersFrame:
			if a.status == 0 {
				a.status, _ = strconv.Atoi(f.PseudoValue("status"))
				a.header = http.Header{}
				for _, h := range f.RegularFields() {
					a.header.Add(h.Name, h.Value)
				}
			}
			if f.StreamEnded() {
				a.ended = true
				return a
			}
		case *http2.DataFrame:
			a.body += string(f.Data())
			if f.StreamEnded() {
				a.ended = true
				return a
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == 1 {
				a.reset = a.status == 0
				return a
			}
		case *http2.GoAwayFrame:
			a.reset = a.status == 0
			return a
		}
	}
}

// A backend is an upstream that keeps every byte it is sent and answers each request with 200.
type backend struct {
	ln   net.Listener
	seen chan seenRequest
	// answer, when set, writes the answer instead.
	answer func(seenRequest) string
}

// A seenRequest is one request as the upstream read it.
type seenRequest struct {
	line   string // "GET /x HTTP/1.1"
	fields []field
	body   string
}

// target is the request target as it arrived.
func (s seenRequest) target() string {
	parts := strings.SplitN(s.line, " ", 3)
	if len(parts) != 3 {
		return ""
	}
	return parts[1]
}

// values returns every value of a field whose name a CGI or WSGI server would fold to name.
func (s seenRequest) values(name string) []string {
	var out []string
	for _, f := range s.fields {
		if foldName(f.name) == foldName(name) {
			out = append(out, f.value)
		}
	}
	return out
}

// foldName maps a field's name as CGI does: every byte that is not a letter or digit becomes "_".
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9':
			return r
		case 'A' <= r && r <= 'Z':
			return r + 'a' - 'A'
		default:
			return '_'
		}
	}, name)
}

func startBackend(t *testing.T) *backend {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{ln: ln, seen: make(chan seenRequest, 1024)}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go b.serve(conn)
		}
	}()
	return b
}

func (b *backend) url() string { return "http://" + b.ln.Addr().String() }

func (b *backend) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		req, err := readSeen(r)
		if err != nil {
			return
		}
		b.seen <- req
		reply := "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"
		if strings.HasPrefix(req.line, "HEAD ") {
			reply = strings.TrimSuffix(reply, "ok")
		}
		if b.answer != nil {
			reply = b.answer(req)
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

// readSeen reads one request strictly: what it cannot read is an error, not a guess.
func readSeen(r *bufio.Reader) (seenRequest, error) {
	var req seenRequest
	line, err := readLine(r)
	if err != nil {
		return req, err
	}
	req.line = line
	length, chunked := 0, false
	for {
		line, err := readLine(r)
		if err != nil {
			return req, err
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return req, fmt.Errorf("field without colon: %q", line)
		}
		value = strings.TrimSpace(value)
		req.fields = append(req.fields, field{name, value})
		switch strings.ToLower(name) {
		case "content-length":
			if length, err = strconv.Atoi(value); err != nil {
				return req, err
			}
		case "transfer-encoding":
			chunked = true
		}
	}
	req.body, err = readBody(r, length, chunked)
	return req, err
}

func readBody(r *bufio.Reader, length int, chunked bool) (string, error) {
	if !chunked {
		body := make([]byte, length)
		_, err := io.ReadFull(r, body)
		return string(body), err
	}
	var body strings.Builder
	for {
		line, err := readLine(r)
		if err != nil {
			return "", err
		}
		n, err := strconv.ParseInt(line, 16, 32)
		if err != nil {
			return "", err
		}
		if _, err := io.CopyN(&body, r, n); err != nil {
			return "", err
		}
		end, err := readLine(r)
		for n == 0 && err == nil && end != "" { // trailers
			end, err = readLine(r)
		}
		if err != nil || end != "" {
			return "", errors.Join(err, fmt.Errorf("after a chunk: %q", end))
		}
		if n == 0 {
			return body.String(), nil
		}
	}
}

func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	line, ok := strings.CutSuffix(line, "\r\n")
	if !ok {
		return "", fmt.Errorf("line without CRLF: %q", line)
	}
	return line, nil
}

// drain returns what the backend has seen so far.
func (b *backend) drain() []seenRequest {
	var all []seenRequest
	for {
		select {
		case req := <-b.seen:
			all = append(all, req)
		default:
			return all
		}
	}
}

// newClient is a client for which every host is at addr, speaking one protocol.
func newClient(t *testing.T, addr string, h2 bool) *http.Client {
	t.Helper()
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!h2)
	protocols.SetHTTP2(h2)
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, Protocols: protocols,
		MaxIdleConnsPerHost: 100,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Transport: transport, Timeout: ioTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
