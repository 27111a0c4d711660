// Command gatehouse is a front door for private web applications: TLS, WAF, limits, sign-in and signed
// identity in one process.
package main
