package proxy

import (
	"fmt"
	"strings"
)

// standardMethod reports the methods that a route without Methods takes.
func standardMethod(m string) bool {
	switch m {
	case "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS":
		return true
	}
	return false
}

// registeredMethod reports the other methods of the IANA HTTP Method Registry that a route may name. CONNECT, TRACE and PRI
// are in the registry too and cannot be named: the first two are refused always, the last is no method.
func registeredMethod(m string) bool {
	switch m {
	case "ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "COPY", "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY",
		"MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE", "MOVE", "ORDERPATCH", "PROPFIND", "PROPPATCH", "QUERY", "REBIND",
		"REPORT", "SEARCH", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE", "UPDATEREDIRECTREF", "VERSION-CONTROL":
		return true
	}
	return false
}

// checkMethod refuses methods that no route can take. Names are case-sensitive (RFC 9110, section 9.1).
func checkMethod(m string) error {
	switch {
	case standardMethod(m), registeredMethod(m):
		return nil
	case m == "CONNECT":
		return errMethodTunnel
	case m == "TRACE":
		return errMethodTrace
	}
	return errMethodUnknown
}

// checkMethodPattern returns what is wrong with a method of a Match.
func checkMethodPattern(m string) error {
	switch {
	case checkMethod(m) == nil:
		return nil
	case m == "CONNECT" || m == "TRACE":
		return fmt.Errorf("method %s is refused on every route", m)
	case checkMethod(strings.ToUpper(m)) == nil:
		return fmt.Errorf("method %q: want it in capitals", m)
	}
	return fmt.Errorf("method %q: want one from the IANA registry, such as %s", m, standardMethods)
}
