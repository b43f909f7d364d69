package api

import _ "embed"

// Description is the API in OpenAPI 3.1, in YAML: the room API and all other doors.
//
//go:embed openapi.yaml
var Description []byte
