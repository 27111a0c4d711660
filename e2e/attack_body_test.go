package e2e

import (
	"strings"
	"testing"
	"unicode/utf16"
)

// injection is caught by every SQL rule worth its name.
const injection = "1' UNION SELECT password FROM users-- -"

const escapedInjection = "1%27%20UNION%20SELECT%20password%20FROM%20users--%20-"

// multipart is a form of these parts, each a head and a body.
func multipart(parts ...string) string {
	var b strings.Builder
	for _, part := range parts {
		b.WriteString("--XyZ\r\n" + part + "\r\n")
	}
	return b.String() + "--XyZ--\r\n"
}

const multipartType = "Content-Type: multipart/form-data; boundary=XyZ"

func post(body string, lines ...string) string {
	return request("POST", "/app/x", body, append([]string{asAlice}, lines...)...)
}

func utf16Text(s string) string {
	var b strings.Builder
	for _, u := range utf16.Encode([]rune(s)) {
		b.WriteByte(byte(u >> 8))
		b.WriteByte(byte(u))
	}
	return b.String()
}

func bodyAttacks() []attack {
	clean := func(t *testing.T, seen []seenRequest) {
		t.Helper()
		if len(seen) != 1 || seen[0].body != `{"a":"hello"}` {
			t.Errorf("upstream: got %q, want the body as it was sent", seen)
		}
	}
	return []attack{
		{id: "W00", what: "injection in the query", raw: get("/public/?id=" + escapedInjection), statuses: forbidden},
		{id: "W01", what: "dotted key that hides another", raw: post(`{"account":{"role":"`+injection+`"},"account.role":"safe"}`, "Content-Type: application/json"), statuses: forbidden},
		{id: "W04", what: "file name in another charset", raw: post(multipart("Content-Disposition: form-data; name=\"f\"; filename=\"safe.jpg\"; filename*=iso-8859-1''shell.php\r\n\r\nx"), multipartType), statuses: refusedWAF},
		{id: "W05", what: "injection in an XML attribute", raw: post(`<?xml version="1.0"?><a b="`+injection+`"/>`, "Content-Type: text/xml"), statuses: forbidden},
		{id: "W06", what: "cookie without a name", raw: get("/app/x", "Cookie: a=1; ="+injection+"; $ALICE"), statuses: refusedWAF},
		{id: "W07", what: "arguments that hide one", raw: get("/public/x?" + strings.Repeat("p=x&", 1001) + "id=" + escapedInjection), statuses: refused},
		{
			id: "W08", what: "two content types",
			raw:      post(multipart("Content-Disposition: form-data; name=\"a\"\r\n\r\n"+injection), multipartType, "Content-Type: application/x-www-form-urlencoded"),
			statuses: refusedWAF,
		},
		{id: "W09", what: "target that starts like an authority", raw: get("//evil/uploads/x.php?a=" + escapedInjection), statuses: refusedWAF},
		{id: "W10", what: "target that cannot be parsed", raw: get("/bad\x01uri?a=" + escapedInjection), statuses: []int{0, 400}},
		{
			id: "W11", what: "illegal charset of the first part",
			raw: post(multipart(
				"Content-Disposition: form-data; name=\"a\"\r\nContent-Type: text/plain; charset=utf-7\r\n\r\n+ADw-script+AD4-",
				"Content-Disposition: form-data; name=\"b\"\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nx",
			), multipartType),
			statuses: refusedWAF,
		},
		{id: "W12", what: "transfer coding of a part", raw: post(multipart("Content-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: base64\r\n\r\nMScgVU5JT04="), multipartType), statuses: refusedWAF},
		{id: "W13", what: "blank after a file's name", raw: post(multipart("Content-Disposition: form-data; name=\"f\"; filename=\"shell.php \"\r\n\r\nx"), multipartType), statuses: refusedWAF},
		{id: "W14", what: "two charsets", raw: post("a=x", "Content-Type: application/x-www-form-urlencoded; charset=utf-8; charset=utf-7"), statuses: refusedWAF},
		{id: "W16", what: "no closing boundary", raw: post("--XyZ\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1' UNION SELECT 1\r\n", multipartType), statuses: refusedWAF},
		{id: "W18", what: "deeply nested JSON", raw: post(strings.Repeat("[", 6001), "Content-Type: application/json"), statuses: refusedWAF},
		{id: "W19", what: "JSON without a content type", raw: post(`{"a":"` + injection + `"}`), statuses: forbidden},
		{id: "W19", what: "JSON as text", raw: post(`{"a":"`+injection+`"}`, "Content-Type: text/plain"), statuses: forbidden},
		{id: "W20", what: "JSON of a vendor's type", raw: post(`{"a":"`+injection+`"}`, "Content-Type: application/vnd.api+json"), statuses: forbidden},
		{id: "W20", what: "clean JSON of a vendor's type", raw: post(`{"a":"hello"}`, "Content-Type: application/vnd.api+json"), statuses: ok, see: clean},
		{id: "W20", what: "clean JSON", raw: post(`{"a":"hello"}`, "Content-Type: application/json"), statuses: ok, see: clean},
		{id: "W21", what: "JSON in UTF-16", raw: post(utf16Text(`{"a":"`+injection+`"}`), "Content-Type: application/json; charset=utf-16"), statuses: refusedWAF},
		{
			id: "W23", what: "injection in a chunked form",
			raw: request("POST", "/app/x", "", asAlice, "Content-Type: application/x-www-form-urlencoded", "Transfer-Encoding: chunked") +
				"2a\r\nid=" + injection + "\r\n0\r\n\r\n",
			statuses: forbidden,
		},
		{id: "W26", what: "injection after 14 kB of padding", raw: get("/public/x?f=" + strings.Repeat("a", 14_000) + escapedInjection), statuses: []int{403, 414, 431}},
		{id: "W33", what: "an empty POST passes as it is", raw: request("POST", "/app/x", "", asAlice, "Content-Length: 0"), statuses: ok, see: one("/app/x")},
	}
}
