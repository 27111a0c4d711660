// Package payload reads the forms that bodies come in whatever their type says: encodings of JSON and XML, and the frames of gRPC.
// It also says why a body could not be read.
package payload
