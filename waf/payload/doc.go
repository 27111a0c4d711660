// Package payload reads the forms that bodies come in whatever their type says: encodings of JSON and XML, and the frames of gRPC.
package payload
