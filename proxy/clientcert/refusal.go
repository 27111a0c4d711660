package clientcert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"time"
)

// Reasons of refusals, as ALB's connection logs have them.
const (
	ReasonDepth     = "ClientCertMaxChainDepthExceeded"
	ReasonSize      = "ClientCertMaxSizeExceeded"
	ReasonRevoked   = "ClientCertCrlHit"
	ReasonList      = "ClientCertCrlProcessingError"
	ReasonUntrusted = "ClientCertUntrusted"
	ReasonEarly     = "ClientCertNotYetValid"
	ReasonExpired   = "ClientCertExpired"
	ReasonType      = "ClientCertTypeUnsupported"
	ReasonInvalid   = "ClientCertInvalid"
	ReasonPurpose   = "ClientCertPurposeInvalid"
)

// A Refusal is a certificate that is not taken.
type Refusal struct {
	Reason string // one of the constants
	Err    error
}

func (e *Refusal) Error() string { return "client certificate: " + e.Reason + ": " + e.Err.Error() }

func (e *Refusal) Unwrap() error { return e.Err }

// HTTPStatus is that of a request on a connection whose certificate has been refused since the handshake.
func (e *Refusal) HTTPStatus() int { return http.StatusForbidden }

// A Misdirected is a request on a connection that was not asked for the certificate that its host wants. A client that sends it
// again on a new connection is asked (RFC 9110 section 15.5.20).
type Misdirected struct{}

func (*Misdirected) Error() string {
	return "client certificate: the connection has none for this host"
}

// HTTPStatus is 421.
func (*Misdirected) HTTPStatus() int { return http.StatusMisdirectedRequest }

// A NameError is a good certificate that is none of those that a route lets in.
type NameError struct{}

func (*NameError) Error() string {
	return "client certificate: none of the names that the route lets in"
}

// HTTPStatus is 403.
func (*NameError) HTTPStatus() int { return http.StatusForbidden }

// ReasonOf returns why a handshake failed, if that was because of the client's certificate, and "" otherwise.
func ReasonOf(err error) string {
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return refusal.Reason
	}
	if failed, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return reasonOf(failed.Err, time.Now())
	}
	return ""
}

// reasonOf is the reason of an error of crypto/x509.
func reasonOf(err error, now time.Time) string {
	if errors.As(err, new(x509.UnknownAuthorityError)) {
		return ReasonUntrusted
	}
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case !ok:
	case invalid.Reason == x509.Expired && now.Before(invalid.Cert.NotBefore):
		return ReasonEarly
	case invalid.Reason == x509.Expired:
		return ReasonExpired
	case invalid.Reason == x509.IncompatibleUsage:
		return ReasonPurpose
	case invalid.Reason == x509.TooManyIntermediates:
		return ReasonDepth
	}
	return ReasonInvalid
}
