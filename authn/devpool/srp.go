package devpool

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"math/big"
	"strings"
)

// The group of Cognito's SRP: the 3072-bit one of RFC 3526 section 4, with generator 2.
const srpPrime = "" +
	"FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DD" +
	"EF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED" +
	"EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF0598DA48361C55D39A69163FA8FD24CF5F" +
	"83655D23DCA3AD961C62F356208552BB9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B" +
	"E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF6955817183995497CEA956AE515D2261898FA0510" +
	"15728E5A8AAAC42DAD33170D04507A33A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7" +
	"ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864D87602733EC86A64521F2B18177B200C" +
	"BBE117577A615D6C770988C0BAD946E208E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF"

const (
	srpGenerator = 2
	srpInfo      = "Caldera Derived Key"
	srpKeyLength = 16
)

var errSRP = errors.New("devpool: an SRP value out of range")

// An srpServer is the pool's side of one SRP-6a sign-in as Cognito has it: values are hashed as the hexadecimal of a
// two's complement, and the proof is an HMAC over the user, a blob of the server's and a time, instead of RFC 2945's.
type srpServer struct {
	prime, verifier, private, public *big.Int
	salt                             *big.Int
}

// newSRP makes the server's public value for a user whose password this is. random is 32 bytes.
func newSRP(poolName, username, password string, salt, random []byte) *srpServer {
	s := &srpServer{salt: new(big.Int).SetBytes(salt), private: new(big.Int).SetBytes(random)}
	s.prime, _ = new(big.Int).SetString(srpPrime, 16)
	g := big.NewInt(srpGenerator)
	identity := sha256.Sum256([]byte(poolName + username + ":" + password))
	x := hashOf(append(signed(s.salt), identity[:]...))
	s.verifier = new(big.Int).Exp(g, x, s.prime)
	k := hashOf(append(signed(s.prime), signed(g)...))
	b := new(big.Int).Mul(k, s.verifier)
	b.Add(b, new(big.Int).Exp(g, s.private, s.prime))
	s.public = b.Mod(b, s.prime)
	return s
}

// key is what client and server share if the client knows the password. clientPublic is SRP_A.
func (s *srpServer) key(clientPublic string) ([]byte, error) {
	a, ok := new(big.Int).SetString(clientPublic, 16)
	if !ok || a.Sign() <= 0 || a.Cmp(s.prime) >= 0 {
		return nil, errSRP
	}
	u := hashOf(append(signed(a), signed(s.public)...))
	if u.Sign() == 0 {
		return nil, errSRP
	}
	shared := new(big.Int).Exp(s.verifier, u, s.prime)
	shared.Mul(shared, a)
	shared.Exp(shared, s.private, s.prime)
	return hkdf.Key(sha256.New, signed(shared), signed(u), srpInfo, srpKeyLength)
}

// proof is PASSWORD_CLAIM_SIGNATURE for a key.
func srpProof(key []byte, poolName, username string, block []byte, timestamp string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(poolName + username))
	mac.Write(block)
	mac.Write([]byte(timestamp))
	return mac.Sum(nil)
}

// signed returns the bytes of a positive number as two's complement, which begins with a zero where the first bit is set.
func signed(n *big.Int) []byte {
	b := n.Bytes()
	if len(b) == 0 || b[0]&0x80 != 0 {
		b = append([]byte{0}, b...)
	}
	return b
}

func hashOf(b []byte) *big.Int {
	sum := sha256.Sum256(b)
	return new(big.Int).SetBytes(sum[:])
}

// hexOf writes a number as the API has it.
func hexOf(n *big.Int) string { return strings.TrimLeft(hex.EncodeToString(n.Bytes()), "0") }
