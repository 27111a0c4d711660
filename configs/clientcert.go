package configs

import (
	"fmt"
	"slices"

	"gatehouse/proxy/clientcert"
)

// checkClientCertificates makes sure that each entry is about hosts that there are, each host in one entry, and that routes which
// let in some certificates verify them.
func (c *Config) checkClientCertificates(d *decoder) {
	seen := map[string]string{}
	for i, each := range c.ClientCertificates {
		path := fmt.Sprintf("client_certificates[%d]", i)
		d.section(path, each)
		for j, host := range each.Hosts {
			at := fmt.Sprintf("%s.hosts[%d]", path, j)
			if first, twice := seen[host]; twice {
				d.fault(at, fmt.Sprintf("%s names this host already", first))
			}
			seen[host] = at
			if len(c.Routes) > 0 && !slices.ContainsFunc(c.Routes, func(r Route) bool { return r.on(host) }) {
				d.fault(at, "no route matches this host, so nobody would be asked: want the name of one")
			}
		}
	}
	for i, r := range c.Routes {
		if len(r.ClientCertificate) == 0 {
			continue
		}
		for _, m := range r.Match {
			hosts := m.Hosts
			if len(hosts) == 0 {
				hosts = []string{"*"}
			}
			for _, host := range hosts {
				if !c.verifiesClients(canonicalHost(host)) {
					d.fault(fmt.Sprintf("routes[%d].client_certificate", i),
						fmt.Sprintf("nobody verifies the certificates of clients of %s: want it in hosts of client_certificates", host))
				}
			}
		}
	}
}

// asksClients reports whether some of r's clients are asked for a certificate.
func (c *Config) asksClients(r Route) bool {
	return slices.ContainsFunc(c.ClientCertificates, func(each clientcert.Config) bool { return slices.ContainsFunc(each.Hosts, r.on) })
}

// on reports whether r takes requests for a host, or one of a pattern's.
func (r Route) on(host string) bool {
	return slices.ContainsFunc(r.Match, func(m Match) bool {
		return len(m.Hosts) == 0 || slices.ContainsFunc(m.Hosts, func(own string) bool {
			return covers(host)(canonicalHost(own))
		})
	})
}

func (c *Config) verifiesClients(host string) bool {
	return slices.ContainsFunc(c.ClientCertificates, func(each clientcert.Config) bool {
		return each.Verifies() && slices.ContainsFunc(each.Hosts, func(h string) bool { return clientcert.Covers(h, host) })
	})
}
