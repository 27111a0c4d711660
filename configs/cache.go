package configs

import (
	"reflect"

	"gatehouse/proxy/cache"
)

// checkCache checks what a route says of its cache.
func (c *Config) checkCache(d *decoder, r *Route, path string) {
	if r.Cache == nil {
		return
	}
	d.section(path, *r.Cache)
	if _, api := c.CognitoAPI[r.To]; api || !forwards(*r) {
		d.fault(path, "keeps what an upstream or an origin answers: want one in to or split")
	}
}

// acceptedByCache is accepted for the words of the cache.
func acceptedByCache(t reflect.Type, key string) []string {
	if t == reflect.TypeFor[cache.KeyConfig]() {
		if key == "query" {
			return []string{cache.QueryAll, cache.QueryNone, cache.QueryOnly, cache.QueryExcept}
		}
		return nil
	}
	switch key {
	case "rules":
		return []string{cache.RulesRFC, cache.RulesCloudFront}
	case "unkeyed":
		return []string{cache.UnkeyedSend, cache.UnkeyedDrop}
	case "set_cookie":
		return []string{cache.SetCookiePass, cache.SetCookieStrip, cache.SetCookieStore}
	case "markers":
		return []string{cache.MarkersOn, cache.MarkersOff}
	}
	return nil
}
