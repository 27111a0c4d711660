package headers

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// CookieChanges is what FilterSetCookie found about the gateway's own cookies in an answer. The
// names are as the upstream wrote them.
type CookieChanges struct {
	Dropped []string // the upstream tried to set them; the fields are gone
	Expired []string // the upstream deletes them; the fields stay
}

// FilterSetCookie takes out of an upstream's answer each Set-Cookie field that would give the client
// a cookie of the gateway's own; own says which names those are. A field that unmistakably deletes
// such a cookie stays: that is how an application behind an Application Load Balancer signs its
// user out. Without own cookies in the answer it changes and allocates nothing.
func FilterSetCookie(h http.Header, own func(name string) bool, now time.Time) CookieChanges {
	var changes CookieChanges
	fields := h["Set-Cookie"]
	var kept []string
	for i, value := range fields {
		name := cookieName(value)
		switch {
		case !own(name):
		case expires(value, now):
			changes.Expired = append(changes.Expired, name)
		default:
			if changes.Dropped == nil {
				kept = append(make([]string, 0, len(fields)), fields[:i]...)
			}
			changes.Dropped = append(changes.Dropped, name)
			continue
		}
		if changes.Dropped != nil {
			kept = append(kept, value)
		}
	}
	switch {
	case changes.Dropped == nil:
	case len(kept) == 0:
		delete(h, "Set-Cookie")
	default:
		h["Set-Cookie"] = kept
	}
	return changes
}

// cookieName returns the name under which a browser will send the cookie back. A field without a
// name, "=__Host-x=1" or "__Host-x", is stored under an empty name, but what goes into the Cookie
// header reads as __Host-x all the same (draft-ietf-httpbis-rfc6265bis, section 5.6, step 21).
func cookieName(field string) string {
	pair, _, _ := strings.Cut(field, ";")
	pair = strings.TrimLeftFunc(pair, func(r rune) bool { return r == '=' || isBlank(r) })
	name, _, _ := strings.Cut(pair, "=")
	return strings.TrimFunc(name, isBlank)
}

// isBlank is wider than the blank and tab that browsers trim, so that a name with a control
// character at its end is taken for the name that a careless reader makes of it.
func isBlank(r rune) bool { return r <= ' ' || r == 0x7f }

// expires reports whether every browser reads the field as the end of the cookie: each Max-Age is
// zero or negative, which outranks any Expires (RFC 6265, section 5.3, step 3), or there is none and
// each Expires is in the past. What cannot be read is no end.
func expires(field string, now time.Time) bool {
	_, attributes, _ := strings.Cut(field, ";")
	var ages, dates, past int
	for attributes != "" {
		var attribute string
		attribute, attributes, _ = strings.Cut(attributes, ";")
		name, value, _ := strings.Cut(attribute, "=")
		name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
		switch {
		case strings.EqualFold(name, "max-age"):
			seconds, err := strconv.ParseInt(value, 10, 64)
			if err != nil || seconds > 0 || value[0] == '+' {
				return false
			}
			ages++
		case strings.EqualFold(name, "expires"):
			dates++
			if end, ok := parseCookieDate(value); ok && !end.After(now) {
				past++
			}
		}
	}
	return ages > 0 || dates > 0 && past == dates
}

// cookieDates are the forms in which servers write Expires. Those with a year of two digits are
// read by all alike only in the last century, which is where they are used: 01-Jan-70.
var cookieDates = [...]string{
	http.TimeFormat,
	"Mon, 02 Jan 2006 15:04:05 UTC",
	"Mon, 02-Jan-2006 15:04:05 GMT",
	"Monday, 02-Jan-06 15:04:05 GMT",
	"Mon, 02-Jan-06 15:04:05 GMT",
	"Mon Jan _2 15:04:05 2006",
}

func parseCookieDate(value string) (time.Time, bool) {
	for _, layout := range cookieDates {
		if date, err := time.Parse(layout, value); err == nil {
			return date, true
		}
	}
	return time.Time{}, false
}
