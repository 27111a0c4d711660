package ipset

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"

	"github.com/oschwald/maxminddb-golang/v2"
)

// Unknown is the country of addresses that the database has none for, as AWS WAF has it.
const Unknown = "XX"

// A Place is where an address is: an ISO 3166-1 country, or Unknown, and the region within it by its ISO 3166-2 code, such
// as US-VA, or "" where the database has none.
type Place struct{ Country, Region string }

// Geo looks up countries, and numbers of autonomous systems, in databases of the MaxMind DB format. It is immutable and safe
// for concurrent use. The nil Geo knows nothing.
type Geo struct {
	countries *maxminddb.Reader
	systems   *maxminddb.Reader
}

// NewGeo returns what looks up in these databases, each of which may be nil. They are held in memory, so that a file that is
// overwritten while the process runs does no harm.
func NewGeo(countries, systems []byte) (*Geo, error) {
	g := &Geo{}
	var err error
	if countries != nil {
		if g.countries, err = maxminddb.OpenBytes(countries); err != nil {
			return nil, fmt.Errorf("country database: %w", err)
		}
	}
	if systems != nil {
		if g.systems, err = maxminddb.OpenBytes(systems); err != nil {
			return nil, fmt.Errorf("asn database: %w", err)
		}
	}
	if countries == nil && systems == nil {
		return nil, errors.New("want a database")
	}
	return g, nil
}

// HasCountries says whether countries can be looked up.
func (g *Geo) HasCountries() bool { return g != nil && g.countries != nil }

// HasSystems says whether numbers of autonomous systems can be looked up.
func (g *Geo) HasSystems() bool { return g != nil && g.systems != nil }

// placeRecord is what a city or country database in the form of MaxMind says.
type placeRecord struct {
	Country struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"country"`
	Registered struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"registered_country"`
	Subdivisions []struct {
		Code string `maxminddb:"iso_code"`
	} `maxminddb:"subdivisions"`
}

// Place is where addr is. What cannot be looked up is in an unknown country.
func (g *Geo) Place(addr netip.Addr) Place {
	addr = addr.Unmap().WithZone("")
	if !g.HasCountries() || !addr.IsValid() {
		return Place{Country: Unknown}
	}
	var rec placeRecord
	if err := g.countries.Lookup(addr).Decode(&rec); err != nil {
		return Place{Country: Unknown}
	}
	p := Place{Country: cmp.Or(rec.Country.Code, rec.Registered.Code, Unknown)}
	if len(rec.Subdivisions) > 0 && rec.Subdivisions[0].Code != "" {
		p.Region = p.Country + "-" + rec.Subdivisions[0].Code
	}
	return p
}

// System is the number of the autonomous system that announces addr; 0 if that is not known.
func (g *Geo) System(addr netip.Addr) uint32 {
	addr = addr.Unmap().WithZone("")
	if !g.HasSystems() || !addr.IsValid() {
		return 0
	}
	var rec struct {
		Number uint32 `maxminddb:"autonomous_system_number"`
	}
	if err := g.systems.Lookup(addr).Decode(&rec); err != nil {
		return 0
	}
	return rec.Number
}
