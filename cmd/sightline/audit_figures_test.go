//go:build figures

package main

import "testing"

// go test -tags figures -count=1 -v -timeout 20m -run AHundredKills ./cmd/sightline
func TestAuditLogSurvivesAHundredKills(t *testing.T) { surviveKills(t, 100) }
