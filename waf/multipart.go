package waf

import (
	"bytes"
	"mime"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
)

// What a part's headers may be. Browsers send two, of some hundred bytes, and one file name.
const (
	maxPartHead    = 16 << 10
	maxPartHeaders = 32
	maxPartParams  = 16
)

// A form is what a multipart/form-data body says (RFC 7578). Coraza has a reader of its own, which
// writes each uploaded file to a temporary directory; this one reads in place and is stricter.
type form struct {
	parts     []part
	problem   string // why the body has more than one reading; "" if it has one
	duplicate bool   // a header or parameter comes twice
	quoting   bool   // filename* in quotes
	tooMany   bool   // more parts than are inspected: each is an argument or a file name to every rule
	most      int    // parts
}

// A part is one part of a form.
type part struct {
	name      string
	headers   []string // "Name: value"
	filenames []string // every name under which an application may know the file; none for a field
	extended  bool     // has filename*
	file      bool     // has a plain file name, so that every application takes it for a file
	charset   string
	language  string
	content   []byte
	asides    []string // what else its head says: values that no browser sends and some application may read
}

// parseMultipart reads body, which was cut at the body limit if cut, up to so many parts. It never fails: what is wrong is
// in the form's problem.
func parseMultipart(contentType string, body []byte, cut bool, most int) *form {
	f := &form{most: most}
	boundary := boundaryOf(contentType)
	if boundary == "" {
		f.problem = "no usable boundary"
		return f
	}
	delimiter := []byte("--" + boundary)
	if !bytes.HasPrefix(body, delimiter) {
		f.problem = "does not begin with its boundary"
		// Another reader skips to the first boundary; so does this one, to see what comes.
		i := bytes.Index(body, append([]byte("\r\n"), delimiter...))
		if i < 0 {
			return f
		}
		body = body[i+2:]
	}
	f.readParts(body[len(delimiter):], delimiter, cut)
	return f
}

// readParts reads from just behind the first boundary.
func (f *form) readParts(rest, delimiter []byte, cut bool) {
	between := append([]byte("\r\n"), delimiter...)
	for {
		if after, ok := bytes.CutPrefix(rest, []byte("--")); ok {
			if len(bytes.TrimSpace(after)) > 0 && !cut {
				f.problem = "goes on after its end"
			}
			return
		}
		rest = bytes.TrimLeft(rest, " \t")
		after, ok := bytes.CutPrefix(rest, []byte("\r\n"))
		if !ok {
			if !cut || len(rest) > 1 {
				f.problem = "boundary runs into other text"
			}
			return
		}
		if len(f.parts) == f.most {
			f.tooMany = true
			return
		}
		content, next, ended := bytes.Cut(after, between)
		if !ended && !cut {
			f.problem = "has no closing boundary"
		}
		// A line that only ends in LF is a boundary to some readers.
		if bytes.Contains(content, append([]byte("\n"), delimiter...)) || bytes.HasPrefix(content, delimiter) {
			f.problem = "boundary within a part"
		}
		f.parts = append(f.parts, f.readPart(content, cut && !ended))
		if !ended {
			return
		}
		rest = next
	}
}

