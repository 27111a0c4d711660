// Package awslog writes what the WAF found in the form of AWS WAF's log records, for tools that read those.
package awslog
