package headers

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// A document is a prepared answer of the key endpoint.
type document struct {
	contentType string
	body        []byte
	etag        string
}

// cacheKeys lets verifiers keep what they fetched for KeyCacheTime.
const cacheKeys = "public, max-age=3600"

// documents are what the key endpoint answers, by path.
func documents(keys []*signingKey) map[string]document {
	prepare := func(contentType string, body []byte) document {
		sum := sha256.Sum256(body)
		return document{contentType, body, fmt.Sprintf(`"%x"`, sum[:16])}
	}
	documents := make(map[string]document, len(keys)+2)
	for _, key := range keys {
		documents["/"+key.kid] = prepare("text/plain; charset=utf-8", key.pem)
	}
	set := prepare("application/json", jwks(keys))
	documents["/jwks.json"] = set
	documents["/.well-known/jwks.json"] = set
	return documents
}

// Keys returns the endpoint where verifiers find the public keys: PEM at /{kid} as AWS has it, and
// a JWKS (RFC 7517) at /jwks.json and /.well-known/jwks.json. A caller that mounts it below a prefix
// strips the prefix (http.StripPrefix). Everything else is a 404; nothing of the request is echoed.
func (a *Assertion) Keys() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			refuseKey(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		set, err := a.source.KeysAt(a.now())
		if err != nil {
			refuseKey(w, "keys are not available", http.StatusServiceUnavailable)
			return
		}
		doc, ok := set.documents[r.URL.Path]
		if !ok {
			refuseKey(w, "unknown key", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", doc.contentType)
		w.Header().Set("Cache-Control", cacheKeys)
		w.Header().Set("ETag", doc.etag)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(doc.body))
	})
}

// refuseKey answers with an error that nobody may remember: a key may be published a moment later.
func refuseKey(w http.ResponseWriter, text string, status int) {
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, text, status)
}

// jwk is a public key of RFC 7517 and RFC 7518, section 6.2.
type jwk struct {
	Type      string `json:"kty"`
	Curve     string `json:"crv"`
	X         string `json:"x"`
	Y         string `json:"y"`
	ID        string `json:"kid"`
	Algorithm string `json:"alg"`
	Use       string `json:"use"`
}

// jwks is the key set as a document.
func jwks(keys []*signingKey) []byte {
	set := struct {
		Keys []jwk `json:"keys"`
	}{}
	for _, key := range keys {
		x, y := key.point[1:33], key.point[33:65]
		set.Keys = append(set.Keys, jwk{
			Type: "EC", Curve: "P-256",
			X:  base64.RawURLEncoding.EncodeToString(x),
			Y:  base64.RawURLEncoding.EncodeToString(y),
			ID: key.kid, Algorithm: "ES256", Use: "sig",
		})
	}
	body, err := json.Marshal(set)
	if err != nil { // strings always encode
		panic(fmt.Sprintf("headers: encode the key set: %v", err))
	}
	return body
}
