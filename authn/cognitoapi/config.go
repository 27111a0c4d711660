package cognitoapi

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"gatehouse/internal/awssign"
)

// Config is one proxy of a user pool's API.
type Config struct {
	// UserPool is the pool's id, such as eu-west-1_AbC123. Required.
	UserPool string `yaml:"user_pool"`
	// Region is the AWS region of the pool, such as eu-west-1; default what user_pool begins with.
	Region string `yaml:"region"`
	// Endpoint replaces https://cognito-idp.REGION.amazonaws.com, for a VPC endpoint or a development pool.
	Endpoint string `yaml:"endpoint"`
	// CA is a PEM file of roots for the endpoint; default the system's.
	CA string `yaml:"ca"`
	// Clients are the app clients whose requests are taken. At least one is required.
	Clients []ClientConfig `yaml:"clients"`
	// Operations are those that are let through, by their names in the API; default all that public clients have.
	Operations []string `yaml:"operations"`
	// AuthFlows are the values of AuthFlow that are let through; default all that public clients have.
	AuthFlows []string `yaml:"auth_flows"`
	// Origins are those of pages on other hosts that may call, such as https://app.example.com. Pages of the route's own
	// host always may, and clients that are no browser too.
	Origins []string `yaml:"origins"`
	// PropagateAddress tells the pool the viewer's address as UserContextData.IpAddress. The app client must have
	// EnablePropagateAdditionalUserContextData. What a client says of its address is never believed.
	PropagateAddress bool `yaml:"propagate_address"`
	// Admin signs people in by AdminInitiateAuth and AdminRespondToAuthChallenge, which tell the pool's threat
	// protection the viewer's address. Needs AWS credentials that allow both on this pool and nothing else.
	Admin *AdminConfig `yaml:"admin"`
}

// ClientConfig is an app client of the pool.
type ClientConfig struct {
	// ID is the app client's id. Required.
	ID string `yaml:"id"`
	// Secret is the app client's secret, as ${file:/path} or ${env:NAME}. Required.
	Secret string `yaml:"secret"`
	// PreviousSecret is tried when the pool does not take secret: during a rotation both may be there.
	PreviousSecret string `yaml:"previous_secret"`
}

// AdminConfig is where the AWS credentials of the Admin operations come from.
type AdminConfig struct {
	// Credentials is "role" (those of the ECS task, or of the EC2 instance elsewhere) or "keys" (those below). Required.
	Credentials string `yaml:"credentials"`
	// AccessKeyID is the id of an access key.
	AccessKeyID string `yaml:"access_key_id"`
	// SecretAccessKey is its secret, as ${file:/path} or ${env:NAME}.
	SecretAccessKey string `yaml:"secret_access_key"`
	// SessionToken belongs to a temporary access key.
	SessionToken string `yaml:"session_token"`
}

// Values of AdminConfig.Credentials.
const (
	CredentialsRole = "role"
	CredentialsKeys = "keys"
)

// minSecret is below what Cognito makes (51 characters) and takes (24). An answer that holds the secret is not relayed, and
// a short one could stand in any.
const minSecret = 16

var (
	poolPattern   = regexp.MustCompile(`^[a-z0-9-]+_[A-Za-z0-9]+$`)
	regionPattern = regexp.MustCompile(`^[a-z]{2}(-[a-z0-9]+)+$`)
	clientPattern = regexp.MustCompile(`^[\w+]{1,128}$`) // the API's own, of ClientIdType
)

// Validate reports everything that is wrong with the configuration. field is the path below this section. It reads no file and
// does no network.
func (c Config) Validate(report func(field, msg string)) {
	if !poolPattern.MatchString(c.UserPool) {
		report("user_pool", fmt.Sprintf("want a pool id such as eu-west-1_AbC123, got %q", c.UserPool))
	} else if region := c.region(); !regionPattern.MatchString(region) {
		report("region", fmt.Sprintf("want a region such as eu-west-1, got %q", region))
	}
	if c.Endpoint != "" {
		if _, err := origin(c.Endpoint); err != nil {
			report("endpoint", err.Error())
		}
	}
	c.validateClients(report)
	known(report, "operations", c.Operations, Operations())
	known(report, "auth_flows", c.AuthFlows, Flows())
	for i, o := range c.Origins {
		if canonical, err := origin(o); err != nil || canonical != o {
			report(fmt.Sprintf("origins[%d]", i), fmt.Sprintf("want an origin such as https://app.example.com, in lower case and without a path, got %q", o))
		}
	}
	if c.Admin != nil {
		c.Admin.Validate(func(field, msg string) { report("admin."+field, msg) })
	}
}

