package origin

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strings"

	"gatehouse/internal/awssign"
)

// Values of S3Config.Credentials.
const (
	CredentialsRole = "role"
	CredentialsKeys = "keys"
)

// S3Config is a bucket of Amazon S3, or of what speaks its protocol. It stays private: requests to it are signed, as CloudFront does
// with an origin access control. Its policy lets the role, or the owner of the keys, do s3:GetObject and nothing else; with
// s3:ListBucket too, S3 tells what is not there from what may not be read.
type S3Config struct {
	// Bucket is its name. Required.
	Bucket string `yaml:"bucket"`
	// Region is where it is, such as eu-west-1. Required.
	Region string `yaml:"region"`
	// Prefix begins the keys of all objects that are served, such as releases/current, as CloudFront's origin path does.
	Prefix string `yaml:"prefix"`
	// Endpoint replaces that of AWS, for a VPC endpoint or another server: https://HOST, or http to this machine. The bucket is then the
	// first segment of the path.
	Endpoint string `yaml:"endpoint"`
	// CA is a PEM file of roots for the endpoint; default the system's.
	CA string `yaml:"ca"`
	// Credentials is "role" (those of the ECS task, or of the EC2 instance elsewhere), the default, or "keys" (those below).
	Credentials string `yaml:"credentials"`
	// AccessKeyID is the id of an access key.
	AccessKeyID string `yaml:"access_key_id"`
	// SecretAccessKey is its secret, as ${file:/path} or ${env:NAME}.
	SecretAccessKey string `yaml:"secret_access_key"`
	// SessionToken belongs to a temporary access key.
	SessionToken string `yaml:"session_token"`
}

var (
	bucketPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	regionPattern = regexp.MustCompile(`^[a-z]{2}(-[a-z0-9]+)+$`)
)

// Validate reports everything that is wrong with c. It reads no file.
func (c S3Config) Validate(report func(field, msg string)) {
	if !bucketPattern.MatchString(c.Bucket) || strings.Contains(c.Bucket, "..") {
		report("bucket", fmt.Sprintf("want the name of a bucket such as example-assets, got %q", c.Bucket))
	}
	if !regionPattern.MatchString(c.Region) {
		report("region", fmt.Sprintf("want a region such as eu-west-1, got %q", c.Region))
	}
	if name, ok := fileName(c.Prefix); c.Prefix != "" && (!ok || name != c.Prefix) {
		report("prefix", fmt.Sprintf("want the beginning of keys without slashes around it, such as releases/current, got %q", c.Prefix))
	}
	if c.Endpoint != "" {
		if _, err := endpointOf(c.Endpoint); err != nil {
			report("endpoint", err.Error())
		}
	}
	switch {
	case c.Credentials != "" && c.Credentials != CredentialsRole && c.Credentials != CredentialsKeys:
		report("credentials", fmt.Sprintf("want %q or %q, got %q", CredentialsRole, CredentialsKeys, c.Credentials))
	case c.Credentials != CredentialsKeys:
		if c.AccessKeyID+c.SecretAccessKey+c.SessionToken != "" {
			report("credentials", `want "keys" where access keys are given`)
		}
	default:
		if c.AccessKeyID == "" {
			report("access_key_id", "required with credentials: keys")
		}
		if c.SecretAccessKey == "" {
			report("secret_access_key", "required with credentials: keys")
		}
	}
}

// endpointOf reads a URL that requests may be sent to.
func endpointOf(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#") {
		return nil, fmt.Errorf("want https://HOST without a path, got %q", raw)
	}
	local := u.Hostname() == "localhost"
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		local = addr.IsLoopback()
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return nil, fmt.Errorf("want https, or http to this machine, got %q", raw)
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}, nil
}

// base is the URL below which the keys are, its path empty or with the bucket. A bucket with a dot in its name has no certificate
// that its own host name fits.
func (c *S3Config) base() (*url.URL, error) {
	if c.Endpoint != "" {
		u, err := endpointOf(c.Endpoint)
		if err == nil {
			u.Path = "/" + c.Bucket
		}
		return u, err
	}
	host := "s3." + c.Region + ".amazonaws.com"
	if strings.HasPrefix(c.Region, "cn-") {
		host += ".cn"
	}
	if strings.Contains(c.Bucket, ".") {
		return &url.URL{Scheme: "https", Host: host, Path: "/" + c.Bucket}, nil
	}
	return &url.URL{Scheme: "https", Host: c.Bucket + "." + host}, nil
}

func (c *S3Config) keys() *awssign.Keys {
	if c.Credentials != CredentialsKeys {
		return nil
	}
	return &awssign.Keys{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
}

func (c *S3Config) tls() (*tls.Config, error) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA == "" {
		return cfg, nil
	}
	text, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("ca: %w", err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(text) {
		return nil, errors.New("ca: want certificates in PEM, got none")
	}
	return cfg, nil
}
