package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/proxy"
)

// Without the stack nobody finds a fault that one request in a million meets.
func TestAPanicIsRecordedWithItsStack(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	generation, err := proxy.NewGeneration("g", []proxy.Route{{
		Name: "faulty", Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("out of order") }),
	}}, proxy.Options{Observe: newObserver(&out).request})
	if err != nil {
		t.Fatal(err)
	}
	var gateway proxy.Gateway
	gateway.Swap(generation)
	gateway.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	for _, want := range []string{`"denied":"panic: out of order"`, `"stack":"goroutine `, "TestAPanicIsRecordedWithItsStack"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("record: want %s in it, got %s", want, out.String())
		}
	}
}
