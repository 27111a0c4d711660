// Package ipset says which set an address is in, and which country and network it belongs to.
package ipset
