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
		if g.countries, err = open(countries, func(r maxminddb.Result) bool { return country(r).Country != Unknown }, "country of any address (country.iso_code), as GeoLite2-Country.mmdb has"); err != nil {
			return nil, &DatabaseError{"country", err}
		}
	}
	if systems != nil {
		if g.systems, err = open(systems, func(r maxminddb.Result) bool { return system(r) != 0 }, "number of any system (autonomous_system_number), as GeoLite2-ASN.mmdb has"); err != nil {
			return nil, &DatabaseError{"asn", err}
		}
	}
	if countries == nil && systems == nil {
		return nil, errors.New("want a database")
	}
	return g, nil
}

// A DatabaseError is about one of the databases of a Geo.
type DatabaseError struct {
	Key string // country or asn, as GeoConfig names it
	Err error
}

// Error implements error.
func (e *DatabaseError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *DatabaseError) Unwrap() error { return e.Err }

// maxSought bounds how many networks of a database are looked at to see whether it is of the kind that is wanted: in a right one
// the first has what is sought.
const maxSought = 10_000

// open reads a database and makes sure that it has what is sought in it. One of another kind would be read without an error, and say
// of every address that nothing is known.
func open(content []byte, has func(maxminddb.Result) bool, what string) (*maxminddb.Reader, error) {
	r, err := maxminddb.OpenBytes(content)
	if err != nil {
		return nil, errors.New("is no database of the MaxMind DB format")
	}
	seen := 0
	for result := range r.Networks() {
		if result.Err() == nil && has(result) {
			return r, nil
		}
		if seen++; seen == maxSought {
			break
		}
	}
	return nil, fmt.Errorf("is a database of another kind (%.60q): it has no %s", r.Metadata.DatabaseType, what)
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
	return country(g.countries.Lookup(addr))
}

// country is what a record says.
func country(r maxminddb.Result) Place {
	var rec placeRecord
	if err := r.Decode(&rec); err != nil {
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
	return system(g.systems.Lookup(addr))
}

// system is what a record says.
func system(r maxminddb.Result) uint32 {
	var rec struct {
		Number uint32 `maxminddb:"autonomous_system_number"`
	}
	if err := r.Decode(&rec); err != nil {
		return 0
	}
	return rec.Number
}
