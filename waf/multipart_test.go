package waf

import (
	"bytes"
	"mime/multipart"
	"net/textproto"
	"slices"
	"strings"
	"testing"
)

func TestMultipartWithOneReading(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	if err := w.WriteField("title", "It's\r\n--not a boundary\r\n"); err != nil {
		t.Fatal(err)
	}
	h := textproto.MIMEHeader{}
	h.Set("Content-Disposition", `form-data; name="file"; filename="a \"quoted\"; name.jpg"`)
	h.Set("Content-Type", "image/jpeg")
	p, err := w.CreatePart(h)
	if err != nil {
		t.Fatal(err)
	}
	content := bytes.Repeat([]byte{0, '\n', '\r', '-', '-'}, 1000)
	if _, err := p.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.WriteField("empty", ""); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f := parseMultipart(w.FormDataContentType(), b.Bytes(), false, defaultValues)
	if f.problem != "" || f.duplicate || f.quoting || len(f.parts) != 3 {
		t.Fatalf("got %d parts, problem %q, want 3 and none", len(f.parts), f.problem)
	}
	if got := f.parts[0]; got.name != "title" || string(got.content) != "It's\r\n--not a boundary\r\n" || got.filenames != nil {
		t.Errorf("field: got %+v", got)
	}
	if got := f.parts[1]; got.name != "file" || !bytes.Equal(got.content, content) || !slices.Equal(got.filenames, []string{`a "quoted"; name.jpg`}) {
		t.Errorf("file: got name %q, files %q, %d bytes", got.name, got.filenames, len(got.content))
	}
	if got := f.parts[2]; got.name != "empty" || len(got.content) != 0 {
		t.Errorf("empty: got %+v", got)
	}
}

// Each of these is read in two ways by applications that are in use.
func TestMultipartWithMoreReadingsHasAProblem(t *testing.T) {
	t.Parallel()
	const head = "Content-Disposition: form-data; name=\"a\""
	one := multipartBody(head + "\r\n\r\nx")
	for name, tt := range map[string]struct{ kind, body string }{
		"no boundary":              {"multipart/form-data", one},
		"empty boundary":           {`multipart/form-data; boundary=""`, one},
		"two boundaries":           {"multipart/form-data; boundary=XyZ; boundary=ABC", one},
		"boundary in pieces":       {"multipart/form-data; boundary*0=Xy; boundary*1=Z", one},
		"boundary of odd bytes":    {`multipart/form-data; boundary="X;Z"`, strings.ReplaceAll(one, "XyZ", "X;Z")},
		"long boundary":            {"multipart/form-data; boundary=" + strings.Repeat("X", 71), strings.ReplaceAll(one, "XyZ", strings.Repeat("X", 71))},
		"text before":              {multipartType, "hello\r\n" + one},
		"text after":               {multipartType, one + "--XyZ\r\n" + head + "\r\n\r\ny\r\n--XyZ--\r\n"},
		"no end":                   {multipartType, strings.TrimSuffix(one, "--XyZ--\r\n")},
		"end without dashes":       {multipartType, strings.TrimSuffix(one, "--\r\n") + "\r\n"},
		"bare line feeds":          {multipartType, strings.ReplaceAll(one, "\r\n", "\n")},
		"boundary after bare LF":   {multipartType, multipartBody(head + "\r\n\r\nx\n--XyZ\n" + head + "\n\ny")},
		"boundary with a tail":     {multipartType, multipartBody(head + "\r\n\r\nx\r\n--XyZA\r\n" + head + "\r\n\r\ny")},
		"headers without an end":   {multipartType, multipartBody(head)},
		"folded header":            {multipartType, multipartBody("Content-Disposition: form-data;\r\n name=\"a\"\r\n\r\nx")},
		"blank before the colon":   {multipartType, multipartBody("Content-Disposition : form-data; name=\"a\"\r\n\r\nx")},
		"NUL in a header":          {multipartType, multipartBody("Content-Disposition: form-data; name=\"a\x00b\"\r\n\r\nx")},
		"quotes left open":         {multipartType, multipartBody("Content-Disposition: form-data; name=\"a\r\n\r\nx")},
		"text behind the quotes":   {multipartType, multipartBody("Content-Disposition: form-data; name=\"a\"b\r\n\r\nx")},
		"value with blanks":        {multipartType, multipartBody("Content-Disposition: form-data; name=a; filename=a b.php\r\n\r\nx")},
		"file name in pieces":      {multipartType, multipartBody("Content-Disposition: form-data; name=\"a\"; filename*0=\"a.\"; filename*1=\"php\"\r\n\r\nx")},
		"filename* without quotes": {multipartType, multipartBody("Content-Disposition: form-data; name=\"a\"; filename*=a.php\r\n\r\nx")},
		"filename* badly escaped":  {multipartType, multipartBody("Content-Disposition: form-data; name=\"a\"; filename*=utf-8''a%zz.php\r\n\r\nx")},
	} {
		if f := parseMultipart(tt.kind, []byte(tt.body), false, defaultValues); f.problem == "" {
			t.Errorf("%s: got %+v, want a problem", name, f.parts)
		}
	}
	for name, body := range map[string]string{
		"header":    multipartBody(head + "\r\n" + head + "\r\n\r\nx"),
		"parameter": multipartBody(head + "; filename=\"a\"; filename=\"b\"\r\n\r\nx"),
	} {
		if f := parseMultipart(multipartType, []byte(body), false, defaultValues); !f.duplicate {
			t.Errorf("%s twice: got no duplicate", name)
		}
	}
	quoted := multipartBody(head + "; filename*=\"utf-8''a.php\"\r\n\r\nx")
	if f := parseMultipart(multipartType, []byte(quoted), false, defaultValues); !f.quoting || !slices.Equal(f.parts[0].filenames, []string{"a.php"}) {
		t.Errorf("filename* in quotes: got quoting %v, %+v", f.quoting, f.parts)
	}
}

