package upstream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// Bounds of what is asked and believed of name servers.
const (
	maxRecords  = 256             // addresses of one name, and targets of one service
	maxAliases  = 8               // CNAMEs in a row
	maxServers  = 3               // of resolv.conf, as libc has it
	dnsTry      = 2 * time.Second // one question to one server
	dnsSize     = 1232            // of a UDP answer, in bytes: fits every path (DNS flag day 2020)
	systemTTL   = 30 * time.Second
	resolverTTL = 24 * time.Hour // beyond it a TTL says nothing to us
)

// errNoName is what a server says of a name that has nothing of what was asked: it is no failure.
var errNoName = errors.New("the name has no such records")

// resolver asks the name servers of the system, for names that are whole: no search list is applied.
type resolver struct {
	config string // resolv.conf
	port   string // of the servers
}

// records are what a server says of a name.
type records struct {
	addrs    []netip.Addr
	services []dnsmessage.SRVResource
	ttl      time.Duration
}

// question asks the servers in order until one answers. Its error is errNoName where that is the answer, and then the ttl is
// for how long.
func (r *resolver) question(ctx context.Context, name string, kind dnsmessage.Type) (records, error) {
	q, err := newQuestion(name, kind)
	if err != nil {
		return records{}, err
	}
	for range 2 {
		for _, server := range r.servers() {
			var got records
			if got, err = q.ask(ctx, server); err == nil || errors.Is(err, errNoName) || ctx.Err() != nil {
				return got, err
			}
		}
	}
	return records{}, err
}

// servers reads resolv.conf.
func (r *resolver) servers() (servers []string) {
	text, _ := os.ReadFile(r.config) // without one, the name server is this machine (resolv.conf(5))
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 || f[0] != "nameserver" || len(servers) == maxServers {
			continue
		}
		if a, err := netip.ParseAddr(f[1]); err == nil {
			servers = append(servers, net.JoinHostPort(a.String(), r.port))
		}
	}
	if len(servers) == 0 {
		servers = []string{net.JoinHostPort("127.0.0.1", r.port)}
	}
	return servers
}

// question is one name and the type that is asked for.
type question struct {
	name string // with the dot at its end
	kind dnsmessage.Type
	wire []byte // as a message without its id
}

// newQuestion writes the message by hand: a builder would bring what writes every other type (RFC 1035 section 4.1).
func newQuestion(name string, kind dnsmessage.Type) (question, error) {
	name = strings.TrimSuffix(name, ".")
	b := []byte{0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1} // recursion desired, one question, one additional record
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || len(name) > 253 {
			return question{}, fmt.Errorf("%q cannot be a name of DNS", name)
		}
		b = append(append(b, byte(len(label))), label...)
	}
	b = append(b, 0, byte(kind>>8), byte(kind), 0, byte(dnsmessage.ClassINET))
	b = append(b, 0, 0, byte(dnsmessage.TypeOPT), dnsSize>>8, dnsSize&0xff, 0, 0, 0, 0, 0, 0) // RFC 6891 section 6.1.2
	return question{name + ".", kind, b}, nil
}

// ask asks one server, again over TCP if the answer is cut.
func (q question) ask(ctx context.Context, server string) (records, error) {
	for _, network := range [...]string{"udp", "tcp"} {
		id := uint16(rand.Uint32()) // and a port of its own: both must be guessed by who would answer instead
		m, err := q.exchange(ctx, network, server, id)
		if err != nil {
			return records{}, fmt.Errorf("name server %s: %w", server, err)
		}
		got, cut, err := q.read(m, id)
		switch {
		case cut && network == "udp":
			continue
		case cut:
			err = errors.New("the answer is cut")
		case errors.Is(err, errNoName):
			return got, err
		}
		if err != nil {
			return records{}, fmt.Errorf("name server %s: %w", server, err)
		}
		return got, nil
	}
	return records{}, nil
}

