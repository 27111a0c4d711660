// Package acl decides about requests by rules that an operator writes without knowing the rule engine's language, as the web
// ACLs of AWS WAF have them.
package acl
