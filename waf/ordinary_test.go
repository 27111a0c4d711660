package waf

import (
	"net/http"
	"strings"
	"testing"
)

// Each amendment must find what it amends, in this version of the set.
func TestAmendmentsAreMade(t *testing.T) {
	t.Parallel()
	rules := knownRules()
	for id, a := range amendments {
		if text := rules[id].text; text == "" || strings.Contains(text, a.old) || a.now != "" && !strings.Contains(text, a.now) {
			t.Errorf("rule %d: the text is not amended:\n%s", id, text)
		}
	}
	set, err := loadRules(Config{}.normal(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range unreadTargets() {
		for _, id := range u.rules {
			if rules[id].id == 0 {
				t.Errorf("%s: there is no rule %d", u.target, id)
			}
			if r := rules[id]; r.level == 1 && !strings.Contains(set.text, u.target) {
				t.Errorf("%s is not left out of %d", u.target, id)
			}
		}
	}
}

// What is mended for ordinary requests opens nothing: each has its twin.
func TestTwinsOfOrdinaryRequestsAreRefused(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{}, "")
	form := "application/x-www-form-urlencoded"
	file := func(name string) string {
		return multipartBody("Content-Disposition: form-data; name=\"f\"; filename=" + name + "\r\n\r\nx")
	}
	for _, tt := range []struct {
		name, kind, accept, body string
		want                     int
	}{
		{"a password of signs", form, "", "password=" + escaped(`';qK9$--`), 200},
		{"an injection for a password", form, "", "password=" + escaped(`' or 1=1; --`), 403},
		{"a statement for a password", form, "", "password=" + escaped(`'; DROP TABLE users; --`), 403},
		{"another field of the same signs", form, "", "comment=" + escaped(`';qK9$--`), 403},
		{"a file with an apostrophe", multipartType, "", file(`"O'Brien's.pdf"`), 200},
		{"a program with an apostrophe", multipartType, "", file(`"O'Brien.php"`), 403},
		{"a program in other quotation marks", multipartType, "", file(`'shell.php'`), 400},
		{"a file with a semicolon", multipartType, "", file(`"a;filename=shell.php"`), 403},
		{"a type with a profile", `application/json; profile="https://example.com/a b"`, "", "{}", 200},
		{"a type with a parameter in signs", `application/json; a="%{1+1}"`, "", "{}", 403},
		{"a type with a parameter twice", `application/json; a=1; a=2`, "", "{}", 403},
		{"a type with a charset in pieces", `application/json; charset*0=utf-; charset*1=7`, "", "{}", 403},
		{"a type with two charsets", `application/json; charset=utf-8; x=1; charset=utf-7`, "", "{}", 403},
		{"a type with another charset behind a parameter", `application/json; x=1; charset=utf-7`, "", "{}", 403},
		{"a type behind a type", `multipart/form-data x; boundary=XyZ`, "", file("a"), 403},
		{"an answer with an extension", "application/json", `application/vnd.api+json; ext="https://jsonapi.org/ext/atomic", */*;q=0.1`, "{}", 200},
		{"an answer with a charset", "application/json", `text/html; x="y"; charset=utf-7`, "{}", 403},
		{"a word in quotation marks", form, "", "a=" + escaped("the \"select\" goods and the `having` clause"), 200},
		{"a clause behind a quotation mark", form, "", "a=" + escaped(`1' having 1=1`), 403},
		{"a clause behind a quotation mark, without blanks", form, "", "a=" + escaped(`1'having'1'='1`), 403},
		{"a union with quotation marks", form, "", "a=" + escaped(`1'union select'a','b'`), 403},
		{"a selection of a text", form, "", "a=" + escaped(`1';select'a'from users`), 403},
		{"a picture", "application/json", "", `{"a":"data:image/png;base64,iVBORw0KGgo` + strings.Repeat("cat/etc/", 40) + `=="}`, 200},
		{"a picture as PHP writes it", "application/json", "", `{"a":["data:image\/jpeg;base64,\/9j\/` + strings.Repeat(`id\/ls\/`, 40) + `"]}`, 200},
		{"a picture in a form", form, "", "a=" + escaped("data:image/png;base64,iVBORw0KGgo"+strings.Repeat("cat/etc/", 40)), 200},
		{"a picture with more behind it", "application/json", "", `{"a":"data:image/png;base64,iVBORw0KGgo=` + union + `"}`, 403},
		{"a picture with an escape behind it", "application/json", "", `{"a":"data:image/png;base64,iVBORw0KGgo=\u003cscript\u003ealert(1)"}`, 403},
		{"a name like a picture", "application/json", "", `{"data:image/png;base64,iVBORw0KGgo":"` + union + `"}`, 403},
		{"a picture that is none", "application/json", "", `{"a":"data:image/png;base64,PD9waHAgc3lzdGVtKCRfR0VUWydjJ10pOw=="}`, 403},
		{"a page as a data URL", "application/json", "", `{"a":"data:text/html;base64,PHNjcmlwdD4="}`, 403},
		{"a drawing as a data URL", "application/json", "", `{"a":"data:image/svg+xml;base64,PHN2Zy8+"}`, 403},
		{"markup in the sample of another report", "application/json", "", `{"report":{"script-sample":"<script>alert(1)</script>"}}`, 403},
		{"an injection in the sample of a report", "application/csp-report", "", `{"csp-report":{"script-sample":"` + union + `"}}`, 403},
		{"xml with a link that has an end", "text/xml", "", "<rss><link>https://example.com/</link></rss>", 200},
		{"xml with an attack in it", "text/xml", "", "<rss><link>" + union + "</link></rss>", 403},
		{"xml with a namespace", "text/xml", "", `<div xmlns="http://www.w3.org/1999/xhtml">a</div>`, 200},
		{"xml with markup in an attribute", "text/xml", "", `<a b="&lt;svg onload=alert(1)&gt;"/>`, 403},
		{"xml that is left open", "text/xml", "", "<a><br>", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			header := map[string]string{"Content-Type": tt.kind}
			if tt.accept != "" {
				header["Accept"] = tt.accept
			}
			v := e.check(sample{method: http.MethodPost, header: header, body: tt.body}.request())
			defer v.body.release()
			if got := verdictOf(v); got != tt.want {
				t.Errorf("got %d, want %d (%v %+v)", got, tt.want, v.err, v.result.Matches)
			}
		})
	}
}
