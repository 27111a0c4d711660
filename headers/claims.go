package headers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/authn/identity"
)

// maxClaims bounds the object that is signed. ALB refuses user claims of more than 11 KB; twice
// that in base64 still fits the header limits of common application servers.
const maxClaims = 16 << 10

// A member is one member of the claims object.
type member struct {
	name  string
	text  []byte // from the separator before it to the one after it, blanks included
	value json.RawMessage
}

// parseMembers splits a JSON object into its members without changing a byte of them. It refuses
// what two readers may read differently: a name that stands twice (RFC 7519, section 4), and a name
// that only a reader who ignores case takes for sub, iss, exp or aud, as encoding/json does.
func parseMembers(object []byte) ([]member, error) {
	switch {
	case len(object) == 0:
		return nil, errors.New("claims: want a JSON object, got nothing")
	case len(object) > maxClaims:
		return nil, fmt.Errorf("claims: want at most %d bytes, got %d", maxClaims, len(object))
	case !utf8.Valid(object):
		return nil, errors.New("claims: want UTF-8, got other bytes")
	}
	decoder := json.NewDecoder(bytes.NewReader(object))
	if open, err := decoder.Token(); err != nil || open != json.Delim('{') {
		return nil, errors.New("claims: want a JSON object, got something else")
	}
	var members []member
	seen := make(map[string]bool)
	start := int(decoder.InputOffset())
	for decoder.More() {
		var m member
		name, err := decoder.Token()
		if err != nil {
			return nil, notJSON(decoder)
		}
		m.name, _ = name.(string)
		if err := decoder.Decode(&m.value); err != nil {
			return nil, notJSON(decoder)
		}
		end := int(decoder.InputOffset())
		end += len(object[end:]) - len(bytes.TrimLeft(object[end:], " \t\r\n"))
		m.text = object[start:end]
		start = end + 1
		if seen[m.name] {
			return nil, fmt.Errorf("claims: the member %q stands twice", m.name)
		}
		if registered := resembles(m.name); registered != "" {
			return nil, fmt.Errorf("claims: the member %q may be read as %q", m.name, registered)
		}
		seen[m.name] = true
		members = append(members, m)
	}
	if _, err := decoder.Token(); err != nil {
		return nil, notJSON(decoder)
	}
	if _, err := decoder.Token(); err != io.EOF { //nolint:errorlint // Token returns io.EOF itself
		return nil, errors.New("claims: something follows the JSON object")
	}
	return members, nil
}

func notJSON(decoder *json.Decoder) error {
	return fmt.Errorf("claims: not valid JSON after byte %d", decoder.InputOffset())
}

// resembles returns the registered claim that name is another spelling of, or "".
func resembles(name string) string {
	for _, registered := range [...]string{"sub", "iss", "exp", "aud"} {
		if name != registered && strings.EqualFold(name, registered) {
			return registered
		}
	}
	return ""
}

// checkSubject refuses claims that speak of somebody else than the identity does.
func checkSubject(members []member, subject string) error {
	value, ok := find(members, "sub")
	if !ok {
		return errors.New("claims: want the member \"sub\", found none")
	}
	var sub string
	if err := json.Unmarshal(value, &sub); err != nil || sub != subject {
		return errors.New("claims: \"sub\" is not the identity's subject")
	}
	return nil
}

func find(members []member, name string) (json.RawMessage, bool) {
	for _, m := range members {
		if m.name == name {
			return m.value, true
		}
	}
	return nil, false
}

// claimValue returns what the header of a mapped claim says: strings as they are, numbers and
// booleans as JSON has them, lists with commas between. It is "" when the claim is absent, null or
// empty, and an error when the value could be read as something else than it is.
func claimValue(claim string, members []member, id *identity.Identity) (string, error) {
	raw, ok := find(members, claim)
	if !ok {
		return identityValue(claim, id)
	}
	value, err := rawValue(raw)
	if err != nil {
		return "", fmt.Errorf("claim %q: %w", claim, err)
	}
	return value, nil
}

// identityValue returns a claim that the userinfo answer of some providers lacks although the
// login knows it: Cognito's groups and user name are only in its tokens.
func identityValue(claim string, id *identity.Identity) (value string, err error) {
	switch claim {
	case "cognito:groups", "groups":
		value, err = joinList(id.Groups)
	case "cognito:username", "username", "preferred_username":
		value, err = id.Username, checkText(id.Username)
	case "email":
		value, err = id.Email, checkText(id.Email)
	case "scope":
		value = strings.Join(id.Scopes, " ")
		err = checkText(value)
	}
	if err != nil {
		return "", fmt.Errorf("claim %q: %w", claim, err)
	}
	return value, nil
}

func rawValue(raw json.RawMessage) (string, error) {
	switch raw[0] {
	case 'n': // null
		return "", nil
	case '"':
		text, err := decodeText(raw)
		if err != nil {
			return "", err
		}
		return text, checkText(text)
	case '[':
		var elements []json.RawMessage
		if err := json.Unmarshal(raw, &elements); err != nil {
			return "", errors.New("not valid JSON")
		}
		list := make([]string, 0, len(elements))
		for _, element := range elements {
			if element[0] == '[' || element[0] == '{' || element[0] == 'n' {
				return "", errors.New("want a list of strings, numbers or booleans")
			}
			text, err := rawValue(element)
			if err != nil {
				return "", err
			}
			list = append(list, text)
		}
		return joinList(list)
	case '{':
		return "", errors.New("want a string, a number, a boolean or a list of them, got an object")
	default:
		return string(raw), nil
	}
}

func decodeText(raw json.RawMessage) (text string, err error) {
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", errors.New("not valid JSON")
	}
	return text, nil
}

func joinList(list []string) (string, error) {
	for _, element := range list {
		if element == "" || strings.Contains(element, ",") {
			return "", errors.New("an element is empty or has a comma, so that the list could be read in two ways")
		}
		if err := checkText(element); err != nil {
			return "", err
		}
	}
	return strings.Join(list, ","), nil
}

// checkText refuses what a header cannot carry unchanged. Text beyond ASCII goes out as the bytes
// of its UTF-8, as oauth2-proxy, nginx and Caddy send it (RFC 9110, section 5.5, calls it obs-text).
func checkText(text string) error {
	if strings.ContainsFunc(text, unicode.IsControl) {
		return errors.New("has a control character")
	}
	if text != strings.TrimSpace(text) {
		return errors.New("has a blank at an end, which a header loses")
	}
	return nil
}
