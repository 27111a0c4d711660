package devpool

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

const (
	// hugeBody is how much a huge answer streams, in bytes.
	hugeBody = 1 << 30
	// maxFaults bounds the body of a request to /_faults, in bytes.
	maxFaults = 64 << 10
)

// Faults are the ways in which the pool misbehaves. The zero value is none. The JSON names are those
// of the control endpoint.
type Faults struct {
	// Endpoints are faults of the transport, by the name of the endpoint ("token", "userinfo", …).
	// "*" stands for every endpoint that has none of its own.
	Endpoints map[string]EndpointFault `json:"endpoints,omitempty"`
	// InvalidGrant refuses every code and refresh token.
	InvalidGrant bool `json:"invalid_grant,omitempty"`

	// What follows concerns ID tokens.

	WrongNonce    bool `json:"wrong_nonce,omitempty"`
	WrongAtHash   bool `json:"wrong_at_hash,omitempty"`
	WrongIssuer   bool `json:"wrong_issuer,omitempty"`
	WrongAudience bool `json:"wrong_audience,omitempty"`
	Expired       bool `json:"expired,omitempty"` // an hour ago
	NoSubject     bool `json:"no_subject,omitempty"`
	AlgNone       bool `json:"alg_none,omitempty"`
	UnknownKey    bool `json:"unknown_key,omitempty"`     // signed by a key that is not in the key set
	WrongKey      bool `json:"wrong_key,omitempty"`       // signed by another key than its kid says
	BadSignature  bool `json:"bad_signature,omitempty"`   // one bit differs
	AccessTokenID bool `json:"access_token_id,omitempty"` // says token_use "access"

	// IDClaims, AccessClaims and UserInfo set claims to any value at all; null takes them away. They
	// come after the switches above.
	IDClaims     map[string]any `json:"id_claims,omitempty"`
	AccessClaims map[string]any `json:"access_claims,omitempty"`
	UserInfo     map[string]any `json:"userinfo,omitempty"`
}

// An EndpointFault makes one endpoint slow or broken. The delay comes first; of the rest the first
// that is set counts.
type EndpointFault struct {
	Delay  time.Duration // how long the endpoint waits before it does anything
	Reset  bool          // close the connection without an answer, with a TCP reset where possible
	Huge   bool          // answer 200 and stream 1 GiB
	Status int           // answer this status and a short text
	// Times is how many requests have the fault; 0 means all.
	Times int
}

// endpointFaultJSON is an EndpointFault as the control endpoint has it.
type endpointFaultJSON struct {
	Delay  string `json:"delay,omitempty"` // "1.5s"
	Reset  bool   `json:"reset,omitempty"`
	Huge   bool   `json:"huge,omitempty"`
	Status int    `json:"status,omitempty"`
	Times  int    `json:"times,omitempty"`
}

// MarshalJSON writes the delay as a string.
func (f EndpointFault) MarshalJSON() ([]byte, error) {
	j := endpointFaultJSON{Reset: f.Reset, Huge: f.Huge, Status: f.Status, Times: f.Times}
	if f.Delay != 0 {
		j.Delay = f.Delay.String()
	}
	return json.Marshal(j)
}

// UnmarshalJSON reads the delay from a string such as "1.5s".
func (f *EndpointFault) UnmarshalJSON(data []byte) error {
	var j endpointFaultJSON
	if err := strictJSON(strings.NewReader(string(data)), &j); err != nil {
		return err
	}
	*f = EndpointFault{Reset: j.Reset, Huge: j.Huge, Status: j.Status, Times: j.Times}
	if j.Delay == "" {
		return nil
	}
	var err error
	f.Delay, err = time.ParseDuration(j.Delay)
	return err
}

func strictJSON(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	return d.Decode(v)
}

func (f Faults) check() error {
	known := []string{
		"*", EndpointDiscovery, EndpointJWKS, EndpointAuthorize, EndpointLogin, EndpointToken,
		EndpointUserInfo, EndpointRevoke, EndpointLogout, EndpointError,
	}
	for name, e := range f.Endpoints {
		switch {
		case !slices.Contains(known, name):
			return fmt.Errorf("devpool: faults: want one of %s, got endpoint %q", strings.Join(known, ", "), name)
		case e.Delay < 0 || e.Times < 0:
			return fmt.Errorf("devpool: faults of %s: want no negative delay or times", name)
		case e.Status != 0 && (e.Status < 200 || e.Status > 599):
			return fmt.Errorf("devpool: faults of %s: want a status from 200 to 599, got %d", name, e.Status)
		}
	}
	return nil
}

