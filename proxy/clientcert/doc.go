// Package clientcert asks clients for certificates, by host, verifies them, and tells upstreams of them in the headers of an AWS
// Application Load Balancer.
package clientcert
