package wire

import (
	"net"
	"net/http"
	"runtime"
	"time"
)

// Defaults of Options, and limits that are not options.
const (
	// A head is one or a few packets; 10 s is what a bad mobile network needs, and what nginx and Caddy users
	// settle on against slowloris.
	defaultReadHeaderTimeout = 10 * time.Second
	// ALB's idle timeout: clients that were tuned for it stay content.
	defaultIdleTimeout = 60 * time.Second
	// Two round trips and a slow signature; an honest client is done in under 2 s.
	defaultHandshakeTimeout = 10 * time.Second
	// Below 500 B/s after 10 s of waiting nobody is using an application any more. A 2G connection does 5 KB/s.
	defaultBodyGrace = 10 * time.Second
	defaultMinRate   = 500
	// 64 KiB: ALB's limit for all header fields of a request. An ALB-style session may take 16 KiB of it.
	defaultMaxHeaderBytes = 64 << 10
	// At 35 KB for an idle TLS connection these are 350 MB.
	defaultMaxConns = 10_000
	// Handshakes that compute at the same time. More would only wait for each other, and delay the requests of
	// those who are connected already.
	handshakesPerCPU = 8
	// An accept error such as "too many open files" goes away by itself; these bound the wait.
	acceptPauseMin = 5 * time.Millisecond
	acceptPauseMax = time.Second
	// How long a connection that has just been made has, at a shutdown, to send the request that it was made for.
	freshGrace = 5 * time.Second
	// How long Shutdown waits, after it has closed every connection, for handlers to notice.
	closeGrace = 5 * time.Second
)

// Options of a Server. The zero value of each field is its default.
type Options struct {
	// ReadHeaderTimeout bounds the time from a request's first byte to the end of its head (HTTP/1), and how long a new
	// connection may be silent. Default 10 s.
	ReadHeaderTimeout time.Duration
	// IdleTimeout bounds the time between requests. Default 60 s.
	IdleTimeout time.Duration
	// HandshakeTimeout bounds the TLS handshake. Default 10 s.
	HandshakeTimeout time.Duration
	// BodyGrace and MinRate (bytes per second) end a transfer that crawls: when the time spent waiting for the
	// peer exceeds BodyGrace plus what the bytes may take at MinRate. It is measured only while a read of a
	// request body or a write to the connection is pending, so a slow handler costs a client nothing, and not
	// for upgraded connections. On HTTP/2 both are measured per stream, and writes per connection too. Defaults
	// 10 s and 500.
	BodyGrace time.Duration
	MinRate   int
	// MaxHeaderBytes bounds a request head: the request line and all fields. Default 64 KiB.
	MaxHeaderBytes int
	// MaxConns bounds open connections, upgraded ones included; one more is closed at once. Default 10,000.
	MaxConns int
	// ProxyProtocol says whose headers of the PROXY protocol are read, within HandshakeTimeout. Default: nobody's.
	ProxyProtocol ProxyProtocol
	// OnError is told of what no request stands for: a failed handshake (*HandshakeError), a connection over
	// MaxConns (ErrTooManyConnections) or with a wrong beginning (*ProxyProtocolError), accept errors, panics of handlers and
	// what they do that an http.ResponseWriter does not allow, and messages of net/http. peer is nil when there is none.
	// It is called from many goroutines and must not block. An attacker decides how often it is called.
	OnError func(peer net.Addr, err error)
}

func (o Options) withDefaults() Options {
	setDefault(&o.ReadHeaderTimeout, defaultReadHeaderTimeout)
	setDefault(&o.IdleTimeout, defaultIdleTimeout)
	setDefault(&o.HandshakeTimeout, defaultHandshakeTimeout)
	setDefault(&o.BodyGrace, defaultBodyGrace)
	setDefault(&o.MinRate, defaultMinRate)
	setDefault(&o.MaxHeaderBytes, defaultMaxHeaderBytes)
	setDefault(&o.MaxConns, defaultMaxConns)
	if o.OnError == nil {
		o.OnError = func(net.Addr, error) {}
	}
	return o
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

func maxHandshakes() int { return handshakesPerCPU * runtime.GOMAXPROCS(0) }

// http2Config bounds what one HTTP/2 connection may cost.
func http2Config() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams: 100, // the least that RFC 9113 section 6.5.2 recommends, and what browsers expect
		// The smallest frame size allowed; larger ones only raise what is buffered before it can be judged.
		MaxReadFrameSize: 16384,
		// The protocol's default tables. Larger ones save bytes on the wire and cost memory per connection.
		MaxDecoderHeaderTableSize: 4096,
		MaxEncoderHeaderTableSize: 4096,
		// 256 KiB in flight per stream carries 20 Mbit/s at 100 ms; 1 MiB per connection bounds what a client can
		// make us keep while no handler reads.
		MaxReceiveBufferPerStream:     256 << 10,
		MaxReceiveBufferPerConnection: 1 << 20,
		// A peer that is gone without a FIN is noticed within 45 s although streams are open.
		SendPingTimeout: 30 * time.Second,
		PingTimeout:     15 * time.Second,
		// A client that takes no byte at all for this long while we have some to send is gone.
		WriteByteTimeout: 20 * time.Second,
	}
}