// exchange sends the question and returns the answer's bytes.
func (q question) exchange(ctx context.Context, network, server string, id uint16) ([]byte, error) {
	m := append(make([]byte, 2, 512), q.wire...) // with the length before it, for TCP
	binary.BigEndian.PutUint16(m, uint16(len(q.wire)))
	binary.BigEndian.PutUint16(m[2:], id)
	ctx, cancel := context.WithTimeout(ctx, dnsTry)
	defer cancel()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
	if network == "udp" {
		if _, err := c.Write(m[2:]); err != nil {
			return nil, err
		}
		buf := make([]byte, dnsSize)
		n, err := c.Read(buf)
		return buf[:n], err
	}
	if _, err := c.Write(m); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, err
	}
	buf := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err = io.ReadFull(c, buf)
	return buf, err
}

// read takes an answer apart. It believes nothing of one that is to another question.
func (q question) read(m []byte, id uint16) (got records, cut bool, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(m)
	if err != nil {
		return got, false, err
	}
	asked, err := p.Question()
	if err != nil || !h.Response || h.ID != id || h.OpCode != 0 || asked.Type != q.kind || asked.Class != dnsmessage.ClassINET ||
		!strings.EqualFold(asked.Name.String(), q.name) {
		return got, false, errors.New("the answer is to another question")
	}
	if _, err := p.Question(); !errors.Is(err, dnsmessage.ErrSectionDone) {
		return got, false, errors.New("the answer has more than one question")
	}
	switch {
	case h.Truncated:
		return got, true, nil
	case h.RCode == dnsmessage.RCodeNameError:
		_ = p.SkipAllAnswers()
		got.ttl = negativeTTL(&p)
		return got, false, errNoName
	case h.RCode != dnsmessage.RCodeSuccess:
		return got, false, errors.New(h.RCode.String())
	}
	answers, err := readAnswers(&p)
	if err != nil {
		return got, false, err
	}
	if got = q.pick(answers); len(got.addrs) == 0 && len(got.services) == 0 {
		got.ttl = negativeTTL(&p)
		return got, false, errNoName
	}
	return got, false, nil
}

// answer is a record of a type that we know. The others are left out.
type answer struct {
	name    string
	ttl     time.Duration
	addr    netip.Addr
	service *dnsmessage.SRVResource
	alias   string
}

// readAnswers takes the answers apart. A message has at most some thousands of them.
func readAnswers(p *dnsmessage.Parser) (all []answer, err error) {
	for {
		h, err := p.AnswerHeader()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		a := answer{name: h.Name.String(), ttl: time.Duration(h.TTL) * time.Second}
		known := h.Class == dnsmessage.ClassINET
		switch {
		case known && h.Type == dnsmessage.TypeA:
			var r dnsmessage.AResource
			r, err = p.AResource()
			a.addr = netip.AddrFrom4(r.A)
		case known && h.Type == dnsmessage.TypeAAAA:
			var r dnsmessage.AAAAResource
			r, err = p.AAAAResource()
			a.addr = netip.AddrFrom16(r.AAAA)
		case known && h.Type == dnsmessage.TypeSRV:
			var r dnsmessage.SRVResource
			r, err = p.SRVResource()
			a.service = &r
		case known && h.Type == dnsmessage.TypeCNAME:
			var r dnsmessage.CNAMEResource
			r, err = p.CNAMEResource()
			a.alias = r.CNAME.String()
		default:
			if err := p.SkipAnswer(); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, a)
	}
}

// pick returns the records that the name has, by its aliases if need be, and how long they may be used.
func (q question) pick(answers []answer) (got records) {
	got.ttl = resolverTTL
	name := q.name
	for range maxAliases {
		alias := ""
		for _, a := range answers {
			if !strings.EqualFold(a.name, name) {
				continue
			}
			got.ttl = min(got.ttl, a.ttl)
			switch {
			case a.service != nil:
				got.services = append(got.services, *a.service)
			case a.addr.IsValid():
				got.addrs = append(got.addrs, a.addr)
			default:
				alias = a.alias
			}
		}
		if alias == "" || len(got.addrs) > 0 || len(got.services) > 0 {
			break
		}
		name = alias
	}
	got.addrs, got.services = got.addrs[:min(len(got.addrs), maxRecords)], got.services[:min(len(got.services), maxRecords)]
	return got
}

