package payload

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// BeginsJSON reports that b begins as an object or array does.
func BeginsJSON(b []byte) bool {
	text := bytes.TrimLeft(bytes.TrimPrefix(b, BOM()), " \t\r\n")
	return len(text) > 0 && (text[0] == '{' || text[0] == '[')
}

// BOM is the mark that some writers put in front of UTF-8.
func BOM() []byte { return []byte("\ufeff") }

// BeginsXML reports whether b begins as any XML document does.
func BeginsXML(b []byte) bool {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, BOM()), " \t\r\n")
	return len(b) > 1 && b[0] == '<' && (b[1] == '?' || b[1] == '!' || b[1] == '_' || b[1] >= 0x80 || isAlnum(b[1]))
}

// InUTF8 is b in UTF-8 if it is JSON or XML in UTF-16 or UTF-32, which readers find out by its first bytes (RFC 4627
// section 3; so does Python's json.loads, and every reader of XML). Else it is b.
func InUTF8(b []byte) []byte {
	width, highFirst := encodingOf(b)
	if width == 1 {
		return b
	}
	if head := decodeUnits(b[:min(len(b), 64)], width, highFirst); !BeginsJSON(head) && !BeginsXML(head) {
		return b
	}
	return bytes.TrimPrefix(decodeUnits(b, width, highFirst), BOM())
}

// decodeUnits reads b as units of so many bytes. What is left at the end is no unit.
func decodeUnits(b []byte, width int, highFirst bool) []byte {
	out := make([]byte, 0, len(b)/width+len(b)/8)
	high := rune(0) // the first of a pair
	for ; len(b) >= width; b = b[width:] {
		var u rune
		for i := range width {
			if highFirst {
				u = u<<8 | rune(b[i])
			} else {
				u = u<<8 | rune(b[width-1-i])
			}
		}
		switch pair := utf16.DecodeRune(high, u); {
		case width == 2 && pair != utf8.RuneError:
			u, high = pair, 0
		case width == 2 && u >= 0xd800 && u < 0xdc00:
			high = u
			continue
		default:
			high = 0
		}
		out = utf8.AppendRune(out, u)
	}
	return out
}

// encodingOf is how many bytes a unit of the text has, 1 if it is not in UTF-16 or UTF-32, and whether the first of them
// is the highest.
func encodingOf(b []byte) (width int, highFirst bool) {
	if len(b) < 4 {
		return 1, false
	}
	zero := [4]bool{b[0] == 0, b[1] == 0, b[2] == 0, b[3] == 0}
	switch {
	case b[0] == 0xff && b[1] == 0xfe && zero[2] && zero[3], !zero[0] && zero[1] && zero[2] && zero[3]:
		return 4, false
	case zero[0] && zero[1] && (!zero[2] && !zero[3] && b[2] == 0xfe && b[3] == 0xff || zero[2] && !zero[3]):
		return 4, true
	case b[0] == 0xff && b[1] == 0xfe, !zero[0] && zero[1]:
		return 2, false
	case b[0] == 0xfe && b[1] == 0xff, zero[0] && !zero[1]:
		return 2, true
	}
	return 1, false
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}
