package waf

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"gatehouse/waf/payload"
)

// inspectBody reads r's body as far as it is inspected, puts into v what next is to read instead, and
// gives tx the body or the variables made of it. The error is a refusal.
func (e *Engine) inspectBody(tx transaction, in *inspection, r *http.Request, media mediaType, v *verdict) error {
	if media.grpc() && r.ProtoMajor >= 2 {
		// The call may go on for hours in both directions and none of it is text. That it is gRPC and
		// nothing else is checked as it passes.
		v.body = framed(r.Body, e.buffers)
		return nil
	}
	kind := media.kind()
	limit := e.bounds.read(kind)
	if !e.partial && kind != kindOther && r.ContentLength > int64(limit) {
		return e.longer(e.bounds.longerThan(kind, false), tx, v)
	}
	v.turn.pause()
	b, more, err := readBody(r.Body, limit, e.buffers, v.turn)
	v.body, v.begun = b, true
	if err != nil {
		return readFailure(r.Context(), err)
	}
	if err := v.turn.begin(r.Context()); err != nil {
		return readFailure(r.Context(), err)
	}
	inspected := b.bytes()
	if more {
		inspected = inspected[:limit]
		if kind == kindOther && len(r.Trailer) == 0 && isBinary(wholeRunes(inspected)) {
			fieldsIn(inspected, tx.AddPostRequestArgument)
			return nil // as with a shorter one, the rest of it is no text
		}
		if err := e.longer(e.bounds.longerThan(kind, false), tx, v); err != nil {
			return err
		}
	}
	// Trailer fields have come with the end of the body. Some applications take them for headers.
	for name, values := range r.Trailer {
		for _, value := range values {
			tx.AddRequestHeader(name, value)
		}
	}
	f := feeder{e, tx, in, v, more}
	return f.feed(r, media, inspected)
}

// longer is for a body that is longer than is inspected: a refusal, or the word to the rules that they see a part.
func (e *Engine) longer(l *Limited, tx transaction, v *verdict) error {
	if e.reject {
		v.result.Limit, v.result.Status = l.Limit, l.Status
	}
	if !e.partial {
		return l
	}
	setSingle(tx.Variables().InboundDataError(), "1")
	return nil
}

// A feeder gives a transaction a body.
type feeder struct {
	*Engine
	tx  transaction
	in  *inspection // nil if nothing is metered
	v   *verdict
	cut bool // the body goes on
}

// spend charges for n units of work.
func (f *feeder) spend(n int) {
	if f.in != nil {
		f.in.meter.Spend(n)
	}
}

// feed gives the transaction a body, or what it says, in the form in which the application will read it. If
// there may be two such forms, both are inspected.
func (f *feeder) feed(r *http.Request, media mediaType, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	f.spend(len(b) * sniffWork)
	processor := media.processor()
	switch processor {
	case processorMultipart:
		return f.multipart(r.Header.Get("Content-Type"), b)
	case "", processorForm:
		// Many applications read JSON or XML whatever the type says, and curl sends a form's by default.
		if bytes.HasPrefix(b, []byte("\xac\xed\x00\x05")) {
			f.tx.Variables().TX().Set(javaObjectVariable, []string{"1"})
		}
		b = payload.InUTF8(b)
		doc, whole := sniffJSON(b)
		if !whole && payload.BeginsJSON(b) {
			f.spend(len(b) * streamWork)
		}
		switch {
		case doc != nil:
			if processor == processorForm || !whole {
				formPairs(string(b), f.tx.AddPostRequestArgument)
			}
			processor, b = processorJSON, doc
		case processor == "" && looksXML(b):
			processor = processorXML
		case payload.BeginsXML(b) && f.isXML(b):
			if processor == processorForm {
				formPairs(string(b), f.tx.AddPostRequestArgument)
			} else {
				f.text(b)
			}
			processor = processorXML
		case processor == "" && media.binary() && isBinary(b):
			f.spend(bytes.Count(b, []byte("&")) * pairWork)
			fieldsIn(b, f.tx.AddPostRequestArgument)
			return nil
		case processor == "" && media != "":
			f.text(b)
			return nil
		default:
			processor = processorForm
		}
	case processorJSON:
		b = bytes.TrimPrefix(b, payload.BOM())
		if media.lines() {
			b = joinLines(b)
		}
		b = withoutImages(b)
		if f.cut && isCutJSON(b) {
			f.tx.Variables().TX().Set(bodyCutVariable, []string{"1"})
		}
	}
	setSingle(f.tx.Variables().RequestBodyProcessor(), processor)
	switch processor {
	case processorForm:
		f.spend(bytes.Count(b, []byte("&")) * pairWork)
		feedForm(f.tx, string(b))
		return nil
	case processorXML:
		f.xml(b)
		return nil
	case processorJSON:
		// The reader goes through a value once for each level above it.
		f.spend(len(b) * (jsonByteWork + min(depthOf(b), f.bounds.depth)))
	}
	return writeBody(f.tx, b)
}

