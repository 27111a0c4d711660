package authn

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"github.com/google/cel-go/common/types"
)

// claimsMap is the claims as an expression sees them. Whole numbers stay whole: as floating point,
// 9007199254740993 would equal its neighbour.
func (f *facts) claimsMap() any {
	claims := map[string]any{}
	if len(f.id.Claims) == 0 {
		return claims
	}
	if _, err := parseObject(f.id.Claims); err != nil {
		return types.NewErr("the claims cannot be read")
	}
	dec := json.NewDecoder(bytes.NewReader(f.id.Claims))
	dec.UseNumber()
	if err := dec.Decode(&claims); err != nil {
		return types.NewErr("the claims cannot be read")
	}
	return plainValue(claims)
}

// plainValue makes numbers of the texts that encoding/json leaves.
func plainValue(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := strconv.ParseInt(v.String(), 10, 64); err == nil {
			return i
		}
		if u, err := strconv.ParseUint(v.String(), 10, 64); err == nil {
			return u
		}
		f, err := v.Float64()
		if err != nil {
			return types.NewErr("a number among the claims is too large")
		}
		return f
	case map[string]any:
		for name := range v {
			v[name] = plainValue(v[name])
		}
	case []any:
		for i := range v {
			v[i] = plainValue(v[i])
		}
	}
	return v
}

// queryMap is every parameter with all its values: which of two counts is the rule's to say. A
// query that cannot be read is an error and not a part of it.
func (f *facts) queryMap() any {
	values, err := url.ParseQuery(f.request.URL.RawQuery)
	if err != nil {
		return types.NewErr("the query cannot be read")
	}
	return map[string][]string(values)
}

// headerMap is the header by names in lower case, the values of repeated fields joined as RFC 9110
// section 5.3 has it. What proves somebody's identity is not in it.
func (f *facts) headerMap() any {
	headers := make(map[string]string, len(f.request.Header))
	for name, values := range f.request.Header {
		name = strings.ToLower(name)
		switch name {
		case "cookie", "authorization", "proxy-authorization":
			continue
		}
		headers[name] = strings.Join(values, ", ")
	}
	return headers
}

func (f *facts) clientText() string {
	if f.client == nil {
		return ""
	}
	ip := f.client(f.request)
	if !ip.IsValid() {
		return ""
	}
	return ip.Unmap().WithZone("").String()
}

// withoutPort returns the name of a canonical host, by which routes are matched.
func withoutPort(host string) string {
	if i := strings.LastIndexByte(host, ':'); i > 0 && !strings.HasSuffix(host, "]") {
		return host[:i]
	}
	return host
}
