package ipset

import "fmt"

// SetConfig is one set of the file.
type SetConfig struct {
	// Addresses are single ones, and networks such as 10.0.0.0/8, of both families.
	Addresses []string `yaml:"addresses"`
	// File has more of them, one a line; "#" and ";" begin comments. A reload reads it anew.
	File string `yaml:"file"`
}

// Validate reports everything that is wrong with c. It opens no file.
func (c SetConfig) Validate(report func(field, msg string)) {
	for i, entry := range c.Addresses {
		if _, err := ParsePrefix(entry); err != nil {
			report(fmt.Sprintf("addresses[%d]", i), err.Error())
		}
	}
	if len(c.Addresses) == 0 && c.File == "" {
		report("", "has no addresses: want a list of them, or a file")
	}
}

// GeoConfig names the databases by which addresses are looked up, in the MaxMind DB format.
type GeoConfig struct {
	// Country is a file such as GeoLite2-Country.mmdb, or GeoLite2-City.mmdb, which has regions too. A reload reads it anew.
	Country string `yaml:"country"`
	// ASN is a file such as GeoLite2-ASN.mmdb.
	ASN string `yaml:"asn"`
}
