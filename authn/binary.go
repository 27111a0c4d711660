package authn

import (
	"encoding/binary"
	"errors"
)

// errBinary is a sealed value that does not read as what it should be: it was written by another
// version.
var errBinary = errors.New("unknown layout")

// maxListed bounds lists in a sealed value.
const maxListed = 4096

func appendText(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendTexts(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = appendText(b, s)
	}
	return b
}

// reader takes fields off the front of a sealed value. After the first that does not fit, all
// others are zero and err is set.
type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.b)) {
		r.err = errBinary
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.err != nil || n <= 0 {
		r.err = errBinary
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if r.err != nil || n <= 0 {
		r.err = errBinary
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string { return string(r.take(r.uint())) }

func (r *reader) texts() []string {
	n := r.uint()
	if n > maxListed || n > uint64(len(r.b)) {
		r.err = errBinary
		return nil
	}
	var list []string
	for range n {
		list = append(list, r.text())
	}
	return list
}

// end returns the error, which is also set when something is left.
func (r *reader) end() error {
	if len(r.b) > 0 {
		r.err = errBinary
	}
	return r.err
}
