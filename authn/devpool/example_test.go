package devpool_test

import (
	"fmt"
	"net/http/httptest"

	"gatehouse/authn/devpool"
)

// A test starts a pool on a free port: the address is known before the server starts.
func ExampleNew() {
	srv := httptest.NewUnstartedServer(nil)
	pool, err := devpool.New(devpool.Options{
		BaseURL: "http://" + srv.Listener.Addr().String(),
		Clients: []devpool.Client{{
			ID: "web", Secret: "s3cret", CallbackURLs: []string{"https://app.example.com/oauth2/idpresponse"},
		}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	srv.Config.Handler = pool
	srv.Start()
	defer srv.Close()

	// One user info answer will be an error.
	err = pool.SetFaults(devpool.Faults{Endpoints: map[string]devpool.EndpointFault{
		devpool.EndpointUserInfo: {Status: 500, Times: 1},
	}})
	fmt.Println(pool.Issuer() == srv.URL+"/eu-west-1_DevPool01", pool.Calls(devpool.EndpointUserInfo), err)
	// Output: true 0 <nil>
}
