package configs

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"gatehouse/authn"
	"gatehouse/authn/cognitoapi"
	"gatehouse/headers"
	"gatehouse/internal/awslog"
	"gatehouse/proxy/cache"
	"gatehouse/proxy/certs"
	"gatehouse/proxy/clientcert"
	"gatehouse/proxy/compress"
	"gatehouse/proxy/origin"
	"gatehouse/proxy/ratelimit"
	"gatehouse/proxy/upstream"
	"gatehouse/waf"
)

// fields maps the yaml name of a struct's field to its index.
type fields map[string]int

func fieldNames(t reflect.Type) fields {
	names := fields{}
	for i := range t.NumField() {
		if name := yamlName(t.Field(i)); name != "" {
			names[name] = i
		}
	}
	return names
}

// yamlName returns the name of a field in the file, or "" for one that the file cannot set.
func yamlName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if !f.IsExported() || name == "-" {
		return ""
	}
	return name
}

func (f fields) sorted() []string { return slices.Sorted(maps.Keys(f)) }

// accepted returns the values that a text field takes, or nil where it takes any. The packages that
// own the fields check them too; a test holds the two equal. They stand here for "did you mean",
// and for completion in editors.
func accepted(t reflect.Type, key string) []string {
	switch reflect.Zero(t).Interface().(type) {
	case Config, Route:
		if key == "compat" {
			if t == reflect.TypeFor[Route]() {
				return []string{"aws", "api-gateway", "api-gateway-rest", "off"}
			}
			return []string{"aws"}
		}
	case ProxyProtocol:
		if key == "others" {
			return []string{OthersRefuse, OthersDirect}
		}
	case waf.Config:
		switch key {
		case "mode":
			return []string{"block", "count", "off"}
		case "body":
			return []string{"inspect", "headers"}
		case "oversize":
			return []string{"reject", "partial"}
		}
	case awslog.Config:
		if key == "format" {
			return []string{awslog.FormatAWS}
		}
	case headers.SecurityConfig:
		if key == "preset" {
			return []string{"strict", "aws-managed", "off"}
		}
	case headers.AssertionConfig:
		switch key {
		case "padding":
			return []string{"padded", "unpadded"}
		case "access_token":
			return []string{"send", "omit"}
		case "source":
			return []string{"secret", "fleet", "instance"}
		}
	case ratelimit.Config:
		switch key {
		case "by":
			return []string{"address", "identity"}
		case "mode":
			return []string{"block", "count"}
		case "action":
			return []string{"block", "challenge"}
		}
	case upstream.Config, upstream.StickyConfig, upstream.TLS:
		return acceptedByUpstream(t, key)
	case compress.Config:
		if key == "mode" {
			return []string{compress.ModeOn, compress.ModeOff}
		}
	case clientcert.Config:
		if key == "mode" {
			return []string{clientcert.ModeVerify, clientcert.ModePassthrough}
		}
	case cache.Config, cache.KeyConfig:
		return acceptedByCache(t, key)
	case certs.Config:
		if key == "min_version" {
			return []string{"1.2", "1.3"}
		}
	case authn.OIDCConfig:
		if key == "auth_method" {
			return []string{"client_secret_basic", "client_secret_post", "none"}
		}
	case authn.CognitoConfig:
		if key == "issuer" {
			return []string{"original", "updated"}
		}
	case authn.ClaimConfig:
		if key == "format" {
			return []string{authn.FormatString, authn.FormatArray, authn.FormatSpaces}
		}
	case cognitoapi.AdminConfig, origin.S3Config:
		if key == "credentials" {
			return []string{"role", "keys"}
		}
	case authn.SessionConfig:
		switch key {
		case "same_site":
			return []string{"lax", "strict", "none"}
		case "on_provider_down":
			return []string{"serve", "refuse"}
		}
	}
	return acceptedByACL(t, key)
}

// acceptedByUpstream is accepted for an upstream and what it consists of.
func acceptedByUpstream(t reflect.Type, key string) []string {
	switch reflect.Zero(t).Interface().(type) {
	case upstream.Config:
		switch key {
		case "balance":
			return upstream.Balances()
		case "protocol":
			return []string{upstream.HTTP1, upstream.HTTP2}
		}
	case upstream.StickyConfig:
		if key == "same_site" {
			return []string{"lax", "strict", "none"}
		}
	case upstream.TLS:
		if key == "min_version" {
			return upstream.Versions()
		}
	}
	return nil
}
