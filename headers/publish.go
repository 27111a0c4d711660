package headers

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// A document is a prepared answer of the key endpoint.
type document struct {
	contentType string
	body        []byte
}

// Keys returns the endpoint where verifiers find the public keys: PEM at /{kid} as AWS has it, and
// a JWKS (RFC 7517) at /jwks.json and /.well-known/jwks.json. A caller that mounts it below a prefix
// strips the prefix (http.StripPrefix). Everything else is a 404; nothing of the request is echoed.
func (a *Assertion) Keys() http.Handler {
	documents := make(map[string]document, len(a.keys)+2)
	for _, key := range a.keys {
		documents["/"+key.kid] = document{"text/plain; charset=utf-8", key.pem}
	}
	set := document{"application/json", keySet(a.keys)}
	documents["/jwks.json"] = set
	documents["/.well-known/jwks.json"] = set

	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		doc, ok := documents[r.URL.Path]
		if !ok {
			// A key may be published a moment later: its absence must not be remembered.
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "unknown key", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", doc.contentType)
		w.Header().Set("Content-Length", strconv.Itoa(len(doc.body)))
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.Method == http.MethodGet {
			_, _ = w.Write(doc.body) // the client is gone; there is nobody to tell
		}
	})
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

func keySet(keys []*signingKey) []byte {
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
