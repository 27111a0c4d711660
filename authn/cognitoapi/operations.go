package cognitoapi

import (
	"maps"
	"slices"
)

// targetPrefix stands before an operation's name in X-Amz-Target.
const targetPrefix = "AWSCognitoIdentityProviderService."

// A proof says where an operation has the proof that a request comes from who knows the app client's secret.
type proof uint8

const (
	proofNone      proof = iota // the operation is authorised by an access token or a session
	proofTop                    // SecretHash, over Username
	proofAuth                   // AuthParameters.SECRET_HASH, over AuthParameters.USERNAME
	proofChallenge              // ChallengeResponses.SECRET_HASH, over ChallengeResponses.USERNAME
	proofClear                  // ClientSecret, the secret itself
)

// The two operations that have an Admin variant.
const (
	initiateAuth    = "InitiateAuth"
	answerChallenge = "RespondToAuthChallenge"
)

// operations are those that the API has for public clients. What needs AWS credentials is not among them.
// https://docs.aws.amazon.com/cognito/latest/developerguide/authentication-flows-public-server-side.html
var operations = map[string]proof{
	"SignUp":                 proofTop,
	"ConfirmSignUp":          proofTop,
	"ResendConfirmationCode": proofTop,
	"ForgotPassword":         proofTop,
	"ConfirmForgotPassword":  proofTop,

	initiateAuth:    proofAuth,
	answerChallenge: proofChallenge,

	"RevokeToken":               proofClear,
	"GetTokensFromRefreshToken": proofClear,

	"AssociateSoftwareToken":           proofNone,
	"ChangePassword":                   proofNone,
	"CompleteWebAuthnRegistration":     proofNone,
	"ConfirmDevice":                    proofNone,
	"DeleteUser":                       proofNone,
	"DeleteUserAttributes":             proofNone,
	"DeleteWebAuthnCredential":         proofNone,
	"ForgetDevice":                     proofNone,
	"GetDevice":                        proofNone,
	"GetUser":                          proofNone,
	"GetUserAttributeVerificationCode": proofNone,
	"GetUserAuthFactors":               proofNone,
	"GlobalSignOut":                    proofNone,
	"ListDevices":                      proofNone,
	"ListWebAuthnCredentials":          proofNone,
	"SetUserMFAPreference":             proofNone,
	"SetUserSettings":                  proofNone,
	"StartWebAuthnRegistration":        proofNone,
	"UpdateDeviceStatus":               proofNone,
	"UpdateUserAttributes":             proofNone,
	"VerifySoftwareToken":              proofNone,
	"VerifyUserAttribute":              proofNone,
}

// Operations returns the names of all operations that a [Proxy] can let through, sorted.
func Operations() []string { return slices.Sorted(maps.Keys(operations)) }

// flows are the ways of signing in that public clients have. Those of the Admin variant are not among them: a client
// that could name one would sign in with a password where the pool wants SRP.
var flows = map[string]bool{
	"USER_SRP_AUTH": true, "USER_PASSWORD_AUTH": true, "CUSTOM_AUTH": true, "USER_AUTH": true,
	"REFRESH_TOKEN_AUTH": true, "REFRESH_TOKEN": true,
}

// Flows returns the values of AuthFlow that a [Proxy] can let through, sorted.
func Flows() []string { return slices.Sorted(maps.Keys(flows)) }

// refreshes reports whether a flow is that of a refresh token, which has no user name in it.
func refreshes(flow string) bool { return flow == "REFRESH_TOKEN_AUTH" || flow == "REFRESH_TOKEN" }
