package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"sightline/internal/audit"
)

// The metrics of the audit log, which are zeros while it is off.
var (
	auditOn      = desc("audit_enabled", "1 if the gateway keeps an audit log.")
	auditFailed  = desc("audit_failed", "1 while the audit log can't be written.")
	auditLast    = desc("audit_last_line", "Number of the audit log's last line: a witness that lines were not cut off.")
	auditRecords = desc("audit_records_total", "Lines of the audit log that were written.")
	auditLost    = desc("audit_lost_events_total", "Events that did not get into the audit log.")
	auditWaiting = desc("audit_waiting_events", "Events that wait for the audit log's disk.")
)

func auditDescs() []*prometheus.Desc {
	return []*prometheus.Desc{auditOn, auditFailed, auditLast, auditRecords, auditLost, auditWaiting}
}

func collectAudit(w writer, s audit.Snapshot) {
	w.gauge(auditOn, number(s.On))
	w.gauge(auditFailed, number(s.Failed))
	w.gauge(auditLast, float64(s.Seq))
	w.counter(auditRecords, float64(s.Records))
	w.counter(auditLost, float64(s.Lost))
	w.gauge(auditWaiting, float64(s.Waiting))
}
