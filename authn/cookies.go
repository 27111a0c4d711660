package authn

import (
	"crypto/rand"
	"encoding/base64"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	// maxShards and shardSize are ALB's: at most four cookies of 4 K. The value leaves room for the
	// name and the attributes.
	maxShards = 4
	shardSize = 3900
	// shardHead is the version, the generation and the count before each shard.
	shardHead    = 1 + genSize + 1
	genSize      = 8
	shardVersion = '1'
)

// binding is the name under which cookies are sealed: a value that was made for one host, client or
// purpose does not open for another (attack case O23).
func (p *Provider) binding(purpose, base, host string) string {
	parts := []string{purpose, base, host, p.set.issuer, p.set.clientID}
	if p.set.name != "" { // two providers may be one client that is sent to sign in differently
		parts = append(parts, p.set.name)
	}
	return strings.Join(parts, "\n")
}

// presented is the session shards of a request.
type presented struct {
	values [maxShards]string
	any    bool // at least one shard that is not empty
	twice  bool // a name came twice: which of them is ours nobody can say
}

// collect finds the session's shards among the cookies of a request, which must hold duplicates.
func (s *Sessions) collect(cookies []*http.Cookie) presented {
	var p presented
	var seen [maxShards]bool
	for _, c := range cookies {
		i := s.shardIndex(c.Name)
		if i < 0 {
			continue
		}
		p.twice = p.twice || seen[i]
		seen[i] = true
		p.values[i] = c.Value
		p.any = p.any || c.Value != ""
	}
	return p
}

func (s *Sessions) shardIndex(name string) int {
	n := len(s.set.cookie)
	if len(name) != n+2 || name[n] != '-' || name[n+1] < '0' || name[n+1] >= '0'+maxShards || name[:n] != s.set.cookie {
		return -1
	}
	return int(name[n+1] - '0')
}

// join puts the shards together. All must be there, and all of one generation.
func (p *presented) join() (string, bool) {
	if p.twice {
		return "", false
	}
	first := p.values[0]
	if len(first) <= shardHead || first[0] != shardVersion {
		return "", false
	}
	head := first[:shardHead]
	count := int(head[shardHead-1] - '0')
	if count < 1 || count > maxShards {
		return "", false
	}
	var b strings.Builder
	for i, v := range p.values {
		if i >= count {
			if v != "" {
				return "", false // left over from another login
			}
			continue
		}
		if len(v) > shardSize || !strings.HasPrefix(v, head) {
			return "", false
		}
		b.WriteString(v[shardHead:])
	}
	return b.String(), true
}

// split makes shards of a sealed value; ok is false when it takes more than four.
func split(value string) (shards []string, ok bool) {
	const room = shardSize - shardHead
	count := (len(value) + room - 1) / room
	if count > maxShards {
		return nil, false
	}
	var gen [genSize * 3 / 4]byte
	rand.Read(gen[:])
	head := string(shardVersion) + base64.RawURLEncoding.EncodeToString(gen[:]) + strconv.Itoa(count)
	for len(value) > 0 {
		n := min(room, len(value))
		shards = append(shards, head+value[:n])
		value = value[n:]
	}
	return shards, true
}

// setCookie returns the Set-Cookie line of one of our cookies. life ≤ 0 deletes it.
func setCookie(name, value string, life time.Duration, sameSite string) string {
	var b strings.Builder
	b.Grow(len(name) + len(value) + 80)
	b.WriteString(name)
	b.WriteByte('=')
	b.WriteString(value)
	b.WriteString("; Path=/; Max-Age=")
	b.WriteString(strconv.FormatInt(int64(max(life, 0)/time.Second), 10))
	b.WriteString("; Secure; HttpOnly; SameSite=")
	b.WriteString(sameSite)
	return b.String()
}
