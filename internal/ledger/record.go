package ledger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"

	"gatehouse/authn"
)

// header is the first line of every file; the number is the version of what follows.
const header = "gatehouse revocations 1\n"

// A record is a line of four numbers in lower-case hexadecimal: key, before, until, and the CRC-32 of
// what stands in front of it. A line that was not written to its end is told by its length or its sum,
// and takes no other with it.
const (
	lineSize = 2*len(authn.RevocationKey{}) + 1 + 16 + 1 + 16 + 1 + 8
	sumAt    = lineSize - 8
)

// errFormat is a file that this program has not written, or a later version of it has.
var errFormat = errors.New("not a file of revocations that this version can read")

func appendRecord(b []byte, r authn.Revocation) []byte {
	start := len(b)
	b = hex.AppendEncode(b, r.Key[:])
	b = fmt.Appendf(b, " %016x %016x ", r.Before, r.Until)
	return fmt.Appendf(b, "%08x\n", crc32.ChecksumIEEE(b[start:]))
}

// parseRecord reads a line without its end.
func parseRecord(line []byte) (r authn.Revocation, ok bool) {
	if len(line) != lineSize || string(line[sumAt:]) != fmt.Sprintf("%08x", crc32.ChecksumIEEE(line[:sumAt])) {
		return r, false
	}
	fields := bytes.Split(line, []byte(" "))
	if len(fields) != 4 || len(fields[0]) != 2*len(r.Key) || len(fields[1]) != 16 || len(fields[2]) != 16 {
		return r, false
	}
	if _, err := hex.Decode(r.Key[:], fields[0]); err != nil {
		return r, false
	}
	for i, to := range []*int64{&r.Before, &r.Until} {
		n, err := strconv.ParseInt(string(fields[i+1]), 16, 64)
		if err != nil || n <= 0 {
			return r, false
		}
		*to = n
	}
	return r, true
}

// content is what a file holds.
type content struct {
	records []authn.Revocation
	damaged int  // lines that are no record, an unfinished one at the end left out
	torn    bool // the last line has no end
}

// parse reads a file. Whatever is whole counts, wherever it stands.
func parse(b []byte) (content, error) {
	var c content
	if len(b) == 0 { // made, and not written to
		return c, nil
	}
	lines, ok := bytes.CutPrefix(b, []byte(header))
	if !ok {
		return c, errFormat
	}
	for len(lines) > 0 {
		line, rest, ended := bytes.Cut(lines, []byte("\n"))
		lines, c.torn = rest, !ended
		r, ok := parseRecord(line)
		switch {
		case ok:
			c.records = append(c.records, r)
		case ended && len(line) > 0:
			c.damaged++
		}
	}
	return c, nil
}
