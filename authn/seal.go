package authn

import (
	"bytes"
	"compress/flate"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/gorilla/securecookie"
)

// maxInflated bounds what a sealed value may grow to when it is opened. We only inflate what we
// have sealed ourselves, so this is a second line.
const maxInflated = 64 << 10

// errSealed is the one answer to anything that does not open: which part was wrong is nobody's
// business (attack case O21).
var errSealed = errors.New("cookie does not open")

// sealer encrypts and signs cookie values: AES-256 in counter mode, then HMAC-SHA256 over the
// ciphertext, by securecookie. It is safe for concurrent use.
type sealer struct {
	codecs []*securecookie.SecureCookie // the first seals, all open
}

// newSealer derives an encryption and a signature key from each secret by HKDF (RFC 5869), so that
// the operator need not know what the cipher wants.
func newSealer(secrets [][]byte) (*sealer, error) {
	s := &sealer{}
	for i, secret := range secrets {
		if len(secret) < minKeyLength {
			return nil, fmt.Errorf("session key %d: want at least %d bytes, got %d", i, minKeyLength, len(secret))
		}
		block, err := hkdf.Key(sha256.New, secret, nil, "gatehouse cookie encryption v1", 32)
		if err != nil {
			return nil, err
		}
		mac, err := hkdf.Key(sha256.New, secret, nil, "gatehouse cookie signature v1", 32)
		if err != nil {
			return nil, err
		}
		c := securecookie.New(mac, block).MaxAge(0).MaxLength(0).SetSerializer(securecookie.NopEncoder{})
		s.codecs = append(s.codecs, c)
	}
	if len(s.codecs) == 0 {
		return nil, errors.New("session keys: none")
	}
	return s, nil
}

// seal returns b, compressed when that helps, as base64url. name is what the value is bound to: it
// opens only under the same name.
func (s *sealer) seal(name string, b []byte) (string, error) {
	return s.sealed(name, squeeze(b))
}

// sealPlain is seal for what is too short to become shorter.
func (s *sealer) sealPlain(name string, b []byte) (string, error) {
	return s.sealed(name, append([]byte{squeezedRaw}, b...))
}

func (s *sealer) sealed(name string, b []byte) (string, error) {
	v, err := s.codecs[0].Encode(name, b)
	if err != nil {
		return "", fmt.Errorf("seal cookie: %w", err)
	}
	return pack(v)
}

// open undoes seal. Its only error is errSealed.
func (s *sealer) open(name, value string) ([]byte, error) {
	v, err := unpack(value)
	if err != nil {
		return nil, errSealed
	}
	for _, c := range s.codecs {
		var b []byte
		if c.Decode(name, v, &b) == nil {
			return unsqueeze(b)
		}
	}
	return nil, errSealed
}

// pack takes securecookie's form, base64(date|base64(ciphertext)|mac), apart and writes the same
// three parts with one base64 round them: a quarter less, which decides whether a login fits into
// four cookies.
func pack(v string) (string, error) {
	raw, err := base64.URLEncoding.DecodeString(v)
	if err != nil {
		return "", err
	}
	parts := bytes.SplitN(raw, []byte("|"), 3)
	if len(parts) != 3 || len(parts[2]) != sha256.Size {
		return "", errors.New("pack cookie: unexpected form")
	}
	date, err := strconv.ParseUint(string(parts[0]), 10, 64)
	if err != nil {
		return "", err
	}
	text, err := base64.URLEncoding.DecodeString(string(parts[1]))
	if err != nil {
		return "", err
	}
	out := binary.BigEndian.AppendUint64(nil, date)
	out = append(out, parts[2]...)
	out = append(out, text...)
	return base64.RawURLEncoding.EncodeToString(out), nil
}

// unpack undoes pack.
func unpack(value string) (string, error) {
	raw, err := decodeSegment(value)
	if err != nil || len(raw) < 8+sha256.Size {
		return "", errSealed
	}
	date, mac, text := binary.BigEndian.Uint64(raw), raw[8:8+sha256.Size], raw[8+sha256.Size:]
	out := strconv.AppendUint(nil, date, 10)
	out = append(out, '|')
	out = base64.URLEncoding.AppendEncode(out, text)
	out = append(out, '|')
	out = append(out, mac...)
	return base64.URLEncoding.EncodeToString(out), nil
}

const (
	squeezedRaw     = 0
	squeezedDeflate = 1
)

func squeeze(b []byte) []byte {
	var buf bytes.Buffer
	buf.WriteByte(squeezedDeflate)
	w, err := flate.NewWriter(&buf, flate.BestCompression)
	if err == nil {
		_, err = w.Write(b)
		err = errors.Join(err, w.Close())
	}
	if err != nil || buf.Len() > len(b) {
		return append([]byte{squeezedRaw}, b...)
	}
	return buf.Bytes()
}

func unsqueeze(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, errSealed
	}
	switch b[0] {
	case squeezedRaw:
		return b[1:], nil
	case squeezedDeflate:
		out, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(b[1:])), maxInflated+1))
		if err != nil || len(out) > maxInflated {
			return nil, errSealed
		}
		return out, nil
	}
	return nil, errSealed
}

// decodeSegment is base64url as RFC 7515 wants it: no padding, no line breaks (which Go's decoder
// skips), and no stray bits at the end, so that there is one spelling of each value.
func decodeSegment(s string) ([]byte, error) {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_' {
			return nil, errors.New("not base64url")
		}
	}
	return base64.RawURLEncoding.Strict().DecodeString(s)
}
