package clientcert

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// The headers of ALB (ELB user guide, "Mutual authentication"). headers.NewStripper deletes them from every request.
const (
	headerChain    = "X-Amzn-Mtls-Clientcert" // passthrough
	headerSerial   = "X-Amzn-Mtls-Clientcert-Serial-Number"
	headerIssuer   = "X-Amzn-Mtls-Clientcert-Issuer"
	headerSubject  = "X-Amzn-Mtls-Clientcert-Subject"
	headerValidity = "X-Amzn-Mtls-Clientcert-Validity"
	headerLeaf     = "X-Amzn-Mtls-Clientcert-Leaf"
)

// A Certificate is what is known of the one that a client proved to have. It is immutable.
type Certificate struct {
	// Verified says that the trust store vouches for all else here. Without it there is nothing but headers.
	Verified bool
	Subject  string // RFC 4514, in printable ASCII
	Issuer   string // the same
	Serial   string // hexadecimal, in upper case
	// Names are what the certificate is for: the DNS names, URIs and e-mail addresses of its subjectAltName, and its subject.
	Names []string

	fields map[string][]string
}

// Set tells an upstream of the certificate. The values are shared: nobody may change them in place.
func (c *Certificate) Set(out http.Header) {
	for name, values := range c.fields {
		out[name] = values
	}
}

// verified describes a certificate that was verified.
func verified(leaf *x509.Certificate) *Certificate {
	c := &Certificate{
		Verified: true, Subject: distinguished(leaf.RawSubject), Issuer: distinguished(leaf.RawIssuer), Serial: serial(leaf),
	}
	c.Names = names(leaf, c.Subject)
	c.fields = map[string][]string{
		headerSerial:  {c.Serial},
		headerIssuer:  {c.Issuer},
		headerSubject: {c.Subject},
		headerValidity: {fmt.Sprintf("NotBefore=%s;NotAfter=%s",
			leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))},
		headerLeaf: {escapedPEM(leaf)},
	}
	return c
}

// names are what a certificate is for. One that could be taken for a name of another kind is left out: an authority that lets its
// clients choose an address for their mail has not let them choose a subject.
func names(leaf *x509.Certificate, subject string) (names []string) {
	for _, name := range leaf.DNSNames {
		if !strings.ContainsAny(name, "@:=/") {
			names = append(names, name)
		}
	}
	for _, name := range leaf.EmailAddresses {
		if strings.Contains(name, "@") && !strings.ContainsAny(name, ":=") {
			names = append(names, name)
		}
	}
	for _, uri := range leaf.URIs {
		if uri.IsAbs() {
			names = append(names, uri.String())
		}
	}
	if subject != "" {
		names = append(names, subject)
	}
	return names
}

// passed describes a chain that was not verified.
func passed(chain []*x509.Certificate) *Certificate {
	return &Certificate{fields: map[string][]string{headerChain: {escapedPEM(chain...)}}}
}

func serial(leaf *x509.Certificate) string {
	b := leaf.SerialNumber.Bytes()
	if len(b) == 0 {
		b = []byte{0}
	}
	return strings.ToUpper(hex.EncodeToString(b))
}

// distinguished writes a name as RFC 4514 has it, which is from its end to its beginning. Bytes that a header cannot hold, a blank at
// its end among them, or that readers could take for more than text, are escaped (section 2.4).
func distinguished(raw []byte) string {
	var name pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &name); err != nil || len(rest) > 0 {
		return "" // crypto/x509 has parsed it
	}
	plain := name.String()
	var b strings.Builder
	for i := range len(plain) {
		if c := plain[i]; c < ' ' || c > '~' {
			fmt.Fprintf(&b, `\%02X`, c)
		} else {
			b.WriteByte(c)
		}
	}
	if text, blank := strings.CutSuffix(b.String(), `\ `); blank {
		return text + `\20`
	}
	return b.String()
}

// escapedPEM is certificates as ALB writes them: PEM, with all bytes percent-encoded but unreserved ones (RFC 3986) and "+", "=" and "/".
func escapedPEM(chain ...*x509.Certificate) string {
	var b strings.Builder
	for _, cert := range chain {
		for _, c := range pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}) {
			switch {
			case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~+=/", c) >= 0:
				b.WriteByte(c)
			default:
				fmt.Fprintf(&b, "%%%02X", c)
			}
		}
	}
	return b.String()
}
