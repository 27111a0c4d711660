package acl

import (
	"crypto/md5"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
)

// What the documentation of AWS WAF says of each transformation, and ModSecurity's where that is what it points to.
func TestTransformations(t *testing.T) {
	t.Parallel()
	digest5, digest256 := md5.Sum([]byte("a")), sha256.Sum256([]byte("a"))
	tests := map[string][][2]string{
		"none":              {{"%41 B", "%41 B"}},
		"base64_decode":     {{"QUJD", "ABC"}, {"QUI=", "AB"}, {"QUI", "AB"}, {"QU!D", "QU!D"}, {"QUJD\n", "ABC"}, {"", ""}, {"====", "===="}},
		"base64_decode_ext": {{"Q U.J-D", "ABC"}, {"QUJD=QUJD", "ABC"}, {"QUJDQ", "ABC"}, {"!", ""}},
		"cmd_line": {
			{`c^m"d' /C "dir"`, "cmd/c dir"}, {"a,b;c", "a b c"}, {"cmd  /c", "cmd/c"}, {"foo  (bar)", "foo(bar)"}, {"A\t\r\nB", "a b"},
		},
		"cmd_line_unix":        {{`c\at '/etc'/"passwd"`, "cat /etc/passwd"}, {" \tA\v\fB \n", "a b"}, {"a;b,c", "a;b,c"}, {"^x", "^x"}},
		"cmd_line_win":         {{"p^o^w`er'shell\" -E", "power" + "shell -e"}, {"a^\r\nb", "ab"}, {"a^\nb", "ab"}, {`c:\\\\x\y`, `c:\x\y`}, {"  A \t B ", "a b"}},
		"compress_white_space": {{"a \t\n\v\f\r b", "a b"}, {"a\xa0\xa0b", "a b"}, {"a\u00a0 b", "a b"}, {"\u00e0", "\u00e0"}, {"  ", " "}},
		"css_decode":           {{`ja\vascript`, "javascript"}, {`\61 b`, "ab"}, {`\000061b`, "ab"}, {`\ff41`, "a"}, {"a\\\nb", "ab"}, {`x\`, "x"}},
		"escape_seq_decode":    {{`\a\b\f\n\r\t\v\\\?\'\"`, "\a\b\f\n\r\t\v\\?'\""}, {`\x41\101\0`, "AA\x00"}, {`\xZZ\q\`, `\xZZ\q\`}, {`\777`, "?7"}},
		"hex_decode":           {{"414243", "ABC"}, {"4a4B", "JK"}, {"41424", "41424"}, {"zz", "zz"}},
		"html_entity_decode": {
			{"&lt;&LT;&#60;&#x3c;&#X3C;&#60", "<<<<<<"},
			{"&QuOt;&NewLine;&Tab;&lpar;&bsol;", "\"\n\t(\\"},
			{"&nbsp;", "\u00a0"},
			{"&unknown;&&amp", "&unknown;&&amp"},
			{"&#;&#x;&#99999999999;", "&#;&#x;&#99999999999;"},
			{"&DiacriticalGrave;&VerticalLine;", "`|"},
		},
		"js_decode":            {{`\x3cscript\u003e`, "<script>"}, {`\uff1cx`, "<x"}, {`\101\n\q\`, "A\nq\\"}, {`\u12`, "u12"}},
		"js_decode_ext":        {{`\x3cscript\u003e`, "<script>"}, {`C:\Users\new`, `C:\Users\new`}, {`\\ \/ \' \"`, `\ / ' "`}, {`\101`, "A"}},
		"lowercase":            {{"AbC É", "abc É"}},
		"md5":                  {{"a", string(digest5[:])}},
		"normalize_path":       {{"/a//b/./c/../d", "/a/b/d"}, {"/../a", "/a"}, {"../a", "../a"}, {"a/..", ""}, {"/a/b/..", "/a/"}, {"/a/b/.", "/a/b/"}, {"/a/b/", "/a/b/"}, {"/...", "/..."}, {"/.", "/"}},
		"normalize_path_win":   {{`\a\..\b\\c`, "/b/c"}},
		"remove_comments_char": {{"a/*b*/c--d#e", "abcde"}, {"/-", "/-"}},
		"remove_nulls":         {{"a\x00b", "ab"}},
		"remove_whitespace":    {{" a\t\n\v\f\r\xa0\u00a0b ", "ab"}},
		"replace_comments":     {{"UNION/* x */ALL", "UNION ALL"}, {"a/*b", "a "}, {"a*/b", "a*/b"}, {"/**//**/", "  "}},
		"replace_nulls":        {{"a\x00b", "a b"}},
		"sha256":               {{"a", string(digest256[:])}},
		"sql_hex_decode":       {{"0x414243", "ABC"}, {"x=0X4142 or 1", "x=AB or 1"}, {"0x4", "0x4"}, {"0xZZ", "0xZZ"}, {"0x414", "A4"}},
		"trim":                 {{" \ta b\n", "a b"}},
		"trim_left":            {{" a ", "a "}},
		"trim_right":           {{" a ", " a"}},
		"uppercase":            {{"AbC é", "ABC é"}},
		"url_decode":           {{"a%20b+c%3c", "a b c<"}, {"%zz%4", "%zz%4"}, {"%u0041", "%u0041"}},
		"url_decode_uni":       {{"%u0041%uff1c%3c", "A<<"}, {"%u00", "%u00"}, {"%U0041", "A"}},
		"utf8_to_unicode":      {{"é€", "%u00e9%u20ac"}, {"a\xffb", "a\xffb"}, {"😀", "%u1f600"}},
	}
	for name, cases := range tests {
		do, ok := transformNamed(strings.ToUpper(name))
		if !ok {
			t.Errorf("%s: unknown", name)
			continue
		}
		for _, c := range cases {
			got := c[0]
			if do != nil {
				got = do(got)
			}
			if got != c[1] {
				t.Errorf("%s of %q: got %q, want %q", name, c[0], got, c[1])
			}
		}
	}
	names := transformNames()
	if len(names) != 31 || len(tests) != 31 {
		t.Errorf("got %d transformations and tests of %d, want the 31 of AWS WAF", len(names), len(tests))
	}
	for _, name := range names {
		if tests[name] == nil {
			t.Errorf("%s has no test", name)
		}
	}
}

// FuzzTransformations: each transformation ends, makes no more of a value than it may, and says the same twice.
func FuzzTransformations(f *testing.F) {
	for _, seed := range []string{
		"", "%u%uff%41+", `\x\u00\1\777\`, "&#x&#60;&lt;&lt", "/../..//./a/", "0x0x41", "\xc2\xa0\xa0é\xff", "/*/*/**/--#", "^\r\n\\\\`'\"", "Q===", `\000061 \`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, tr := range transformTable() {
			if tr.do == nil {
				continue
			}
			got := tr.do(s)
			if len(got) > max(3*len(s), sha256.Size) {
				t.Errorf("%s makes %d bytes of %d", tr.name, len(got), len(s))
			}
			if again := tr.do(s); again != got {
				t.Errorf("%s of %q: %q and %q", tr.name, s, got, again)
			}
			if once := slices.Contains([]string{"lowercase", "uppercase", "trim", "remove_nulls", "remove_whitespace", "normalize_path", "replace_nulls", "compress_white_space", "utf8_to_unicode"}, tr.name); once && tr.do(got) != got {
				t.Errorf("%s of %q is %q, and of that %q", tr.name, s, got, tr.do(got))
			}
		}
	})
}
