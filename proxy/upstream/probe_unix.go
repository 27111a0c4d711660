//go:build unix

package upstream

import "syscall"

// readNow reads what the socket holds and does not wait for more: it returns errWouldBlock if that is nothing, and
// (0, nil) at the end of the stream.
func readNow(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), p)
		switch err { //nolint:errorlint // an Errno, never wrapped
		case nil:
			return n, nil
		case syscall.EINTR:
			continue
		case syscall.EAGAIN:
			return 0, errWouldBlock
		}
		return 0, err
	}
}