// SetFaults replaces all faults. Faults{} ends them. It fails, and changes nothing, when an endpoint
// is unknown or a value out of range.
func (p *Pool) SetFaults(f Faults) error {
	if err := f.check(); err != nil {
		return err
	}
	f.Endpoints = maps.Clone(f.Endpoints)
	f.IDClaims, f.AccessClaims, f.UserInfo = maps.Clone(f.IDClaims), maps.Clone(f.AccessClaims), maps.Clone(f.UserInfo)
	var stray signingKey
	if f.UnknownKey {
		var err error
		if stray, err = p.newKey(nil); err != nil {
			return err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults, p.keys.stray = f, stray
	return nil
}

// currentFaults returns the faults without those of endpoints. The maps are never written to.
func (p *Pool) currentFaults() Faults {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.faults
	f.Endpoints = nil
	return f
}

// takeFault returns the fault of an endpoint and counts it off.
func (p *Pool) takeFault(endpoint string) EndpointFault {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.faults.Endpoints[endpoint]
	if !ok {
		endpoint = "*"
		f = p.faults.Endpoints[endpoint]
	}
	if f.Times == 1 {
		delete(p.faults.Endpoints, endpoint)
	} else if f.Times > 1 {
		next := f
		next.Times--
		p.faults.Endpoints[endpoint] = next
	}
	return f
}

// misbehave does what the endpoint's fault says and reports whether that was the answer.
func (p *Pool) misbehave(w http.ResponseWriter, r *http.Request, endpoint string) bool {
	f := p.takeFault(endpoint)
	if f.Delay > 0 {
		wait := time.NewTimer(f.Delay)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-r.Context().Done():
			return true
		}
	}
	switch {
	case f.Reset:
		reset(w)
	case f.Huge:
		writeHuge(w, r)
	case f.Status != 0:
		http.Error(w, http.StatusText(f.Status), f.Status)
	default:
		return false
	}
	return true
}

// reset ends the connection with a TCP reset, or however else the server lets it.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// writeHuge streams a JSON object with one endless string, until the client hangs up.
func writeHuge(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, err := io.WriteString(w, `{"padding":"`)
	chunk := []byte(strings.Repeat("x", 64<<10))
	for n := 0; n < hugeBody && err == nil && r.Context().Err() == nil; n += len(chunk) {
		_, err = w.Write(chunk)
	}
	if err == nil {
		_, _ = io.WriteString(w, `"}`)
	}
}

// signID signs an ID token as the faults want it.
func (f *Faults) signID(keys keyring, claims object) (string, error) {
	claims = f.spoil(claims)
	key := keys.id
	switch {
	case f.AlgNone:
		return signNone(claims)
	case f.UnknownKey:
		key = keys.stray
	case f.WrongKey:
		key.private = keys.access.private
	}
	token, err := key.sign(claims)
	if err == nil && f.BadSignature {
		token = flipBit(token)
	}
	return token, err
}

// spoil makes the claims wrong.
func (f *Faults) spoil(claims object) object {
	set := func(on bool, name string, value any) {
		if on {
			claims = claims.with(name, value)
		}
	}
	set(f.WrongNonce, "nonce", "not-the-nonce-that-was-sent")
	set(f.WrongAtHash, "at_hash", leftHash("another access token"))
	set(f.WrongIssuer, "iss", "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_Elsewhere")
	set(f.WrongAudience, "aud", "another-client")
	set(f.NoSubject, "sub", nil)
	set(f.AccessTokenID, "token_use", "access")
	if f.Expired {
		for i, m := range claims {
			if at, ok := m.value.(int64); ok && (m.name == "exp" || m.name == "iat") {
				claims[i].value = at - int64(2*time.Hour/time.Second)
			}
		}
	}
	return claims.override(f.IDClaims)
}

// flipBit changes one bit in the middle of a token's signature.
func flipBit(token string) string {
	b := []byte(token)
	i := len(b) - 100
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

func (p *Pool) serveCalls(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, p.allCalls())
}

func (p *Pool) serveFaults(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	f := p.faults
	f.Endpoints = maps.Clone(f.Endpoints)
	p.mu.Unlock()
	writeJSON(w, http.StatusOK, f)
}

// acceptFaults replaces the faults by the JSON object posted: that of [Faults], and "rotate_keys":
// true, which is done once.
func (p *Pool) acceptFaults(w http.ResponseWriter, r *http.Request) {
	var f struct {
		Faults
		RotateKeys bool `json:"rotate_keys"`
	}
	err := strictJSON(http.MaxBytesReader(w, r.Body, maxFaults), &f)
	if err == nil {
		err = p.SetFaults(f.Faults)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if f.RotateKeys {
		if err := p.RotateKeys(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	p.serveFaults(w, r)
}
