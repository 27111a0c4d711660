// Package fleet is the store that several instances share: Redis or Valkey. Nothing that an instance
// decides depends on it; without it each goes on alone, says so, and catches up when it is back.
package fleet