func TestMultipartOfTooManyParts(t *testing.T) {
	t.Parallel()
	e := newTestEngine(t, Config{Groups: []string{"php"}}, "")
	part := "Content-Disposition: form-data; name=\"f\"; filename=\"a.jpg\"\r\n\r\nx"
	body := multipartBody(slices.Repeat([]string{part}, defaultValues+1)...)
	v := e.check(sample{header: map[string]string{"Content-Type": multipartType}, body: body}.request())
	defer v.body.release()
	if got := verdictOf(v); got != 400 || v.result.Cause != 200005 {
		t.Errorf("got %d by rule %d, want 400 by 200005", got, v.result.Cause)
	}
}

// Whatever the reader of the standard library finds in a body without a problem, this one has found.
func FuzzMultipart(f *testing.F) {
	f.Add(multipartBody("Content-Disposition: form-data; name=\"a\"; filename=\"b\"\r\n\r\nx"))
	f.Add("--XyZ\r\n\r\n\r\n--XyZ--")
	f.Add("--XyZ \t\r\nContent-Disposition: form-data; name=a; filename*=utf-8''%41\r\n\r\n\r\n--XyZ--\r\n")
	f.Fuzz(func(t *testing.T, body string) {
		parseMultipart(multipartType, []byte(body), true, defaultValues)
		form := parseMultipart(multipartType, []byte(body), false, defaultValues)
		if form.problem != "" || form.duplicate || form.quoting || form.tooMany {
			return
		}
		r := multipart.NewReader(strings.NewReader(body), "XyZ")
		for i := 0; ; i++ {
			p, err := r.NextRawPart()
			if err != nil {
				if i != len(form.parts) {
					t.Fatalf("parts: got %d, want %d (%v)", len(form.parts), i, err)
				}
				return
			}
			if i >= len(form.parts) {
				t.Fatalf("parts: got %d, want more", len(form.parts))
			}
			var content bytes.Buffer
			if _, err := content.ReadFrom(p); err != nil {
				t.Fatalf("part %d: %v", i, err)
			}
			if got := form.parts[i]; !bytes.Equal(got.content, content.Bytes()) {
				t.Fatalf("part %d: got %q, want %q", i, got.content, content.Bytes())
			}
		}
	})
}