// negativeTTL is how long a name may be held to have nothing (RFC 2308 section 5). The answers have been read.
func negativeTTL(p *dnsmessage.Parser) time.Duration {
	for {
		h, err := p.AuthorityHeader()
		if err != nil {
			return 0
		}
		if h.Type != dnsmessage.TypeSOA {
			if p.SkipAuthority() != nil {
				return 0
			}
			continue
		}
		soa, err := p.SOAResource()
		if err != nil {
			return 0
		}
		return time.Duration(min(h.TTL, soa.MinTTL)) * time.Second
	}
}

// addresses returns the IPv4 and IPv6 addresses of a name. A name without a dot is the system's to find, by its hosts file
// and its search list.
func (r *resolver) addresses(ctx context.Context, name string) (found []netip.Addr, ttl time.Duration, err error) {
	if !strings.Contains(strings.TrimSuffix(name, "."), ".") {
		found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		var none *net.DNSError
		if errors.As(err, &none) && none.IsNotFound {
			err = errNoName
		}
		return usable(found), systemTTL, err
	}
	ttl = resolverTTL
	var failed error
	for _, kind := range [...]dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA} {
		got, err := r.question(ctx, name, kind)
		if err != nil && !errors.Is(err, errNoName) {
			failed = err
			continue
		}
		ttl = min(ttl, got.ttl)
		found = append(found, got.addrs...)
	}
	found = usable(found)
	switch {
	case len(found) > 0: // a server that does not know AAAA is not to take the IPv4 addresses away
		return found, ttl, nil
	case failed != nil:
		return nil, 0, failed
	}
	return nil, ttl, errNoName
}

// usable takes out what is no address of a host, and what comes twice.
func usable(addrs []netip.Addr) []netip.Addr {
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool {
		return !a.IsValid() || a.Unmap().IsUnspecified() || a.IsMulticast() || a.Unmap() == netip.AddrFrom4([4]byte{255, 255, 255, 255})
	})
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs)
}

// target is one server of a service.
type target struct {
	name   string
	port   uint16
	weight int
	addrs  []netip.Addr
}

// service returns the servers of a service that are of the best priority of which any has an address (RFC 2782).
func (r *resolver) service(ctx context.Context, name string) (found []target, ttl time.Duration, err error) {
	got, err := r.question(ctx, name, dnsmessage.TypeSRV)
	if ttl = got.ttl; err != nil {
		return nil, ttl, err
	}
	all := make([]*dnsmessage.SRVResource, 0, len(got.services))
	for i := range got.services {
		if s := &got.services[i]; s.Port != 0 && s.Target.String() != "." && validHost(s.Target.String()) {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b *dnsmessage.SRVResource) int { return int(a.Priority) - int(b.Priority) })
	var failed error
	for i, s := range all {
		if len(found) > 0 && s.Priority != all[i-1].Priority {
			break
		}
		addrs, t, err := r.addresses(ctx, s.Target.String())
		switch {
		case errors.Is(err, errNoName):
			ttl = min(ttl, t)
			continue
		case err != nil:
			failed = err
			continue
		}
		ttl = min(ttl, t)
		found = append(found, target{strings.TrimSuffix(s.Target.String(), "."), s.Port, int(s.Weight), addrs})
	}
	switch {
	case failed != nil:
		return nil, 0, failed // half of a service would have all of its requests
	case len(found) == 0:
		return nil, ttl, errNoName
	}
	scale(found)
	return found, ttl, nil
}

// scale brings weights, which go up to 65535 in DNS, into those of endpoints. A weight of 0 is a very small one there.
func scale(targets []target) {
	most := 0
	for _, t := range targets {
		most = max(most, t.weight)
	}
	for i := range targets {
		w := targets[i].weight
		if most > maxWeight {
			w = w * maxWeight / most
		}
		targets[i].weight = max(w, 1)
	}
}
