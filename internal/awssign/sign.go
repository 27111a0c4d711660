package awssign

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

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

// renewBefore is how long before their end the credentials of a role are replaced, as AWS's own clients have it: AWS goes by its clock
// and not by ours. The next ones are there five minutes before the end
// (https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-security-credentials.html).
const renewBefore = 5 * time.Minute

// Keys are an access key. SessionToken belongs to a temporary one.
type Keys struct{ AccessKeyID, SecretAccessKey, SessionToken string }

// A Signer signs requests to one service of one region. It is safe for concurrent use.
type Signer struct {
	credentials     aws.CredentialsProvider
	v4              *v4.Signer
	service, region string
}

// New returns a signer with keys, or for nil with the credentials of the role: that of the container, if the environment says where
// they are, else of the instance. It asks for no credentials yet; a role's are kept and renewed when they are needed. Paths are
// signed as they are sent for s3, and encoded once more for all other services, as AWS has it.
func New(keys *Keys, service, region string, env func(string) (string, bool)) (*Signer, error) {
	s := &Signer{service: service, region: region, v4: v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })}
	if keys != nil {
		s.credentials = credentials.NewStaticCredentialsProvider(keys.AccessKeyID, keys.SecretAccessKey, keys.SessionToken)
		return s, nil
	}
	role, err := roleCredentials(func(name string) string {
		value, _ := env(name)
		return value
	})
	if err != nil {
		return nil, err
	}
	s.credentials = aws.NewCredentialsCache(role, func(o *aws.CredentialsCacheOptions) { o.ExpiryWindow = renewBefore })
	return s, nil
}

// Sign signs req, whose body has the given SHA-256 in hexadecimal. The error is that there are no credentials.
func (s *Signer) Sign(ctx context.Context, req *http.Request, bodyHash string, now time.Time) error {
	keys, err := s.credentials.Retrieve(ctx)
	if err != nil {
		return err
	}
	return s.v4.SignHTTP(ctx, keys, req, bodyHash, s.service, s.region, now)
}

// roleClient asks the container's or the instance's own endpoint, never through a proxy.
func roleClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second},
		Timeout:       5 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func roleCredentials(env func(string) string) (aws.CredentialsProvider, error) {
	at := env(containerURL)
	if path := env(containerPath); path != "" {
		at = containerHost + path
	}
	if at == "" {
		client := imds.New(imds.Options{Endpoint: env(instanceURL), HTTPClient: roleClient()})
		return ec2rolecreds.New(func(o *ec2rolecreds.Options) { o.Client = client }), nil
	}
	if err := checkContainerURL(at); err != nil {
		return nil, fmt.Errorf("%s: %w", containerURL, err)
	}
	return endpointcreds.New(at, func(o *endpointcreds.Options) {
		o.HTTPClient = roleClient()
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
