// Package waf inspects requests with Coraza and the OWASP Core Rule Set and refuses attacks.
package waf