// text gives the transaction a text that is neither JSON nor XML.
func (f *feeder) text(b []byte) {
	f.spend(bytes.Count(b, []byte("&")) * pairWork)
	textPairs(string(b), f.tx.AddPostRequestArgument)
	setSingle(f.tx.Variables().RequestBody(), string(b))
}

// isXML reports whether b is a document to the end, as a text that only begins with "<" hardly is.
func (f *feeder) isXML(b []byte) bool {
	f.spend(len(b) * xmlByteWork)
	shape := shapeOfXML(b, f.bounds.values, f.bounds.depth)
	f.spend(shape.tokens * xmlTokenWork)
	return shape.whole || shape.tooMany || shape.tooDeep
}

// multipart reads a form in parts. What of its fields goes over the limit is a refusal, or not seen.
func (f *feeder) multipart(contentType string, b []byte) error {
	form := parseMultipart(contentType, b, f.cut, f.bounds.values)
	f.spend(len(form.parts) * partWork)
	if form.trim(f.bounds.bytes[kindMultipart]) {
		if err := f.longer(f.bounds.longerThan(kindMultipart, true), f.tx, f.v); err != nil {
			return err
		}
	}
	form.feed(f.tx)
	return nil
}

// feedForm gives tx a form. Of names that differ in case alone, Coraza's own reader keeps the values of one, and
// chance says of which: an attack in password went by unseen beside harmless values of PASSWORD and passworD.
func feedForm(tx transaction, b string) {
	for pair := range strings.SplitSeq(b, "&") {
		if pair != "" {
			name, value, _ := strings.Cut(pair, "=")
			tx.AddPostRequestArgument(decodeForm(name), withoutImage(decodeForm(value)))
		}
	}
	setSingle(tx.Variables().RequestBody(), b)
	setSingle(tx.Variables().RequestBodyLength(), strconv.Itoa(len(b)))
}

// The variables in TX by which the connector tells rules of ours what it has found.
const (
	bodyCutVariable    = "gatehouse_body_cut"
	docTypeVariable    = "gatehouse_xml_dtd"
	javaObjectVariable = "gatehouse_java_object"
)

// xml reads a document, unless it has more values, or is nested more deeply, than is inspected.
func (f *feeder) xml(b []byte) {
	v := f.tx.Variables()
	if definesDocType(b) {
		v.TX().Set(docTypeVariable, []string{"1"})
	}
	if !payload.BeginsXML(b) {
		// To the reader that is one text, and JSON's escapes mean nothing in it.
		setSingle(v.RequestBodyError(), "1")
		return
	}
	f.spend(len(b) * xmlByteWork)
	shape := shapeOfXML(b, f.bounds.values, f.bounds.depth)
	f.spend(shape.tokens * xmlTokenWork)
	switch {
	case shape.tooMany:
		setSingle(v.ArgumentsLimitReached(), "1")
		return
	case shape.tooDeep:
		setSingle(v.RequestBodyError(), "1")
		return
	case shape.broken, !f.cut && !shape.whole:
		setSingle(v.RequestBodyError(), "1")
	}
	v.RequestXML().Set("//@*", shape.attributes)
	v.RequestXML().Set("/*", shape.texts)
}

// writeBody gives tx a body to process by itself.
func writeBody(tx transaction, b []byte) error {
	it, n, err := tx.WriteRequestBody(b)
	if err == nil && n != len(b) {
		err = fmt.Errorf("took %d of %d bytes", n, len(b))
	}
	if err == nil && it != nil {
		err = fmt.Errorf("interrupted by rule %d before the body was read", it.RuleID)
	}
	if err != nil {
		return &Failure{Reason: "engine failed", Status: http.StatusInternalServerError, Err: err}
	}
	return nil
}
