//go:build tools

// Package tools pins the sealed-secrets programs of the lab.
package tools

import (
	_ "github.com/bitnami/sealed-secrets/cmd/kubeseal"
)
