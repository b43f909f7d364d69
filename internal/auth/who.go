package auth

import "sightline/internal/audit"

// Who returns the identity as the audit log has it, with where its client is.
func (id Identity) Who(address, agent string) audit.Who {
	return audit.Who{Name: id.Name, Role: id.Role, Address: address, Agent: agent}
}
