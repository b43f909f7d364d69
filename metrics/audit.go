package metrics

import "sightline/internal/audit"

// auditMetrics are zeros while there is no audit log.
var auditMetrics = []metric[audit.Snapshot]{
	gaugeOf("audit_enabled", "1 if the gateway keeps an audit log.",
		func(s *audit.Snapshot) float64 { return number(s.On) }),
	gaugeOf("audit_failed", "1 while the audit log can't be written.",
		func(s *audit.Snapshot) float64 { return number(s.Failed) }),
	gaugeOf("audit_last_line", "Number of the audit log's last line: a witness that lines were not cut off.",
		func(s *audit.Snapshot) float64 { return float64(s.Seq) }),
	counterOf("audit_records_total", "Lines of the audit log that were written.",
		func(s *audit.Snapshot) uint64 { return s.Records }),
	counterOf("audit_lost_events_total", "Events that did not get into the audit log.",
		func(s *audit.Snapshot) uint64 { return s.Lost }),
	gaugeOf("audit_waiting_events", "Events that wait for the audit log's disk.",
		func(s *audit.Snapshot) float64 { return float64(s.Waiting) }),
}
