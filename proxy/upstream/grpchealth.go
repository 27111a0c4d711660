package upstream

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
)

const (
	// grpcHealthPath is the unary method of grpc.health.v1.
	grpcHealthPath = "/grpc.health.v1.Health/Check"
	// maxService bounds the name of a service, in bytes.
	maxService = 256
	// grpcServing is SERVING of HealthCheckResponse.ServingStatus.
	grpcServing = 1
)

// checkGRPC asks by grpc.health.v1 whether a service is being served.
func (k *checker) checkGRPC(ctx context.Context, client *http.Client, ep *endpoint) error {
	resp, err := k.ask(ctx, client, ep, http.MethodPost, grpcHealthPath, bytes.NewReader(grpcHealthRequest(*k.grpc)))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHealthBody))
	if err != nil {
		return plainCause(err)
	}
	status := resp.Trailer.Get("Grpc-Status")
	if status == "" {
		status = resp.Header.Get("Grpc-Status") // an answer without a message may have it there
	}
	switch n, err := strconv.ParseUint(status, 10, 8); {
	case err != nil:
		return errors.New("no gRPC status")
	case n != 0:
		return fmt.Errorf("gRPC status %d", n)
	}
	return grpcHealthAnswer(body)
}

// grpcHealthRequest is a HealthCheckRequest in a gRPC frame: field 1 is the service.
func grpcHealthRequest(service string) []byte {
	var message []byte
	if service != "" {
		message = append(message, 1<<3|2)
		message = binary.AppendUvarint(message, uint64(len(service)))
		message = append(message, service...)
	}
	frame := binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))) //nolint:gosec // Validate bounds it
	return append(frame, message...)
}

// grpcHealthAnswer reads a frame with a HealthCheckResponse, of which field 1 is the status. Fields that are unknown are passed over.
func grpcHealthAnswer(frame []byte) error {
	malformed := errors.New("no answer of grpc.health.v1")
	if len(frame) < 5 || frame[0] != 0 || uint64(binary.BigEndian.Uint32(frame[1:5])) != uint64(len(frame)-5) {
		return malformed
	}
	status := uint64(0)
	for message := frame[5:]; len(message) > 0; {
		tag, n := binary.Uvarint(message)
		if n <= 0 {
			return malformed
		}
		message = message[n:]
		skip := uint64(0)
		switch tag & 7 {
		case 0:
			value, n := binary.Uvarint(message)
			if n <= 0 {
				return malformed
			}
			if tag>>3 == 1 {
				status = value
			}
			skip = uint64(n)
		case 1:
			skip = 8
		case 2:
			length, n := binary.Uvarint(message)
			if n <= 0 || length > uint64(len(message)) {
				return malformed
			}
			skip = uint64(n) + length
		case 5:
			skip = 4
		default:
			return malformed
		}
		if skip > uint64(len(message)) {
			return malformed
		}
		message = message[skip:]
	}
	if status != grpcServing {
		return errors.New("not serving")
	}
	return nil
}
