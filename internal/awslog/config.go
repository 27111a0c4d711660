package awslog

import (
	"fmt"
	"slices"
	"strings"
)

// FormatAWS is the one format that there is.
const FormatAWS = "aws"

// What records say where the file says nothing.
const (
	defaultWebACL = "gatehouse"
	defaultSource = "ALB"
)

// sources are the httpSourceName that AWS has.
func sources() []string {
	return []string{"ALB", "APIGW", "APPRUNNER", "APPSYNC", "CF", "COGNITOIDP", "VERIFIED_ACCESS"}
}

// Config says whether and where the records go. The zero value writes none.
type Config struct {
	// Format is "aws": one record in the form of AWS WAF's logs for each request that a rule matched. Default: none.
	Format string `yaml:"format"`
	// File is a file that the records are appended to; a reload opens it anew, so that it can be rotated. Default: standard
	// output, beside the events.
	File string `yaml:"file"`
	// WebACL is the records' webaclId, such as the ARN that your tools expect; default "gatehouse".
	WebACL string `yaml:"web_acl"`
	// Source is the records' httpSourceName; default "ALB".
	Source string `yaml:"source"`
	// SourceID is the records' httpSourceId, such as 123456789012-app/edge/50dc6c495c0c9188; default "gatehouse".
	SourceID string `yaml:"source_id"`
}

// Validate reports everything that is wrong with c.
func (c Config) Validate(report func(field, msg string)) {
	switch {
	case c.Format == FormatAWS:
	case c.Format != "":
		report("format", fmt.Sprintf("unknown format %q (want aws)", c.Format))
	case c != Config{}:
		report("format", "required (want aws)")
	}
	if c.Source != "" && !slices.Contains(sources(), c.Source) {
		report("source", fmt.Sprintf("unknown source %q (want one of %s)", c.Source, strings.Join(sources(), ", ")))
	}
}
