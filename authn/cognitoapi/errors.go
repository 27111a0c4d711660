package cognitoapi

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// Types of the API's errors that a [Proxy] answers by itself.
const (
	typeInvalid      = "InvalidParameterException"
	typeSerializing  = "SerializationException"
	typeUnknown      = "UnknownOperationException"
	typeNoResource   = "ResourceNotFoundException"
	typeDenied       = "AccessDeniedException"
	typeTooLarge     = "RequestEntityTooLargeException"
	typeMethod       = "MethodNotAllowedException"
	typeInternal     = "InternalErrorException"
	typeUnauthorised = "NotAuthorizedException"
)

// Error is a refusal or a failure of a [Proxy]. Its text is for the log and never holds a secret, nor anything that the client
// sent; what the client reads is Type and a sentence.
type Error struct {
	Type   string // the __type of the answer
	Status int

	public string
	err    error
}

// Error returns the cause.
func (e *Error) Error() string { return "cognito api: " + e.err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.err }

// HTTPStatus returns the status that the client gets.
func (e *Error) HTTPStatus() int { return e.Status }

// refuse is the client's fault, and says the same to it and to the log.
func refuse(kind, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Type: kind, Status: http.StatusBadRequest, public: err.Error(), err: err}
}

// fail is a failure of the pool or of this program; the client learns only that there was one.
func fail(status int, format string, args ...any) *Error {
	return &Error{Type: typeInternal, Status: status, public: "The user pool cannot be reached at the moment.", err: fmt.Errorf(format, args...)}
}

// body is the error in the API's shape.
func (e *Error) body() []byte {
	raw, err := json.Marshal(struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
	}{e.Type, e.public})
	if err != nil { // two strings always marshal
		return []byte(`{"__type":"InternalErrorException"}`)
	}
	return raw
}
