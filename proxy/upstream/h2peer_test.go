package upstream

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2Peer is the upstream's end of a connection, frame by frame.
type h2Peer struct {
	t     testing.TB
	c     net.Conn
	fr    *http2.Framer
	block bytes.Buffer
	enc   *hpack.Encoder
	ids   []uint32 // of the streams that request returned
}

// framed is an upstream of HTTP/2 of which serve writes every frame. It is called with the number of the connection, from 1.
func framed(t testing.TB, settings []http2.Setting, serve func(n int, p *h2Peer)) Config {
	up := rawUpstream(t, func(n int, c net.Conn, br *bufio.Reader) {
		preface := make([]byte, len(http2.ClientPreface))
		if _, err := io.ReadFull(br, preface); err != nil || string(preface) != http2.ClientPreface {
			return
		}
		p := &h2Peer{t: t, c: c, fr: http2.NewFramer(c, br)}
		p.enc = hpack.NewEncoder(&p.block)
		p.fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
		p.fr.SetMaxReadFrameSize(1 << 20)
		p.fr.WriteSettings(settings...)
		serve(n, p)
	})
	return Config{Endpoints: []string{up}, Protocol: HTTP2}
}

// read returns the next frame that is not about the connection; nil at its end.
func (p *h2Peer) read() http2.Frame {
	for {
		f, err := p.fr.ReadFrame()
		if err != nil {
			return nil
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				p.fr.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				p.fr.WritePing(true, f.Data)
			}
		case *http2.WindowUpdateFrame:
		default:
			return f
		}
	}
}

// request returns the head of the next request; nil at the end of the connection.
func (p *h2Peer) request() *http2.MetaHeadersFrame {
	for {
		switch f := p.read().(type) {
		case nil:
			return nil
		case *http2.MetaHeadersFrame:
			p.ids = append(p.ids, f.StreamID)
			return f
		}
	}
}

// reset waits for the client to reset a stream and returns why; 0 at the end of the connection.
func (p *h2Peer) reset(id uint32) http2.ErrCode {
	for {
		switch f := p.read().(type) {
		case nil:
			return 0
		case *http2.RSTStreamFrame:
			if f.StreamID == id {
				return f.ErrCode
			}
		}
	}
}

// head writes a block of fields, names and values by turns.
func (p *h2Peer) head(id uint32, end bool, fields ...string) {
	p.block.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	rest, first := p.block.Bytes(), true
	for first || len(rest) > 0 {
		n := min(len(rest), 16<<10)
		if first {
			p.fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: rest[:n], EndStream: end, EndHeaders: n == len(rest)})
		} else {
			p.fr.WriteContinuation(id, n == len(rest), rest[:n])
		}
		rest, first = rest[n:], false
	}
}

func (p *h2Peer) data(id uint32, end bool, s string) { p.fr.WriteData(id, end, []byte(s)) }

// answersH2 serves every request of every connection with the same frames.
func answersH2(t testing.TB, answer func(p *h2Peer, id uint32)) Config {
	return framed(t, nil, func(_ int, p *h2Peer) {
		for f := p.request(); f != nil; f = p.request() {
			answer(p, f.StreamID)
		}
	})
}
