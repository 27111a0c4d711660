// Package nowait reads and writes sockets without a word to Go's scheduler while the kernel works.
//
// Around a system call the scheduler is told that it may wait, and looks after the processor that the call
// holds: its monitor thread wakes every 20 µs for as long as it finds such calls, takes their processors away
// and wakes threads for them. A read or a write of a socket never waits, because Go has made the socket
// non-blocking: it waits afterwards, in the poller. On a gateway, which does little else, telling the scheduler
// costs more than what it could gain by knowing.
package nowait
