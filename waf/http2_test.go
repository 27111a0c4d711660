package waf

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An h2Request is a request in the form of HTTP/2: its fields in order, the pseudo fields first.
type h2Request struct {
	fields []hpack.HeaderField
	body   []byte
}

// carry turns a request of HTTP/1.1 into one of HTTP/2. If that cannot be it says why.
func carry(raw []byte) (r *h2Request, why string) {
	head, body, ok := strings.Cut(string(raw), "\r\n\r\n")
	line, head, _ := strings.Cut(head, "\r\n")
	words := strings.Split(line, " ")
	switch {
	case !ok || len(words) != 3:
		return nil, "no head"
	case words[2] != "HTTP/1.1":
		return nil, "another version"
	case words[0] == http.MethodConnect || !strings.HasPrefix(words[1], "/") && words[1] != "*":
		return nil, "no path in the target"
	case !httpguts.ValidHeaderFieldName(words[0]):
		return nil, "no method"
	}
	r = &h2Request{body: []byte(body)}
	host, length := "", ""
	var fields []hpack.HeaderField
	for line := range strings.SplitSeq(head, "\r\n") {
		if line == "" {
			continue
		}
		name, value, ok := strings.Cut(line, ":")
		value = textproto.TrimString(value)
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, "a field that is none"
		}
		switch name = strings.ToLower(name); name {
		case "host":
			if host != "" {
				return nil, "two hosts"
			}
			host = value
		case "connection", "keep-alive", "proxy-connection":
			if v := strings.ToLower(value); name == "connection" && v != "close" && v != "keep-alive" {
				return nil, "options of the connection"
			}
		case "transfer-encoding", "upgrade", "te":
			return nil, "a field about the connection"
		case "content-length":
			if length != "" {
				return nil, "two lengths"
			}
			length = value
			fallthrough
		default:
			fields = append(fields, hpack.HeaderField{Name: name, Value: value})
		}
	}
	if length != "" && length != strconv.Itoa(len(body)) {
		return nil, "another length than the body's"
	}
	r.fields = []hpack.HeaderField{{Name: ":method", Value: words[0]}, {Name: ":scheme", Value: "https"}, {Name: ":path", Value: words[1]}}
	if host != "" {
		r.fields = append(r.fields, hpack.HeaderField{Name: ":authority", Value: host})
	}
	r.fields = append(r.fields, fields...)
	return r, ""
}

// request is the request as net/http hands it to a handler.
func (r *h2Request) request() *http.Request {
	var b bytes.Buffer
	pseudo := map[string]string{}
	for _, f := range r.fields {
		if f.IsPseudo() {
			pseudo[f.Name] = f.Value
		}
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", pseudo[":method"], pseudo[":path"], pseudo[":authority"])
	length := false
	for _, f := range r.fields {
		if !f.IsPseudo() {
			fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
			length = length || f.Name == "content-length"
		}
	}
	if !length && len(r.body) > 0 {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(r.body))
	}
	b.WriteString("\r\n")
	b.Write(r.body)
	out := readRequest(b.Bytes())
	if out == nil {
		return nil
	}
	if !length && len(r.body) > 0 {
		out.Header.Del("Content-Length")
		out.ContentLength = -1
	}
	out.Proto, out.ProtoMajor, out.ProtoMinor = "HTTP/2.0", 2, 0
	return out
}

// An h2Client sends requests one after the other, byte for byte as they are.
type h2Client struct {
	addr   string
	conn   *tls.Conn
	framer *http2.Framer
	next   uint32
}

func (c *h2Client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// connect opens a connection if there is none.
func (c *h2Client) connect() error {
	if c.conn != nil {
		return nil
	}
	conn, err := tls.Dial("tcp", c.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}}) //nolint:gosec // the test's own server
	if err != nil {
		return err
	}
	c.conn, c.next = conn, 1
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return err
	}
	c.framer = http2.NewFramer(conn, conn)
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	return c.framer.WriteSettings()
}

// do sends r and returns the status of the answer; "reset" if there is none.
func (c *h2Client) do(r *h2Request) (status string, err error) {
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if err := c.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return "", err
	}
	stream := c.next
	c.next += 2
	if err := c.send(stream, r); err != nil {
		return "", err
	}
	for {
		f, err := c.framer.ReadFrame()
		if err != nil {
			return status, err
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				if err := c.framer.WriteSettingsAck(); err != nil {
					return "", err
				}
			}
		case *http2.GoAwayFrame:
			return "", fmt.Errorf("the server goes away: %v", f.ErrCode)
		case *http2.RSTStreamFrame:
			if f.StreamID == stream {
				if status == "" {
					status = "reset"
				}
				return status, nil
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID == stream {
				status = f.PseudoValue("status")
				if f.StreamEnded() {
					return status, nil
				}
			}
		case *http2.DataFrame:
			if f.StreamID == stream && f.StreamEnded() {
				return status, nil
			}
		}
	}
}

func (c *h2Client) send(stream uint32, r *h2Request) error {
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	enc.SetMaxDynamicTableSizeLimit(0) // each block stands alone
	for _, f := range r.fields {
		if err := enc.WriteField(f); err != nil {
			return err
		}
	}
	const most = 16 << 10
	first := block.Next(most)
	if err := c.framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, BlockFragment: first, EndStream: len(r.body) == 0, EndHeaders: block.Len() == 0,
	}); err != nil {
		return err
	}
	for block.Len() > 0 {
		part := block.Next(most)
		if err := c.framer.WriteContinuation(stream, block.Len() == 0, part); err != nil {
			return err
		}
	}
	for body := r.body; len(body) > 0; {
		part := body[:min(len(body), most)]
		body = body[len(part):]
		if err := c.framer.WriteData(stream, len(body) == 0, part); err != nil {
			return err
		}
	}
	return nil
}
