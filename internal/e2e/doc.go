// Package e2e tests Sightline from outside: the real server, in a network of its own, with the clients that people use.
//
// setup.sh installs those clients once, as root; then
//
//	go test -tags e2e ./internal/e2e
//
// runs everything, two tests at a time. The test binary starts itself again for each, in new network, process and mount
// namespaces, so it disturbs nothing on the machine, parallel runs do not meet, and nothing outlives it. There the server
// has the address 10.77.0.1 and the clients, in one more network namespace behind a veth pair, 10.77.0.2. The cluster's
// nodes and its clients are hosts at a switch, in a namespace each, 10.78.0.0/24; with the tag figures it is killed and
// cut more often.
//
// SIGHTLINE_E2E_PICTURES names a folder for screenshots, SIGHTLINE_E2E_LOGS one for the logs of all processes.
package e2e