func (c Config) validateClients(report func(field, msg string)) {
	if len(c.Clients) == 0 {
		report("clients", "required: want at least one app client, as in [{id: 1example23456789, secret: ${file:/run/secrets/client}}]")
	}
	for i, client := range c.Clients {
		at := fmt.Sprintf("clients[%d].", i)
		if !clientPattern.MatchString(client.ID) {
			report(at+"id", fmt.Sprintf("want an app client's id, of letters and digits, got %q", client.ID))
		} else if slices.ContainsFunc(c.Clients[:i], func(other ClientConfig) bool { return other.ID == client.ID }) {
			report(at+"id", "is named twice: a client has two secrets as secret and previous_secret")
		}
		switch {
		case client.Secret == "":
			report(at+"secret", "required: an app client without a secret needs no proxy")
		case len(client.Secret) < minSecret:
			report(at+"secret", fmt.Sprintf("too short: want at least %d characters, got %d; Cognito's have more", minSecret, len(client.Secret)))
		case client.PreviousSecret == client.Secret:
			report(at+"previous_secret", "is the same as secret: want the one before, or none")
		case client.PreviousSecret != "" && len(client.PreviousSecret) < minSecret:
			report(at+"previous_secret", fmt.Sprintf("too short: want at least %d characters, got %d", minSecret, len(client.PreviousSecret)))
		}
	}
}

// Validate reports everything that is wrong with the section.
func (c AdminConfig) Validate(report func(field, msg string)) {
	switch c.Credentials {
	case CredentialsKeys:
		if c.AccessKeyID == "" {
			report("access_key_id", `required with credentials: keys`)
		}
		if c.SecretAccessKey == "" {
			report("secret_access_key", `required with credentials: keys`)
		}
	case CredentialsRole:
		if c.AccessKeyID+c.SecretAccessKey+c.SessionToken != "" {
			report("credentials", `want "keys" where access keys are given, got "role"`)
		}
	default:
		report("credentials", fmt.Sprintf("want %q or %q, got %q", CredentialsRole, CredentialsKeys, c.Credentials))
	}
}

// keys are those of the file; nil for the credentials of the role.
func (c AdminConfig) keys() *awssign.Keys {
	if c.Credentials != CredentialsKeys {
		return nil
	}
	return &awssign.Keys{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
}

// known reports what is not in a list, and what is named twice. A list that is there and empty would let nothing through.
func known(report func(field, msg string), field string, names, all []string) {
	if names != nil && len(names) == 0 {
		report(field, "the list is empty: name one at least, or leave the key out for all")
	}
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", field, i)
		switch {
		case !slices.Contains(all, name):
			report(at, fmt.Sprintf("want one of %s, got %q", strings.Join(all, ", "), name))
		case slices.Index(names, name) < i:
			report(at, "is named twice")
		}
	}
}

func (c Config) region() string {
	if c.Region != "" {
		return c.Region
	}
	region, _, _ := strings.Cut(c.UserPool, "_")
	return region
}

// endpoint is the origin of the API.
func (c Config) endpoint() string {
	if c.Endpoint != "" {
		return strings.TrimSuffix(c.Endpoint, "/")
	}
	suffix := ".amazonaws.com"
	if strings.HasPrefix(c.region(), "cn-") {
		suffix += ".cn"
	}
	return "https://cognito-idp." + c.region() + suffix
}

// origin returns the origin of a URL that is one: https, or http to this machine.
func origin(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(raw, "#") {
		return "", fmt.Errorf("want https://HOST without a path, got %q", raw)
	}
	local := u.Hostname() == "localhost"
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		local = addr.IsLoopback()
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !local) {
		return "", fmt.Errorf("want https, or http to this machine, got %q", raw)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host), nil
}
