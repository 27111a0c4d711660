package main

import (
	"context"
	"net/http"

	"gatehouse/configs"
	"gatehouse/proxy"
	"gatehouse/proxy/compress"
)

// compressed returns what compresses a route's answers, or nothing. All routes of all generations share the encoders, so that their
// number has one bound.
func (a *assembler) compressed(rt *configs.Route) []func(http.Handler) http.Handler {
	if !rt.Compress.On() {
		return nil
	}
	encoders, _ := a.parts.encoders.take("encoders", a.prev.encoders, func() (*compress.Compressor, error) {
		return compress.NewCompressor(), nil
	}, nil) // never fails
	return []func(http.Handler) http.Handler{encoders.Wrap(compress.Options{
		Types:      rt.Compress.Types,
		OnCompress: func(ctx context.Context, coding string) { proxy.EventFrom(ctx).Note("compress", coding) },
	})}
}
