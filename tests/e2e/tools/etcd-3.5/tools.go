//go:build tools

// Package tools pins etcd 3.5 and its etcdutl.
package tools

import (
	_ "go.etcd.io/etcd/etcdutl/v3"
	_ "go.etcd.io/etcd/server/v3"
)