// readPart reads a part's headers and content.
func (f *form) readPart(b []byte, cut bool) part {
	var p part
	head, content, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if after, none := bytes.CutPrefix(b, []byte("\r\n")); none {
		head, content, ok = nil, after, true
	}
	if !ok && !cut {
		f.problem = "part without the end of its headers"
	}
	p.content = content
	if len(head) > maxPartHead {
		f.problem = "part with long headers"
		head = head[:maxPartHead]
	}
	seen := map[string]bool{}
	for line := range strings.SplitSeq(string(head), "\r\n") {
		if line == "" {
			continue
		}
		if len(p.headers) == maxPartHeaders {
			f.problem = "part with many headers"
			break
		}
		name, value, colon := strings.Cut(line, ":")
		if !colon || !isToken(name) || strings.ContainsAny(line, "\r\n\x00") {
			f.problem = "part header that is none"
		}
		if !colon {
			continue
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		value = strings.TrimSpace(value)
		p.headers = append(p.headers, name+": "+value)
		if seen[name] {
			f.duplicate = true
		}
		seen[name] = true
		switch name {
		case "Content-Disposition":
			f.readDisposition(&p, value)
		case "Content-Type", "Content-Transfer-Encoding", "Content-Length", "Content-Id": // the set reads the first two
		default:
			p.asides = append(p.asides, value)
		}
	}
	return p
}

// readDisposition reads Content-Disposition (RFC 7578 section 4.2, RFC 6266).
func (f *form) readDisposition(p *part, value string) {
	params, ok := splitParams(value)
	if !ok {
		f.problem = "Content-Disposition that cannot be read"
	}
	seen := map[string]bool{}
	for _, q := range params {
		if seen[q.name] {
			f.duplicate = true
		}
		if len(seen) == maxPartParams {
			f.problem = "Content-Disposition with many parameters"
			break
		}
		seen[q.name] = true
		switch {
		case q.name == "name":
			p.name = q.value
		case q.name == "filename":
			p.file = p.file || q.value != ""
			p.addFilename(q.value)
		case q.name == "filename*":
			f.readExtended(p, q)
		case strings.HasPrefix(q.name, "filename*"), strings.HasPrefix(q.name, "name*"):
			// Pieces of a name (RFC 2231 section 3). No browser sends them and few applications put
			// them together.
			f.problem = "file name in pieces"
			p.addFilename(q.value)
		default:
			p.asides = append(p.asides, q.value)
		}
	}
}

// readExtended reads filename*=charset'language'value (RFC 8187 section 3.2). The name in it stands
// beside the plain one: which of them is taken depends on the application.
func (f *form) readExtended(p *part, q param) {
	f.quoting = f.quoting || q.quoted
	pieces := strings.SplitN(q.value, "'", 3)
	if len(pieces) != 3 {
		f.problem = "filename* that cannot be read"
		p.addFilename(q.value)
		return
	}
	p.extended, p.charset, p.language = true, pieces[0], pieces[1]
	name, err := url.PathUnescape(pieces[2])
	if err != nil {
		f.problem = "filename* that cannot be read"
		name = pieces[2]
	}
	p.addFilename(name)
}

func (p *part) addFilename(name string) {
	if name != "" {
		p.filenames = append(p.filenames, name)
	}
}

// trim cuts off the parts behind those whose fields, names and headers come to limit bytes together. It reports
// whether there are some.
func (f *form) trim(limit int) bool {
	total := 0
	for i := range f.parts {
		p := &f.parts[i]
		total += len(p.name)
		for _, h := range p.headers {
			total += len(h)
		}
		if !p.file {
			total += len(p.content)
		}
		if total > limit {
			if over := total - limit; !p.file && over < len(p.content) {
				p.content = p.content[:len(p.content)-over]
				i++
			}
			f.parts = f.parts[:i]
			return true
		}
	}
	return false
}

// feed puts the form into the variables that the rules read.
func (f *form) feed(tx transaction) {
	v := tx.Variables()
	if f.problem != "" || f.duplicate || f.quoting {
		setSingle(v.MultipartStrictError(), "1")
	}
	if f.tooMany {
		setSingle(v.ArgumentsLimitReached(), "1")
	}
	if f.duplicate {
		setSingle(v.MultipartDuplicatePartHeader(), "1")
	}
	if f.quoting {
		setSingle(v.MultipartInvalidQuoting(), "1")
	}
	total := 0
	for _, p := range f.parts {
		total += len(p.content)
		v.MultipartName().Add(p.name, p.name)
		for _, h := range p.headers {
			v.MultipartPartHeaders().Add(p.name, h)
		}
		if p.extended {
			v.MultipartFilenameCharset().Add(p.name, p.charset)
			v.MultipartFilenameLanguage().Add(p.name, p.language)
		}
		if !p.file {
			// RFC 7578 section 4.2 forbids filename* here. Where it stands alone, PHP sees a field and
			// others see a file.
			tx.AddPostRequestArgument(p.name, withoutImage(string(p.content)))
		}
		for _, value := range p.asides {
			tx.AddPostRequestArgument(p.name, value)
		}
		if len(p.filenames) == 0 {
			continue
		}
		for _, name := range p.filenames {
			// Applications show and keep the names of files as they do what people write; the set looks at their ends.
			tx.AddPostRequestArgument(p.name, name)
			v.MultipartFilename().Add(p.name, name)
			v.Files().Add("", name)
			v.FilesSizes().SetIndex(name, 0, strconv.Itoa(len(p.content)))
		}
		v.FilesNames().Add("", p.name)
	}
	setSingle(v.FilesCombinedSize(), strconv.Itoa(total))
}

// boundaryOf is the boundary that a Content-Type names; "" if it names none, or one that RFC 2046
// section 5.1.1 does not allow.
func boundaryOf(contentType string) string {
	_, params, err := mime.ParseMediaType(contentType)
	if err != nil || strings.Contains(strings.ToLower(contentType), "boundary*") {
		return ""
	}
	b := params["boundary"]
	if b == "" || len(b) > 70 || strings.HasSuffix(b, " ") {
		return ""
	}
	for i := range len(b) {
		if !isAlnum(b[i]) && strings.IndexByte("'()+_,-./:=? ", b[i]) < 0 {
			return ""
		}
	}
	return b
}

// A param is one parameter of a header field, its name in lower case, its value without quotes.
type param struct {
	name, value string
	quoted      bool
}

// splitParams reads the parameters behind a field's first value. What cannot be read is left out, and
// ok is false.
func splitParams(s string) (params []param, ok bool) {
	first, rest, _ := cutUnquoted(s)
	ok = isToken(strings.TrimSpace(first))
	for rest != "" {
		var piece string
		var more bool
		piece, rest, more = cutUnquoted(rest)
		name, value, eq := strings.Cut(piece, "=")
		name = strings.ToLower(strings.TrimSpace(name))
		value = strings.TrimSpace(value)
		if !eq && name == "" && !more {
			break // a semicolon at the end
		}
		if !eq || !isToken(name) {
			ok = false
			continue
		}
		plain, quoted, fine := unquote(value)
		ok = ok && fine
		params = append(params, param{name: name, value: plain, quoted: quoted})
	}
	return params, ok
}

// cutUnquoted cuts at the first semicolon outside quotes.
func cutUnquoted(s string) (before, after string, found bool) {
	inQuotes := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && inQuotes:
			i++
		case s[i] == '"':
			inQuotes = !inQuotes
		case s[i] == ';' && !inQuotes:
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// unquote takes a quoted-string apart. Browsers write a backslash in a file name as it is, and a quote
// as %22 (WHATWG form encoding), so a backslash escapes only a quote or another backslash.
func unquote(s string) (value string, quoted, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return s, false, !strings.ContainsAny(s, "\" \t") && !strings.HasPrefix(s, "'") // which PHP takes for a quotation mark
	}
	if len(s) < 2 || !strings.HasSuffix(s, `"`) {
		return strings.Trim(s, `"`), true, false
	}
	inner := s[1 : len(s)-1]
	var b strings.Builder
	ok = true
	for i := 0; i < len(inner); i++ {
		switch {
		case inner[i] == '\\' && i+1 < len(inner) && (inner[i+1] == '"' || inner[i+1] == '\\'):
			i++
			b.WriteByte(inner[i])
		case inner[i] == '"':
			ok = false
		default:
			b.WriteByte(inner[i])
		}
	}
	return b.String(), true, ok
}

func isToken(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
