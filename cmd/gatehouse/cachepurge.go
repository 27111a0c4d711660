package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"

	"gatehouse/proxy/cache"
)

// maxPurge bounds the body of a purge: some 10,000 addresses.
const maxPurge = 1 << 20

// servePurge answers /cache/purge of the admin listener.
func servePurge(caches func() []*cache.Cache) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var purge cache.Purge
		in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxPurge))
		in.DisallowUnknownFields()
		err := in.Decode(&purge)
		if err == nil {
			err = purge.Validate()
		}
		if err != nil {
			http.Error(w, "purge: "+err.Error(), http.StatusBadRequest)
			return
		}
		purged := 0
		for _, c := range caches() {
			n, _ := c.Purge(purge) // which is valid
			purged += n
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, "{\"purged\":%d}\n", purged)
	})
}

// purgeCommand has a running Gatehouse forget answers.
type purgeCommand struct {
	adminAccess
	cache.Purge
}

func (c *purgeCommand) flags(set *pflag.FlagSet, env *environment) {
	c.adminAccess.flags(set, env)
	set.StringArrayVar(&c.URLs, "url", nil, "An `address` as clients ask for it, with its query. May be repeated, as all of these may.")
	set.StringArrayVar(&c.Prefixes, "prefix", nil, "The `beginning` of addresses, such as https://app.example.com/static/.")
	set.StringArrayVar(&c.Hosts, "host", nil, "The `name` of a host.")
	set.StringArrayVar(&c.Tags, "tag", nil, "A surrogate `key`, which answers had in Surrogate-Key or Cache-Tag.")
	set.BoolVar(&c.All, "all", false, "Everything.")
}

func (c *purgeCommand) Run(ctx context.Context, env *environment) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	text, err := json.Marshal(c.Purge)
	if err != nil {
		return fmt.Errorf("cache purge: %w", err)
	}
	status, body, err := c.ask(ctx, http.MethodPost, "/cache/purge", string(text))
	if err == nil && status != http.StatusOK {
		err = refusedByAdmin(status, body)
	}
	if err != nil {
		return fmt.Errorf("cache purge: %w", err)
	}
	fmt.Fprint(env.stdout, body)
	return nil
}

// cacheContent shows what the cache keeps, whenever somebody asks.
type cacheContent struct {
	bytes, objects, evictions *prometheus.Desc
	caches                    func() []*cache.Cache
}

func (c *cacheContent) Describe(to chan<- *prometheus.Desc) {
	to <- c.bytes
	to <- c.objects
	to <- c.evictions
}

func (c *cacheContent) Collect(to chan<- prometheus.Metric) {
	for _, one := range c.caches() {
		s := one.Stats()
		to <- prometheus.MustNewConstMetric(c.bytes, prometheus.GaugeValue, float64(s.Bytes), "kept")
		to <- prometheus.MustNewConstMetric(c.bytes, prometheus.GaugeValue, float64(s.Limit), "limit")
		to <- prometheus.MustNewConstMetric(c.objects, prometheus.GaugeValue, float64(s.Objects))
		to <- prometheus.MustNewConstMetric(c.evictions, prometheus.CounterValue, float64(s.Evicted))
	}
}
