//go:build !unix

package nowait

import "errors"

// supported is false where sockets are not file descriptors. Conn is then the connection itself.
const supported = false

func read(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }

func write(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
