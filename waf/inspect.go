package waf

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// inspectBody reads r's body as far as it is inspected, puts into v what next is to read instead, and
// gives tx the body or the variables made of it. The error is a refusal.
func (e *Engine) inspectBody(tx transaction, r *http.Request, media mediaType, v *verdict) error {
	if media.grpc() && r.ProtoMajor >= 2 {
		// The call may go on for hours in both directions and none of it is text. That it is gRPC and
		// nothing else is checked as it passes.
		v.body = newFramed(r.Body, e.buffers)
		return nil
	}
	if !e.partial && r.ContentLength > int64(e.bodyLimit) {
		return tooLarge()
	}
	b, more, err := readBody(r.Body, e.bodyLimit, e.buffers)
	v.body = b
	if err != nil {
		return readFailure(r.Context(), err)
	}
	if more && !e.partial {
		return tooLarge()
	}
	inspected := b.bytes()
	if more {
		inspected = inspected[:e.bodyLimit]
		setSingle(tx.Variables().InboundDataError(), "1")
		if e.reject {
			v.result.Status = http.StatusRequestEntityTooLarge // counting: what block mode would do
		}
	}
	// Trailer fields have come with the end of the body. Some applications take them for headers.
	for name, values := range r.Trailer {
		for _, value := range values {
			tx.AddRequestHeader(name, value)
		}
	}
	return feedBody(tx, r, media, inspected, more)
}

// feedBody gives tx a body, or what it says, in the form in which the application will read it. If
// there may be two such forms, both are inspected.
func feedBody(tx transaction, r *http.Request, media mediaType, b []byte, cut bool) error {
	if len(b) == 0 {
		return nil
	}
	processor := media.processor()
	switch processor {
	case processorMultipart:
		parseMultipart(r.Header.Get("Content-Type"), b, cut).feed(tx)
		return nil
	case "", processorForm:
		// Many applications read JSON whatever the type says, and curl sends a form's by default.
		doc, whole := sniffJSON(b)
		switch {
		case doc != nil:
			if processor == processorForm || !whole {
				formPairs(string(b), tx.AddPostRequestArgument)
			}
			processor, b = processorJSON, doc
		case processor == "" && looksXML(b):
			processor = processorXML
		case processor == "" && media.binary() && isBinary(b):
			return nil
		case processor == "" && media != "":
			textPairs(string(b), tx.AddPostRequestArgument)
			setSingle(tx.Variables().RequestBody(), string(b))
			return nil
		default:
			processor = processorForm
		}
	case processorJSON:
		b = bytes.TrimPrefix(b, utf8BOM())
		if media.lines() {
			b = joinLines(b)
		}
		if cut && isCutJSON(b) {
			tx.Variables().TX().Set(bodyCutVariable, []string{"1"})
		}
	}
	setSingle(tx.Variables().RequestBodyProcessor(), processor)
	switch processor {
	case processorForm:
		feedForm(tx, string(b))
		return nil
	case processorXML:
		checkXML(tx, b, cut)
	}
	return writeBody(tx, b)
}

// feedForm gives tx a form. Of names that differ in case alone, Coraza's own reader keeps the values of one, and
// chance says of which: an attack in password went by unseen beside harmless values of PASSWORD and passworD.
func feedForm(tx transaction, b string) {
	for pair := range strings.SplitSeq(b, "&") {
		if pair != "" {
			name, value, _ := strings.Cut(pair, "=")
			tx.AddPostRequestArgument(decodeForm(name), decodeForm(value))
		}
	}
	setSingle(tx.Variables().RequestBody(), b)
	setSingle(tx.Variables().RequestBodyLength(), strconv.Itoa(len(b)))
}

// The variables in TX by which the connector tells rules of ours what it has found.
const (
	bodyCutVariable = "gatehouse_body_cut"
	docTypeVariable = "gatehouse_xml_dtd"
)

// checkXML tells the rules what Coraza's XML reader does not.
func checkXML(tx transaction, b []byte, cut bool) {
	if definesDocType(b) {
		tx.Variables().TX().Set(docTypeVariable, []string{"1"})
	}
	if !cut && !isWholeXML(b) {
		setSingle(tx.Variables().RequestBodyError(), "1")
	}
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
