// Package soak opens and ends very many sessions, half of them rudely, and looks at what they leave behind in the server.
//
//	go test -tags soak -count=1 -v ./internal/e2e/soak
package soak
