//go:build e2e && !figures

package e2e

import "time"

// How often TestCluster does what is rare, where it is one test of many. cluster_figures_test.go does more.
const (
	kills      = 2
	partitions = 1
	partedFor  = 8 * time.Second
)
