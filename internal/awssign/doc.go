// Package awssign signs requests to AWS's services with Signature Version 4, by access keys or by the credentials of a role.
package awssign
