package cognitoapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/ec2rolecreds"
	"github.com/aws/aws-sdk-go-v2/credentials/endpointcreds"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
)

// Where a container's credentials come from, as ECS and EKS Pod Identity say it.
// https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html
const (
	containerHost  = "http://169.254.170.2"
	containerPath  = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"
	containerURL   = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
	containerToken = "AWS_CONTAINER_AUTHORIZATION_TOKEN"
	containerFile  = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
	instanceURL    = "AWS_EC2_METADATA_SERVICE_ENDPOINT"
)

// A signer signs requests with AWS Signature Version 4.
type signer struct {
	credentials aws.CredentialsProvider
	v4          *v4.Signer
	region      string
}

// newSigner asks for no credentials yet.
func newSigner(cfg Config, opts Options) (*signer, error) {
	s := &signer{v4: v4.NewSigner(), region: cfg.region()}
	if cfg.Admin.Credentials == CredentialsKeys {
		s.credentials = credentials.NewStaticCredentialsProvider(cfg.Admin.AccessKeyID, cfg.Admin.SecretAccessKey, cfg.Admin.SessionToken)
		return s, nil
	}
	role, err := roleCredentials(opts)
	if err != nil {
		return nil, err
	}
	s.credentials = aws.NewCredentialsCache(role)
	return s, nil
}

// roleCredentials are those of the container, if the environment says where they are, else of the instance.
func roleCredentials(opts Options) (aws.CredentialsProvider, error) {
	env := func(name string) string {
		value, _ := opts.Env(name)
		return value
	}
	at := env(containerURL)
	if path := env(containerPath); path != "" {
		at = containerHost + path
	}
	if at == "" {
		client := imds.New(imds.Options{Endpoint: env(instanceURL), HTTPClient: opts.roleClient()})
		return ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = client }), nil
	}
	if err := checkContainerURL(at); err != nil {
		return nil, fmt.Errorf("%s: %w", containerURL, err)
	}
	return endpointcreds.New(at, func(o *endpointcreds.Options) {
		o.HTTPClient = opts.roleClient()
		o.AuthorizationToken = env(containerToken)
		if file := env(containerFile); file != "" { // its content changes
			o.AuthorizationTokenProvider = endpointcreds.TokenProviderFunc(func() (string, error) {
				token, err := os.ReadFile(file)
				return strings.TrimSpace(string(token)), err
			})
		}
	}), nil
}

// checkContainerURL lets credentials come by TLS or from this machine only.
func checkContainerURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return errors.New("want a URL")
	}
	if u.Scheme == "https" {
		return nil
	}
	addr, err := netip.ParseAddr(u.Hostname())
	local := u.Hostname() == "localhost" || err == nil && (addr.IsLoopback() || addr.IsLinkLocalUnicast() || addr.String() == "fd00:ec2::23")
	if u.Scheme != "http" || !local {
		return errors.New("want https, or http to this machine")
	}
	return nil
}

func (p *Proxy) sign(ctx context.Context, req *http.Request, body []byte) error {
	keys, err := p.signer.credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	return p.signer.v4.SignHTTP(ctx, keys, req, sha256Hex(body), "cognito-idp", p.signer.region, p.opts.Now())
}
