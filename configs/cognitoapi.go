package configs

import (
	"fmt"
	"slices"

	"gatehouse/authn/cognitoapi"
	"gatehouse/internal/suggest"
)

// checkOperations checks what a route lets through of a user pool's API.
func (c *Config) checkOperations(d *decoder, r *Route, path string) {
	api, ok := c.CognitoAPI[r.To]
	if d.src.has(path+".operations") && !ok {
		d.fault(path+".operations", "only a route to a proxy in cognito_api has operations")
		return
	}
	if d.src.has(path+".operations") && len(r.Operations) == 0 {
		d.fault(path+".operations", "the list is empty: name one at least, or leave the key out for all")
	}
	all := api.Operations
	if all == nil {
		all = cognitoapi.Operations()
	}
	for i, name := range r.Operations {
		if !slices.Contains(all, name) {
			d.fault(fmt.Sprintf("%s.operations[%d]", path, i), fmt.Sprintf("%s lets no %q through%s", r.To, name, suggest.DidYouMean(name, all)))
		}
	}
	if ok && r.StripPrefix != "" {
		d.fault(path+".strip_prefix", "does nothing: every path of the route stands for the API")
	}
}
